package database

import (
	"hash/crc32"
	"testing"
)

// TestSchemaIsTheFormats: each database has the text of the schema in it, and the repair of a first page puts
// that of another database in its place. A change of the text, of a comment even, is a new format.
func TestSchemaIsTheFormats(t *testing.T) {
	const ofFormat2 = 0x771d7292
	if got := crc32.ChecksumIEEE([]byte(schema)); got != ofFormat2 {
		t.Errorf("the text of the schema has the checksum %#x, that of format 2 %#x", got, uint32(ofFormat2))
	}
}

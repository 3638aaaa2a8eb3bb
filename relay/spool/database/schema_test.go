package database

import (
	"database/sql/driver"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mailwhy/relay/spool/files"
)

// TestSchemaIsTheFormats: each database has the text of the schema in it, and the repair of a first page puts
// that of another database in its place. A change of the text, of a comment even, is a new format.
func TestSchemaIsTheFormats(t *testing.T) {
	const format3 = 0x16124bb9
	if got := crc32.ChecksumIEEE([]byte(schema2 + from2)); got != format3 || files.Format != 3 {
		t.Errorf("the text of the schema has the checksum %#x, that of format 3 %#x", got, format3)
	}
}

// layout is what a database says of its tables and indexes: their names, where they begin, their text.
func layout(t *testing.T, c *Conn) (all []string) {
	t.Helper()
	err := c.Query(func(row []driver.Value) error {
		all = append(all, fmt.Sprint(row))
		return nil
	}, "SELECT name, rootpage, sql FROM sqlite_schema ORDER BY rootpage")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMigratedAsNew: a database that was migrated, with rows in all its tables, has its tables at the pages
// where a new one has them, and all of the schema stands on the first page: that of another database can be
// put in its place.
func TestMigratedAsNew(t *testing.T) {
	fresh, err := OpenWriter(filepath.Join(t.TempDir(), files.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	name := filepath.Join(t.TempDir(), files.Database)
	old, err := Open(name, "mode=rwc", "auto_vacuum=INCREMENTAL", "journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	err = old.Run(schema2 + fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=2;", ApplicationID) + `
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500)
		INSERT INTO message SELECT i, 'id'||i, 'lane', 's', i, 1, 1, NULL, i, NULL, 0, 0,
			hex(zeroblob(300)), 0, '[]', 0 FROM n;
		INSERT INTO content SELECT seq, zeroblob(5000) FROM message;
		INSERT INTO notice SELECT seq, 0, 'failed', seq, seq%2 FROM message;
		INSERT INTO notice SELECT seq, 3, 'delayed', seq, 0 FROM message;
		INSERT INTO reported SELECT id, seq FROM message;
		INSERT INTO quarantine SELECT id, seq, 'why', '', '', '', '', NULL FROM message;
		UPDATE meta SET notices=1000`)
	if err != nil {
		t.Fatal(err)
	}
	old.format = 2
	n, err := ReadCounts(old)
	if err != nil || n.Owed != 1000 {
		t.Fatalf("read %+v, %v", n, err)
	}
	tx := NewTx(old, n)
	for _, step := range []func() error{tx.Begin, tx.Migrate, tx.StoreCounts, tx.Commit} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := layout(t, old), layout(t, fresh); !slices.Equal(got, want) {
		t.Errorf("a migrated database has the tables\n%v\nand a new one\n%v", got, want)
	}
	r, err := old.RecordAt(8)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := old.AllEntries(r)
	if err != nil || len(entries) != 2 || entries[0].Key != "delayed/3" || entries[1].Key != "failed/0" ||
		string(entries[1].Payload) != "" {
		t.Errorf("the notices became %+v, %v", entries, err)
	}
	if found, err := integrity(old); err != nil || found != "ok" {
		t.Errorf("SQLite's check: %s, %v", found, err)
	}
	if err := TruncateLog(fresh); err != nil {
		t.Fatal(err)
	}
	checkFirstPage(t, fresh)
}

// integrity is what SQLite finds.
func integrity(c *Conn) (found string, err error) {
	err = c.Query(rowInto(&found), "PRAGMA integrity_check")
	return found, err
}

// checkFirstPage looks that the schema is on the first page of a new database alone: that this is a leaf of
// its tree, which has the cells of all tables and indexes.
func checkFirstPage(t *testing.T, c *Conn) {
	t.Helper()
	name := ""
	if err := c.Query(rowInto(&name), "SELECT file FROM pragma_database_list WHERE name='main'"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const headerSize, leaf = 100, 0x0d
	if cells := int(page[headerSize+4]); page[headerSize] != leaf || cells != len(layout(t, c)) {
		t.Errorf("the first page is of kind %#x and has %d entries of the schema", page[headerSize], cells)
	}
}

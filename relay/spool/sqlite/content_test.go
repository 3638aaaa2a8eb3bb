package sqlite

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// TestUnreadableIsNotDamaged reads a content from a file that cannot be read just now: nothing says that it
// is damaged.
func TestUnreadableIsNotDamaged(t *testing.T) {
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &spool.Record{Size: 7, Sum: 1}
	rc, err := openFile(name, r)
	if err != nil {
		t.Fatal(err)
	}
	rc.(*verifier).f.Close() // reads fail from here on
	if _, err := io.ReadAll(rc); err == nil || errors.Is(err, relay.ErrCorrupt) {
		t.Errorf("reading gives %v, want an error that is not ErrCorrupt", err)
	}
	rc, err = openFile(name, r)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if _, err := io.ReadAll(rc); !errors.Is(err, relay.ErrCorrupt) {
		t.Errorf("a wrong checksum gives %v, want ErrCorrupt", err)
	}
}

package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"

	"mailwhy/relay/internal/durable"
)

// ReadFile reads a file of f, and ends the test if that fails; a file that is missing is nil.
func ReadFile(t testing.TB, f durable.FS, name string) []byte {
	t.Helper()
	h, err := f.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var b []byte
	if err == nil {
		b, err = io.ReadAll(h)
		h.Close()
	}
	if err != nil {
		t.Fatalf("%s: %v", f, err)
	}
	return b
}

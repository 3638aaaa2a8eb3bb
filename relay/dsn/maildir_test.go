package dsn

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestMaildirIsOursAlone: bounces are for nobody else to read, and the maildir that is made for them neither.
func TestMaildirIsOursAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	if err := WriteMaildir(dir, "ID", []byte("Subject: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"": 0o700, "new": 0o700, "tmp": 0o700, "cur": 0o700,
		"new/ID.mailwhy": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v, want %v", path, info, err, want)
		}
	}
}

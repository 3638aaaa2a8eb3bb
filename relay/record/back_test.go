package record

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBack: an event that was written and read is written as before.
func TestBack(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		event := e.Event()
		again := New(&event)
		e.tried = again.tried // which is not written
		if got, want := string(again.AppendJSON(nil)), string(e.AppendJSON(nil)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

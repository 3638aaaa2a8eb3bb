package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
}

// TestImportDirections holds the one way in which dependencies run: rooms never know one another, and only this command
// knows them all. Tests may reach further, so their imports are not looked at.
func TestImportDirections(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "mailwhy/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; seen++ {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "mailwhy/") && !mayImport(p.ImportPath, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages were seen", seen)
	}
}

// mayImport reports whether a package of ours may import another one.
func mayImport(from, to string) bool {
	internal := strings.HasPrefix(to, "mailwhy/relay/internal/")
	words := to == "mailwhy/relay" || to == "mailwhy/diagnose"
	switch {
	case strings.HasPrefix(from, "mailwhy/cmd/"), strings.HasPrefix(from, "mailwhy/scripts/"):
		return true
	case from == "mailwhy/diagnose/bounce":
		return to == "mailwhy/diagnose"
	case from == "mailwhy/diagnose", strings.HasPrefix(from, "mailwhy/relay/internal/"):
		return false
	case from == "mailwhy/relay":
		return to == "mailwhy/diagnose"
	case from == "mailwhy/config":
		return words
	case strings.HasPrefix(from, "mailwhy/relay/"):
		return words || internal || inRoom(from, to)
	}
	return false
}

// inRoom reports whether two packages are parts of one room: relay/smtpd and relay/smtpd/wire.
func inRoom(from, to string) bool {
	room := func(path string) string {
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "mailwhy/relay/"), "/")
		return first
	}
	return room(from) == room(to)
}

func TestMayImportRefuses(t *testing.T) {
	for _, pair := range [][2]string{
		{"mailwhy/diagnose", "mailwhy/relay"}, {"mailwhy/relay", "mailwhy/relay/spool"}, {"mailwhy/relay/spool", "mailwhy/relay/smtpd"},
		{"mailwhy/config", "mailwhy/relay/smtpd"}, {"mailwhy/relay/internal/clean", "mailwhy/relay"}, {"mailwhy/relay", "mailwhy/config"},
		{"mailwhy/diagnose", "mailwhy/diagnose/bounce"}, {"mailwhy/diagnose/bounce", "mailwhy/relay/dsn"},
	} {
		if mayImport(pair[0], pair[1]) {
			t.Errorf("%s may import %s", pair[0], pair[1])
		}
	}
}

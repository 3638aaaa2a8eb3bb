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
	GoFiles    []string // without tests
}

// packages are those of this module.
func packages(t *testing.T) (all []goPackage) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles", "mailwhy/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages were seen", len(all))
	}
	return all
}

// maxFiles is how many files a package may have: more than that holds more than one idea.
const maxFiles = 19

func TestPackagesAreSmall(t *testing.T) {
	for _, p := range packages(t) {
		if n := len(p.GoFiles); n > maxFiles {
			t.Errorf("%s has %d files, at most %d are allowed", p.ImportPath, n, maxFiles)
		}
	}
}

// TestImportDirections holds the one way in which dependencies run: rooms never know one another, and only
// this command knows them all. Tests may reach further, so their imports are not looked at.
func TestImportDirections(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "mailwhy/") && !mayImport(p.ImportPath, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// mayImport reports whether a package of ours may import another one.
func mayImport(from, to string) bool {
	internal := strings.HasPrefix(to, "mailwhy/relay/internal/")
	words := to == "mailwhy/relay" || to == "mailwhy/diagnose"
	switch {
	case strings.HasPrefix(from, "mailwhy/cmd/"), strings.HasPrefix(from, "mailwhy/scripts/"):
		return true
	case to == "mailwhy/relay/app":
		return from == "mailwhy/relay/app/apptest" // which runs one in tests
	case from == "mailwhy/relay/app", strings.HasPrefix(from, "mailwhy/relay/app/"):
		return true // what joins the rooms may have parts
	case from == "mailwhy/diagnose/bounce":
		return to == "mailwhy/diagnose"
	case from == "mailwhy/diagnose":
		return false
	case strings.HasPrefix(from, "mailwhy/relay/internal/"):
		return internal && strings.HasPrefix(from, to+"/") // a leaf may have parts
	case from == "mailwhy/relay":
		return to == "mailwhy/diagnose"
	case strings.HasPrefix(from, "mailwhy/relay/feedback") && to == "mailwhy/diagnose/bounce":
		return true // it reads what others write about our mail
	case from == "mailwhy/config/page":
		return false
	case from == "mailwhy/config/cluster":
		return to == "mailwhy/config/value"
	case from == "mailwhy/config/value", from == "mailwhy/config/dropin":
		return to == "mailwhy/config/mistake"
	case from == "mailwhy/config":
		// The defaults of the providers are data.
		return words || strings.HasPrefix(to, "mailwhy/config/") || to == "mailwhy/relay/preset"
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
		{"mailwhy/diagnose", "mailwhy/relay"}, {"mailwhy/relay", "mailwhy/relay/spool"},
		{"mailwhy/relay/spool", "mailwhy/relay/smtpd"},
		{"mailwhy/config", "mailwhy/relay/smtpd"}, {"mailwhy/relay/internal/clean", "mailwhy/relay"},
		{"mailwhy/relay", "mailwhy/config"},
		{"mailwhy/relay/lane", "mailwhy/relay/report"}, {"mailwhy/relay/admin", "mailwhy/relay/app"},
		{"mailwhy/relay/internal/clean", "mailwhy/relay/internal/xtext"},
		{"mailwhy/config", "mailwhy/relay/app"}, {"mailwhy/config/value", "mailwhy/config"},
		{"mailwhy/relay/app/outgoing", "mailwhy/relay/app"},
		{"mailwhy/relay/lane", "mailwhy/relay/app/outgoing"},
		{"mailwhy/diagnose", "mailwhy/diagnose/bounce"}, {"mailwhy/relay/lane", "mailwhy/diagnose/bounce"},
		{"mailwhy/diagnose/bounce", "mailwhy/relay/dsn"},
	} {
		if mayImport(pair[0], pair[1]) {
			t.Errorf("%s may import %s", pair[0], pair[1])
		}
	}
}

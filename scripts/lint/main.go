// Command lint holds the project's files to two rules of its house: no line over 110 columns, and none of the
// coined words that earlier code used for things that mail has words for.
//
//	go run ./scripts/lint [FILE ...]     default: every file that git knows
//
// It prints each breach as FILE:LINE: what, and exits with 1 if there is one.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxColumns is the widest line. A tab counts as tabColumns. A line may be longer for the sake of a URL that
// does not fit otherwise.
const (
	maxColumns = 110
	tabColumns = 4
)

// coined are words that have a plain one: pending, tombstone, throttle, report job, practice log, wake,
// evict, checkpoint, summary, fault.
var coined = regexp.MustCompile(`(?i)\b(young|husks?|brakes?|parcels?|tellers?|poke[ds]?|spill(s|ed)?|` +
	`absorb(s|ed)?|stor(y|ies)|troubles?)\b|(print|unit|new|the)(Story|Trouble|Parcel|Teller)\b`)

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		out, err := exec.Command("git", "ls-files").Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "git ls-files:", err)
			os.Exit(2)
		}
		names = strings.Fields(string(out))
	}
	found := false
	for _, name := range names {
		if checked(name) {
			found = checkFile(name) || found
		}
	}
	if found {
		os.Exit(1)
	}
}

// checked reports whether the rules hold for a file.
func checked(name string) bool {
	switch filepath.Ext(name) {
	case ".go", ".md", ".toml":
		return true
	}
	return false
}

// checkFile prints what breaks a rule in a file, and reports whether anything does.
func checkFile(name string) (found bool) {
	f, err := os.Open(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return true
	}
	defer f.Close()
	return check(name, f, func(line int, what string) { fmt.Printf("%s:%d: %s\n", name, line, what) })
}

// check reads a file and calls breach for each line that breaks a rule.
func check(name string, r io.Reader, breach func(line int, what string)) (found bool) {
	words := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") &&
		!strings.HasPrefix(name, "scripts/lint/")
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if w := columns(line); w > maxColumns && !needsRoom(line) {
			found = true
			breach(n, fmt.Sprintf("%d columns; at most %d", w, maxColumns))
		}
		if word := coined.FindString(line); words && word != "" {
			found = true
			breach(n, fmt.Sprintf("%q: write the plain word", word))
		}
	}
	if err := lines.Err(); err != nil {
		found = true
		breach(0, err.Error())
	}
	return found
}

// needsRoom reports whether a line has a URL that would be too long for a line of its own with the same
// indent.
func needsRoom(line string) bool {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t/"))]
	for _, word := range strings.Fields(line) {
		if strings.Contains(word, "://") && columns(indent+word) > maxColumns {
			return true
		}
	}
	return false
}

// columns is the width of a line.
func columns(line string) int {
	return utf8.RuneCountInString(line) + strings.Count(line, "\t")*(tabColumns-1)
}

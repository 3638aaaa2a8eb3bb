package main

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		why, name, text string
		want            bool
	}{
		{"at the limit", "a.go", strings.Repeat("x", 110), false},
		{"over the limit", "a.go", strings.Repeat("x", 111), true},
		{"tabs count four", "a.go", "\t" + strings.Repeat("x", 107), true},
		{"letters count, not bytes", "a.md", strings.Repeat("é", 110), false},
		{"a URL may be long", "a.md", "see https://x.example/" + strings.Repeat("x", 110), false},
		{"a line with a URL that fits may not", "a.md",
			"https://x.example/ " + strings.Repeat("x", 110), true},
		{"a coined word", "a.go", "// the husk of a message", true},
		{"in a name", "a.go", "func printStory() {}", true},
		{"inside another word", "a.go", "// history, spillway", false},
		{"tests may quote it", "a_test.go", "// the husk of a message", false},
		{"prose may use the word", "a.md", "the gap between two attempts", false},
	} {
		if got := check(c.name, strings.NewReader(c.text+"\n"), func(int, string) {}); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

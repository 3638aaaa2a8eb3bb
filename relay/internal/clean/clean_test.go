package clean

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		max  int
		want string
	}{
		{"plain text", 80, "plain text"},
		{"a\r\nBcc: b", 80, "a??Bcc: b"},
		{"a\x00b\x1b[31mc\x7f", 80, "a?b?[31mc?"},
		{"a\tb", 80, "a b"},
		{"a\xffb", 80, "a\uFFFDb"},
		{"a\u0085b\u2028c\u202ed\u200be", 80, "a?b?c?d?e"},
		{"grüße", 4, "gr\u00fc"},
		{"grüße", 3, "gr"},
		{"abc", 0, ""},
	} {
		if got := Line(tt.in, tt.max); got != tt.want {
			t.Errorf("Line(%q, %d) = %q, want %q", tt.in, tt.max, got, tt.want)
		}
	}
}

func TestASCII(t *testing.T) {
	for in, want := range map[string]string{
		"mx.example.org": "mx.example.org",
		"grüße\r\n":      "gr??e??",
		"\xff\xfe":       "??",
		"a\tb":           "a b",
	} {
		if got := ASCII(in, 80); got != want {
			t.Errorf("ASCII(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\r\nb\x00\xff\u202e", 5)
	f.Fuzz(func(t *testing.T, s string, max int) {
		for _, got := range []string{Line(s, max), ASCII(s, max)} {
			if !utf8.ValidString(got) || len(got) > max && got != "" ||
				strings.ContainsFunc(got, unicode.IsControl) {
				t.Fatalf("from %q, %d: %q", s, max, got)
			}
			if Line(got, max) != got {
				t.Fatalf("from %q: %q is not a fixed point", s, got)
			}
		}
	})
}

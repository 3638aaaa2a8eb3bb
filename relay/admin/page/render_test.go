package page

import (
	"strings"
	"testing"
	"time"
)

// TestShown: what strangers write is visible as what it is.
func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                        "plain",
		"550-5.1.1 no\r\n550 such\r\n": "550-5.1.1 no 550 such",
		"a\nb\x00c\x1b[31m":            `a\x0ab\x00c\x1b[31m`,
		"a\u202eb\u200bc\u2066":        `a\u{202e}b\u{200b}c\u{2066}`,
		"a\xffb":                       `a\xffb`,
		"Grüße <b>":                    "Grüße <b>",
		"a\u0085b":                     `a\u{0085}b`,
	} {
		if got := Shown(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if got := shownLines("550-a\r\n550 b\tc\r\n"); got != "550-a\n550 b c" {
		t.Errorf("lines: %q", got)
	}
	got := Shown(strings.Repeat("ü", shownMost+5))
	if want := strings.Repeat("ü", shownMost) + " … (10 bytes more)"; got != want {
		t.Errorf("a long text ends in %q", got[len(got)-40:])
	}
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3 * time.Millisecond: "3 ms", 1500 * time.Millisecond: "1.5 s", 59 * time.Second: "59 s",
		90 * time.Second: "1 min", 90 * time.Minute: "1 h 30 min", 50 * time.Hour: "2 d 2 h",
	} {
		if got := lasting(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestPlural(t *testing.T) {
	for _, tt := range []struct {
		n          int
		noun, want string
	}{{1, "message", "1 message"}, {0, "message", "0 messages"}, {2, "entry", "2 entries"},
		{3, "address", "3 addresses"}} {
		if got := plural(tt.n, tt.noun); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// TestOurs: a form leads back to pages of ours only.
func TestOurs(t *testing.T) {
	for path, want := range map[string]string{
		"/queue?state=held": "/queue?state=held", "": "/", "queue": "/", "//evil.example": "/",
		"https://evil.example/": "/", `/\evil.example`: "/", "/a\nb": "/", "javascript:alert(1)": "/",
	} {
		if got := ours(path); got != want {
			t.Errorf("%q leads to %q, want %q", path, got, want)
		}
	}
}

package deliverylog

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

var update = flag.Bool("update", false, "write the golden files")

// at is the time of every event here.
var at = time.Date(2026, 11, 23, 9, 18, 0, 123_456_789, time.FixedZone("", 3600))

// sample reads an event from the golden files of package record.
func sample(t *testing.T, file string) record.Event {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	e, err := record.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestTextGolden(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		e := sample(t, file)
		got := AppendText(nil, &e)
		golden := filepath.Join("testdata", strings.TrimSuffix(filepath.Base(file), ".json")+".txt")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\ngot  %s\nwant %s", golden, err, got, want)
		}
	}
}

// invisible reports whether a terminal acts on r without showing it.
func invisible(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

func TestTextCannotHarmATerminal(t *testing.T) {
	e := sample(t, "../testdata/bytes.json")
	e.ID, e.Note, e.From = "x\x1b]0;title\x07", "a\nb\u2028c", "\x9b31m@y.test"
	got := string(AppendText(nil, &e))
	if strings.ContainsFunc(strings.TrimSuffix(got, "\n"), invisible) || !utf8.ValidString(got) {
		t.Errorf("got %q", got)
	}
}

func FuzzText(f *testing.F) {
	f.Add("id", "a@b.test", "550 5.1.1 no\r\n", "note", int64(1), int64(5))
	f.Add("", "\xff\"\\", "550 \xe4\u2028\U000e0001\x00\x7f", "\ufffd\ud7ff", int64(-1<<63), int64(1<<62))
	f.Fuzz(func(t *testing.T, id, to, reply, note string, seconds, n int64) {
		e := record.Event{
			Time: time.Unix(seconds, n), Kind: relay.EventKind(note), ID: id, To: to, Note: note, Size: n,
			NextAttempt: time.Unix(n, seconds), Reply: reply,
			Diagnosis: &diagnose.Diagnosis{Cause: note, Fix: []string{note, to}, Rule: id},
		}
		text := AppendText(nil, &e)
		if !utf8.Valid(text) || bytes.Count(text, []byte("\n"))-bytes.Count(text, []byte("\n ")) != 1 {
			t.Errorf("text %q", text)
		}
	})
}

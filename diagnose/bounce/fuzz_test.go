package bounce

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzRead: any bytes are read, within the bounds, and what is annotated reads as before.
func FuzzRead(f *testing.F) {
	for _, s := range shapes() {
		f.Add([]byte(s.make(300)))
	}
	f.Add([]byte(qmail))
	for _, w := range writings(f) {
		f.Add([]byte(w.file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		before := bytes.Clone(file)
		d := parse(file)
		if !bytes.Equal(before, file) {
			t.Fatal("the file was changed")
		}
		if limit := int64(64*len(file) + 1<<10); d.work > limit {
			t.Errorf("%d bytes were walked over for %d", d.work, len(file))
		}
		if d.parts > MaxParts+MaxDepth || d.recipients > MaxRecipients {
			t.Errorf("%d parts, %d recipients", d.parts, d.recipients)
		}
		for _, n := range d.report.Notifications {
			for i := range n.Recipients {
				checkRecipient(t, &n.Recipients[i])
			}
		}
		checkKeys(t, d.report.Keys, file)
		a := Annotate(file, annotation)
		if again := Annotate(a.File, annotation); !bytes.Equal(again.File, a.File) {
			t.Errorf("annotated twice: %q, then %q", a.File, again.File)
		}
	})
}

// checkRecipient: a recipient's symptom never contradicts its action.
func checkRecipient(t *testing.T, r *Recipient) {
	y := r.Symptom
	class := y.Reply.Class()
	switch {
	case r.Kind == KindDelay && (class == 5 || class == 2 && y.Reply.Code != 221):
		t.Errorf("a delay, and %+v", y.Reply)
	case r.Kind != KindFailure && r.Kind != KindDelay && r.Kind != KindSuccess:
		t.Errorf("a recipient of kind %q", r.Kind)
	case r.Action == "failed" && (class == 2 && y.Reply.Code != 221 || class == 3):
		t.Errorf("failed, and %+v", y.Reply)
	case r.Action == "delayed" && (class == 5 || class == 2 && y.Reply.Code != 221):
		t.Errorf("delayed, and %+v", y.Reply)
	case class > 5:
		t.Errorf("a reply of %d", y.Reply.Code)
	case y.Reply.Code == 0 && y.Reply.Enhanced.IsZero() && y.Text == "":
		t.Error("nothing is said")
	case len(r.Address) > maxName || !utf8.ValidString(r.Address) && len(r.Address) == maxName:
		t.Errorf("an address of %d bytes", len(r.Address))
	}
}

// checkKeys: keys are bounded, and each is found once.
func checkKeys(t *testing.T, keys []Key, file []byte) {
	seen := map[Key]bool{}
	for _, k := range keys {
		id := Key{Kind: k.Kind, Value: k.Value}
		if k.Value == "" || len(k.Value) > maxName || seen[id] {
			t.Errorf("key %+v in %q", k, file)
		}
		seen[id] = true
	}
	if len(keys) > 3*maxKeys {
		t.Errorf("%d keys", len(keys))
	}
}

// FuzzWords: of the words of a mailer every recipient that is read stands there, in front of what came back.
func FuzzWords(f *testing.F) {
	for _, w := range writings(f) {
		_, words, _ := strings.Cut(w.file, "\n\n")
		f.Add(words)
	}
	f.Fuzz(func(t *testing.T, words string) {
		d := parse([]byte("From: MAILER-DAEMON@a.example\nContent-Type: text/plain\n\n" + words))
		text := strings.ToValidUTF8(strings.ReplaceAll(words, "\r", "\n"), "\uFFFD")
		end, _ := d.ownWords(shortened(text, maxProse))
		for _, n := range d.report.Notifications {
			for i := range n.Recipients {
				checkRecipient(t, &n.Recipients[i])
				if n.Source == SourceProse && !strings.Contains(text[:end], n.Recipients[i].Address) {
					t.Errorf("%q does not stand in %q", n.Recipients[i].Address, text[:end])
				}
			}
		}
		if d.report.Kind == KindNone && strings.TrimSpace(text[:end]) != "" {
			t.Error("what a mailer writes is nothing")
		}
	})
}

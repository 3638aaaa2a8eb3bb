package bounce

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

// FuzzRead: any bytes are read, within the bounds, and what is annotated reads as before.
func FuzzRead(f *testing.F) {
	for _, s := range shapes() {
		f.Add([]byte(s.make(300)))
	}
	f.Add([]byte(qmail))
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

package recall

import (
	"testing"
	"time"

	"mailwhy/relay/feedback"
)

// TestErase: what concerns an address goes, and nothing else; a message that still owes a bounce stays.
func TestErase(t *testing.T) {
	b := newBox(t)
	b.remember(mail(1, begins, "Bob@x.example"), mail(2, begins, "eve@x.example"),
		mail(3, begins, "eve@x.example", "bob@x.example"))
	owed := b.bounce(4, "bob@x.example")
	from := mail(5, begins, "eve@x.example")
	from.Envelope.From = "BOB@x.example"
	b.remember(from)
	b.event(feedback.Event{ID: "e1", Kind: feedback.KindBounced, Recipient: "bob@x.example", Time: begins})
	for _, body := range []string{"a bounce for bob@X.example", "a bounce for eve@x.example"} {
		raw := &feedback.Raw{Source: "ses", Provider: "ses", Time: begins, Body: []byte(body)}
		if err := b.Append(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	want := Erased{Messages: 3, Reports: 2, Owed: 1}
	for _, act := range []bool{false, true} {
		got, err := b.Erase(t.Context(), "bob@x.example", act)
		if err != nil || got != want {
			t.Errorf("act %v: %+v, %v; want %+v", act, got, err, want)
		}
	}
	if got, err := b.Erase(t.Context(), "bob@x.example", false); err != nil || got != (Erased{Owed: 1}) {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	if n := b.rows("message"); n != 2 {
		t.Errorf("%d messages are left, want the other one and that of the bounce", n)
	}
	if ids := b.find(feedback.KeyQueueID, owed.ID); len(ids) != 1 {
		t.Errorf("the message that owes a bounce is found as %v", ids)
	}
	if n := len(b.due()); n != 1 {
		t.Errorf("%d reports wait, want that about another address", n)
	}
	b.pass(time.Minute)
	b.tidy() // the counts are right: nothing is forgotten for them
	if n := b.Stat().Messages; n != 2 {
		t.Errorf("%d messages are counted", n)
	}
}

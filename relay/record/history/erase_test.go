package history

import (
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record"
)

// TestErase: the events of one person go, also those that have only just been recorded, and those that only
// quote the address; the others stay, the newest of them as the example, and so do the counts.
func TestErase(t *testing.T) {
	h, at := fresh(t, generous()), begun()
	bob := func(e *record.Event) bool {
		return strings.EqualFold(e.To, "bob@x.test") || strings.Contains(e.Reply, "bob@x.test")
	}
	for i := range 1200 { // several pages
		to := "eve@x.test"
		if i%2 == 1 {
			to = "Bob@x.test"
		}
		h.Record(refused(at.Add(time.Duration(i)*time.Second), "m", to, "550 5.1.1 no\r\n"))
	}
	h.Record(refused(at, "quotes", "list@x.test", "550 5.1.1 <bob@x.test> is away\r\n"))
	want := Erased{Events: 601, Examples: 1}
	if got, err := h.Erase(t.Context(), bob, false); err != nil || got != want {
		t.Fatalf("counted %+v, %v; want %+v", got, err, want)
	}
	if n := h.State().Events; n != 1201 {
		t.Errorf("%d events are left after the count", n)
	}
	if got, err := h.Erase(t.Context(), bob, true); err != nil || got != want {
		t.Fatalf("erased %+v, %v; want %+v", got, err, want)
	}
	left, err := h.Latest(t.Context(), relay.HistoryFilter{Limit: 2000})
	if err != nil || len(left) != 600 || h.State().Events != 600 {
		t.Errorf("%v, %d events are left, State says %d", err, len(left), h.State().Events)
	}
	for i := range left {
		if left[i].To != "eve@x.test" {
			t.Fatalf("left is %+v", left[i])
		}
	}
	reasons, err := h.Reasons(t.Context(), at, []relay.EventKind{relay.EventFailed})
	if err != nil || len(reasons) != 1 || reasons[0].Count != 1201 || reasons[0].Sample == nil ||
		reasons[0].Sample.To != "eve@x.test" {
		t.Errorf("%v, %+v", err, reasons)
	}
	if got, err := h.Erase(t.Context(), bob, true); err != nil || got != (Erased{}) {
		t.Errorf("again: %+v, %v", got, err)
	}
	if got, err := h.Erase(t.Context(), func(*record.Event) bool { return true }, true); err != nil ||
		got != (Erased{Events: 600, Examples: 1}) {
		t.Errorf("all: %+v, %v", got, err)
	}
	if reasons, err = h.Reasons(t.Context(), at, []relay.EventKind{relay.EventFailed}); err != nil ||
		len(reasons) != 1 || reasons[0].Count != 1201 || reasons[0].Sample != nil {
		t.Errorf("without events: %v, %+v", err, reasons)
	}
}

// TestEraseFails: a history that cannot be written, or is closed, says so.
func TestEraseFails(t *testing.T) {
	all := func(*record.Event) bool { return true }
	path := t.TempDir() // a directory is not a file
	h := open(t, path, generous(), begun)
	if _, err := h.Erase(t.Context(), all, true); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	h.Close()
	if _, err := h.Erase(t.Context(), all, true); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("closed: %v", err)
	}
}

package app

import (
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// TestFeedbackIsErased: what is remembered about an address goes by the control socket, and a report that
// comes later finds nothing.
func TestFeedbackIsErased(t *testing.T) {
	s := newScene(t, "ses", "")
	s.send("ann@x.test")
	s.send("joe@x.test")
	s.line(relay.EventRelayed, "ann@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	client := admin.NewClient(filepath.Join(s.dir, "spool", "admin.sock"))
	for i, act := range []bool{false, true, false} {
		want := admin.Erased{Messages: 1}
		if i == 2 {
			want.Messages = 0
		}
		if got, err := client.Erase(t.Context(), "Ann@x.test", act); err != nil || got != want {
			t.Errorf("act %v: %+v, %v; want %+v", act, got, err, want)
		}
	}
	if _, err := client.Erase(t.Context(), "ann", true); err == nil ||
		!strings.Contains(err.Error(), "is not an address") {
		t.Errorf("got %v", err)
	}
	if got, err := client.Erase(t.Context(), "joe@x.test", false); err != nil || got.Messages != 1 {
		t.Errorf("of the other: %+v, %v", got, err)
	}
}

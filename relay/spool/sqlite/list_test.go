package sqlite

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
)

// TestListBehindABacklog: what a filter selects by lane and by whether it waits is found behind more others
// than one statement looks at, page by page and after an id, and in the spool of a relay that does not run.
func TestListBehindABacklog(t *testing.T) {
	s := openTest(t, Options{Limits: Limits{Reserve: -1}})
	bulk(t, s, "bulk@sender.example", 2*database.LookedAt+10, time.Now())
	var want []string
	for i := range database.PageRows + 10 {
		m := benchMessage("app@sender.example")
		m.Lane = "other"
		if i%2 == 0 {
			m.Recipients[0].State = relay.Held
		} else {
			want = append(want, m.ID)
		}
		if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if i == database.PageRows/2 {
			bulk(t, s, "bulk@sender.example", database.LookedAt+10, time.Now())
		}
	}
	slices.Sort(want)
	look := func(l relay.Lister, f relay.QueueFilter) (got []string) {
		f.Lane, f.Waiting, f.OlderThan = "other", true, time.Now().Add(time.Minute)
		if err := l.List(t.Context(), f, func(m *relay.Message) bool {
			got = append(got,
				m.ID)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := look(s, relay.QueueFilter{}); !slices.Equal(got, want) {
		t.Errorf("%d of %d messages are listed", len(got), len(want))
	}
	if got := look(s, relay.QueueFilter{After: want[20], Limit: 30}); !slices.Equal(got, want[21:51]) {
		t.Errorf("after the 21st, 30 at most: %d messages", len(got))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReadOnly(s.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := look(r, relay.QueueFilter{}); !slices.Equal(got, want) {
		t.Errorf("%d of %d messages are listed when no relay runs", len(got), len(want))
	}
}

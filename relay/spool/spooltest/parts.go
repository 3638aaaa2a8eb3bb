package spooltest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// backup is another lane.
const backup = "backup"

// parts are the messages of a mail for two lanes; the first has the mail's id.
func parts() (first, second *relay.Message) {
	first = message("a@there.example")
	first.Mail = first.ID
	second = message("b@elsewhere.example", "c@elsewhere.example")
	second.Lane, second.Mail = backup, first.ID
	return first, second
}

// relayAll leases what waits in a lane and settles it as relayed.
func relayAll(t *testing.T, s relay.Spool, lane string) {
	t.Helper()
	ls, _ := leaseOf(t, s, relay.LeaseQuery{Lane: lane, Now: time.Now(), Max: 10, For: time.Minute})
	for _, l := range ls {
		all(l.Message, relay.Relayed, time.Time{})
		settle(t, s, l)
	}
}

// partsShareContent: the messages of a mail wait in their lanes, and the content stays for the last of them.
func partsShareContent(t *testing.T, s relay.Spool) {
	for name, content := range map[string]string{"small": "shared",
		"large": strings.Repeat("large\r\n", 1<<19)} {
		t.Run(name, func(t *testing.T) {
			a, b := parts()
			putParts(t, s, content, a, b)
			if size := int64(len(content)); a.Size != size || b.Size != size {
				t.Errorf("the sizes are %d and %d, want %d", a.Size, b.Size, size)
			}
			l := leaseOne(t, s)
			equal(t, l.Message, a)
			for _, m := range []*relay.Message{a, b} {
				if got := read(t, s, m.ID); got != content {
					t.Errorf("%s has a content of %d bytes, want %d", m.Lane, len(got), len(content))
				}
			}
			all(l.Message, relay.Relayed, time.Time{})
			settle(t, s, l)
			if _, err := s.Content(t.Context(), a.ID); !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("the content by the id of the message that has gone: %v", err)
			}
			if got := read(t, s, b.ID); got != content {
				t.Errorf("when one has gone the other has a content of %d bytes", len(got))
			}
			relayAll(t, s, backup)
			if _, err := s.Content(t.Context(), b.ID); !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("the content when both have gone: %v", err)
			}
		})
	}
}

// partsTwice: a mail that is put again is not stored again, whichever of its messages have gone.
func partsTwice(t *testing.T, s relay.Spool) {
	a, b := parts()
	putParts(t, s, "first", a, b)
	relayAll(t, s, lane)
	putParts(t, s, "second", a, b)
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a message that has gone was stored again")
	}
	if got := read(t, s, b.ID); got != "first" {
		t.Errorf("the other message has the content %q", got)
	}
	relayAll(t, s, backup)
	if _, err := s.Content(t.Context(), b.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the content when both have gone: %v", err)
	}
}

// move: a settlement takes the message to another lane.
func move(t *testing.T, s relay.Spool) {
	put(t, s, message(), "x")
	l := leaseOne(t, s)
	l.Message.Recipients[0].Attempts = 1
	err := s.Settle(t.Context(), l.Token, relay.Settlement{Recipients: l.Message.Recipients, Lane: backup})
	if err != nil {
		t.Fatal(err)
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("the message is still in its old lane")
	}
	ls, _ := leaseOf(t, s, relay.LeaseQuery{Lane: backup, Now: time.Now(), Max: 10, For: time.Minute})
	if len(ls) != 1 || ls[0].Message.Lane != backup || ls[0].Message.Recipients[0].Attempts != 1 {
		t.Fatalf("in its new lane: %+v", ls)
	}
	if got := read(t, s, l.Message.ID); got != "x" {
		t.Errorf("its content is %q", got)
	}
	all(ls[0].Message, relay.Relayed, time.Time{})
	settle(t, s, ls[0])
}

// moveWithEntries: what is owed for a message does not keep it from moving.
func moveWithEntries(t *testing.T, s outboxSpool) {
	put(t, s, message("gone@there.example", "waits@there.example"), "x")
	l := leaseOne(t, s)
	l.Message.Recipients[0].State = relay.Failed
	n := relay.Notice{Message: l.Message.ID, Kind: relay.NoticeFailed, Due: time.Now()}
	err := s.Settle(t.Context(), l.Token, relay.Settlement{
		Recipients: l.Message.Recipients, Owed: []relay.Entry{n.Entry()}, Lane: backup,
	})
	if err != nil {
		t.Fatal(err)
	}
	relayAll(t, s, backup)
	if got := read(t, s, l.Message.ID); got != "x" {
		t.Errorf("a message for which an entry waits has the content %q", got)
	}
}

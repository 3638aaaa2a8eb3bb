package spooltest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailwhy/relay"
)

// stager is a spool with the add-on of that name, and an outbox.
type stager interface {
	relay.Spool
	relay.Stager
	relay.Outbox
}

// stagedTests are those of the Stager.
var stagedTests = []test[stager]{
	{"StagedContent", stagedContent},
	{"StageReaderFails", stageReaderFails},
	{"StagedDiscarded", stagedDiscarded},
	{"StagedDeferred", stagedDeferred},
	{"StagedMoved", stagedMoved},
	{"StagedLeased", stagedLeased},
	{"StagedReleased", stagedReleased},
	{"StagedLapses", stagedLapses},
	{"StagedOwes", stagedOwes},
	{"StagedFinal", stagedFinal},
	{"StagedWith", stagedWith},
	{"StagedOtherRecipients", stagedOtherRecipients},
}

// stage stages a message.
func stage(t *testing.T, s relay.Stager, m *relay.Message, content string) relay.Staged {
	t.Helper()
	st, err := s.Stage(t.Context(), m, strings.NewReader(content))
	if err != nil {
		t.Fatalf("Stage: %v", err)
	}
	t.Cleanup(st.Discard)
	return st
}

// putStaged stores a staged message with its recipients as they stand in m.
func putStaged(t *testing.T, st relay.Staged, m *relay.Message, leaseFor time.Duration,
	owed ...relay.Entry) relay.Token {
	t.Helper()
	token, err := st.Put(t.Context(), relay.Settlement{Recipients: m.Recipients, Owed: owed}, leaseFor)
	if err != nil {
		t.Fatalf("Put of a staged message: %v", err)
	}
	return token
}

// stagedContent: a content can be opened before and after it is stored, whatever its size.
func stagedContent(t *testing.T, s stager) {
	for _, size := range []int{0, 10, 3 << 20} {
		content := strings.Repeat("x", size)
		m := message()
		st := stage(t, s, m, content)
		if m.Size != int64(size) {
			t.Errorf("Stage set Size to %d, want %d", m.Size, size)
		}
		for _, when := range []string{"before", "before, again", "after"} {
			if when == "after" {
				putStaged(t, st, m, 0)
			}
			rc, err := st.Content()
			if err != nil {
				t.Fatalf("%s Put: %v", when, err)
			}
			b, err := io.ReadAll(rc)
			if rc.Close(); err != nil || string(b) != content {
				t.Errorf("%s Put: %d bytes of %d, %v", when, len(b), size, err)
			}
		}
		if got := read(t, s, m.ID); got != content {
			t.Errorf("the stored content has %d bytes of %d", len(got), size)
		}
	}
}

func stageReaderFails(t *testing.T, s stager) {
	for _, broken := range []error{errors.New("the client went away"), io.ErrUnexpectedEOF} {
		for _, size := range []int{0, 10, 200 << 10, 5 << 20} {
			r := io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(broken))
			if _, err := s.Stage(t.Context(), message(), r); !errors.Is(err, broken) {
				t.Errorf("after %d bytes: %v, want %v", size, err, broken)
			}
		}
	}
}

// stagedDiscarded: what was discarded is not stored, and cannot be any more.
func stagedDiscarded(t *testing.T, s stager) {
	for _, size := range []int{10, 3 << 20} {
		m := message()
		st := stage(t, s, m, strings.Repeat("x", size))
		st.Discard()
		st.Discard()
		if _, err := st.Put(t.Context(), relay.Settlement{Recipients: m.Recipients}, 0); err == nil {
			t.Error("a discarded message was stored")
		}
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Errorf("%d messages were leased", len(ls))
	}
}

// stagedDeferred: a message comes into the store with the state that its recipients have then.
func stagedDeferred(t *testing.T, s stager) {
	m := message("a@there.example", "b@there.example")
	st := stage(t, s, m, "content")
	m.Recipients[0] = relay.Recipient{Address: "a@there.example", State: relay.Relayed}
	m.Recipients[1] = fullRecipient()
	m.Recipients[1].NextAttempt = time.Now()
	if token := putStaged(t, st, m, 0); token != "" {
		t.Errorf("a lease that nobody asked for: %q", token)
	}
	equal(t, leaseOne(t, s).Message, m)
}

// stagedMoved: a message can come into the store in another lane than it was staged for.
func stagedMoved(t *testing.T, s stager) {
	m := message()
	st := stage(t, s, m, "content")
	set := relay.Settlement{Recipients: m.Recipients, Lane: "backup"}
	if _, err := st.Put(t.Context(), set, 0); err != nil {
		t.Fatal(err)
	}
	ls, _ := leaseOf(t, s, relay.LeaseQuery{Lane: "backup", Now: time.Now(), Max: 10, For: time.Minute})
	if len(ls) != 1 || ls[0].Message.Lane != "backup" {
		t.Errorf("leased %+v", ls)
	}
}

// stagedLeased: a message can be its caller's from the first moment on, who settles it like any other.
func stagedLeased(t *testing.T, s stager) {
	m := message()
	st := stage(t, s, m, "content")
	token := putStaged(t, st, m, time.Minute)
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Fatalf("%d messages were leased to another", len(ls))
	}
	if err := s.Extend(t.Context(), token, time.Minute); err != nil {
		t.Fatalf("Extend: %v", err)
	}
	all(m, relay.Deferred, time.Now())
	settle(t, s, relay.Lease{Token: token, Message: m})
	l := leaseOne(t, s)
	equal(t, l.Message, m)
	all(l.Message, relay.Relayed, time.Time{})
	settle(t, s, l)
	if _, err := s.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the message has not gone: %v", err)
	}
}

// stagedReleased: a lease that is given back leaves the message as it was stored, for others to lease, who
// looked for it in vain before.
func stagedReleased(t *testing.T, s stager) {
	r, ok := s.(relay.Releaser)
	if !ok {
		t.Skip("skipping: this engine does not have leases that end without a write")
	}
	m := message()
	token := putStaged(t, stage(t, s, m, "content"), m, time.Minute)
	for range 3 {
		put(t, s, message(), "another")
		leaseOne(t, s)
	}
	if err := r.Release(token); err != nil {
		t.Fatal(err)
	}
	equal(t, leaseOne(t, s).Message, m)
}

// stagedLapses: a lease of a staged message ends by its deadline as any other.
func stagedLapses(t *testing.T, s stager) {
	m := message()
	token := putStaged(t, stage(t, s, m, "content"), m, 50*time.Millisecond)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		ls := lease(t, s, 10)
		if len(ls) == 0 {
			continue
		}
		equal(t, ls[0].Message, m)
		err := s.Settle(t.Context(), token, relay.Settlement{Recipients: m.Recipients})
		if !errors.Is(err, relay.ErrStaleLease) {
			t.Errorf("a settlement by the lease that lapsed: %v", err)
		}
		return
	}
	t.Error("the message was never leased again")
}

// stagedOwes: what is owed is stored with the message, which stays until it is answered.
func stagedOwes(t *testing.T, s stager) {
	m := message("a@there.example", "b@there.example")
	st := stage(t, s, m, "content")
	m.Recipients[0].State, m.Recipients[1].State = relay.Failed, relay.Relayed
	n := relay.Notice{Message: m.ID, Recipient: 0, Kind: relay.NoticeFailed, Due: time.Now()}
	putStaged(t, st, m, 0, n.Entry())
	c := claimOne(t, s)
	equal(t, c.Message, m)
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Errorf("%d messages were leased, and nothing is to be tried", len(ls))
	}
	if err := s.Consume(t.Context(), relay.Answer{Entries: c.Entries}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the message has not gone: %v", err)
	}
}

// stagedFinal: a message that nothing waits for is not stored.
func stagedFinal(t *testing.T, s stager) {
	m := message()
	st := stage(t, s, m, "content")
	all(m, relay.Relayed, time.Time{})
	putStaged(t, st, m, time.Minute)
	if _, err := s.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the message was stored: %v", err)
	}
}

// stagedWith: other messages are stored with a staged one that is leased, that waits, or for which nothing
// waits, and they are due at once.
func stagedWith(t *testing.T, s stager) {
	for _, content := range []string{"leased", "due", "final", strings.Repeat("large\r\n", 1<<19)} {
		m, other := parts()
		st := stage(t, s, m, content)
		leaseFor := time.Duration(0)
		switch content {
		case "leased":
			leaseFor = time.Minute
		case "due":
		default:
			all(m, relay.Relayed, time.Time{})
		}
		set := relay.Settlement{Recipients: m.Recipients}
		token, err := st.Put(t.Context(), set, leaseFor, other)
		if err != nil || (token != "") != (leaseFor > 0) {
			t.Fatalf("%.6s: token %q, %v", content, token, err)
		}
		if got := read(t, s, other.ID); got != content {
			t.Errorf("%.6s: the other message has a content of %d bytes", content, len(got))
		}
		relayAll(t, s, backup)
		if n := len(lease(t, s, 10)); (n == 1) != (content == "due") {
			t.Errorf("%.6s: %d messages are due", content, n)
		}
		if _, err := s.Content(t.Context(), other.ID); !errors.Is(err, relay.ErrNotFound) {
			t.Errorf("%.6s: the other message has not gone: %v", content, err)
		}
	}
}

// stagedOtherRecipients: a state with another number of recipients is refused, and nothing is stored.
func stagedOtherRecipients(t *testing.T, s stager) {
	m := message("a@there.example", "b@there.example")
	st := stage(t, s, m, "content")
	if _, err := st.Put(t.Context(), relay.Settlement{Recipients: m.Recipients[:1]}, 0); err == nil {
		t.Error("a state of one of two recipients was stored")
	}
	putStaged(t, st, m, 0)
	leaseOne(t, s)
}

package accept

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// storing is a Spool of which only Put is used. It notes what is done, in order.
type storing struct {
	relay.Spool
	err   error
	steps []string
	got   []*relay.Message
	taken []string
}

func (s *storing) Put(_ context.Context, ms []*relay.Message, content io.Reader) error {
	if s.err != nil {
		return s.err
	}
	b, err := io.ReadAll(content)
	for _, m := range ms {
		m.Size = int64(len(b))
	}
	s.steps, s.got = append(s.steps, "put"), ms
	return err
}

var arrived = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// newInbox makes an Inbox whose steps after Put are noted in s too, and its events in *events.
func newInbox(s *storing, events *[]relay.Event) *Inbox {
	return &Inbox{
		Spool: s,
		Ways: &Ways{Route: func(m *relay.Message, i int) Route {
			_, domain, _ := strings.Cut(m.Recipients[i].Address, "@")
			return Route{Upstreams: []string{"lane of " + domain}, Rule: domain, Reason: "test"}
		}},
		Taken: func(lane string, n int) { s.taken = append(s.taken, fmt.Sprint(lane, " ", n)) },
		Wake:  func(lane string) { s.steps = append(s.steps, "wake "+lane) },
		Record: recorderFunc(func(e relay.Event) {
			s.steps = append(s.steps, "record")
			*events = append(*events, e)
		}),
		Now: func() time.Time { return arrived.Add(time.Second) },
	}
}

type recorderFunc func(relay.Event)

func (f recorderFunc) Record(e relay.Event) { f(e) }

func newMessage() *relay.Message {
	return &relay.Message{
		ID:         relay.NewID(arrived),
		Envelope:   relay.Envelope{From: "app@example.com"},
		MessageID:  "<1@example.com>",
		Client:     relay.Client{User: "app", Addr: "192.0.2.1"},
		Arrived:    arrived,
		Recipients: []relay.Recipient{{Address: "a@example.net"}, {Address: "b@example.net"}},
	}
}

// TestAccept: a message is stored for its lane, with recipients that are due at once; then it is recorded,
// once for each recipient, and its lane is woken.
func TestAccept(t *testing.T) {
	var events []relay.Event
	s := &storing{}
	m := newMessage()
	content := strings.NewReader("Subject: x\r\n\r\n")
	if err := newInbox(s, &events).Accept(context.Background(), m, content); err != nil {
		t.Fatal(err)
	}
	want := []string{"put", "record", "record", "wake lane of example.net"}
	if !reflect.DeepEqual(s.steps, want) {
		t.Errorf("steps %q, want %q", s.steps, want)
	}
	if len(s.got) != 1 || s.got[0] != m || m.Lane != "lane of example.net" || m.Mail != "" {
		t.Fatalf("stored %+v", s.got)
	}
	for i, r := range m.Recipients {
		if r.State != relay.Queued || !r.NextAttempt.Equal(arrived) {
			t.Errorf("%s is %s, due at %v", r.Address, r.State, r.NextAttempt)
		}
		e := events[i]
		if e.Kind != relay.EventAccepted || e.To != r.Address || e.First != (i == 0) ||
			e.Client != "192.0.2.1" || e.Size != m.Size || e.Lane != m.Lane ||
			!e.Time.Equal(arrived.Add(time.Second)) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
}

// TestAcceptNotStored: what the spool does not take is neither recorded nor announced, and its error is the
// caller's.
func TestAcceptNotStored(t *testing.T) {
	var events []relay.Event
	s := &storing{err: relay.ErrFull}
	err := newInbox(s, &events).Accept(context.Background(), newMessage(), strings.NewReader(""))
	if !errors.Is(err, relay.ErrFull) {
		t.Errorf("error %v, want ErrFull", err)
	}
	if len(s.steps) != 0 || len(events) != 0 {
		t.Errorf("steps %q, events %v: want none", s.steps, events)
	}
}

// TestAcceptForSeveralLanes: a mail is parted by lane, as one mail; the first message has the id that the
// client is told, and the others' ids are the same when the mail comes again.
func TestAcceptForSeveralLanes(t *testing.T) {
	parted := func() ([]*relay.Message, []relay.Event) {
		var events []relay.Event
		s := &storing{}
		m := newMessage()
		m.ID = relay.DerivedID(arrived, "the mail")
		m.Recipients = nil
		for _, a := range []string{"a@one.test", "b@two.test", "c@one.test", "d@three.test", "e@two.test"} {
			m.Recipients = append(m.Recipients, relay.Recipient{Address: a})
		}
		if err := newInbox(s, &events).Accept(context.Background(), m, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		return s.got, events
	}
	got, events := parted()
	var lines []string
	for _, m := range got {
		line := m.Lane + ":"
		for _, r := range m.Recipients {
			line += " " + r.Address
		}
		lines = append(lines, line)
		if m.Mail != got[0].ID || m.MailID() != got[0].ID || !relay.ValidID(m.ID) ||
			m.Subject != got[0].Subject {
			t.Errorf("message %+v", m)
		}
	}
	want := []string{
		"lane of one.test: a@one.test c@one.test", "lane of two.test: b@two.test e@two.test",
		"lane of three.test: d@three.test",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("parts %q, want %q", lines, want)
	}
	first := 0
	for _, e := range events {
		if e.First {
			first++
		}
		if e.Mail != got[0].ID || !strings.HasSuffix(e.To, "@"+e.Route) || e.Note != "test" {
			t.Errorf("event of %s names the mail %q and the route %q (%s)", e.To, e.Mail, e.Route, e.Note)
		}
	}
	if len(events) != 5 || first != 1 {
		t.Errorf("%d events, %d of them the first", len(events), first)
	}
	again, _ := parted()
	for i := range got {
		if got[i].ID != again[i].ID || i > 0 && got[i].ID == got[0].ID {
			t.Errorf("part %d has the ids %s and %s", i, got[i].ID, again[i].ID)
		}
	}
}

// TestChangesOfTheContent: what is changed while the content is read is in the events of every lane.
func TestChangesOfTheContent(t *testing.T) {
	var events []relay.Event
	s := &storing{}
	m := newMessage()
	m.Recipients[1].Address = "b@example.org"
	content := readerFunc(func([]byte) (int, error) {
		m.Changed = []string{"line ends normalized"}
		return 0, io.EOF
	})
	if err := newInbox(s, &events).Accept(context.Background(), m, content); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if !reflect.DeepEqual(e.Changed, m.Changed) {
			t.Errorf("to %s: changed %q", e.To, e.Changed)
		}
	}
	if len(s.got) != 2 || len(events) != 2 {
		t.Errorf("%d lanes, %d events", len(s.got), len(events))
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

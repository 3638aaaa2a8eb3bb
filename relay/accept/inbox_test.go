package accept

import (
	"context"
	"errors"
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
	got   *relay.Message
}

func (s *storing) Put(_ context.Context, m *relay.Message, content io.Reader) error {
	if s.err != nil {
		return s.err
	}
	b, err := io.ReadAll(content)
	m.Size = int64(len(b))
	s.steps, s.got = append(s.steps, "put"), m
	return err
}

var arrived = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// newInbox makes an Inbox whose steps after Put are noted in s too, and its events in *events.
func newInbox(s *storing, events *[]relay.Event) *Inbox {
	return &Inbox{
		Spool: s,
		Route: func(m *relay.Message) string { return "lane of " + m.Envelope.From },
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
	want := []string{"put", "record", "record", "wake lane of app@example.com"}
	if !reflect.DeepEqual(s.steps, want) {
		t.Errorf("steps %q, want %q", s.steps, want)
	}
	if s.got.Lane != "lane of app@example.com" {
		t.Errorf("stored for lane %q", s.got.Lane)
	}
	for i, r := range s.got.Recipients {
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

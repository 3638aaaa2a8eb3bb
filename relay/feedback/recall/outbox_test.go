package recall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/dsn"
	"mailwhy/relay/feedback"
	"mailwhy/relay/report"
	"mailwhy/relay/spool/sqlite"
)

// dueNow asks for the due entries of up to max messages.
func dueNow(b *box, max int) relay.ClaimQuery {
	return relay.ClaimQuery{
		Topic: relay.TopicReport, Now: b.clock().Add(time.Hour), Max: max, For: time.Minute,
	}
}

func (b *box) claim(q relay.ClaimQuery) ([]relay.Claim, time.Time) {
	b.t.Helper()
	claims, next, err := b.Claim(b.t.Context(), q)
	if err != nil {
		b.t.Fatal(err)
	}
	return claims, next
}

// bounce lets a message bounce for its first recipient, so that a notice is owed.
func (b *box) bounce(n int, recipients ...string) *relay.Message {
	b.t.Helper()
	if recipients == nil {
		recipients = []string{"a@x.example"}
	}
	m := mail(n, b.clock(), recipients...)
	b.remember(m)
	if got := b.tell(m, fmt.Sprint("bounce", n), feedback.StateBounced, false); got != OutcomeOwed {
		b.t.Fatalf("the bounce of message %d: %s", n, got)
	}
	return m
}

// TestClaim: what is owed is handed out to one at a time, with the failure as it was told.
func TestClaim(t *testing.T) {
	b := newBox(t)
	m := b.bounce(1, "a@x.example", "b@x.example")
	b.bounce(2)
	claims, next := b.claim(dueNow(b, 1))
	if len(claims) != 1 || claims[0].Message.ID != m.ID || next.IsZero() {
		t.Fatalf("claimed %+v, next %v; want the older one, and more due", claims, next)
	}
	c := claims[0]
	r := c.Message.Recipients
	if r[0].State != relay.Failed || r[0].Last.Stage != diagnose.StageRemote || r[0].Last.Reply.Code != 550 ||
		r[0].Diagnosis == nil || r[1].State != relay.Relayed {
		t.Errorf("recipients %+v", r)
	}
	n, err := relay.NoticeOf(c.Entries[0])
	if err != nil || len(c.Entries) != 1 || n.Message != m.ID || n.Kind != relay.NoticeFailed ||
		n.Claim != c.Token {
		t.Errorf("notice %+v, %v", n, err)
	}
	if again, _ := b.claim(dueNow(b, 10)); len(again) != 1 || again[0].Message.ID == m.ID {
		t.Errorf("a second consumer got %+v", again)
	}
	b.GiveBack(c.Token, "no such token")
	if again, _ := b.claim(dueNow(b, 10)); len(again) != 1 || again[0].Message.ID != m.ID {
		t.Errorf("given back, but claimed %+v", again)
	}
}

// TestClaimEnds: a claim ends by itself, and who had it can answer no more once another one has it.
func TestClaimEnds(t *testing.T) {
	b := newBox(t)
	b.bounce(1)
	q := dueNow(b, 10)
	q.For = time.Millisecond
	old, _ := b.claim(q)
	var now []relay.Claim
	for end := time.Now().Add(20 * time.Second); len(now) == 0 && time.Now().Before(end); {
		now, _ = b.claim(dueNow(b, 10))
	}
	if len(old) != 1 || len(now) != 1 {
		t.Fatal("what a claim that ended had was not handed out again")
	}
	late := relay.Answer{Entries: old[0].Entries}
	if err := b.Consume(t.Context(), late); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Consume: %v", err)
	}
	if err := b.Postpone(t.Context(), old[0].Entries); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Postpone: %v", err)
	}
	if err := b.Consume(t.Context(), relay.Answer{Entries: now[0].Entries}); err != nil {
		t.Error(err)
	}
	if n := b.owed(); n != 0 {
		t.Errorf("%d are owed", n)
	}
}

func TestPostpone(t *testing.T) {
	b := newBox(t)
	b.bounce(1)
	c, _ := b.claim(dueNow(b, 1))
	later := b.clock().Add(2 * time.Hour)
	e := c[0].Entries[0]
	e.Due, e.Payload = later, []byte("digest")
	gone := e
	gone.Key = "failed/5"
	if err := b.Postpone(t.Context(), []relay.Entry{e, gone}); err != nil {
		t.Fatal(err)
	}
	b.GiveBack(c[0].Token)
	b.reopen()
	if c, next := b.claim(dueNow(b, 10)); len(c) != 0 || !next.Equal(later) {
		t.Errorf("claimed %+v, next %v", c, next)
	}
	q := dueNow(b, 10)
	q.Now = later
	if c, _ := b.claim(q); len(c) != 1 || len(c[0].Entries) != 1 ||
		string(c[0].Entries[0].Payload) != "digest" {
		t.Errorf("at the later time: %+v", c)
	}
}

// TestConsume: the answer is stored with the entries' removal, and reaches the spool once, whatever crashes
// and however long the spool takes nothing.
func TestConsume(t *testing.T) {
	b := newBox(t)
	b.bounce(1)
	c, _ := b.claim(dueNow(b, 1))
	dsn := &relay.Message{ID: relay.DerivedID(begins, "dsn"), Lane: "default", Report: true,
		Recipients: []relay.Recipient{{Address: "app@shop.example", State: relay.Queued}}}
	answer := func() relay.Answer {
		return relay.Answer{Entries: c[0].Entries, Messages: []*relay.Message{dsn},
			Content: strings.NewReader("the report")}
	}
	b.spool.failing(relay.ErrFull)
	if err := b.Consume(t.Context(), answer()); err != nil {
		t.Fatal(err)
	}
	if n := b.owed(); n != 0 || len(b.spool.put()) != 0 {
		t.Fatalf("%d are owed, the spool has %d", n, len(b.spool.put()))
	}
	b.spool.failing(nil)
	b.reopen()
	for end := time.Now().Add(time.Minute); len(b.spool.put()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the answer did not reach the spool after a restart")
		}
	}
	b.reopen()
	if ms := b.spool.put(); len(ms) != 1 || ms[0].ID != dsn.ID || b.spool.contents[0] != "the report" {
		t.Errorf("the spool has %+v", ms)
	}
	if err := b.Consume(t.Context(), answer()); err != nil { // repeated: the spool knows the id
		t.Fatal(err)
	}
	if ms := b.spool.put(); len(ms) != 1 {
		t.Errorf("the spool has %d messages", len(ms))
	}
}

// TestOwedIsKept: a message for which something is owed is not forgotten.
func TestOwedIsKept(t *testing.T) {
	b := newBox(t)
	b.bounce(1)
	b.pass(30 * 24 * time.Hour)
	if err := b.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, _ := b.claim(dueNow(b, 1))
	if len(c) != 1 {
		t.Fatal("what was owed has gone")
	}
	if err := b.Consume(t.Context(), relay.Answer{Entries: c[0].Entries}); err != nil {
		t.Fatal(err)
	}
	if err := b.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := b.Stat().Messages; n != 0 {
		t.Errorf("%d messages are remembered after the answer", n)
	}
}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []relay.Event
}

func (r *recorder) Record(e relay.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// TestReporter: a reporter makes one bounce of each failure, through the spool that also has the rest of the
// mail, and none after a restart.
func TestReporter(t *testing.T) {
	b := newBox(t)
	spool, err := sqlite.Open(sqlite.Options{Dir: filepath.Join(t.TempDir(), "spool"),
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	b.o.Spool = spool
	b.reopen()
	composer, err := dsn.New(dsn.Options{Hostname: "relay.shop.example", From: "postmaster@shop.example",
		Key: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	var rec recorder
	run := func() (stop func()) {
		r := report.New(report.Options{Spool: b.Store, Composer: composer, Record: &rec,
			Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return b.clock().Add(time.Hour) }})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { r.Run(ctx); close(ended) }()
		r.Kick()
		return func() { cancel(); <-ended }
	}
	var want []string
	for i := range 5 {
		want = append(want, b.bounce(i).ID)
	}
	stop := run()
	reports := func() (list []*relay.Message) {
		err := spool.List(t.Context(), relay.QueueFilter{}, func(m *relay.Message) bool {
			list = append(list, m)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for end := time.Now().Add(time.Minute); len(reports()) < len(want); {
		time.Sleep(5 * time.Millisecond)
		if time.Now().After(end) {
			t.Fatalf("%d reports of %d", len(reports()), len(want))
		}
	}
	stop()
	b.reopen()
	stop = run()
	defer stop()
	if n := b.owed(); n != 0 {
		t.Errorf("%d are owed after the reports", n)
	}
	for _, m := range reports() {
		if !m.Report || m.Envelope.From != "" || m.Recipients[0].Address != "app@shop.example" {
			t.Errorf("report %+v", m)
		}
	}
	if n := len(reports()); n != len(want) {
		t.Errorf("%d reports, want %d", n, len(want))
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	var about []string
	for _, e := range rec.events {
		if e.DSN != "" && e.To == "a@x.example" {
			about = append(about, e.ID)
		}
	}
	slices.Sort(about)
	slices.Sort(want)
	if !slices.Equal(about, want) {
		t.Errorf("reported %v, want %v", about, want)
	}
}

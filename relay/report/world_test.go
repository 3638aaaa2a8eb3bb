package report_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/lane"
	"mailwhy/relay/report"
)

// reported is what the composer of the tests writes.
type reported struct {
	Kind       relay.NoticeKind
	To         string
	Message    string
	Recipients []string
	States     []relay.State
	Digest     []string // recipients
}

type jsonComposer struct{ fail func() error }

func (c jsonComposer) Compose(r *relay.Report) (*relay.Draft, error) {
	w := reported{Kind: r.Kind, To: r.To, Message: r.Message.ID}
	for _, i := range r.Recipients {
		w.Recipients = append(w.Recipients, r.Message.Recipients[i].Address)
		w.States = append(w.States, r.Message.Recipients[i].State)
	}
	return c.draft(w)
}

func (c jsonComposer) ComposeDigest(d *relay.Digest) (*relay.Draft, error) {
	w := reported{Kind: relay.NoticeFailed, To: d.To}
	for _, f := range d.Failures {
		w.Digest = append(w.Digest, f.Recipient)
	}
	return c.draft(w)
}

func (c jsonComposer) draft(w reported) (*relay.Draft, error) {
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(w)
	return &relay.Draft{MessageID: "<r@relay>", Subject: "r", From: "postmaster@relay", Content: b}, err
}

// world is a store, a clock and the reporter of the moment.
type world struct {
	t     *testing.T
	now   time.Time
	store store
	died  *crashing
	rnd   *rand.Rand
	odds  int
	o     report.Options
	rep   *report.Reporter
	n     int

	mu     sync.Mutex
	events []relay.Event
}

var worldBegins = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, s store, seed uint64) *world {
	w := &world{t: t, now: worldBegins, store: s, rnd: rand.New(rand.NewPCG(seed, 1))}
	w.o = report.Options{
		Composer: jsonComposer{},
		Record:   w,
		Log:      slog.New(slog.DiscardHandler),
		Now:      func() time.Time { return w.now },
	}
	return w
}

func (w *world) Record(e relay.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// restart begins with a new reporter on the same store.
func (w *world) restart() {
	w.died = &crashing{store: w.store, mu: &w.mu, rnd: w.rnd, odds: w.odds}
	o := w.o
	o.Spool = w.died
	w.rep = report.New(o)
	w.rep.Begin(context.Background())
}

// kill ends the process: what its store has written stays, and no more.
func (w *world) kill() {
	switch s := w.store.(type) {
	case *diskStore:
		w.store = s.afterKill(w.now)
	case *fakeStore:
		clear(s.claimed) // claims end with the process
	}
	w.restart()
}

// round lets the reporter work for a while, and starts it again when it crashed.
func (w *world) round(d time.Duration) {
	switch {
	case w.rep == nil:
		w.restart()
	case w.died.dead:
		w.kill()
	}
	w.now = w.now.Add(d)
	w.rep.Round(context.Background())
}

// settleDown lets it work, without further crashes, until nothing is due for a day.
func (w *world) settleDown() {
	w.odds = 0
	w.kill()
	for range 60 {
		w.round(time.Minute)
	}
	for range 24 {
		w.round(time.Hour)
	}
}

// accept stores a message.
func (w *world) accept(from string, rs ...relay.Recipient) string {
	w.t.Helper()
	w.n++
	m := &relay.Message{
		ID:         relay.DerivedID(w.now, fmt.Sprint(w.n)),
		Lane:       "default",
		Arrived:    w.now,
		MessageID:  fmt.Sprintf("<%d@example.com>", w.n),
		Envelope:   relay.Envelope{From: from},
		Recipients: rs,
	}
	for i := range m.Recipients {
		m.Recipients[i].State, m.Recipients[i].NextAttempt = relay.Queued, w.now
	}
	if err := w.store.Put(context.Background(), []*relay.Message{m},
		strings.NewReader("Subject: x\r\n\r\n")); err != nil {
		w.t.Fatal(err)
	}
	return m.ID
}

var policy = lane.Policy{Collect: 5 * time.Second, DelayAfter: 4 * time.Hour}

// settle leases every message that is due and lets change alter each of its waiting recipients. Where crashes
// are on, the process may die between an attempt and its settlement: the attempt is made again.
func (w *world) settle(change func(m *relay.Message, r *relay.Recipient)) {
	w.t.Helper()
	leases, _, err := w.store.Lease(context.Background(), relay.LeaseQuery{
		Lane: "default", Now: w.now, Max: 1 << 20, For: time.Minute,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.SortFunc(leases, func(a, b relay.Lease) int { return strings.Compare(a.Message.ID, b.Message.ID) })
	for _, l := range leases {
		if w.odds > 0 && w.rnd.IntN(4*w.odds) == 0 {
			w.kill()
			return
		}
		after := slices.Clone(l.Message.Recipients)
		for i := range after {
			if after[i].DueAt(w.now) && !l.Message.Report {
				change(l.Message, &after[i])
			}
		}
		st := relay.Settlement{Recipients: after, Owed: relay.NoticeEntries(
			lane.NoticesFor(&policy, l.Message, after, w.now))}
		if l.Message.Report {
			st.Recipients[0].NextAttempt = w.now.Add(1000 * time.Hour)
		}
		if err := w.store.Settle(context.Background(), l.Token, st); err != nil {
			w.t.Fatal(err)
		}
	}
}

// attempted is a recipient's last attempt.
func (w *world) attempted(reply string) *relay.Attempt {
	return &relay.Attempt{Time: w.now, Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply(reply)}
}

// fail settles every due recipient as refused with a diagnosis.
func (w *world) fail(reason diagnose.Reason) {
	w.settle(func(_ *relay.Message, r *relay.Recipient) {
		r.State, r.Last = relay.Failed, w.attempted("550 5.1.1 no\r\n")
		r.Diagnosis = &diagnose.Diagnosis{Category: diagnose.InvalidAddress, Reason: reason}
	})
}

// reports are what the store's reports say.
func (w *world) reports() (all []reported) {
	w.t.Helper()
	for _, m := range w.stored() {
		all = append(all, w.read(m))
	}
	return all
}

// stored are the reports that the store holds.
func (w *world) stored() (ms []*relay.Message) {
	w.t.Helper()
	if f, ok := w.store.(*fakeStore); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, m := range f.messages {
			if m.Report {
				ms = append(ms, m)
			}
		}
	} else {
		all := relay.QueueFilter{}
		err := w.store.(relay.Lister).List(context.Background(), all, func(m *relay.Message) bool {
			if m.Report {
				ms = append(ms, m)
			}
			return true
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	slices.SortFunc(ms, func(a, b *relay.Message) int { return strings.Compare(a.ID, b.ID) })
	return ms
}

func (w *world) read(m *relay.Message) (x reported) {
	w.t.Helper()
	rc, err := w.store.Content(context.Background(), m.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rc.Close()
	if err := json.NewDecoder(rc).Decode(&x); err != nil {
		w.t.Fatal(err)
	}
	return x
}

// both runs a test on both engines.
func both(t *testing.T, test func(t *testing.T, s store)) {
	t.Run("memory", func(t *testing.T) { test(t, newFakeStore()) })
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite(t)) })
}

package webhook

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record/webhook/eventlog"
)

const (
	lookAgain = time.Minute            // longest wait of a sender, whatever the clocks say
	saveEvery = 5 * time.Second        // how old a state on the disk is at most
	busyEvery = 100 * time.Millisecond // between requests while mail is busy
	busyMost  = 5 * time.Second        // how late an event may be for that
	drainFor  = 5 * time.Second        // how long requests may go on at the end
)

// sender sends the events of the log to one webhook. All but atomics belong to its goroutine.
type sender struct {
	w        *Webhooks
	source   *eventlog.Log
	endpoint atomic.Pointer[Endpoint]
	log      *slog.Logger
	wake     chan struct{}
	calls    chan func()
	results  chan sent
	removed  atomic.Bool // the webhook is no longer configured

	backlog atomic.Int64 // events from the cursor on that it wants, and those of the window
	shown   atomic.Pointer[relay.WebhookState]
	counts  *counts

	win     window
	cursor  eventlog.Pos
	stand   standing
	untold  int64 // events that were lost, and that the webhook was not told of
	flying  int
	rewind  *eventlog.Pos // where to go on, once nothing is under way
	last    time.Time     // of the last request
	saved   time.Time
	dirty   bool
	told    time.Time // when the operator last heard of lost events
	posting context.Context
}

// sent is a request that is over.
type sent struct {
	g *group
	a answer
}

// newSender makes the sender of a webhook as it was left, or one that begins with what happens from now on.
func newSender(w *Webhooks, e *Endpoint) (*sender, error) {
	s := &sender{w: w, counts: w.senders.counted(e.s.Name), source: w.log.Load(),
		wake:  make(chan struct{}, 1),
		calls: make(chan func()), results: make(chan sent),
		log: w.o.Log.With("webhook", e.s.Name)}
	s.cursor = s.source.End()
	s.endpoint.Store(e)
	kept, err := readState(w.o.Dir, e.s.Name)
	if err != nil {
		s.log.Error("what was known of a webhook cannot be read; everything that is kept is sent again",
			"err", err)
		s.cursor = s.source.Start()
	}
	if kept != nil && err == nil {
		s.cursor, s.stand, s.untold = min(kept.Cursor, s.source.End()), kept.Standing, kept.Lost
		if kept.URL != e.s.URL {
			s.stand = standing{}
		}
		missing, err := s.win.restore(s.source, kept.Waiting)
		if err != nil {
			return nil, err
		}
		s.lose(missing, "they are older than what is kept")
	}
	n, err := s.count(s.cursor, s.source.End())
	s.backlog.Store(n + int64(len(s.win.items)))
	s.dirty = true
	s.show()
	return s, err
}

// count is how many events the webhook wants from a place on, and before another.
func (s *sender) count(from, to eventlog.Pos) (n int64, err error) {
	e := s.endpoint.Load()
	err = each(s.source, from, to, func(ev *eventlog.Stored) {
		if e.wants(&ev.Event) {
			n++
		}
	})
	return n, err
}

// each calls f for every event from a place on, and before another.
func each(log *eventlog.Log, from, to eventlog.Pos, f func(*eventlog.Stored)) error {
	for from < to {
		events, next, _, err := log.Read(from)
		if err != nil || next == from {
			return err
		}
		for i := range events {
			if events[i].At < to {
				f(&events[i])
			}
		}
		from = next
	}
	return nil
}

// wakeUp makes the sender look for something to do.
func (s *sender) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// call runs f in the sender's goroutine.
func (s *sender) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case s.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) {
	posting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s.posting = posting
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(s.step())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		case f := <-s.calls:
			f()
		case r := <-s.results:
			s.done(r)
		}
	}
	s.drain(stop)
	s.save(s.w.o.Now(), true)
	s.endpoint.Load().client.CloseIdleConnections()
}

// drain waits for the requests under way.
func (s *sender) drain(stop context.CancelFunc) {
	cut := time.AfterFunc(drainFor, stop)
	defer cut.Stop()
	for s.flying > 0 {
		s.done(<-s.results)
	}
}

// step does what can be done now, and returns how long until there is more.
func (s *sender) step() time.Duration {
	now := s.w.o.Now()
	if s.rewind != nil && s.flying == 0 {
		s.goBack()
	}
	if !s.mayGo(now).After(now) {
		s.fill()
	}
	wait := s.launch(now)
	s.save(now, false)
	s.show()
	if s.dirty {
		wait = min(wait, saveEvery)
	}
	return max(min(wait, lookAgain), time.Millisecond)
}

// fill reads ahead.
func (s *sender) fill() {
	e := s.endpoint.Load()
	if start := s.source.Start(); s.cursor < start {
		s.cursor = start // what was there is counted as lost by trimmed
	}
	enough := 2 * e.s.Batch * e.s.Concurrency
	for s.rewind == nil && len(s.win.items) < windowMost && s.win.ready() < enough {
		events, next, skipped, err := s.source.Read(s.cursor)
		if err != nil {
			s.log.Error("the events for webhooks cannot be read", "err", err)
			return
		}
		if skipped > 0 {
			s.log.Error("events for webhooks are damaged and are not sent", "bytes", skipped)
		}
		if next == s.cursor {
			return
		}
		for i := range events {
			if e.wants(&events[i].Event) {
				s.win.items = append(s.win.items, &item{Stored: events[i]})
			}
		}
		s.cursor, s.dirty = next, true
	}
}

// launch sends what may be sent, and returns how long until there may be more.
func (s *sender) launch(now time.Time) time.Duration {
	e := s.endpoint.Load()
	for {
		limit := e.s.Concurrency
		if s.stand.Failures > 0 {
			limit = 1
		}
		if !s.stand.Disabled.IsZero() || s.rewind != nil || s.flying >= limit {
			return lookAgain
		}
		if until := s.mayGo(now); until.After(now) {
			return until.Sub(now)
		}
		g := s.win.next(now, e.s.Batch)
		if g == nil {
			if at := s.win.soonest(now); !at.IsZero() {
				return at.Sub(now)
			}
			return lookAgain
		}
		s.send(e, g)
	}
}

// mayGo is when the next request may go: a webhook that fails pauses, and while mail is busy it goes first,
// for some seconds.
func (s *sender) mayGo(now time.Time) time.Time {
	next := s.last.Add(busyEvery)
	if next.After(now) && s.w.o.Busy() && !s.win.late(now) {
		return next
	}
	return s.stand.Until
}

// send begins a request.
func (s *sender) send(e *Endpoint, g *group) {
	g.launch()
	s.flying++
	s.last = s.w.o.Now()
	id, body := g.items[0].ID, []byte(nil)
	if e.s.Batch == 1 {
		body = bodyOf(&g.items[0].Event)
	} else {
		events := make([]*eventlog.Event, len(g.items))
		for i, it := range g.items {
			events[i] = &it.Event
		}
		id, body = batchOf(events)
	}
	go func() { s.results <- sent{g, e.post(s.posting, id, body)} }()
}

// done takes in what became of a request.
func (s *sender) done(r sent) {
	s.flying--
	s.dirty = true
	if s.posting.Err() != nil {
		return // it was cut off at the end
	}
	now := s.w.o.Now()
	s.counts.requests[r.a.result].Add(1)
	if r.a.result == resultOK {
		s.counts.events.Add(uint64(len(r.g.items)))
		for _, it := range r.g.items {
			s.untold -= it.tells
		}
		s.backlog.Add(-int64(len(r.g.items)))
		s.win.done(r.g)
		if since := s.stand.Since; s.stand.succeeded() {
			s.log.Info("the webhook takes events again", "failed_since", since)
			s.win.hurry()
		}
		s.tellLost(now)
		return
	}
	s.failed(r, now)
}

// failed takes in a request that was not taken.
func (s *sender) failed(r sent, now time.Time) {
	was := s.stand.failing()
	apart := len(r.g.items) > 1 && (r.a.result == resultRefused || r.a.result == resultError)
	given := s.win.failed(r.g, now, apart, rand.Float64())
	s.backlog.Add(-int64(len(given)))
	s.lose(len(given), "the webhook did not take them in any of its attempts")
	after := s.endpoint.Load().s.DisableAfter
	switch s.stand.failed(&r.a, now, after, rand.Float64()); {
	case !s.stand.Disabled.IsZero():
		s.disabled(now)
	case !was && s.stand.failing():
		s.log.Warn("the webhook fails; its events wait", "why", r.a.why)
	default:
		s.log.Debug("a request to the webhook failed", "why", r.a.why, "event", r.g.items)
	}
}

// disabled tells that the webhook is disabled.
func (s *sender) disabled(now time.Time) {
	name := s.endpoint.Load().s.Name
	s.log.Error("the webhook is disabled", "failed_since", s.stand.Since, "why", s.stand.Why,
		"fix", "mend the receiver, then: mailwhy webhook enable "+name)
	s.w.o.Tell(relay.WebhookEvent(name, "disabled", s.stand.Why, now))
}

// show publishes how the webhook stands.
func (s *sender) show() {
	e := s.endpoint.Load()
	st := &relay.WebhookState{Name: e.s.Name, URL: e.shown, State: relay.WebhookOK,
		Since: s.stand.Since, Why: s.stand.Why}
	switch {
	case !s.stand.Disabled.IsZero():
		st.State, st.Since = relay.WebhookDisabled, s.stand.Disabled
	case s.stand.failing():
		st.State, st.Next = relay.WebhookFailing, s.stand.Until
	}
	if len(s.win.items) > 0 {
		st.Oldest = s.win.items[0].Time
	}
	s.shown.Store(st)
}

// state is how the webhook stands.
func (s *sender) state() relay.WebhookState {
	st := *s.shown.Load()
	st.Backlog = s.backlog.Load()
	s.counts.fill(&st)
	return st
}

// save keeps the state, at most once in saveEvery.
func (s *sender) save(now time.Time, at bool) {
	if !s.dirty || s.removed.Load() || !at && now.Sub(s.saved) < saveEvery && !s.saved.After(now) {
		return
	}
	s.saved = now
	e := s.endpoint.Load()
	err := writeState(s.w.o.Dir, e.s.Name, &state{URL: e.s.URL, Cursor: s.cursor, Waiting: s.win.saved(),
		Standing: s.stand, Lost: s.untold})
	if err != nil {
		s.log.Error("how far a webhook is cannot be stored; after a crash events are sent again", "err", err)
		return
	}
	s.dirty = false
}

// counts are what was counted of a webhook since the start. They never go back, whatever a reload does.
type counts struct {
	events, lost atomic.Uint64
	requests     [results]atomic.Uint64
}

// fill fills in what was counted.
func (c *counts) fill(st *relay.WebhookState) {
	st.Events, st.Lost = c.events.Load(), c.lost.Load()
	for i := range c.requests {
		st.Requests = append(st.Requests, c.requests[i].Load())
	}
}

// senders are those of all webhooks, by name.
type senders struct {
	mu     sync.Mutex
	all    map[string]*sender
	stop   map[string]func()  // ends one, and waits for its end
	counts map[string]*counts // of those that were removed, too
}

// counted are the counts of a webhook.
func (ss *senders) counted(name string) *counts {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.counts[name] == nil {
		ss.counts[name] = &counts{}
	}
	return ss.counts[name]
}

// list are the senders.
func (ss *senders) list() (list []*sender) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.all {
		list = append(list, s)
	}
	return list
}

// get is the sender of a webhook; nil when there is none.
func (ss *senders) get(name string) *sender {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.all[name]
}

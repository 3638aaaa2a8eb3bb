package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/record/webhook/eventlog"
)

// Options are what a Webhooks is made of. All are required.
type Options struct {
	Dir    string // of the log and of how far each webhook is; made when there is a webhook
	Limits func() Limits
	Tell   func(relay.Event) // takes what the webhooks themselves have to say
	Busy   func() bool       // mail is on its way: the requests are fewer
	Log    *slog.Logger
	Now    func() time.Time // wall clock

	// Redact treats the addresses of an event before it is kept; nil leaves them. It is the only one that may
	// be left out.
	Redact func(*record.Event)
}

// Limits bound the log. A reload may change them.
type Limits struct {
	Keep     time.Duration // how long an event is kept
	MaxBytes int64         // of all events
}

// Webhooks sends events to the webhooks that are set. Run it once; its other methods are safe for concurrent
// use, and none of them waits for a receiver but Test.
type Webhooks struct {
	o         Options
	endpoints atomic.Pointer[[]*Endpoint]
	kick      chan struct{} // there is something to write
	owed      atomic.Bool   // there may be entries in the outboxes
	salt      string        // of the ids that are made here
	number    atomic.Uint64 // of the last of them
	senders   senders

	mu       sync.Mutex
	buffer   []eventlog.Event
	buffered int // bytes

	opening sync.Mutex
	log     atomic.Pointer[eventlog.Log] // nil until there is a webhook

	// The rest belongs to Run's goroutine.
	running    sync.WaitGroup
	set        *[]*Endpoint // as it was last brought into force
	unsynced   bool
	synced     time.Time
	rotated    time.Time
	complained time.Time // when an error was last told of
}

const (
	bufferFor  = 50 * time.Millisecond // what happens meanwhile is written together
	syncEvery  = time.Second
	bufferMost = 16 << 20 // bytes
	tidyEvery  = time.Minute
	afterError = time.Second // after an error
)

// New makes a Webhooks without a webhook.
func New(o Options) *Webhooks {
	w := &Webhooks{o: o, kick: make(chan struct{}, 1),
		senders: senders{all: map[string]*sender{}, stop: map[string]func(){}, counts: map[string]*counts{}}}
	w.endpoints.Store(new([]*Endpoint))
	w.salt = strings.ToLower(rand.Text()[:12])
	return w
}

// newID is an id for an event that is encoded once.
func (w *Webhooks) newID() string { return "evt_" + w.salt + strconv.FormatUint(w.number.Add(1), 36) }

// Open prepares for these webhooks: what can fail before Set, which cannot.
func (w *Webhooks) Open(endpoints []*Endpoint) error {
	w.opening.Lock()
	defer w.opening.Unlock()
	if len(endpoints) == 0 || w.log.Load() != nil {
		return nil
	}
	log, err := eventlog.Open(w.o.Dir, min(4<<20, max(w.o.Limits().MaxBytes/16, 64<<10)))
	if err != nil {
		return fmt.Errorf("events for webhooks: %w", err)
	}
	w.log.Store(log)
	return nil
}

// Set puts webhooks in force, after Open. What is still to be sent to one that is gone is not sent any more.
func (w *Webhooks) Set(endpoints []*Endpoint) {
	w.endpoints.Store(&endpoints)
	w.wakeUp()
}

// wakeUp has the writer look for something to do.
func (w *Webhooks) wakeUp() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// EntriesDue says that entries of the outbox have come.
func (w *Webhooks) EntriesDue() {
	w.owed.Store(true)
	w.wakeUp()
}

// wanted reports whether a webhook wants an event.
func (w *Webhooks) wanted(e *relay.Event) bool {
	category := ""
	if e.Diagnosis != nil {
		category = string(e.Diagnosis.Category)
	}
	for _, ep := range *w.endpoints.Load() {
		if ep.wantsKind(string(e.Kind), category, e.Client, e.User) {
			return true
		}
	}
	return false
}

// Owe implements relay.Owe.
func (w *Webhooks) Owe(e *relay.Event) (relay.Entry, bool) {
	if !w.wanted(e) {
		return relay.Entry{}, false
	}
	e.Owed = true
	ev := encode(e, "", w.o.Redact)
	return relay.Entry{Message: e.ID, Topic: relay.TopicWebhook, Key: ev.ID, Due: e.Time,
		Payload: ev.Append(make([]byte, 0, len(ev.Data)+256))}, true
}

// Record implements relay.Recorder. What is owed comes by the outbox.
func (w *Webhooks) Record(e relay.Event) {
	if e.Owed || !w.wanted(&e) {
		return
	}
	ev := encode(&e, w.newID(), w.o.Redact)
	w.mu.Lock()
	full := w.buffered > bufferMost
	if !full {
		w.buffer = append(w.buffer, ev)
		w.buffered += len(ev.Data)
	}
	w.mu.Unlock()
	if full {
		w.dropped(&ev)
		return
	}
	w.wakeUp()
}

// dropped counts an event that is lost before it is in the log.
func (w *Webhooks) dropped(ev *eventlog.Event) {
	for _, ep := range *w.endpoints.Load() {
		if ep.wants(ev) {
			ep.dropped.Add(1)
		}
	}
}

// Run works until ctx ends. outboxes are where the entries are that Owe made. What is in them at the end
// waits for the next start.
func (w *Webhooks) Run(ctx context.Context, outboxes []relay.Outbox) {
	w.owed.Store(true)
	for ctx.Err() == nil {
		w.reconcile(ctx)
		wait := w.write(ctx, outboxes)
		w.tidy(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.kick:
			sleep(ctx, bufferFor)
		}
		timer.Stop()
	}
	w.running.Wait()
}

// sleep waits, but not beyond ctx.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Close writes what is left and closes the log, after Run and when nothing is recorded any more.
func (w *Webhooks) Close() error {
	log := w.log.Swap(nil)
	if log == nil {
		return nil
	}
	return errors.Join(log.Append(w.take(), true), log.Close())
}

// reconcile brings the senders to what is set.
func (w *Webhooks) reconcile(ctx context.Context) {
	set := w.endpoints.Load()
	if set == w.set {
		return
	}
	first := w.set == nil
	w.set = set
	wanted := map[string]bool{}
	for _, e := range *set {
		wanted[e.s.Name] = true
		if s := w.senders.get(e.s.Name); s != nil {
			s.call(ctx, func() { s.change(e) })
			continue
		}
		w.start(ctx, e)
	}
	for _, s := range w.senders.list() {
		if name := s.endpoint.Load().s.Name; !wanted[name] {
			w.remove(s, name)
		}
	}
	if first {
		w.sweep(wanted)
	}
}

// start starts the sender of a webhook.
func (w *Webhooks) start(ctx context.Context, e *Endpoint) {
	s, err := newSender(w, e)
	if err != nil {
		w.o.Log.Error("the events for a webhook cannot be read", "webhook", e.s.Name, "err", err)
	}
	if s == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	w.senders.mu.Lock()
	w.senders.all[e.s.Name] = s
	w.senders.stop[e.s.Name] = func() { cancel(); <-ended }
	w.senders.mu.Unlock()
	w.running.Go(func() { s.run(ctx); cancel(); close(ended) })
}

// remove ends the sender of a webhook that is no longer configured.
func (w *Webhooks) remove(s *sender, name string) {
	s.removed.Store(true)
	w.senders.mu.Lock()
	stop := w.senders.stop[name]
	delete(w.senders.all, name)
	delete(w.senders.stop, name)
	w.senders.mu.Unlock()
	stop()
	w.forget(name, int(s.backlog.Load()))
}

// sweep forgets the webhooks that were removed while no relay ran.
func (w *Webhooks) sweep(wanted map[string]bool) {
	names, err := filepath.Glob(filepath.Join(w.o.Dir, "*"+stateSuffix))
	if err != nil {
		return
	}
	for _, file := range names {
		if name := strings.TrimSuffix(filepath.Base(file), stateSuffix); !wanted[name] {
			w.forget(name, 0)
		}
	}
}

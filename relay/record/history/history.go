package history

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/sqlite"
	"mailwhy/relay/record"
)

// Limits bound what is kept. Both are above zero.
type Limits struct {
	Keep      time.Duration
	MaxEvents int
}

// Options are what a History is made of. All but Redact are required.
type Options struct {
	Path   string // of the database
	Limits func() Limits
	Log    *slog.Logger
	Now    func() time.Time // wall clock

	// Redact treats the addresses of an event before it is stored; nil leaves them.
	Redact func(*record.Event)
}

// The bounds that are not settings.
const (
	backlogMost = 4096      // events that wait to be written
	backlogMem  = 16 << 20  // of their bytes
	maxReply    = 8 << 10   // bytes of a reply that are kept
	rcptMost    = 320       // bytes of an address that are compared
	slotLength  = 5 * 60000 // of a tally, milliseconds
)

// History is an open history.
type History struct {
	o       Options
	queue   chan row
	work    chan work
	waiting atomic.Int64 // bytes of what is in queue
	lost    atomic.Uint64
	feed    feed

	closing chan struct{}
	ended   chan struct{}
	once    sync.Once

	mu    sync.Mutex
	fault error

	reading sync.Mutex
	reader  *sqlite.Conn // nil: to be opened
}

var (
	_ relay.Recorder = (*History)(nil)
	_ relay.History  = (*History)(nil)
)

// row is an event as it is stored.
type row struct {
	at                     int64
	kind                   relay.EventKind
	id, mail, rcpt         string
	category, reason, body string
	upstream               string // of a relayed message
}

// Open opens the history, or makes one. A file that cannot be opened is no error: State tells of it, and it
// is tried again.
func Open(o Options) *History {
	h := &History{o: o, queue: make(chan row, backlogMost), work: make(chan work),
		closing: make(chan struct{}), ended: make(chan struct{})}
	w := &writer{h: h}
	w.ready()
	go w.run()
	return h
}

// Record implements relay.Recorder. It returns at once: what there is no room for is lost, and counted.
func (h *History) Record(e relay.Event) {
	if len(h.queue) == cap(h.queue) || h.waiting.Load() > backlogMem {
		h.lost.Add(1)
		return
	}
	r := rowOf(&e, h.o.Redact)
	h.waiting.Add(int64(len(r.body)))
	select {
	case h.queue <- r:
	default:
		h.waiting.Add(-int64(len(r.body)))
		h.lost.Add(1)
	}
}

// rowOf is what is stored of an event.
func rowOf(e *relay.Event, redact func(*record.Event)) row {
	w := record.New(e)
	if redact != nil {
		redact(&w)
	}
	w.Reply = w.Reply[:min(len(w.Reply), maxReply)]
	r := row{at: w.Time.UnixMilli(), kind: w.Kind, id: w.ID, mail: w.Mail, rcpt: folded(w.To),
		body: string(w.AppendJSON(nil))}
	if d := w.Diagnosis; d != nil {
		r.category, r.reason = string(d.Category), string(d.Reason)
	}
	if r.kind == relay.EventRelayed {
		r.upstream = w.Upstream
	}
	return r
}

// folded is an address as it is compared.
func folded(address string) string {
	return strings.ToLower(address[:min(len(address), rcptMost)])
}

// Close writes what waits and closes the file.
func (h *History) Close() error {
	h.once.Do(func() { close(h.closing) })
	<-h.ended
	h.reading.Lock()
	defer h.reading.Unlock()
	if h.reader == nil {
		return nil
	}
	err := h.reader.Close()
	h.reader = nil
	return err
}

// Subscribe implements relay.History.
func (h *History) Subscribe() (<-chan relay.NumberedEvent, func()) { return h.feed.subscribe() }

// feed hands events to those who listen.
type feed struct {
	mu   sync.Mutex
	subs map[chan relay.NumberedEvent]bool
}

// feedDepth is how many events wait for a listener.
const feedDepth = 64

func (f *feed) subscribe() (<-chan relay.NumberedEvent, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[chan relay.NumberedEvent]bool{}
	}
	c := make(chan relay.NumberedEvent, feedDepth)
	f.subs[c] = true
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, c)
	}
}

// wanted reports whether anybody listens.
func (f *feed) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs) > 0
}

// send hands an event to all who have room for it.
func (f *feed) send(e relay.NumberedEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		select {
		case c <- e:
		default:
		}
	}
}

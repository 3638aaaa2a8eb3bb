package suppress

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"maps"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Options configure a List. All fields are required unless they say otherwise.
type Options struct {
	Path     string // of the database; its directory must be there
	Settings func() Settings
	FoldCase bool // capitals in local parts make no difference
	Log      *slog.Logger
	Now      func() time.Time    // wall clock
	Record   func(relay.Event)   // hears of the changes of the list; optional
	Counted  func(Mode, Counted) // hears what was suppressed, or would have been; optional
}

// Counted is an address that was suppressed, or would have been.
type Counted struct {
	Reason diagnose.Reason
	Taken  bool // it would have been, and the upstream took the message
}

// The errors of a List; test with errors.Is.
var (
	// ErrClosed is returned once the list is closed.
	ErrClosed = errors.New("suppression list closed")
	// ErrInUse is returned by Open while another process has the list open.
	ErrInUse = errors.New("another process has the suppression list open")
)

// List is an open suppression list. It is safe for concurrent use.
type List struct {
	o       Options
	reasons map[diagnose.Reason]bool
	seed    maphash.Seed
	lock    *os.File
	w       *writer
	breaker breakers
	fault   atomic.Pointer[error] // why the file cannot be used; nil: it can
	dropped atomic.Int64          // findings that did not fit

	mu     sync.RWMutex
	index  map[uint64]int64              // when an entry expires, nanoseconds, or one of the marks
	fresh  map[uint64]*relay.Suppression // learned, and not stored yet
	asked  generations                   // addresses that have answered of late
	counts map[diagnose.Reason]int64     // of suppressed entries
	noted  int64                         // other entries
}

// The marks in the index.
const (
	forEver = math.MaxInt64
	isNoted = -1
	isTrial = -2
)

var (
	_ relay.Suppressions    = (*List)(nil)
	_ relay.SuppressionList = (*List)(nil)
	_ relay.Recorder        = (*List)(nil)
)

// Open opens a list, and makes it if it is not there. A file that cannot be used, because it is damaged or of
// a later format, is no error, since mail is relayed without it: State says why, and it is tried again.
func Open(o Options) (*List, error) {
	if o.Record == nil {
		o.Record = func(relay.Event) {}
	}
	if o.Counted == nil {
		o.Counted = func(Mode, Counted) {}
	}
	lock, err := lockFile(o.Path + ".lock")
	if err != nil {
		return nil, err
	}
	l := &List{
		o: o, reasons: reasons(), seed: maphash.MakeSeed(), lock: lock, index: map[uint64]int64{},
		fresh: map[uint64]*relay.Suppression{}, counts: map[diagnose.Reason]int64{},
	}
	l.w = newWriter(l)
	return l, nil
}

// Close stores what was learned and closes the list.
func (l *List) Close() error { return errors.Join(l.w.close(), l.lock.Close()) }

// lockFile takes the lock that only one process has.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, named(name, err)
	}
	return f, nil
}

// Check implements relay.Suppressions. Only in mode enforce does anything stand against mail.
func (l *List) Check(sender, recipient string, now time.Time) relay.SuppressionCheck {
	if sender == "" || l.o.Settings().Mode != Enforce {
		return relay.SuppressionCheck{}
	}
	key := l.key(Normal(recipient))
	for _, scope := range []string{relay.SuppressedEverywhere, scopeOf(sender)} {
		h := l.hash(scope, key)
		l.mu.RLock()
		expires, listed := l.index[h]
		l.mu.RUnlock()
		switch {
		case !listed || expires < 0:
		case expires <= now.UnixNano():
			return relay.SuppressionCheck{Single: true}
		default:
			if s := l.entry(h, scope, key); s != nil && s.Suppresses(now) {
				return relay.SuppressionCheck{Entry: s}
			}
		}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return relay.SuppressionCheck{Single: !l.asked.has(l.hash("", key))}
}

// entry is an entry that the index holds; nil if it cannot be read.
func (l *List) entry(h uint64, scope, key string) *relay.Suppression {
	l.mu.RLock()
	s := l.fresh[h]
	l.mu.RUnlock()
	if s != nil {
		return s
	}
	s, err := l.w.read(scope, key)
	if err != nil {
		l.fail(err)
	}
	return s
}

// State implements relay.SuppressionList.
func (l *List) State() relay.SuppressionListState {
	s := relay.SuppressionListState{
		Mode: string(l.o.Settings().Mode), Tripped: l.breaker.open(l.o.Now()), Dropped: l.dropped.Load(),
	}
	if err := l.fault.Load(); err != nil {
		s.Fault = *err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	s.Entries, s.Noted = maps.Clone(l.counts), l.noted
	return s
}

// fail notes that the file cannot be used, and logs it once.
func (l *List) fail(err error) {
	if l.fault.Swap(&err) == nil {
		l.o.Log.Error("the suppression list cannot be used: mail is relayed without it", "err", err)
	}
}

// works notes that the file can be used again.
func (l *List) works() {
	if l.fault.Swap(nil) != nil {
		l.o.Log.Info("the suppression list can be used again", "file", l.o.Path)
	}
}

// generations is a set of bounded size that forgets the oldest half at a time.
type generations struct{ now, before map[uint64]struct{} }

// generationMost is the size of a half.
const generationMost = 16384

// has reports whether h is in the set.
func (g *generations) has(h uint64) bool {
	if _, ok := g.now[h]; ok {
		return true
	}
	_, ok := g.before[h]
	return ok
}

// add adds h.
func (g *generations) add(h uint64) {
	if g.now == nil || len(g.now) >= generationMost {
		g.before, g.now = g.now, make(map[uint64]struct{}, generationMost)
	}
	g.now[h] = struct{}{}
}

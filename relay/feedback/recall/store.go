package recall

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mailwhy/relay"
)

// Options configure a store. All fields are required unless they say otherwise.
type Options struct {
	Path   string // of the database; its directory must be there
	Spool  Putter // takes the reports that answer what is owed
	Limits func() Limits
	Log    *slog.Logger
	Now    func() time.Time // wall clock

	Waiting func()            // called after reports came, without blocking; optional
	Stored  func(lane string) // called after an answer was put into the spool for a lane; optional

	// For tests.
	maxPages    int64         // of the database, as on a full disk; 0: no limit
	flushAfter  time.Duration // 0: flushAfter
	bufferBytes int           // 0: bufferBytes
}

// Putter is the part of a relay.Spool that takes messages.
type Putter interface {
	Put(ctx context.Context, ms []*relay.Message, content io.Reader) error
}

// Limits are looked up again each time, so a reload takes effect at once.
type Limits struct {
	Remember    time.Duration // how long messages are remembered after they were relayed
	MaxMessages int64         // that are remembered; the oldest go first
	KeepRaw     time.Duration // how long reports are kept that could not be matched or read
	MaxReports  int64         // that wait or are kept
	MaxBytes    int64         // of these
}

// The errors of a store; test with errors.Is.
var (
	// ErrClosed is returned once the store is closed.
	ErrClosed = errors.New("store of feedback closed")
	// ErrFull is returned by Append when so many reports wait that no more are taken, or the disk is full.
	// Nothing was stored.
	ErrFull = errors.New("store of feedback full")
	// ErrInUse is returned by Open while another process has the store open.
	ErrInUse = errors.New("another process has the store of feedback open")
)

// Store is an open store. It is safe for concurrent use.
type Store struct {
	*Reader
	o      Options
	lock   *os.File
	w      *writer
	buffer buffer
	claims claims

	delivering sync.Mutex // answers go into the spool one after the other

	stop context.CancelFunc // of the goroutines
	done sync.WaitGroup

	closeOnce sync.Once
	closed    error // what Close returned
}

var _ relay.Outbox = (*Store)(nil)

// Open opens a store, and makes it if it is not there. A database that cannot be used, because it is damaged
// or of a later format, is no error, since mail is relayed without it: Fault says why, Append and most else
// fail, and each try opens it anew.
func Open(o Options) (*Store, error) {
	if o.Waiting == nil {
		o.Waiting = func() {}
	}
	if o.Stored == nil {
		o.Stored = func(string) {}
	}
	if o.flushAfter == 0 {
		o.flushAfter = flushAfter
	}
	if o.bufferBytes == 0 {
		o.bufferBytes = bufferBytes
	}
	lock, err := lockFile(o.Path + ".lock")
	if err != nil {
		return nil, err
	}
	w := newWriter(&o)
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{
		Reader: newReader(o.Path, &w.opened), o: o, lock: lock, w: w, stop: stop,
		buffer: buffer{full: make(chan struct{}, 1)},
		claims: claims{byMessage: map[claimKey]*claim{}, byToken: map[relay.Token]claimKey{}},
	}
	s.done.Go(func() { s.w.run(&s.buffer, o.flushAfter, s.flush) })
	s.done.Go(func() { s.housekeep(ctx) })
	return s, nil
}

// Close writes what is in memory and closes the store. Who works on it, a Reporter and the processor, has
// ended before.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		s.w.stop()
		s.done.Wait()
		s.closed = errors.Join(s.Reader.Close(), s.w.close(), s.lock.Close())
	})
	return s.closed
}

// lockFile takes the lock that only one process has.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, named(name, ErrInUse)
		}
		return nil, named(name, err)
	}
	return f, nil
}

// Fault is why the database cannot be used; nil while it can.
func (s *Store) Fault() error {
	if err := s.w.unusable.Load(); err != nil {
		return *err
	}
	return nil
}

// Stat is what a store holds.
type Stat struct {
	Messages int64 // remembered
	Waiting  int64 // reports that have not had their effect
	Kept     int64 // reports that could have none
	Dropped  int64 // messages that were not remembered, since the start, because too many came at once
}

// Stat counts what the store holds.
func (s *Store) Stat() Stat {
	n := s.w.published.Load()
	return Stat{
		Messages: n.messages, Waiting: n.waiting, Kept: n.reports - n.waiting,
		Dropped: s.buffer.dropped.Load(),
	}
}

// counts are what the database holds. They change with its transactions.
type counts struct {
	messages int64
	reports  int64 // waiting or kept
	waiting  int64
	bytes    int64 // of reports
	seq      int64 // the highest one of a message
}

// counter publishes counts to other goroutines.
type counter = atomic.Pointer[counts]

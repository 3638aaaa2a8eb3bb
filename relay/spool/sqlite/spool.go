package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/queue"
	"mailwhy/relay/spool/repair"
	"mailwhy/relay/spool/runstate"
	"mailwhy/relay/spool/volume"
)

// Limits bound what a spool takes. Zero fields have the defaults.
type Limits struct {
	MaxBytes    int64 // of contents; 0 is no limit
	MaxMessages int64 // 0 is no limit
	FreeFloor   int64 // bytes of the file system that are left free; 0: 64 MiB; negative: none
	Reserve     int64 // bytes kept on the disk for settlements when it is full; 0: 16 MiB; negative: none
	InlineLimit int64 // contents up to this many bytes are kept in the database; 0: 128 KiB
	// bytes of new messages kept in memory for a lane, and of contents; 0: 4 MiB; negative: none
	Cache   int64
	Journal int64 // bytes that the journal takes of the disk; 0: 8 MiB; negative: no journal
}

// Options configure a spool.
type Options struct {
	Dir    string // made if it is missing
	Limits Limits
	// MaxDelay is the longest time for which a message can be put off. A due time further ahead shows that
	// the clock was set back, and counts as due. 0: 7 days.
	MaxDelay time.Duration
	Now      func() time.Time // wall clock; nil: time.Now
	Log      *slog.Logger     // nil: slog.Default
	// Quarantined hears of each message that could not be read and was set aside. It is called without
	// locks held, from Open too, and must not call the spool. It may be nil.
	Quarantined func(Quarantined)

	at func(step string) // for tests: called between the steps by which a spool is opened
}

// Quarantined is a damaged message that was set aside.
type Quarantined struct {
	ID      string
	Message *relay.Message // what could be read of it; nil when nothing could
	Why     string
}

// withDefaults fills the zero fields.
func (o Options) withDefaults() Options {
	def := func(p *int64, n int64) {
		if *p == 0 {
			*p = n
		}
		*p = max(*p, 0)
	}
	def(&o.Limits.FreeFloor, 64<<20)
	def(&o.Limits.Reserve, 16<<20)
	def(&o.Limits.InlineLimit, 128<<10)
	def(&o.Limits.Cache, 4<<20)
	def(&o.Limits.Journal, 8<<20) // some 1,500 messages of 4 KiB; then the few under way go to the database
	if o.MaxDelay == 0 {
		o.MaxDelay = 7 * 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Quarantined == nil {
		o.Quarantined = func(Quarantined) {}
	}
	if o.at == nil {
		o.at = func(string) {}
	}
	return o
}

// ErrInUse is returned by Open and OpenReadOnly when another process has the spool open.
var ErrInUse = files.ErrInUse

// Spool is an open spool. It is safe for concurrent use.
type Spool struct {
	o    Options
	dir  files.Dir
	lock *os.File
	run  *runstate.File

	queue      *queue.Queue
	claims     *queue.Claims
	watchers   queue.Watchers
	disk       *disk
	w          *writer
	pool       *database.Pool
	tidy       *tidy
	contents   *contents
	quarantine *quarantine
	stat       *stat

	closeOnce sync.Once
	closed    error // what Close returned
}

var (
	_ relay.Spool      = (*Spool)(nil)
	_ relay.Outbox     = (*Spool)(nil)
	_ relay.Lister     = (*Spool)(nil)
	_ relay.LocalSpool = (*Spool)(nil)
	_ relay.Editor     = (*Spool)(nil)
	_ relay.Releaser   = (*Spool)(nil)
	_ relay.Watcher    = (*Spool)(nil)
	_ relay.Admitter   = (*Spool)(nil)
)

// Open opens the spool in o.Dir, and makes one if none is there. It fails if another process has it open.
func Open(o Options) (*Spool, error) {
	o = o.withDefaults()
	s := &Spool{o: o, dir: files.Dir{Path: o.Dir, Now: o.Now, Log: o.Log}, claims: queue.NewClaims()}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("spool %s: %w", o.Dir, volume.Explain(o.Dir, err))
	}
	return s, nil
}

// open does the work of Open, and undoes it on an error.
func (s *Spool) open() (err error) {
	if err := s.dir.Make(); err != nil {
		return err
	}
	if s.lock, err = s.dir.Take(true); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	if err := repair.CheckFormat(s.dir); err != nil {
		return err
	}
	if err := s.dir.Narrow(); err != nil {
		return err
	}
	var was runstate.Last
	s.run, was, err = runstate.OpenFrom(s.dir.File(files.RunState), s.dir.File(files.RunState1))
	if err != nil {
		return err
	}
	s.queue = queue.New(queue.Options{
		MaxDelay: s.o.MaxDelay, Memory: s.o.Limits.Cache, Run: s.run, Now: s.o.Now, Log: s.o.Log,
	})
	s.disk = &disk{dir: s.dir, limits: &s.o.Limits}
	s.stat = new(stat)
	s.quarantine = &quarantine{s: s}
	c, n, err := s.start(was)
	if err != nil {
		return errors.Join(err, s.run.Close(false))
	}
	s.disk.makeReserve()
	s.pool = database.NewPool(s.dir.File(files.Database), database.ReadBeside)
	s.tidy = newTidy(s.dir)
	s.contents = newContents(s)
	s.w = newWriter(s, c, n)
	s.stat.set(n)
	go s.w.run()
	go s.tidy.run(s.w.housekeep)
	return nil
}

// start brings the files into order, and opens the database. On a full disk it has the reserve.
func (s *Spool) start(was runstate.Last) (*database.Conn, database.Counts, error) {
	c, n, err := (&opener{s: s, dir: s.dir, was: was}).start()
	if database.IsFull(err) && s.disk.dropReserve(0) {
		return (&opener{s: s, dir: s.dir, was: was}).start()
	}
	return c, n, err
}

// Close waits for what is being written, and closes the spool. Callers of other methods get errors from
// then on. What could not be written because of the disk is lost as in a crash: those messages are tried
// again. A second Close does nothing.
func (s *Spool) Close() error {
	s.closeOnce.Do(func() {
		s.tidy.close()
		s.w.ops.close()
		<-s.w.ended
		clean := s.w.c != nil
		s.pool.Close()
		err := s.w.finish()
		s.closed = errors.Join(err, s.run.Close(clean && err == nil), s.lock.Close())
	})
	return s.closed
}

// read runs f with a connection for reading. f may be run again and must not keep what an earlier run
// gave it.
func (s *Spool) read(f func(*database.Conn) error) error {
	if err := s.checkpoint(); err != nil {
		return err
	}
	c, err := s.pool.Get()
	if err != nil {
		return err
	}
	err = f(c)
	s.pool.Put(c, err)
	if database.IsBroken(err) {
		s.w.ops.suspect(err)
		return fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
	}
	return err
}

// checkpoint has what is pending brought into the database, for a reader to find it there.
func (s *Spool) checkpoint() error {
	if s.w.pending.count.Load() == 0 {
		return nil
	}
	if err := s.w.ops.stuck(); err != nil {
		return err
	}
	// It must be written, since it may need the disk's reserve, as outcomes may.
	return s.w.ops.do(context.Background(), &operation{mustWrite: true,
		apply: func(*database.Tx) error { return nil }})
}

// lookUp reads the record of a message.
func (s *Spool) lookUp(id string) (r *spool.Record, err error) {
	err = s.read(func(c *database.Conn) (err error) {
		r, err = c.Record(id)
		return err
	})
	return r, err
}

// Extend implements relay.Spool.
func (s *Spool) Extend(_ context.Context, t relay.Token, d time.Duration) error {
	return s.queue.Extend(t, d)
}

// Watch implements relay.Watcher.
func (s *Spool) Watch(due func(lane string)) (stop func()) { return s.watchers.Watch(due) }

// Release implements relay.Releaser.
func (s *Spool) Release(t relay.Token) error { return s.queue.Release(t) }

// Content implements relay.Spool. Small contents are verified before Content returns, those in files as
// they are read.
func (s *Spool) Content(_ context.Context, id string) (io.ReadCloser, error) {
	return s.contents.open(id)
}

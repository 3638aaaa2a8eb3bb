package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mailwhy/relay"
)

// Limits bound what a spool takes. Zero fields have the defaults.
type Limits struct {
	MaxBytes    int64 // of contents; 0 is no limit
	MaxMessages int64 // 0 is no limit
	FreeFloor   int64 // bytes of the file system that are left free; 0: 64 MiB; negative: none
	Reserve     int64 // bytes kept on the disk for settlements when it is full; 0: 16 MiB; negative: none
	InlineLimit int64 // contents up to this many bytes are kept in the database; 0: 128 KiB
	Cache       int64 // bytes of new messages that are kept in memory for a lane, and of contents under way; 0: 4 MiB; negative: none
	Journal     int64 // bytes that the journal takes of the disk; 0: 8 MiB; negative: no journal
}

// Options configure a spool.
type Options struct {
	Dir    string // made if it is missing
	Limits Limits
	// MaxDelay is the longest time for which a message can be put off. A due time further ahead shows that the clock
	// was set back, and counts as due. 0: 7 days.
	MaxDelay time.Duration
	Now      func() time.Time // wall clock; nil: time.Now
	Log      *slog.Logger     // nil: slog.Default
	// Quarantined is told of each message that could not be read and was set aside. It is called without locks held,
	// from Open too, and must not call the spool. It may be nil.
	Quarantined func(Quarantined)
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
	def(&o.Limits.Journal, 8<<20) // some 1,500 messages of 4 KiB; then the few that are under way go to the database
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
	return o
}

// The files of a spool's directory.
const (
	databaseName = "spool.db"
	lockName     = "lock"
	marksName    = "marks-2"
	reserveName  = "reserve"
	journalName  = "journal-2"
	contentDir   = "content"
	damagedDir   = "damaged"
)

// The errors for which the port has no name.
var (
	errClosed     = errors.New("spool closed")
	errNoDatabase = errors.New("the database is not open")
)

// Spool is an open spool. It is safe for concurrent use.
type Spool struct {
	o     Options
	lock  *os.File
	marks *marks
	w     *writer
	pool  *pool
	tidy  *tidy
	stat  stat
	free  freeSpace
	cache *cache

	scratch sync.Pool // of *[]byte, into which contents are read

	at func(step string) // for tests: called between the steps by which a spool is opened

	lostTail   bool       // transactions are missing; set while the spool is opened
	journalled journalled // what the journal holds; while the spool is opened

	mu      sync.Mutex
	lines   map[string]*line
	leased  map[int64]*lease // by seq
	byToken map[relay.Token]*lease
	tokens  uint64
	sweepAt time.Time // when the leases are looked through for those that lapsed
	gone    *recent   // ids of messages that were removed
}

var (
	_ relay.Spool       = (*Spool)(nil)
	_ relay.NoticeSpool = (*Spool)(nil)
	_ relay.Lister      = (*Spool)(nil)
	_ relay.Editor      = (*Spool)(nil)
	_ relay.Releaser    = (*Spool)(nil)
)

// path is the path of a file of the spool.
func (s *Spool) path(elem ...string) string {
	return filepath.Join(append([]string{s.o.Dir}, elem...)...)
}

// Open opens the spool in o.Dir, and makes one if none is there. It fails if another process has it open.
func Open(o Options) (*Spool, error) {
	s := newSpool(o)
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("spool %s: %w", o.Dir, err)
	}
	return s, nil
}

// newSpool is a spool that is not open yet.
func newSpool(o Options) *Spool {
	s := &Spool{
		o: o.withDefaults(), lines: map[string]*line{}, leased: map[int64]*lease{}, byToken: map[relay.Token]*lease{},
		gone: newRecent(recentMax), at: func(string) {},
	}
	s.scratch.New = newScratch
	s.cache = newCache(s.o.Limits.Cache)
	return s
}

// open does the work of Open, and undoes it on an error.
func (s *Spool) open() (err error) {
	if err := makeDirs(s.o.Dir, s.path(contentDir)); err != nil {
		return err
	}
	if s.lock, err = lockDir(s.o.Dir, true); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.narrow(); err != nil {
		return err
	}
	var was marked
	if s.marks, was, err = s.openMarks(); err != nil {
		return err
	}
	c, n, err := s.start(was)
	if isFull(err) && s.dropReserve(0) {
		c, n, err = s.start(was)
	}
	if err != nil {
		return errors.Join(err, s.marks.close(false))
	}
	s.makeReserve()
	s.pool = newPool(s.path(databaseName), readBeside)
	s.journalled = journalled{} // all of it is in the database now, and takes memory
	s.w = newWriter(s, c, n)
	s.stat.set(n)
	s.tidy = newTidy(s)
	go s.w.run()
	go s.tidy.run()
	return nil
}

// Close waits for what is being written, and closes the spool. Callers of other methods get errors from then on. What could
// not be written because of the disk is lost as in a crash: those messages are tried again.
func (s *Spool) Close() error {
	s.tidy.close()
	s.w.close()
	clean := s.w.c != nil
	s.pool.close()
	err := s.w.finish()
	return errors.Join(err, s.marks.close(clean && err == nil), s.lock.Close())
}

// read runs f with a connection for reading. f may be run again and must not keep what an earlier run gave it.
func (s *Spool) read(f func(*conn) error) error {
	if err := s.absorb(); err != nil {
		return err
	}
	c, err := s.pool.get()
	if err != nil {
		return err
	}
	err = f(c)
	s.pool.put(c, err)
	if broken(err) {
		s.w.suspect(err)
		return fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
	}
	return err
}

// Settle implements relay.Spool. It returns when the settlement is durable. While the disk does not let it be written
// the settlement waits in memory, first in line, and the message is not leased again; when ctx ends Settle returns its cause,
// and the settlement goes on waiting.
func (s *Spool) Settle(ctx context.Context, t relay.Token, st relay.Settlement) error {
	s.mu.Lock()
	le := s.byToken[t]
	if le == nil || le.settling {
		s.mu.Unlock()
		return relay.ErrStaleLease
	}
	le.settling = true
	s.mu.Unlock()
	op, err := s.settlement(le, st)
	if err != nil {
		s.unsettle(le)
		return err
	}
	return s.w.do(ctx, op)
}

// unsettle takes back that a lease is being settled.
func (s *Spool) unsettle(le *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	le.settling = false
}

// settlement is the operation that settles a lease.
func (s *Spool) settlement(le *lease, st relay.Settlement) (*operation, error) {
	r := &record{seq: le.seq, id: le.id, lane: le.lane, size: le.size, file: le.file}
	r.count(st.Recipients)
	ends := r.open == 0 && len(st.Notices) == 0
	if !ends { // else there is no state to store
		if err := r.setRecipients(st.Recipients); err != nil {
			return nil, err
		}
	}
	var removed bool
	return &operation{
		kept: true,
		size: len(r.recipients),
		journal: func(j *journaling) (_ bool, err error) {
			if removed = false; ends {
				removed, err = j.end(r)
			}
			return removed, err
		},
		apply: func(t *tx) (err error) {
			if ends {
				if removed, err = t.end(r); removed || err != nil {
					return err
				}
				if err := r.setRecipients(st.Recipients); err != nil {
					return err
				}
			}
			removed, err = s.applyState(t, r, st.Notices)
			return err
		},
		after: func(err error) { s.settled(le, r, removed, err) },
	}, nil
}

// end removes a message that no recipient waits for, unless a notice does. One that has gone is left so: this very
// settlement was written before, in a commit that seemed to fail.
func (t *tx) end(r *record) (removed bool, err error) {
	waits, err := t.hasNotices(r.seq)
	if err != nil || waits {
		return false, err
	}
	return true, t.delete(r.seq, r.size, r.file)
}

// applyState stores the state of a record, for which a recipient or a notice waits, and its notices. It reports a
// message that has gone before: this very settlement was written then, in a commit that seemed to fail.
func (s *Spool) applyState(t *tx, r *record, notices []relay.Notice) (removed bool, err error) {
	r.turn = 0
	if r.due != never {
		// The lane and the sender are the row's: the message may have been given to another lane since it was leased.
		r.lane = ""
		err = t.query(rowInto(&r.lane, &r.sender), "SELECT lane, sender FROM message WHERE seq=?", r.seq)
		if err != nil || r.lane == "" {
			return err == nil, err
		}
		s.turn(r)
	}
	changed, err := t.update(r)
	if err != nil || changed == 0 {
		return err == nil, err
	}
	return false, t.addNotices(r.seq, notices)
}

// rowInto copies the texts of the first row.
func rowInto(texts ...*string) func([]driver.Value) error {
	return func(row []driver.Value) error {
		for i, t := range texts {
			*t, _ = row[i].(string)
		}
		return errStop
	}
}

// settled ends a lease whose settlement is durable.
func (s *Spool) settled(le *lease, r *record, removed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		le.settling = false
		return
	}
	s.end(le, removed)
	if l := s.lines[le.lane]; l != nil && l.scanning {
		l.ended[le.seq] = true
	}
	if !removed {
		s.arrive(r)
		return
	}
	s.gone.add(le.id)
	s.cache.drop(le.id)
}

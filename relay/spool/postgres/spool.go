package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool/postgres/database"
	"mailwhy/relay/spool/queue"
)

// Options configure a spool. All fields but Single are required.
type Options struct {
	URL    string // postgres://..., or a list of key=value; several hosts as in libpq
	Name   string // of the schema that the tables are in: several relays can have one database
	Single bool   // Open accepts a server whose promotion or crash could lose mail

	CommitTimeout time.Duration // how long a client waits for a commit
	Connections   int           // at most this many at a time; at least 4
	Heartbeat     time.Duration
	DeadAfter     time.Duration // without a heartbeat; at least three of them
	Memory        int64         // bytes of mail that is kept in memory for a lane

	Host    string // of this process, as others are told
	Version string
	Now     func() time.Time // wall clock
	Log     *slog.Logger
}

// validate says what is wrong with options.
func (o *Options) validate() error {
	switch {
	case o.CommitTimeout <= 0 || o.Heartbeat <= 0 || o.Memory <= 0 || o.Now == nil || o.Log == nil:
		return errors.New("an option is missing")
	case o.Connections < leastConnections:
		return fmt.Errorf("at least %d connections are needed", leastConnections)
	case o.DeadAfter < 3*o.Heartbeat:
		return errors.New("a process is dead after three heartbeats at least")
	}
	return nil
}

// Spool is an open spool. It is safe for concurrent use.
type Spool struct {
	o          Options
	db         *database.DB
	pool       *pool
	w          *writer
	memory     *memory
	doubts     doubts
	watchers   queue.Watchers
	inc        atomic.Pointer[incarnation]
	rebirth    sync.Mutex
	batches    atomic.Int64 // numbers of leases of messages that others may have
	durability atomic.Pointer[Durability]

	stopping  context.Context // ends when the spool is closed
	stop      context.CancelFunc
	work      sync.WaitGroup // heartbeat and what it starts
	closeOnce sync.Once
	closed    error
}

var (
	_ relay.Spool    = (*Spool)(nil)
	_ relay.Outbox   = (*Spool)(nil)
	_ relay.Lister   = (*Spool)(nil)
	_ relay.Editor   = (*Spool)(nil)
	_ relay.Releaser = (*Spool)(nil)
	_ relay.Stager   = (*Spool)(nil)
	_ relay.Watcher  = (*Spool)(nil)
	_ relay.Admitter = (*Spool)(nil)
)

// Open opens the spool, and makes its tables if they are missing. It fails if the server does not keep what
// it acknowledges through a promotion or a crash, unless o.Single says that this is meant.
func Open(ctx context.Context, o Options) (*Spool, error) {
	err := o.validate()
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{o: o, db: new(database.DB), memory: newMemory(o)}
	if s.db.Config, err = postgres.Parse(o.URL, o.Name); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.pool = newPool(s.db, o.Connections-writers-1)
	if err := s.open(ctx); err != nil {
		s.stop()
		s.pool.close()
		return nil, fmt.Errorf("spool on PostgreSQL: %w", err)
	}
	s.w = newWriter(s)
	s.work.Go(s.live)
	return s, nil
}

// open brings the tables into order, looks at the server and makes the first incarnation.
func (s *Spool) open(ctx context.Context) error {
	return s.pool.with(ctx, func(c *postgres.Conn) error {
		if err := s.db.Migrate(ctx, c, database.Tables()); err != nil {
			return err
		}
		if err := s.lookAtDurability(ctx, c); err != nil {
			return err
		}
		if d := s.Durability(); d.Problem != "" && !s.o.Single {
			return fmt.Errorf("acknowledged mail could be lost: %s; give the server a synchronous"+
				` standby, or say that one copy is enough: durability = "single"`, d.Problem)
		}
		inc, err := s.register(ctx, c)
		s.inc.Store(inc)
		return err
	})
}

// Close waits for what is being written, gives back what this process has leased, and closes the spool.
// Settlements that cannot be written by then are lost as in a crash. A second Close does nothing.
func (s *Spool) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		s.work.Wait()
		lost := s.w.close()
		ctx, cancel := context.WithTimeout(context.Background(), s.o.CommitTimeout)
		defer cancel()
		s.closed = s.pool.with(ctx, func(c *postgres.Conn) error {
			inc := s.inc.Load()
			if _, err := s.db.Free(ctx, c, inc.id, lost > 0, s.o.Now().UnixNano()); err != nil {
				return err
			}
			return s.db.Forget(ctx, c, inc.id)
		})
		s.memory.reset()
		s.pool.close()
		if s.closed != nil {
			s.closed = fmt.Errorf("the spool's leases were not given back, and end in %v: %w", s.o.DeadAfter,
				s.closed)
		}
	})
	return s.closed
}

// unavailable is the error of what cannot be done since the database is away.
func unavailable(err error) error {
	if errors.Is(err, relay.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
}

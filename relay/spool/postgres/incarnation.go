package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool/postgres/database"
)

// incarnation is this process as the others know it. All of its leases end with it.
type incarnation struct {
	id int64
	// until when its heartbeat is good, monotonic; counted from before it was sent
	good atomic.Pointer[time.Time]
}

// register makes an incarnation.
func (s *Spool) register(ctx context.Context, c *postgres.Conn) (*incarnation, error) {
	inc := &incarnation{id: 1 + rand.Int64N(1<<62)}
	good := time.Now().Add(s.o.DeadAfter)
	inc.good.Store(&good)
	return inc, s.db.Register(ctx, c, inc.id, s.o.Host, s.o.Version, s.o.DeadAfter)
}

// reborn makes a new incarnation in the place of one that was taken over, and forgets its leases.
func (s *Spool) reborn(ctx context.Context, old *incarnation) error {
	s.rebirth.Lock()
	defer s.rebirth.Unlock()
	if s.inc.Load() != old {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.CommitTimeout)
	defer cancel()
	return s.pool.with(ctx, func(c *postgres.Conn) error {
		inc, err := s.register(ctx, c)
		if err != nil {
			return err
		}
		s.o.Log.Warn("another process has taken this one for dead, and its leases over: this one begins anew",
			"dead_after", s.o.DeadAfter)
		s.memory.reset()
		s.inc.Store(inc)
		return nil
	})
}

// alive is an error when the heartbeat has not been heard for two thirds of the time after which others take
// over: nothing is begun then that the others might begin as well.
func (s *Spool) alive() error {
	if left := time.Until(*s.inc.Load().good.Load()); left < s.o.DeadAfter/3 {
		return unavailable(fmt.Errorf("the heartbeat has not reached the database for %v",
			(s.o.DeadAfter - left).Round(time.Second)))
	}
	return nil
}

// How often others' mail is looked for, and what need not be done often is.
const (
	pollEvery = time.Second
	tidyEvery = time.Minute
)

// live is the goroutine of the heartbeat and of all that is done now and then.
func (s *Spool) live() {
	h := &heart{s: s}
	defer h.drop()
	beat, poll, tidy := time.NewTicker(s.o.Heartbeat), time.NewTicker(pollEvery), time.NewTicker(tidyEvery)
	defer beat.Stop()
	defer poll.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-beat.C:
			h.do("heartbeat", h.beat)
			s.giveIdle(s.o.Heartbeat, func(string) bool { return false })
		case <-poll.C:
			h.do("looking for others' mail", h.poll)
			s.undoDoubts()
		case <-tidy.C:
			h.do("tidying", h.tidy)
		case <-s.stopping.Done():
			return
		}
	}
}

// heart has the connection of the heartbeat.
type heart struct {
	s      *Spool
	c      *postgres.Conn
	failed bool
	steady time.Time // since when all went well, after something had failed; zero: all along
}

func (h *heart) drop() {
	if h.c != nil {
		h.c.Drop()
		h.c = nil
	}
}

// do does something with the connection, within a heartbeat.
func (h *heart) do(what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(h.s.stopping, h.s.o.Heartbeat)
	defer cancel()
	err := error(nil)
	if h.c == nil || h.c.IsClosed() {
		h.c, err = h.s.db.Connect(ctx)
	}
	if err == nil {
		err = f(ctx)
	}
	if err != nil && h.s.stopping.Err() == nil {
		h.drop()
		if !h.failed {
			h.s.o.Log.Warn("the database does not answer as it should", "at", what, "err", err)
		}
	}
	if h.failed && err == nil {
		h.steady = time.Now()
	}
	h.failed = err != nil
}

// beat sends a heartbeat, and takes over from those who have not.
func (h *heart) beat(ctx context.Context) error {
	s := h.s
	inc := s.inc.Load()
	good := time.Now().Add(s.o.DeadAfter)
	alive, dead, err := s.db.Beat(ctx, h.c, inc.id, s.o.DeadAfter)
	if err != nil {
		return err
	}
	if !alive {
		return s.reborn(ctx, inc)
	}
	inc.good.Store(&good)
	if h.failed || time.Since(h.steady) < s.o.DeadAfter/2 {
		return nil // the database was away: the others may be about to say that they live
	}
	for _, other := range dead {
		if err := h.takeOver(other); err != nil {
			return err
		}
	}
	return nil
}

// takeOver gives everybody the mail of a process whose heartbeat has lapsed. Any number of processes may do
// it at once; each of its steps may have been done before.
func (h *heart) takeOver(inc int64) error {
	s := h.s
	ctx, cancel := context.WithTimeout(s.stopping, max(s.o.CommitTimeout, s.o.Heartbeat))
	defer cancel()
	fenced, err := s.db.Fence(ctx, h.c, inc)
	if err != nil || !fenced {
		return err
	}
	n, err := s.db.Free(ctx, h.c, inc, true, s.o.Now().UnixNano())
	if err != nil {
		return err
	}
	s.o.Log.Warn("a process that has the same spool open has ended without a word; its mail is taken over",
		"messages", n)
	return s.db.Forget(ctx, h.c, inc)
}

// poll looks whether others have left something due in the lanes that this process asks for.
func (h *heart) poll(ctx context.Context) error {
	lanes := h.s.memory.names()
	if len(lanes) == 0 {
		return nil
	}
	now := h.s.o.Now().UnixNano()
	due, err := h.s.db.DueLanes(ctx, h.c, lanes, now)
	for _, name := range due {
		if h.s.memory.arrived(name, now) {
			h.s.watchers.Tell(name)
		}
	}
	return err
}

// tidy removes what has had its time, and looks at the standbys.
func (h *heart) tidy(ctx context.Context) error {
	if err := h.s.lookAtDurability(ctx, h.c); err != nil {
		return err
	}
	return h.s.db.Tidy(ctx, h.c, h.s.inc.Load().id)
}

// giveIdle gives mail back that nobody here asks for.
func (s *Spool) giveIdle(after time.Duration, all func(lane string) bool) (given []*operation) {
	idle := s.memory.takeIdle(after, all)
	for len(idle) > 0 {
		n := min(len(idle), maxBatch)
		op := s.freeing(idle[:n])
		idle = idle[n:]
		if err := s.w.add(op); err == nil {
			given = append(given, op)
		}
	}
	return given
}

// freeing is the operation that gives messages back which are leased to nobody here.
func (s *Spool) freeing(list []*owned) *operation {
	return &operation{
		inc: list[0].inc, must: true,
		add: func(ch *database.Changes) {
			for _, o := range list {
				ch.Freed = append(ch.Freed, &database.State{Record: o.row.Record, Fresh: o.row.Fresh})
			}
		},
		after: func(_ *database.Changes, err error) {
			for _, o := range list {
				s.memory.endSettle(o, false)
				s.memory.due(o.row.Lane, o.row.Due)
			}
		},
	}
}

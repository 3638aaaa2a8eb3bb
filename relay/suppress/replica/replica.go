// Package replica keeps the suppression lists of many replicas alike. Each replica has a list of its own,
// which answers at once and outlives the engine's being away; what changes in it goes to a list that all
// share, and what others changed comes from there. relay/app runs one for a relay in a cluster.
//
// What always holds:
//
//   - A change that is on the list's disk reaches the shared list, however often relay and engine stop in
//     between: what it has not got is noted in the same transaction.
//   - A change is taken by the shared list only if it rests on what is there. Otherwise the replica first
//     takes over what is there, and suppress.Over decides alike everywhere which of the two stays.
//   - So all lists are the same once all changes have been exchanged, but for what each drops by itself: what
//     has served its time, and the oldest of what is more than suppression.max_entries.
//   - What comes from others is told to nobody: the replica that learned it has told of it.
package replica

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/suppress"
)

// Shared is the list that all replicas have in common. An error of either method says nothing about whether
// changes were stored; they are offered again.
type Shared interface {
	// Push stores those changes whose Version is still the newest of their address, or 0 where there is none,
	// durably, and returns them with their new versions. A version is given after all lower ones are stored.
	Push(ctx context.Context, changes []relay.SuppressionChange) ([]relay.SuppressionChange, error)
	// Pull returns the changes after a version, in the order of theirs, at most n, and the place of the list.
	Pull(ctx context.Context, after int64, n int) ([]relay.SuppressionChange, relay.SharedPlace, error)
}

// Options configure a Replica. All fields are required.
type Options struct {
	List   *suppress.List
	Shared Shared
	Every  time.Duration // how often the shared list is asked for changes
	Log    *slog.Logger
}

// The sizes of what is exchanged at once.
const (
	pushMost = 500
	pullMost = 1000
)

// calm is for how long changes are gathered that follow one another.
const calm = 100 * time.Millisecond

// lastWithin is how long the last exchange may take.
const lastWithin = 3 * time.Second

// heardEvery is how often it is noted that the shared list was heard, when nothing changes.
const heardEvery = time.Hour

// Replica exchanges changes with the shared list. Its methods are safe for concurrent use; Run is for one
// call.
type Replica struct {
	o     Options
	heard time.Time // when that was noted; of Run

	mu    sync.Mutex
	state State
}

// State is how the exchange stands.
type State struct {
	Fault error     // why the shared list cannot be reached; nil: it can
	At    time.Time // of the last whole exchange
}

// New makes a Replica.
func New(o Options) *Replica { return &Replica{o: o} }

// Run exchanges changes until ctx ends, and once more then: who has no disk of its own would lose what it
// learned last.
func (r *Replica) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.last(ctx)
			return
		case <-timer.C:
		case <-r.o.List.Owes():
			select {
			case <-ctx.Done():
			case <-time.After(calm):
			}
		}
		r.note(ctx, r.exchange(ctx))
		timer.Reset(r.o.Every)
	}
}

// last exchanges changes once more, after the end of ctx.
func (r *Replica) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWithin)
	defer cancel()
	if err := r.exchange(ctx); err != nil {
		r.o.Log.Warn("what was learned last of suppressed addresses is shared at the next start", "err", err)
	}
}

// State says how the exchange stands.
func (r *Replica) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// note notes how an exchange ended, and logs what has changed.
func (r *Replica) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	before := r.state.Fault
	if r.state.Fault = err; err == nil {
		r.state.At = time.Now()
	}
	r.mu.Unlock()
	switch {
	case err != nil && before == nil:
		r.o.Log.Warn("the suppression list of the cluster cannot be reached: each relay goes by its own",
			"err", err)
	case err == nil && before != nil:
		r.o.Log.Info("the suppression list of the cluster can be reached again")
	}
}

// exchange takes over what others changed, and offers what was changed here. What is refused, since others
// changed it meanwhile, is offered again on top of their changes.
func (r *Replica) exchange(ctx context.Context) error {
	for {
		if err := r.pull(ctx); err != nil {
			return err
		}
		refused, err := r.push(ctx)
		if err != nil || !refused {
			return err
		}
	}
}

// pull takes over what others changed.
func (r *Replica) pull(ctx context.Context) error {
	at, err := r.o.List.Place(ctx)
	for err == nil {
		var changes []relay.SuppressionChange
		var now relay.SharedPlace
		if changes, now, err = r.o.Shared.Pull(ctx, at.Version, pullMost); err != nil {
			return err
		}
		if now.List != at.List || now.Version < at.Version {
			r.o.Log.Info("joining the suppression list of the cluster", "list", now.List)
			if err = r.o.List.Join(ctx, now.List); err == nil {
				at = relay.SharedPlace{List: now.List}
			}
			continue
		}
		more := len(changes) == pullMost
		if more {
			now.Version = changes[len(changes)-1].Version
		}
		if len(changes) > 0 || time.Since(r.heard) > heardEvery {
			if err = r.o.List.Apply(ctx, changes, now); err == nil {
				r.heard = time.Now()
			}
		}
		if at = now; !more {
			break
		}
	}
	return err
}

// push offers what was changed here, and reports whether some of it was refused.
func (r *Replica) push(ctx context.Context) (refused bool, err error) {
	for err == nil && !refused {
		owed, err := r.o.List.Owed(ctx, pushMost)
		if err != nil || len(owed) == 0 {
			return false, err
		}
		stored, err := r.o.Shared.Push(ctx, owed)
		if err != nil {
			return false, err
		}
		if err := r.o.List.Stored(ctx, stored); err != nil {
			return false, err
		}
		refused = len(stored) < len(owed)
	}
	return refused, err
}

// Package lifecycle is where a relay stands between its start and its end, and tells it to those who decide
// whether it gets mail, or lives on: container engines, load balancers, systemd.
//
// relay/app makes a Life beside the spool, moves it along, and serves it over HTTP; package systemd passes it
// on to the service manager.
//
//	starting    not ready: the listeners do not answer yet
//	running     ready, unless the spool refuses mail
//	stopping    not ready, but mail is taken as before: whoever sends connections has time to notice
//	draining    mail is taken no more; what waits is sent while there is time
//
// What always holds: a phase never goes back. Live means that the spool answers; a full disk is no reason to
// be killed, since a restart frees nothing. Ready means that mail would be taken now; an upstream that is
// away does not change that, since mail waits for it. A disk that hangs holds one question to the spool and
// none of those who ask.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mailwhy/relay"
)

// Phase is a part of a relay's life.
type Phase string

// The phases, in their order.
const (
	Starting Phase = "starting"
	Running  Phase = "running"
	Stopping Phase = "stopping"
	Draining Phase = "draining"
)

// order is where a phase stands among the others.
func (p Phase) order() int {
	switch p {
	case Running:
		return 1
	case Stopping:
		return 2
	case Draining:
		return 3
	}
	return 0
}

// Spool is what is asked of the spool.
type Spool interface {
	// Stat counts what it holds; it may block as long as the disk does.
	Stat(ctx context.Context) (relay.SpoolStat, error)
	// Admit is that of relay.Admitter.
	Admit() error
}

// Life is how far a relay has come. It is safe for concurrent use.
type Life struct {
	spool  Spool
	remote bool // the spool is on other machines

	mu    sync.Mutex
	phase Phase
	asked *question // to the spool; nil when none is under way
}

// New makes the Life of a relay that starts.
func New(s Spool) *Life { return &Life{spool: s, phase: Starting} }

// NewRemote is New for a relay whose spool is on other machines: another relay would not reach it either.
func NewRemote(s Spool) *Life { return &Life{spool: s, phase: Starting, remote: true} }

// Enter goes on to a phase; to an earlier one it does not go back.
func (l *Life) Enter(p Phase) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.order() > l.phase.order() {
		l.phase = p
	}
}

// Phase is the phase that the relay is in.
func (l *Life) Phase() Phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.phase
}

// question is one look at the spool, which several may wait for.
type question struct {
	since time.Time // monotonic
	done  chan struct{}
	stat  relay.SpoolStat
	err   error
}

// Stat asks the spool what it holds, and waits until ctx ends at most.
func (l *Life) Stat(ctx context.Context) (relay.SpoolStat, error) {
	q := l.ask()
	select {
	case <-q.done:
		return q.stat, q.err
	case <-ctx.Done():
		return relay.SpoolStat{}, fmt.Errorf("the spool does not answer: it was asked %s ago",
			time.Since(q.since).Round(time.Millisecond))
	}
}

// ask is the question that is under way, or a new one.
func (l *Life) ask() *question {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked != nil {
		return l.asked
	}
	q := &question{since: time.Now(), done: make(chan struct{})}
	l.asked = q
	go func() {
		q.stat, q.err = l.spool.Stat(context.Background())
		l.mu.Lock()
		l.asked = nil
		l.mu.Unlock()
		close(q.done)
	}()
	return q
}

// Live returns why the relay should be replaced, or nil.
func (l *Life) Live(ctx context.Context) error {
	if l.remote {
		return nil
	}
	return l.answers(ctx)
}

// answers returns why the spool is of no use, or nil.
func (l *Life) answers(ctx context.Context) error {
	_, err := l.Stat(ctx)
	if err == nil || errors.Is(err, relay.ErrFull) {
		return nil
	}
	return err
}

// Ready returns why the relay should get no mail now, or nil.
func (l *Life) Ready(ctx context.Context) error {
	switch l.Phase() {
	case Starting:
		return errors.New("starting: not every listener answers yet")
	case Stopping:
		return errors.New("stopping: mail is taken until connections go elsewhere, and then no more")
	case Draining:
		return errors.New("draining: no mail is taken any more, and what waits is sent while there is time")
	}
	if err := l.answers(ctx); err != nil {
		return err
	}
	if err := l.spool.Admit(); err != nil {
		return fmt.Errorf("the spool takes no mail: %w", err)
	}
	return nil
}

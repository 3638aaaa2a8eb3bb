package upstream

import (
	"context"
	"sync"

	"mailwhy/diagnose"
)

// logins keeps credentials that the server refuses from being tried by many connections: providers lock accounts. As
// long as they are not known to be good, one connection at a time tries them; once they were refused only a probe
// does, and every other connection meets the same refusal without asking.
type logins struct {
	turn chan struct{} // of the one that tries credentials not known to be good

	mu      sync.Mutex
	good    bool     // they were taken, and not refused since
	refused *problem // they were refused, and not taken since
}

func newLogins() *logins { return &logins{turn: make(chan struct{}, 1)} }

// try has a connection log in when its turn comes.
func (l *logins) try(ctx context.Context, probe bool, login func() *problem) *problem {
	good, refused := l.known()
	if !good {
		select {
		case l.turn <- struct{}{}:
		case <-ctx.Done():
			return &problem{stage: diagnose.StageAuth, err: context.Canceled}
		}
		if good, refused = l.known(); good { // since the one before
			<-l.turn
		} else {
			defer func() { <-l.turn }()
		}
	}
	if refused != nil && !probe {
		again := *refused
		return &again
	}
	pr := login()
	l.learn(pr)
	return pr
}

func (l *logins) known() (good bool, refused *problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good, l.refused
}

// learn notes how a login ended. One that was neither taken nor refused tells nothing of the credentials.
func (l *logins) learn(pr *problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pr == nil || pr.rep.class() == 5 {
		l.good, l.refused = pr == nil, pr
	}
}

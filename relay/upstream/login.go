package upstream

import (
	"context"
	"sync"

	"mailwhy/diagnose"
)

// logins keeps many connections from trying credentials that the server refuses: providers lock accounts.
// Until the credentials have worked, one connection at a time tries them. After a refusal only a probe
// tries them, and every other connection gets the same refusal without asking.
type logins struct {
	turn chan struct{} // held by the connection that tries credentials not known to be good

	mu      sync.Mutex
	good    bool     // they were accepted, and not refused since
	refused *problem // they were refused, and not accepted since
}

func newLogins() *logins { return &logins{turn: make(chan struct{}, 1)} }

// try logs a connection in when its turn comes.
func (l *logins) try(ctx context.Context, probe bool, login func() *problem) *problem {
	good, refused := l.known()
	if !good {
		select {
		case l.turn <- struct{}{}:
		case <-ctx.Done():
			return &problem{stage: diagnose.StageAuth, err: context.Canceled}
		}
		if good, refused = l.known(); good { // the connection before it succeeded
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

// learn records how a login ended. One that was neither accepted nor refused says nothing of the credentials.
func (l *logins) learn(pr *problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pr == nil || pr.rep.class() == 5 {
		l.good, l.refused = pr == nil, pr
	}
}

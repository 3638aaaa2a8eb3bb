package smtpd

import (
	"sync"
	"time"
)

// What is logged of clients that are turned away because none is named: a line a client, again after a while,
// and of so many clients.
const (
	strangerAgain = time.Hour
	maxStrangers  = 100
)

// strangers are the clients that were turned away, and when that was last logged.
type strangers struct {
	mu   sync.Mutex
	told map[string]time.Time
}

// note logs that a client was turned away, if it is time to.
func (s *strangers) note(o *Options, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := o.Now()
	for known, at := range s.told {
		if now.Sub(at) >= strangerAgain || now.Before(at) {
			delete(s.told, known)
		}
	}
	if _, told := s.told[addr]; told || len(s.told) >= maxStrangers {
		return
	}
	if s.told == nil {
		s.told = map[string]time.Time{}
	}
	s.told[addr] = now
	o.Log.Warn("a client on another host was turned away: no clients are named, so only this host may send "+
		"mail; name its network in MAILWHY_CLIENT, or in networks of a [[client]]", "client", addr)
}

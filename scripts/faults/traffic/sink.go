package traffic

import (
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
)

// Sink is the relay's upstream. It enters into the ledger what arrives, and which failures are reported.
type Sink struct {
	*smtptest.Server
	Script func(smtptest.Command) smtptest.Action // asked first; may be nil
	Slow   time.Duration                          // before each 250 to the final dot

	mu   sync.Mutex
	gate chan struct{} // open transactions wait here while it is not nil
	seen map[string]bool
}

// StartSink starts a sink on addr, 127.0.0.1:0 when it is empty, for the user "user" with a password, or for
// other users with the same.
func StartSink(l *ledger.Ledger, addr, password string, users ...string) (*Sink, error) {
	k := &Sink{seen: map[string]bool{}, Slow: 2 * time.Millisecond}
	if len(users) == 0 {
		users = []string{"user"}
	}
	logins := map[string]string{}
	for _, u := range users {
		logins[u] = password
	}
	srv, err := smtptest.Start(smtptest.Options{
		Addr: addr, Users: logins, Forget: true, Script: k.decide, Ledger: l,
	})
	k.Server = srv
	return k, err
}

// Hold makes transactions wait at RCPT, so that a backlog builds up in the relay, until Release.
func (k *Sink) Hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gate == nil {
		k.gate = make(chan struct{})
	}
}

// Release ends Hold.
func (k *Sink) Release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gate != nil {
		close(k.gate)
		k.gate = nil
	}
}

// decide is the server's script.
func (k *Sink) decide(c smtptest.Command) smtptest.Action {
	if k.Script != nil {
		if a := k.Script(c); !a.IsZero() {
			return a
		}
	}
	switch c.Stage {
	case diagnose.StageRcpt:
		k.mu.Lock()
		gate := k.gate
		k.mu.Unlock()
		if gate != nil {
			<-gate
		}
		return k.judge(c.Address)
	case diagnose.StageEndOfData:
		return smtptest.Action{Delay: k.Slow}
	}
	return smtptest.Action{}
}

// judge refuses what the address asks to be refused.
func (k *Sink) judge(address string) smtptest.Action {
	user, _, _ := strings.Cut(address, ".")
	switch user {
	case BadUser:
		return smtptest.Action{Reply: "550 5.1.1 <" + address + ">: user unknown"}
	case SoftUser:
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.seen[address] {
			k.seen[address] = true
			return smtptest.Action{Reply: "451 4.2.1 mailbox busy, come again"}
		}
	}
	return smtptest.Action{}
}

// Quiet waits until no session is open, at most for a while, and reports whether it is so.
func (k *Sink) Quiet() bool {
	for range 400 {
		if k.Stats().Open == 0 {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

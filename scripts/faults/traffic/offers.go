package traffic

import (
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// Offers is what relays that share a queue offer to a sink, each with a user of its own: no message may be
// offered by two of them at a time. It is safe for concurrent use.
type Offers struct {
	note func(format string, args ...any) // hears of the first messages that were

	mu    sync.Mutex
	open  map[string]session          // by message
	mails map[string][]time.Time      // when each relay began a transaction
	has   map[session]map[string]bool // the messages of a session's transaction
	twice int
	slow  time.Duration // before each 250
}

// session is a session of a relay at the sink.
type session struct {
	user string
	n    int
}

// NewOffers makes Offers; note hears of the first messages that two offered.
func NewOffers(note func(format string, args ...any)) *Offers {
	return &Offers{note: note, open: map[string]session{}, mails: map[string][]time.Time{},
		has: map[session]map[string]bool{}}
}

// See is the sink's script.
func (o *Offers) See(c smtptest.Command) smtptest.Action {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := session{c.User, c.Session}
	switch c.Stage {
	case diagnose.StageMail:
		o.over(s)
		o.mails[s.user] = append(o.mails[s.user], time.Now())
	case diagnose.StageRcpt:
		o.offered(s, c.Address)
	case diagnose.StageReset, diagnose.StageQuit:
		o.over(s)
	case diagnose.StageEndOfData:
		o.over(s)
		return smtptest.Action{Delay: o.slow}
	}
	return smtptest.Action{}
}

// offered notes that a session offers the message of a recipient.
func (o *Offers) offered(s session, address string) {
	parts := strings.SplitN(address, ".", 3)
	if len(parts) < 3 || parts[0] != GoodUser || !strings.HasSuffix(address, "@sink.test") {
		return // a report, or a recipient that the sink may refuse: then nothing of the message is under way
	}
	id := parts[1]
	if other, ok := o.open[id]; ok && other.user != s.user {
		o.twice++
		if o.twice <= 5 {
			o.note("%s offers %s while %s does", s.user, id, other.user)
		}
	}
	o.open[id] = s
	if o.has[s] == nil {
		o.has[s] = map[string]bool{}
	}
	o.has[s][id] = true
}

// over ends the transaction of a session.
func (o *Offers) over(s session) {
	for id := range o.has[s] {
		if o.open[id] == s {
			delete(o.open, id)
		}
	}
	delete(o.has, s)
}

// Forget is for a relay that died, or that was out of reach for so long that others have its mail.
func (o *Offers) Forget(user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for s := range o.has {
		if s.user == user {
			o.over(s)
		}
	}
}

// Begun is how many transactions a relay began in a time.
func (o *Offers) Begun(user string, from, to time.Time) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.mails[user] {
		if t.After(from) && t.Before(to) {
			n++
		}
	}
	return n
}

// Delay has the sink take so long for each 250 from now on.
func (o *Offers) Delay(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slow = d
}

// Overlaps is how many messages two relays offered at a time.
func (o *Offers) Overlaps() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.twice
}

package lane

import (
	"math"
	"time"
)

// limits judges whose a limit is that messages meet: of one recipient or domain, of one sender, or of the
// lane. It is pure but for its own memory, which is bounded, and belongs to the lane's goroutine.
//
// One recipient, domain or sender that is throttled for ever must not slow the mail of all. So a limit is the
// lane's when several messages for distinct recipients met it, and when these do not have one sender or
// domain in common that mail which the upstream took in the same time has not. A recipient that meets it
// again proves nothing new.
type limits struct {
	met   []encounter // the newest, each of another recipient, oldest first
	taken int         // messages taken so far
}

// encounter is one message that met a limit.
type encounter struct {
	key    string // the recipient; of a limit met at MAIL, the message
	domain string // of the recipient; "" at MAIL, where no recipient is known
	sender string
	at     time.Time

	taken    int // limits.taken then
	ofSender int // messages of the sender taken since
	ofDomain int // messages to the domain taken since
}

// owner is whose a limit is.
type owner int

// The owners of a limit.
const (
	messageLimit owner = iota // of the message or its recipient, as far as is known
	senderLimit
	laneLimit
)

// The constants of judging.
const (
	limitForget  = 10 * time.Minute // after which an encounter proves nothing any more
	limitKept    = 8                // encounters that are remembered
	limitEnough  = 3                // distinct recipients that make a limit the lane's
	limitShare   = 10               // at most so many messages taken for each that met a limit ...
	limitShareOn = 50               // ... while the lane is slowed already
	limitChance  = 0.05             // below which a coincidence is none
)

// accept notes a message that the upstream took.
func (l *limits) accept(sender, domain string) {
	l.taken++
	for i := range l.met {
		e := &l.met[i]
		if e.sender == sender {
			e.ofSender++
		}
		if e.domain == domain {
			e.ofDomain++
		}
	}
}

// judge says whose the limit is that e met. slowed says that the lane is slowed already.
func (l *limits) judge(m limit, e encounter, slowed bool) owner {
	isNew := l.remember(e)
	first := &l.met[0]
	sender := func(e *encounter) string { return e.sender }
	domain := func(e *encounter) string { return e.domain }
	switch {
	case m.owned:
		return senderLimit
	case l.shared(sender) && l.explains(first.ofSender):
		if first.ofSender == 0 {
			return senderLimit
		}
		return messageLimit // other mail of the sender is taken
	case !isNew:
		return messageLimit
	case e.domain != "" && l.shared(domain) && l.explains(first.ofDomain):
		return messageLimit
	case m.alone:
		return laneLimit
	}
	return l.count(m, slowed)
}

// explains reports whether it is hardly chance that all that met a limit has a sender or domain in common,
// when so many of the messages taken since the first of them have it too: a limit of the lane would have met
// others as well.
func (l *limits) explains(own int) bool {
	all := l.taken - l.met[0].taken
	return all > own && math.Pow(float64(own)/float64(all), float64(len(l.met))) < limitChance
}

// count says whether enough distinct recipients met a limit for it to be the lane's. One is enough to suspect
// a quota, which the next message then settles.
func (l *limits) count(m limit, slowed bool) owner {
	share := limitShare
	if slowed {
		share = limitShareOn
	}
	enough := len(l.met) >= limitEnough || m.kind == quotaLimit
	if enough && l.taken-l.met[0].taken <= share*len(l.met) {
		return laneLimit
	}
	return messageLimit
}

// remember adds e, and reports whether its recipient did not meet a limit lately.
func (l *limits) remember(e encounter) bool {
	e.taken = l.taken
	kept, isNew := l.met[:0], true
	for _, old := range l.met {
		if since := e.at.Sub(old.at); since < 0 || since > limitForget {
			continue
		}
		if old.key == e.key {
			isNew = false
			old.at = e.at
		}
		kept = append(kept, old)
	}
	if isNew {
		kept = append(kept, e)
	}
	l.met = append(l.met[:0], kept[max(0, len(kept)-limitKept):]...)
	return isNew
}

// shared reports whether two or more messages met a limit and all of them have the same value.
func (l *limits) shared(value func(*encounter) string) bool {
	for i := range l.met {
		if value(&l.met[i]) != value(&l.met[0]) {
			return false
		}
	}
	return len(l.met) > 1
}

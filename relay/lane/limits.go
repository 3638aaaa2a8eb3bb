package lane

import (
	"math"
	"time"
)

// limits judges whose limit it is that messages meet: one recipient's or domain's, one sender's, or the
// lane's. It has no effect but on its own memory, which is bounded, and belongs to the lane's goroutine.
//
// One recipient, domain or sender that is throttled forever must not slow everybody's mail. So a limit is the
// lane's only if messages to several distinct recipients met it, and if these do not share a sender or domain
// that the mail accepted in the same time does not have. A recipient that meets the limit again proves
// nothing new.
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

	taken    int // limits.taken at that time
	ofSender int // messages of the sender taken since
	ofDomain int // messages to the domain taken since
}

// owner says whose limit it is.
type owner int

// The owners of a limit.
const (
	messageLimit owner = iota // the message's or its recipient's, as far as is known
	senderLimit
	laneLimit
)

// The constants by which limits are judged.
const (
	limitForget     = 10 * time.Minute // after which an encounter no longer proves anything
	limitRemembered = 8                // encounters that are remembered
	limitEnough     = 3                // distinct recipients that make a limit the lane's
	limitShare      = 10               // at most this many messages taken for each that met a limit ...
	limitShareOn    = 50               // ... or this many while the lane is slowed already
	limitChance     = 0.05             // below this probability it is not a coincidence
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

// judge says whose limit e met. slowed says that the lane is slowed already.
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

// explains reports whether a shared sender or domain explains the limit: given that own of the messages taken
// since the first encounter share it too, it is hardly a coincidence that all who met the limit do. A limit
// of the lane would have met others as well.
func (l *limits) explains(own int) bool {
	all := l.taken - l.met[0].taken
	return all > own && math.Pow(float64(own)/float64(all), float64(len(l.met))) < limitChance
}

// count says whether enough distinct recipients met a limit for it to be the lane's. One is enough to suspect
// a quota; the next message then confirms or refutes it.
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

// remember adds e, and reports whether its recipient is new: it has not met a limit recently.
func (l *limits) remember(e encounter) bool {
	e.taken = l.taken
	recent, isNew := l.met[:0], true
	for _, old := range l.met {
		if since := e.at.Sub(old.at); since < 0 || since > limitForget {
			continue
		}
		if old.key == e.key {
			isNew = false
			old.at = e.at
		}
		recent = append(recent, old)
	}
	if isNew {
		recent = append(recent, e)
	}
	l.met = append(l.met[:0], recent[max(0, len(recent)-limitRemembered):]...)
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

package lane

import (
	"context"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// pausedSenders are the senders whose mail waits because of a limit of their own, while all other mail goes
// on. For each of them one message at a time probes whether the limit has ended. Their number is bounded:
// beyond it the one that would be probed first is dropped, which costs one attempt. It belongs to the lane's
// goroutine.
type pausedSenders struct {
	paused map[string]*pausedSender
	shown  []relay.SenderPaused // as list returned them; nil when something changed since
}

// pausedSender is one of them.
type pausedSender struct {
	since    time.Time
	until    time.Time // when a message is offered again
	interval time.Duration
	probe    relay.Token // the message that probes now; "" when none does
	meaning  *diagnose.Diagnosis
}

// The constants of paused senders.
const (
	maxPausedSenders = 256
	senderProbeTime  = 30 * time.Second // for which the sender's other mail waits for the probe
)

// senderProbe is the time between two probes of a sender's rate limit.
func senderProbe() Bounds { return Bounds{Min: 5 * time.Second, Max: 5 * time.Minute} }

// pause makes the mail of a sender wait, or wait longer if its probe met the limit again. It reports whether
// the sender was not paused before.
func (p *pausedSenders) pause(h *metLimit, token relay.Token, now time.Time, b Bounds, policy *Policy) bool {
	sender := h.sender
	s, before := p.paused[sender]
	if before && s.probe != token && now.Before(s.until) {
		return false // it was under way already
	}
	if !before {
		p.makeRoom()
		s = &pausedSender{since: now}
		p.paused[sender] = s
	}
	s.interval = b.clamp(2 * s.interval)
	wait := s.interval
	if h.meaning.RetryAfter > 0 {
		wait = named(policy, h.meaning, 0)
	}
	s.until, s.meaning, s.probe = now.Add(wait), h.meaning, ""
	p.shown = nil
	return !before
}

// makeRoom makes room for another sender.
func (p *pausedSenders) makeRoom() {
	if p.paused == nil {
		p.paused = map[string]*pausedSender{}
	}
	if len(p.paused) < maxPausedSenders {
		return
	}
	first := ""
	for name, s := range p.paused {
		if first == "" || s.until.Before(p.paused[first].until) {
			first = name
		}
	}
	delete(p.paused, first)
}

// hold says whether a message of sender must wait, and until when. A message of a paused sender that need not
// wait is its probe.
func (p *pausedSenders) hold(sender string, token relay.Token, now time.Time) (until time.Time, waits bool) {
	s := p.paused[sender]
	switch {
	case s == nil:
		return time.Time{}, false
	case s.probe != "":
		return now.Add(senderProbeTime), true
	case now.Before(s.until):
		return s.until.Add(senderProbeTime), true
	}
	s.probe = token
	return time.Time{}, false
}

// taken ends the pause of a sender, since the upstream took a message of it.
func (p *pausedSenders) taken(sender string) {
	if p.paused[sender] != nil {
		delete(p.paused, sender)
		p.shown = nil
	}
}

// ended notes that a message is no longer under way. If it was its sender's probe and settled nothing about
// the limit, another one probes.
func (p *pausedSenders) ended(sender string, token relay.Token, now time.Time) {
	if s := p.paused[sender]; s != nil && s.probe == token {
		s.probe, s.until, p.shown = "", now, nil
	}
}

// tryNow makes the next message of every paused sender a probe.
func (p *pausedSenders) tryNow(now time.Time) {
	for _, s := range p.paused {
		s.until = now
	}
	p.shown = nil
}

// clear ends all pauses: the limit turned out not to be the senders' own.
func (p *pausedSenders) clear() {
	clear(p.paused)
	p.shown = nil
}

// pauseSender makes the mail of one sender wait, and reports that to the operator.
func (l *Lane) pauseSender(h *metLimit, token relay.Token, now time.Time) {
	bounds, set := senderProbe(), l.o.Settings()
	if h.kind == quotaLimit {
		bounds = quotaProbe()
	}
	first := l.senders.pause(h, token, now, bounds, &set.Policy)
	l.sift(now)
	if first && l.shouldReport("sender "+h.sender, h.meaning, now) {
		l.once("sender "+h.sender+" "+string(h.meaning.Reason), func() {
			l.event("refused", h.meaning, h.tried,
				"mail from "+h.sender+" waits; mail from other senders goes on")
		})
	}
}

// sift postpones the messages of paused senders that are leased and wait for a connection.
func (l *Lane) sift(now time.Time) {
	for range len(l.work) {
		select {
		case lm := <-l.work:
			switch until, waits := l.senders.hold(senderOf(&lm.tx), lm.token, now); {
			case waits && lm.offer:
				l.dismiss(lm, now)
			case waits:
				l.ended(lm, now, false)
				l.postpone(lm, until)
			default:
				l.work <- lm // there is room: it was just taken out, and only this goroutine adds
			}
		default:
			return
		}
	}
}

// postpone defers a leased message without offering it, because its sender's mail waits. It uses up no step
// of the schedule. The time is stored, so that a message is leased again no more often than its sender may
// probe.
func (l *Lane) postpone(lm *leased, until time.Time) {
	l.later++
	now, policy := l.o.Now(), l.o.Settings().Policy
	go func() {
		defer func() { l.signals <- signal{leased: lm, postponed: true} }()
		m := lm.tx.Message
		after := append([]relay.Recipient(nil), m.Recipients...)
		for _, i := range lm.tx.Recipients {
			after[i].NextAttempt = earlier(until, m.Arrived.Add(policy.Expiry))
		}
		set := relay.Settlement{Recipients: after, Owed: owed(&policy, m, after, now)}
		if err := lm.Settle(context.Background(), set); err != nil {
			l.o.Log.Error("cannot postpone a message", "lane", l.o.Name, "id", m.ID, "err", err)
			return
		}
		if len(set.Owed) > 0 {
			l.o.NoticesDue()
		}
	}()
}

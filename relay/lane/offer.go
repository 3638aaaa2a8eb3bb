package lane

import (
	"context"
	"io"
	"time"

	"mailwhy/relay"
)

// holder is who has a message while the lane works on it: the spool, or the session that brought it. After
// one of Settle and Release none of its methods is called again.
type holder interface {
	// Extend has the message kept for the lane for d from now.
	Extend(ctx context.Context, d time.Duration) error
	// Settle takes the outcome of the attempt, as Spool.Settle does.
	Settle(ctx context.Context, s relay.Settlement) error
	// Release takes the message back unchanged: it was not offered. It returns at once.
	Release() error
}

// Offer is a message that is not in the spool, or not yet: it is offered while the session that brought it
// waits. Its Settle and Release tell the session; which of the outcome is stored is the Offer's choice. After
// an error of Settle nothing was.
type Offer interface {
	holder
	Message() *relay.Message // read only
	Content() (io.ReadCloser, error)
}

// Offer hands a message to the lane, which concludes it: it calls Settle when the message was offered to the
// upstream, and Release, at once or later, when it was not. It reports false, and the message remains the
// caller's, when the lane has ended or ctx has.
//
// The lane offers the message only if nothing speaks against it now: all its recipients can be offered in one
// transaction, the lane is neither paused nor slowed below
// this message, no other mail that is due waits for it, and a connection is free. So the mail of a sender
// stays in its order, but for what waits for a further attempt.
func (l *Lane) Offer(ctx context.Context, o Offer) bool {
	select {
	case l.offers <- o:
		return true
	case <-l.over:
	case <-ctx.Done():
	}
	return false
}

// gatherOffers takes what is handed in besides first, so that many cost one step.
func (l *Lane) gatherOffers(first Offer) {
	l.offered = append(l.offered, first)
	for {
		select {
		case o := <-l.offers:
			l.offered = append(l.offered, o)
		default:
			return
		}
	}
}

// takeOffers queues the messages that were handed in for a connection, or gives them back. What is due in the
// spool was leased before.
func (l *Lane) takeOffers(now time.Time) {
	for _, o := range l.offered {
		m := o.Message()
		lm := &leased{holder: o, token: relay.Token("offer " + m.ID), account: l.account, offer: true,
			tx: relay.Transaction{Message: m, Open: o.Content}}
		for i := range m.Recipients {
			if l.o.Alike(m, 0, i) {
				lm.tx.Recipients = append(lm.tx.Recipients, i)
			}
		}
		lm.tx.From = l.o.ReversePath(&lm.tx)
		if len(lm.tx.Recipients) < len(m.Recipients) || !l.canOffer(senderOf(&lm.tx), now) {
			l.release(lm)
			continue
		}
		if v, _ := l.sieve(lm, now, true); v != someLeft {
			l.account.giveBack(1)
			l.release(lm)
			continue
		}
		l.pace.spend(now, 1, true)
		l.taken++
		lm.seq = l.taken
		l.out[lm.token] = lm
		l.work <- lm // never blocks: no more are under way than there are connections
	}
	clear(l.offered)
	l.offered = l.offered[:0]
}

// canOffer reports whether a message can be offered at once, and takes it out of the account's rate.
func (l *Lane) canOffer(sender string, now time.Time) bool {
	underWay := len(l.out) - l.later
	switch {
	case l.draining || l.outage.paused || l.outage.canary:
		return false
	case l.more.Load(): // it was not all leased: the pace forbids it, or there is too much
		return false
	case l.senders.paused[sender] != nil:
		return false
	case underWay >= l.connections() || underWay >= l.workers && !l.account.hasFree():
		return false
	}
	if n, _ := l.pace.room(now, 1); n < 1 {
		return false
	}
	granted, _ := l.account.grant(l, now, 1)
	return granted == 1
}

// lease is the spool as the holder of a message.
type lease struct {
	spool   relay.Spool
	token   relay.Token
	message *relay.Message
}

// Extend implements holder.
func (le *lease) Extend(ctx context.Context, d time.Duration) error {
	return le.spool.Extend(ctx, le.token, d)
}

// Settle implements holder.
func (le *lease) Settle(ctx context.Context, s relay.Settlement) error {
	return le.spool.Settle(ctx, le.token, s)
}

// Release implements holder. Of a spool that is no Releaser it settles the message as it was.
func (le *lease) Release() error {
	if r, ok := le.spool.(relay.Releaser); ok {
		return r.Release(le.token)
	}
	return le.Settle(context.Background(), relay.Settlement{Recipients: le.message.Recipients})
}

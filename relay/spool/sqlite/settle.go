package sqlite

import (
	"context"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/queue"
)

// Settle implements relay.Spool. It returns when the settlement is durable. While the disk does not let it
// be written the settlement waits in memory, first in line, and the message is not leased again; when ctx
// ends Settle returns its cause, and the settlement goes on waiting.
func (s *Spool) Settle(ctx context.Context, t relay.Token, st relay.Settlement) error {
	le, err := s.queue.BeginSettle(t)
	if err != nil {
		return err
	}
	op, err := settlement(s, le, st)
	if err != nil {
		s.queue.AbortSettle(le)
		return err
	}
	return s.w.ops.do(ctx, op)
}

// settling is a settlement on its way into the spool.
type settling struct {
	s       *Spool
	le      *queue.Lease
	r       *spool.Record
	st      relay.Settlement
	ends    bool // nothing waits for the message any more, unless an entry of the outbox does
	removed bool // by the last run
}

// settlement is the operation that settles a lease.
func settlement(s *Spool, le *queue.Lease, st relay.Settlement) (*operation, error) {
	if err := spool.CheckSettlement(&st, le.Recipients); err != nil {
		return nil, err
	}
	r := le.Record()
	r.Count(st.Recipients)
	se := &settling{s: s, le: le, r: r, st: st, ends: r.Open == 0 && len(st.Owed) == 0}
	if !se.ends { // else there is no state to store
		if err := r.SetRecipients(st.Recipients); err != nil {
			return nil, err
		}
	}
	return &operation{
		mustWrite: true, size: len(r.Recipients), journal: se.journal, apply: se.apply, after: se.after,
	}, nil
}

// journal makes the settlement in the journal alone, if the message ends with it.
func (se *settling) journal(j *journaling) (_ bool, err error) {
	if se.removed = false; se.ends {
		se.removed, err = j.end(se.r)
	}
	return se.removed, err
}

// apply makes the settlement within a transaction.
func (se *settling) apply(t *database.Tx) (err error) {
	if se.ends {
		if se.removed, err = t.End(se.r); se.removed || err != nil {
			return err
		}
		if err := se.r.SetRecipients(se.st.Recipients); err != nil {
			return err
		}
	}
	se.removed, err = se.applyState(t)
	return err
}

// applyState stores the state of a record, for which a recipient or an entry of the outbox waits, and its
// entries. It reports a message that has gone before: this very settlement was written then, in a commit
// that seemed to fail.
func (se *settling) applyState(t *database.Tx) (removed bool, err error) {
	r := se.r
	// The lane and the sender are the row's: the message may have been given to another lane since it was
	// leased.
	if r.Lane, r.Sender, err = database.LaneOf(t.Conn, r.Seq); err != nil || r.Lane == "" {
		return err == nil, err
	}
	if se.st.Lane != "" {
		r.Lane = se.st.Lane
	}
	r.Slot = 0
	if r.Due != spool.Never {
		se.s.queue.GiveSlot(r)
	}
	changed, err := t.Update(r)
	if err != nil || changed == 0 {
		return err == nil, err
	}
	return false, t.AddEntries(r.Seq, se.st.Owed)
}

// after ends a lease whose settlement is durable.
func (se *settling) after(err error) {
	switch {
	case err != nil:
		se.s.queue.AbortSettle(se.le)
	case se.removed:
		se.s.queue.EndSettle(se.le, nil)
	default:
		se.s.queue.EndSettle(se.le, se.r)
		if se.r.Lane != se.le.Lane {
			se.s.watchers.Tell(se.r.Lane)
		}
	}
}

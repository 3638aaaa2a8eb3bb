package sqlite

import (
	"context"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/queue"
)

// Lease implements relay.Spool. A message whose lease lapses has its slot as before; next does not count it
// before.
func (s *Spool) Lease(ctx context.Context, q relay.LeaseQuery) ([]relay.Lease, time.Time, error) {
	if err := s.w.ops.stuck(); err != nil {
		return nil, time.Time{}, err
	}
	l := stored{s, s.queue.Lane(q.Lane)}
	leave, err := l.lane.Enter(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer leave()
	if err := l.enqueueDue(ctx, q.Now); err != nil {
		return nil, time.Time{}, err
	}
	leases, next, ok := l.lane.LeaseInMemory(q)
	if !ok {
		if leases, next, err = l.lease(ctx, q); err != nil {
			return nil, time.Time{}, err
		}
	}
	due, _, err := l.waiting(q.Now)
	if err != nil {
		return leases, q.Now.Add(time.Second), nil // the leases are given, and must reach the caller
	}
	if wait := spool.TimeOf(due); due != spool.Never && (next.IsZero() || wait.Before(next)) {
		next = wait
	}
	return leases, next, nil
}

// stored is what the database has of a lane.
type stored struct {
	s    *Spool
	lane *queue.Lane
}

// lease leases from the database, and returns when the first that stays there is due.
func (l stored) lease(ctx context.Context, q relay.LeaseQuery) ([]relay.Lease, time.Time, error) {
	from, worth := l.lane.StartScan()
	if !worth {
		return nil, time.Time{}, nil
	}
	found, err := l.scan(from, q.Max)
	found.Failed = err != nil
	var bad []database.Damaged
	found.Messages, bad = decodeAll(&found.Records)
	leases, next, early := l.lane.HandOut(found, q)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(bad) > 0 {
		l.s.quarantine.add(ctx, bad)
	}
	if len(early) > 0 {
		l.sendBack(ctx, early) // those that are not written are found early again
	}
	if found.More {
		next = q.Now
	}
	return leases, next, nil
}

// scanBytes bounds the contents that one scan reads, all in all.
const scanBytes = 1 << 20

// scan reads up to limit records that stand after from and are not leased, with their contents if these are
// small: to read them one by one would cost more than all the rest.
func (l stored) scan(from queue.Position, limit int) (found queue.Scanned, err error) {
	err = l.s.read(func(c *database.Conn) error {
		found = queue.Scanned{End: from}
		limitBytes := int64(scanBytes / max(limit, 1))
		return c.Lane(l.lane.Name).Scan(from.Slot, from.Seq, limitBytes, func(r *spool.Record) error {
			leased := l.s.queue.IsLeased(r.Seq)
			if !leased && len(found.Records) >= limit {
				found.More = true
				return database.ErrStop
			}
			found.End = queue.Position{Slot: r.Slot, Seq: r.Seq}
			if !leased {
				found.Records = append(found.Records, r)
			}
			return nil
		})
	})
	return found, err
}

// decodeAll restores the messages of records; those that are damaged are taken out of them.
func decodeAll(records *[]*spool.Record) (messages []*relay.Message, bad []database.Damaged) {
	whole := (*records)[:0]
	for _, r := range *records {
		m, err := r.Decode()
		if err != nil {
			bad = append(bad, database.Damaged{Record: r, Why: err.Error()})
			continue
		}
		whole, messages = append(whole, r), append(messages, m)
	}
	*records = whole
	return messages, bad
}

// waiting returns when the earliest message of the lane without a slot is due; see queue.Lane.Waiting.
func (l stored) waiting(now time.Time) (due int64, jumped bool, err error) {
	return l.lane.Waiting(spool.Nanos(now), func() (due int64, ok bool, err error) {
		err = l.s.read(func(c *database.Conn) (err error) {
			due, ok, err = c.Lane(l.lane.Name).FirstDue()
			return err
		})
		return due, ok, err
	})
}

// enqueueMax is how many messages get their slot in one transaction.
const enqueueMax = 512

// enqueueDue gives slots to the messages of a lane that have become due since, and to those whose due time
// lies too far ahead; these there are only when the clock was set back.
func (l stored) enqueueDue(ctx context.Context, now time.Time) error {
	due, jumped, err := l.waiting(now)
	if err != nil || due == spool.Never || due > spool.Nanos(now) && !jumped {
		return err
	}
	// By itself, since it may have the reserve of a full disk, and giving slots may not.
	if err := l.s.checkpoint(); err != nil {
		return err
	}
	var up []*spool.Record
	defer l.s.queue.ForgetWaits()
	return l.s.w.ops.do(ctx, &operation{
		size: enqueueMax * 256,
		apply: func(t *database.Tx) (err error) {
			far := queue.FarAhead(now, l.s.o.MaxDelay)
			if up, err = t.Lane(l.lane.Name).Due(spool.Nanos(now), far, enqueueMax); err != nil {
				return err
			}
			return l.giveSlots(t, up)
		},
		after: func(err error) { l.s.queue.Arrive(up...) },
	})
}

// giveSlots writes the slots of records that have become due.
func (l stored) giveSlots(t *database.Tx, up []*spool.Record) error {
	for _, r := range up {
		r.Slot = l.lane.Next(r.Sender)
		if err := t.SetSlot(r.Seq, r.Slot); err != nil {
			return err
		}
	}
	return nil
}

// sendBack takes the slots of messages that turn out not to be due, because the clock was set back.
func (l stored) sendBack(ctx context.Context, seqs []int64) error {
	defer l.s.queue.ForgetWaits()
	return l.s.w.ops.do(ctx, &operation{apply: func(t *database.Tx) error {
		for _, seq := range seqs {
			if err := t.SetSlot(seq, 0); err != nil {
				return err
			}
		}
		return nil
	}})
}

// restoreLanes finds the lanes of the database that was opened. Each goes on behind its head; how far
// ahead the senders are its end tells, where those stand who have much waiting.
func restoreLanes(q *queue.Queue, c *database.Conn) error {
	for after := ""; ; {
		name, ok, err := database.NextQueuedLane(c, after)
		if err != nil || !ok {
			return err
		}
		lane := c.Lane(name)
		head, err := lane.Head()
		if err != nil {
			return err
		}
		newest, err := lane.Newest()
		if err != nil {
			return err
		}
		q.Restore(name, head, newest)
		after = name
	}
}

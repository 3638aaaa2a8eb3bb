package sqlite

import (
	"context"
	"errors"
	"fmt"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/repair"
)

// errQuarantined is returned for a message that turned out to be damaged and was set aside.
var errQuarantined = errors.New("the message was damaged and is set aside")

// quarantine sets damaged messages aside, so that the rest goes on, and tells of them.
type quarantine struct{ s *Spool }

// add sets damaged messages aside. The error is that of the disk.
func (q *quarantine) add(ctx context.Context, bad []database.Damaged) error {
	var tombstones []*spool.Record
	err := q.s.w.ops.do(ctx, &operation{
		apply: func(t *database.Tx) error {
			tombstones = tombstones[:0]
			for _, b := range bad {
				tombstone, err := q.move(t, b)
				if err != nil {
					return err
				}
				if tombstone != nil {
					tombstones = append(tombstones, tombstone)
				}
			}
			return nil
		},
		after: func(error) {
			for _, b := range bad {
				q.s.queue.DropContent(b.Record.ID)
			}
			q.s.queue.Arrive(tombstones...)
		},
	})
	if err != nil {
		q.s.o.Log.Error("cannot set damaged messages aside", "count", len(bad), "first", bad[0].Record.ID,
			"err", err)
		return err
	}
	q.report(bad)
	return nil
}

// move copies a message, with its content as far as that can be read, to where nothing is leased from. In
// its place it leaves a tombstone, if there is somebody to tell, and else nothing.
func (q *quarantine) move(t *database.Tx, b database.Damaged) (tombstone *spool.Record, err error) {
	// A content that cannot be read must not keep the rest from being saved.
	data, err := t.Content(b.Record)
	if err != nil {
		b.Why += "; its content cannot be read: " + err.Error()
	}
	now := q.s.o.Now()
	if err := t.SaveDamaged(b, data, spool.Nanos(now)); err != nil {
		return nil, err
	}
	if tombstone := b.Record.Tombstone(now); tombstone != nil {
		q.s.queue.GiveSlot(tombstone)
		return tombstone, t.Rewrite(b.Record, tombstone)
	}
	return nil, t.DeleteDamaged(b.Record)
}

// salvage replaces the damaged database, which must be closed, by one with all that can be read of it.
func (q *quarantine) salvage(why string) error {
	lost, err := repair.Salvage(q.s.dir, why)
	if err != nil {
		return err
	}
	q.s.queue.ForgetWaits() // tombstones may be among what waits now
	q.report(lost)
	return nil
}

// report tells of messages that were set aside.
func (q *quarantine) report(bad []database.Damaged) {
	for _, b := range bad {
		q.s.stat.quarantined.Add(1)
		m, err := b.Record.DecodeAnyway()
		if err != nil {
			b.Why += fmt.Sprintf(" (%v)", err)
		}
		q.s.o.Log.Error("a message in the spool is damaged; it is set aside in the table quarantine",
			"id", b.Record.ID, "from", b.Record.Sender, "recipients", addresses(m), "size", b.Record.Size,
			"why", b.Why)
		q.s.o.Quarantined(Quarantined{ID: b.Record.ID, Message: m, Why: b.Why})
	}
}

// addresses are the recipients of m, for the log.
func addresses(m *relay.Message) (list []string) {
	for i := range m.Recipients {
		list = append(list, m.Recipients[i].Address)
	}
	return list
}

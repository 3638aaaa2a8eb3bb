package sqlite

import (
	"context"
	"io"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/queue"
)

// noticeBudget is how many bytes of recipients' states DueNotices reads at a time, so that a thousand
// messages to as many recipients do not fill the memory.
const noticeBudget = 8 << 20

// noticeContent is the largest content that DueNotices reads with its message, to spare a query.
const noticeContent = 32 << 10

// DueNotices implements relay.NoticeSpool.
func (s *Spool) DueNotices(_ context.Context, now time.Time, max int,
	skip func(id string) bool) (due []relay.Notices, next time.Time, err error) {
	if skip == nil {
		skip = func(string) bool { return false }
	}
	var records []*spool.Record
	err = s.read(func(c *database.Conn) error {
		due, records, next = nil, nil, time.Time{}
		seqs, at, err := c.DueNotices(spool.Nanos(now), queue.FarAhead(now, s.o.MaxDelay), max, skip)
		if err != nil {
			return err
		}
		next = at
		left, contents := noticeBudget, s.o.Limits.Cache/4
		for _, seq := range seqs {
			if left < 0 {
				next = now
				break
			}
			r, err := c.RecordWithContent(seq, min(noticeContent, contents))
			if err != nil {
				return err
			}
			notices, err := c.Notices(r)
			if err != nil {
				return err
			}
			records = append(records, r)
			due = append(due, relay.Notices{Notices: notices})
			left -= len(r.Recipients)
			contents -= int64(len(r.Data))
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	s.queue.KeepContents(records)
	return s.readable(records, due), next, nil
}

// readable fills in the messages of due, and leaves out those that cannot be read.
func (s *Spool) readable(records []*spool.Record, due []relay.Notices) []relay.Notices {
	var bad []database.Damaged
	whole := due[:0]
	for i, r := range records {
		m, err := r.Decode()
		if err != nil {
			bad = append(bad, database.Damaged{Record: r, Why: err.Error()})
			continue
		}
		due[i].Message = m
		due[i].Notices = slices.DeleteFunc(due[i].Notices, func(n relay.Notice) bool {
			damaged := n.Recipient < 0 || n.Recipient >= len(m.Recipients)
			if damaged {
				s.o.Log.Error("a notice is damaged; it is passed over", "id", m.ID, "recipient", n.Recipient,
					"kind", n.Kind)
			}
			return damaged
		})
		if len(due[i].Notices) > 0 {
			whole = append(whole, due[i])
		}
	}
	if len(bad) > 0 {
		s.quarantine.add(context.Background(), bad)
	}
	return whole
}

// Report implements relay.NoticeSpool. The spool's limits do not hold for a report: it lets messages go.
func (s *Spool) Report(ctx context.Context, consumed []relay.Notice, dsn *relay.Message,
	content io.Reader) error {
	after := func(err error) {
		if err == nil {
			s.uncache(consumed)
		}
	}
	if dsn == nil {
		return s.w.ops.do(ctx, &operation{
			size:    64 * len(consumed),
			apply:   func(t *database.Tx) error { return t.Consume(consumed) },
			journal: func(j *journaling) (bool, error) { j.report(consumed, nil); return true, nil },
			after:   after,
		})
	}
	p, err := s.receive(dsn, content, false)
	if err != nil {
		return err
	}
	p.report = true
	s.queue.Throttle(ctx, dsn.Lane)
	op := &operation{
		size: 64*len(consumed) + p.bytes(),
		put:  p,
		apply: func(t *database.Tx) error {
			if err := t.Consume(consumed); err != nil {
				return err
			}
			return p.apply(t)
		},
		journal: func(j *journaling) (bool, error) { return p.journalReport(j, consumed) },
		after:   func(err error) { p.after(err); after(err) },
	}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return err
}

// journalReport stores the report in the journal, with what it reports, if its lane is going to get it from
// memory.
func (p *putting) journalReport(j *journaling, reported []relay.Notice) (bool, error) {
	p.stored = false
	if !p.fitsJournal() {
		return false, nil
	}
	known, err := j.knowsReport(p.r.ID)
	if err != nil {
		return false, err
	}
	if known || p.gone() {
		j.report(reported, nil)
		return true, nil
	}
	if p.s.queue.GiveSlot(p.r); p.r.Slot == 0 {
		return false, nil
	}
	j.report(reported, p.r)
	p.stored = true
	return true, nil
}

// uncache drops the contents of messages whose notices were reported: they have most likely gone.
func (s *Spool) uncache(reported []relay.Notice) {
	for _, n := range reported {
		s.queue.DropContent(n.Message)
	}
}

// Postpone implements relay.NoticeSpool.
func (s *Spool) Postpone(ctx context.Context, notices []relay.Notice) error {
	return s.w.ops.do(ctx, &operation{
		size:  64 * len(notices),
		apply: func(t *database.Tx) error { return t.Postpone(notices) },
	})
}

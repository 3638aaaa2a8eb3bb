package sqlite

import (
	"context"
	"database/sql/driver"
	"io"
	"slices"
	"time"

	"mailwhy/relay"
)

// addNotices records notices of a message. One that is recorded already gets the new due time.
func (t *tx) addNotices(seq int64, notices []relay.Notice) error {
	for _, n := range notices {
		added, err := t.exec("INSERT INTO notice (seq, recipient, kind, due, digest) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
			seq, int64(n.Recipient), string(n.Kind), nanos(n.Due), n.Digest)
		if err == nil && added == 0 {
			_, err = t.exec("UPDATE notice SET due=?, digest=? WHERE seq=? AND recipient=? AND kind=?",
				nanos(n.Due), n.Digest, seq, int64(n.Recipient), string(n.Kind))
		}
		if err != nil {
			return err
		}
		t.n.notices += added
	}
	return nil
}

// hasNotices reports whether a message has notices.
func (t *tx) hasNotices(seq int64) (bool, error) {
	if t.n.notices == 0 {
		return false, nil
	}
	return t.conn.hasNotices(seq)
}

func (c *conn) hasNotices(seq int64) (bool, error) {
	_, ok, err := c.integer("SELECT 1 FROM notice WHERE seq=? LIMIT 1", seq)
	return ok, err
}

// dropNotices removes all notices of a message.
func (t *tx) dropNotices(seq int64) error {
	if t.n.notices == 0 {
		return nil
	}
	n, err := t.exec("DELETE FROM notice WHERE seq=?", seq)
	t.n.notices -= n
	return err
}

// noticeBudget is how many bytes of recipients' states DueNotices reads at a time, so that a thousand messages to as many
// recipients do not fill the memory.
const noticeBudget = 8 << 20

// noticeContent is the largest content that DueNotices reads with its message, to spare a query.
const noticeContent = 32 << 10

// DueNotices implements relay.NoticeSpool.
func (s *Spool) DueNotices(_ context.Context, now time.Time, max int, skip func(id string) bool) (due []relay.Notices, next time.Time, err error) {
	if skip == nil {
		skip = func(string) bool { return false }
	}
	var records []*record
	err = s.read(func(c *conn) error {
		due, records, next = nil, nil, time.Time{}
		seqs, at, err := c.dueSeqs(nanos(now), farAhead(now, s.o.MaxDelay), max, skip)
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
			r, err := c.oneWithContent(seq, min(noticeContent, contents))
			if err != nil {
				return err
			}
			notices, err := c.noticesOf(r)
			if err != nil {
				return err
			}
			records = append(records, r)
			due = append(due, relay.Notices{Notices: notices})
			left -= len(r.recipients)
			contents -= int64(len(r.data))
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	s.keepContents(records)
	return s.readable(records, due), next, nil
}

// keepContents keeps the contents that were read with records: they are about to be returned in reports.
func (s *Spool) keepContents(records []*record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		s.cache.addRead(r)
	}
}

// readable fills in the messages of due, and leaves out those that cannot be read.
func (s *Spool) readable(records []*record, due []relay.Notices) []relay.Notices {
	var bad []damagedRecord
	whole := due[:0]
	for i, r := range records {
		m, err := r.decode()
		if err != nil {
			bad = append(bad, damagedRecord{r, err.Error()})
			continue
		}
		due[i].Message = m
		due[i].Notices = slices.DeleteFunc(due[i].Notices, func(n relay.Notice) bool {
			damaged := n.Recipient < 0 || n.Recipient >= len(m.Recipients)
			if damaged {
				s.o.Log.Error("a notice is damaged; it is passed over", "id", m.ID, "recipient", n.Recipient, "kind", n.Kind)
			}
			return damaged
		})
		if len(due[i].Notices) > 0 {
			whole = append(whole, due[i])
		}
	}
	if len(bad) > 0 {
		s.quarantineAll(context.Background(), bad)
	}
	return whole
}

// dueSeqs finds the messages that have a notice due, up to max and without those to be skipped, and when the next one is. A due
// time after far is due.
func (c *conn) dueSeqs(now, far int64, max int, skip func(id string) bool) (seqs []int64, next time.Time, err error) {
	seen := map[int64]bool{}
	for _, q := range []struct{ until, from int64 }{{never, far}, {now, -1}} {
		err = c.query(func(row []driver.Value) error {
			seq, _ := row[0].(int64)
			due, _ := row[1].(int64)
			id, _ := row[2].(string)
			switch {
			case due > far && q.from < far:
				return errStop
			case seen[seq], skip(id):
			case due > q.until, len(seqs) == max:
				next = timeOf(due)
				return errStop
			default:
				seen[seq] = true
				seqs = append(seqs, seq)
			}
			return nil
		}, "SELECT n.seq, n.due, m.id FROM notice n CROSS JOIN message m ON m.seq=n.seq WHERE n.due>? ORDER BY n.due", q.from)
		if err != nil || !next.IsZero() {
			break
		}
	}
	return seqs, next, err
}

// noticesOf reads the notices of a message.
func (c *conn) noticesOf(r *record) (notices []relay.Notice, err error) {
	err = c.query(func(row []driver.Value) error {
		recipient, _ := row[0].(int64)
		kind, _ := row[1].(string)
		due, _ := row[2].(int64)
		digest, _ := row[3].(int64)
		notices = append(notices, relay.Notice{
			Message: r.id, Recipient: int(recipient), Kind: relay.NoticeKind(kind), Due: timeOf(due), Digest: digest != 0,
		})
		return nil
	}, "SELECT recipient, kind, due, digest FROM notice WHERE seq=? ORDER BY recipient, kind", r.seq)
	return notices, err
}

// Report implements relay.NoticeSpool. The spool's limits do not hold for a report: it lets messages go.
func (s *Spool) Report(ctx context.Context, consumed []relay.Notice, dsn *relay.Message, content io.Reader) error {
	told := func(err error) {
		if err == nil {
			s.uncache(consumed)
		}
	}
	if dsn == nil {
		return s.w.do(ctx, &operation{
			size:    64 * len(consumed),
			apply:   func(t *tx) error { return t.consume(consumed) },
			journal: func(j *journaling) (bool, error) { j.report(consumed, nil); return true, nil },
			after:   told,
		})
	}
	p, err := s.receive(dsn, content, false)
	if err != nil {
		return err
	}
	p.report = true
	s.brake(ctx, dsn.Lane)
	op := &operation{
		size: 64*len(consumed) + p.bytes(),
		put:  p,
		apply: func(t *tx) error {
			if err := t.consume(consumed); err != nil {
				return err
			}
			return p.apply(t)
		},
		journal: func(j *journaling) (bool, error) { return p.journalReport(j, consumed) },
		after:   func(err error) { p.after(err); told(err) },
	}
	err = s.w.do(ctx, op)
	p.finish(op, err)
	return err
}

// journalReport stores the report in the journal, with what it tells, if its lane is going to get it from memory.
func (p *putting) journalReport(j *journaling, told []relay.Notice) (bool, error) {
	p.stored = false
	if !p.fitsJournal() {
		return false, nil
	}
	known, err := j.knowsReport(p.r.id)
	if err != nil {
		return false, err
	}
	if known || p.gone() {
		j.report(told, nil)
		return true, nil
	}
	if p.s.turn(p.r); p.r.turn == 0 {
		return false, nil
	}
	j.report(told, p.r)
	p.stored = true
	return true, nil
}

// uncache drops the contents of messages whose notices were told: they have most likely gone.
func (s *Spool) uncache(told []relay.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range told {
		s.cache.drop(n.Message)
	}
}

// forget drops what is kept of messages that have gone.
func (s *Spool) forget(gone []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range gone {
		s.gone.add(id)
		s.cache.drop(id)
	}
}

// consume removes notices, and the messages that wait for nothing else.
func (t *tx) consume(consumed []relay.Notice) error {
	messages := map[string]int64{}
	for _, n := range consumed {
		err := t.query(func(row []driver.Value) error {
			t.n.notices--
			messages[n.Message], _ = row[0].(int64)
			return nil
		}, "DELETE FROM notice WHERE seq=(SELECT seq FROM message WHERE id=?) AND recipient=? AND kind=? RETURNING seq",
			n.Message, int64(n.Recipient), string(n.Kind))
		if err != nil {
			return err
		}
	}
	for id, seq := range messages {
		removed, err := t.removeIfDone(seq)
		if err != nil {
			return err
		}
		if removed {
			t.gone = append(t.gone, id)
		}
	}
	return nil
}

// removeIfDone removes a message that neither a recipient nor a notice waits for.
func (t *tx) removeIfDone(seq int64) (removed bool, err error) {
	var size int64
	file := ""
	err = t.query(func(row []driver.Value) error {
		removed = true
		size, _ = row[0].(int64)
		file, _ = row[1].(string)
		return nil
	}, "DELETE FROM message WHERE seq=?1 AND open=0 AND NOT EXISTS (SELECT 1 FROM notice WHERE seq=?1) RETURNING size, file", seq)
	if err != nil || !removed {
		return false, err
	}
	return true, t.deleted(seq, size, file)
}

// Postpone implements relay.NoticeSpool.
func (s *Spool) Postpone(ctx context.Context, notices []relay.Notice) error {
	return s.w.do(ctx, &operation{
		size: 64 * len(notices),
		apply: func(t *tx) error {
			for _, n := range notices {
				_, err := t.exec(
					"UPDATE notice SET due=?, digest=? WHERE seq=(SELECT seq FROM message WHERE id=?) AND recipient=? AND kind=?",
					nanos(n.Due), n.Digest, n.Message, int64(n.Recipient), string(n.Kind))
				if err != nil {
					return err
				}
			}
			return nil
		},
	})
}

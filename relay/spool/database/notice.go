package database

import (
	"database/sql/driver"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// AddNotices records notices of a message. One that is recorded already gets the new due time.
func (t *Tx) AddNotices(seq int64, notices []relay.Notice) error {
	for _, n := range notices {
		added, err := t.Exec("INSERT INTO notice (seq, recipient, kind, due, digest)"+
			" VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
			seq, int64(n.Recipient), string(n.Kind), spool.Nanos(n.Due), n.Digest)
		if err == nil && added == 0 {
			_, err = t.Exec("UPDATE notice SET due=?, digest=? WHERE seq=? AND recipient=? AND kind=?",
				spool.Nanos(n.Due), n.Digest, seq, int64(n.Recipient), string(n.Kind))
		}
		if err != nil {
			return err
		}
		t.Counts.Notices += added
	}
	return nil
}

// HasNotices reports whether a message has notices.
func (t *Tx) HasNotices(seq int64) (bool, error) {
	if t.Counts.Notices == 0 {
		return false, nil
	}
	return t.Conn.HasNotices(seq)
}

func (c *Conn) HasNotices(seq int64) (bool, error) {
	_, ok, err := c.Integer("SELECT 1 FROM notice WHERE seq=? LIMIT 1", seq)
	return ok, err
}

// DropNotices removes all notices of a message.
func (t *Tx) DropNotices(seq int64) error {
	if t.Counts.Notices == 0 {
		return nil
	}
	n, err := t.Exec("DELETE FROM notice WHERE seq=?", seq)
	t.Counts.Notices -= n
	return err
}

// DueNotices finds the messages that have a notice due, up to max and without those to be skipped, and when
// the next one is. A due time after far is due.
func (c *Conn) DueNotices(now, far int64, max int,
	skip func(id string) bool) (seqs []int64, next time.Time, err error) {
	seen := map[int64]bool{}
	for _, q := range []struct{ until, from int64 }{{spool.Never, far}, {now, -1}} {
		err = c.Query(func(row []driver.Value) error {
			seq, _ := row[0].(int64)
			due, _ := row[1].(int64)
			id, _ := row[2].(string)
			switch {
			case due > far && q.from < far:
				return ErrStop
			case seen[seq], skip(id):
			case due > q.until, len(seqs) == max:
				next = spool.TimeOf(due)
				return ErrStop
			default:
				seen[seq] = true
				seqs = append(seqs, seq)
			}
			return nil
		}, "SELECT n.seq, n.due, m.id FROM notice n CROSS JOIN message m ON m.seq=n.seq"+
			" WHERE n.due>? ORDER BY n.due", q.from)
		if err != nil || !next.IsZero() {
			break
		}
	}
	return seqs, next, err
}

// Notices reads the notices of a message.
func (c *Conn) Notices(r *spool.Record) (notices []relay.Notice, err error) {
	err = c.Query(func(row []driver.Value) error {
		recipient, _ := row[0].(int64)
		kind, _ := row[1].(string)
		due, _ := row[2].(int64)
		digest, _ := row[3].(int64)
		notices = append(notices, relay.Notice{
			Message: r.ID, Recipient: int(recipient), Kind: relay.NoticeKind(kind), Due: spool.TimeOf(due),
			Digest: digest != 0,
		})
		return nil
	}, "SELECT recipient, kind, due, digest FROM notice WHERE seq=? ORDER BY recipient, kind", r.Seq)
	return notices, err
}

// Consume removes notices, and the messages that wait for nothing else.
func (t *Tx) Consume(consumed []relay.Notice) error {
	messages := map[string]int64{}
	for _, n := range consumed {
		err := t.Query(func(row []driver.Value) error {
			t.Counts.Notices--
			messages[n.Message], _ = row[0].(int64)
			return nil
		}, "DELETE FROM notice WHERE seq=(SELECT seq FROM message WHERE id=?) AND recipient=? AND kind=?"+
			" RETURNING seq",
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
			t.Gone = append(t.Gone, id)
		}
	}
	return nil
}

// removeIfDone removes a message that neither a recipient nor a notice waits for.
func (t *Tx) removeIfDone(seq int64) (removed bool, err error) {
	var size int64
	file := ""
	err = t.Query(func(row []driver.Value) error {
		removed = true
		size, _ = row[0].(int64)
		file, _ = row[1].(string)
		return nil
	}, "DELETE FROM message WHERE seq=?1 AND open=0 AND NOT EXISTS (SELECT 1 FROM notice"+
		" WHERE seq=?1) RETURNING size, file", seq)
	if err != nil || !removed {
		return false, err
	}
	return true, t.deleted(seq, size, file)
}

// Postpone gives those notices that are still there the due time and the digest that stand in them.
func (t *Tx) Postpone(notices []relay.Notice) error {
	for _, n := range notices {
		_, err := t.Exec(
			"UPDATE notice SET due=?, digest=?"+
				" WHERE seq=(SELECT seq FROM message WHERE id=?) AND recipient=? AND kind=?",
			spool.Nanos(n.Due), n.Digest, n.Message, int64(n.Recipient), string(n.Kind))
		if err != nil {
			return err
		}
	}
	return nil
}

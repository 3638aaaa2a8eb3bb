package database

import (
	"database/sql/driver"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// AddEntries records what is owed for a message. An entry that is recorded already is replaced.
func (t *Tx) AddEntries(seq int64, entries []relay.Entry) error {
	for _, e := range entries {
		added, err := t.Exec("INSERT INTO outbox (seq, topic, key, due, payload) VALUES (?,?,?,?,?)"+
			" ON CONFLICT DO NOTHING", seq, string(e.Topic), e.Key, spool.Nanos(e.Due), payload(e))
		if err == nil && added == 0 {
			_, err = t.Exec("UPDATE outbox SET due=?, payload=? WHERE seq=? AND topic=? AND key=?",
				spool.Nanos(e.Due), payload(e), seq, string(e.Topic), e.Key)
		}
		if err != nil {
			return err
		}
		t.Counts.Owed += added
	}
	return nil
}

// payload is that of an entry as it is stored: NULL for none.
func payload(e relay.Entry) driver.Value {
	if len(e.Payload) == 0 {
		return nil
	}
	return e.Payload
}

// IsOwed reports whether a message has entries in the outbox.
func (t *Tx) IsOwed(seq int64) (bool, error) {
	if t.Counts.Owed == 0 {
		return false, nil
	}
	return t.Conn.IsOwed(seq)
}

// IsOwed reports whether a message has entries in the outbox.
func (c *Conn) IsOwed(seq int64) (bool, error) {
	_, ok, err := c.Integer("SELECT 1 FROM outbox WHERE seq=? LIMIT 1", seq)
	return ok, err
}

// DropEntries removes all entries of a message.
func (t *Tx) DropEntries(seq int64) error {
	if t.Counts.Owed == 0 {
		return nil
	}
	n, err := t.Exec("DELETE FROM outbox WHERE seq=?", seq)
	t.Counts.Owed -= n
	return err
}

// Owing is a message that has an entry in the outbox.
type Owing struct {
	Seq int64
	ID  string
}

// Due finds the messages that have an entry of the topic due, up to max and without those to be skipped, and
// when the next one is. A due time after far is due.
func (c *Conn) Due(topic relay.Topic, now, far int64, max int,
	skip func(id string) bool) (due []Owing, next time.Time, err error) {
	seen := map[int64]bool{}
	for _, q := range []struct{ until, from int64 }{{spool.Never, far}, {now, -1}} {
		err = c.Query(func(row []driver.Value) error {
			seq, _ := row[0].(int64)
			at, _ := row[1].(int64)
			id, _ := row[2].(string)
			switch {
			case at > far && q.from < far:
				return ErrStop
			case seen[seq], skip(id):
			case at > q.until, len(due) == max:
				next = spool.TimeOf(at)
				return ErrStop
			default:
				seen[seq] = true
				due = append(due, Owing{seq, id})
			}
			return nil
		}, "SELECT o.seq, o.due, m.id FROM outbox o CROSS JOIN message m ON m.seq=o.seq"+
			" WHERE o.topic=? AND o.due>? ORDER BY o.due", string(topic), q.from)
		if err != nil || !next.IsZero() {
			break
		}
	}
	return due, next, err
}

// AllEntries reads the entries of a message, of all topics.
func (c *Conn) AllEntries(r *spool.Record) (entries []relay.Entry, err error) {
	query := "SELECT topic, key, due, payload FROM outbox WHERE seq=? ORDER BY topic, key"
	if c.format == 1 || c.format == 2 {
		query = "SELECT 'report', kind || '/' || recipient, due," +
			" CASE WHEN digest THEN CAST('digest' AS BLOB) END FROM notice WHERE seq=?"
	}
	err = c.Query(func(row []driver.Value) error {
		entries = append(entries, scanEntry(r.ID, row))
		return nil
	}, query, r.Seq)
	return entries, err
}

// Entries reads the entries of a message that one topic has, by key.
func (c *Conn) Entries(r *spool.Record, topic relay.Topic) (entries []relay.Entry, err error) {
	err = c.Query(func(row []driver.Value) error {
		entries = append(entries, scanEntry(r.ID, row))
		return nil
	}, "SELECT topic, key, due, payload FROM outbox WHERE seq=? AND topic=? ORDER BY key", r.Seq,
		string(topic))
	return entries, err
}

// scanEntry reads a row of the outbox.
func scanEntry(message string, row []driver.Value) relay.Entry {
	e := relay.Entry{Message: message}
	topic, _ := row[0].(string)
	e.Topic = relay.Topic(topic)
	e.Key, _ = row[1].(string)
	due, _ := row[2].(int64)
	e.Due = spool.TimeOf(due)
	e.Payload, _ = row[3].([]byte)
	return e
}

// Consume removes entries, and the messages that wait for nothing else. Entries that have gone are passed
// over.
func (t *Tx) Consume(consumed []relay.Entry) error {
	messages := map[int64]bool{}
	for _, e := range consumed {
		err := t.Query(func(row []driver.Value) error {
			t.Counts.Owed--
			seq, _ := row[0].(int64)
			messages[seq] = true
			return nil
		}, "DELETE FROM outbox WHERE seq=(SELECT seq FROM message WHERE id=?) AND topic=? AND key=?"+
			" RETURNING seq", e.Message, string(e.Topic), e.Key)
		if err != nil {
			return err
		}
	}
	for seq := range messages {
		if err := t.removeIfDone(seq); err != nil {
			return err
		}
	}
	return nil
}

// removeIfDone removes a message that neither a recipient nor an entry of the outbox waits for.
func (t *Tx) removeIfDone(seq int64) error {
	var r *spool.Record
	err := t.Query(func(row []driver.Value) error {
		r = &spool.Record{Seq: seq}
		r.ID, _ = row[0].(string)
		r.Size, _ = row[1].(int64)
		r.File, _ = row[2].(string)
		r.Mail, _ = row[3].(string)
		r.Content, _ = row[4].(int64)
		return nil
	}, "DELETE FROM message WHERE seq=?1 AND open=0 AND NOT EXISTS (SELECT 1 FROM outbox WHERE seq=?1)"+
		" RETURNING id, size, file, mail, content", seq)
	if err != nil || r == nil {
		return err
	}
	t.Gone = append(t.Gone, r.ID)
	return t.deleted(r)
}

// Postpone gives those entries that are still there the due time and the payload that stand in them.
func (t *Tx) Postpone(entries []relay.Entry) error {
	for _, e := range entries {
		_, err := t.Exec("UPDATE outbox SET due=?, payload=?"+
			" WHERE seq=(SELECT seq FROM message WHERE id=?) AND topic=? AND key=?",
			spool.Nanos(e.Due), payload(e), e.Message, string(e.Topic), e.Key)
		if err != nil {
			return err
		}
	}
	return nil
}

// RenameTopics replaces the prefix of the topics of a message's entries, of those that have it.
func (t *Tx) RenameTopics(seq int64, from, to string) error {
	_, err := t.Exec("UPDATE outbox SET topic=?2||substr(topic, ?3) WHERE seq=?1 AND substr(topic, 1, ?4)=?5",
		seq, to, int64(len(from)+1), int64(len(from)), from)
	return err
}

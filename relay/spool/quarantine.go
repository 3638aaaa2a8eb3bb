package spool

import (
	"context"
	"database/sql/driver"
	"fmt"

	"mailwhy/relay"
)

// damagedRecord is a message whose row cannot be read as it was written.
type damagedRecord struct {
	r   *record
	why string
}

// quarantineAll sets damaged messages aside, so that the rest goes on, and tells of them. The error is that of the disk.
func (s *Spool) quarantineAll(ctx context.Context, bad []damagedRecord) error {
	err := s.w.do(ctx, &operation{apply: func(t *tx) error {
		for _, b := range bad {
			if err := t.quarantine(b, nanos(s.o.Now())); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		s.o.Log.Error("cannot set damaged messages aside", "count", len(bad), "first", bad[0].r.id, "err", err)
		return err
	}
	for _, b := range bad {
		s.tellQuarantined(b)
	}
	return nil
}

// quarantine moves a message, with its content as far as that can be read, to where nothing is leased from.
func (t *tx) quarantine(b damagedRecord, at int64) error {
	r := b.r
	// A content that cannot be read must not keep the rest from being saved.
	data, err := t.contentOf(r.seq)
	if err != nil {
		b.why += "; its content cannot be read: " + err.Error()
	}
	_, err = t.exec(`INSERT OR REPLACE INTO quarantine (id, at, why, sender, file, head, recipients, content) VALUES (?,?,?,?,?,?,?,?)`,
		r.id, at, b.why, r.sender, null(r.file, ""), r.head, r.recipients, data)
	if err != nil {
		return err
	}
	if err := t.dropNotices(r.seq); err != nil {
		return err
	}
	files := len(t.remove)
	err = t.delete(r.seq, r.size, r.file)
	t.remove = t.remove[:files] // the content file stays with the quarantined message
	return err
}

// contentOf reads a content from the database; nil when there is none.
func (c *conn) contentOf(seq int64) (data driver.Value, err error) {
	err = c.query(func(row []driver.Value) error {
		data = row[0]
		return errStop
	}, "SELECT data FROM content WHERE seq=?", seq)
	return data, err
}

// tellQuarantined tells of a message that was set aside.
func (s *Spool) tellQuarantined(b damagedRecord) {
	s.stat.quarantined.Add(1)
	m, err := b.r.decodeAnyway()
	if err != nil {
		b.why += fmt.Sprintf(" (%v)", err)
	}
	s.o.Log.Error("a message in the spool is damaged; it is set aside in the table quarantine",
		"id", b.r.id, "from", b.r.sender, "recipients", addresses(m), "size", b.r.size, "why", b.why)
	s.o.Quarantined(Quarantined{ID: b.r.id, Message: m, Why: b.why})
}

// addresses are the recipients of m, for the log.
func addresses(m *relay.Message) (list []string) {
	for i := range m.Recipients {
		list = append(list, m.Recipients[i].Address)
	}
	return list
}

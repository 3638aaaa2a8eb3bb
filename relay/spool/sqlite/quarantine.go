package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"mailwhy/relay"
)

// damagedRecord is a message whose row cannot be read as it was written.
type damagedRecord struct {
	r   *record
	why string
}

// quarantineAll sets damaged messages aside, so that the rest goes on, and tells of them. The error is that of the disk.
func (s *Spool) quarantineAll(ctx context.Context, bad []damagedRecord) error {
	var husks []*record
	err := s.w.do(ctx, &operation{
		apply: func(t *tx) error {
			husks = husks[:0]
			for _, b := range bad {
				husk, err := s.quarantine(t, b)
				if err != nil {
					return err
				}
				if husk != nil {
					husks = append(husks, husk)
				}
			}
			return nil
		},
		after: func(error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, b := range bad {
				s.cache.drop(b.r.id)
			}
			for _, r := range husks {
				s.arrive(r)
			}
		},
	})
	if err != nil {
		s.o.Log.Error("cannot set damaged messages aside", "count", len(bad), "first", bad[0].r.id, "err", err)
		return err
	}
	for _, b := range bad {
		s.tellQuarantined(b)
	}
	return nil
}

// quarantine copies a message, with its content as far as that can be read, to where nothing is leased from. In its place
// it leaves a husk, if there is somebody to tell, and else nothing.
func (s *Spool) quarantine(t *tx, b damagedRecord) (*record, error) {
	// A content that cannot be read must not keep the rest from being saved.
	data, err := t.contentOf(b.r.seq)
	if err != nil {
		b.why += "; its content cannot be read: " + err.Error()
	}
	if err := t.keepDamaged(b, data, nanos(s.o.Now())); err != nil {
		return nil, err
	}
	if husk := s.husk(b.r); husk != nil {
		t.n.bytes += husk.size - b.r.size
		return husk, t.rewrite(husk)
	}
	if err := t.dropNotices(b.r.seq); err != nil {
		return nil, err
	}
	files := len(t.remove)
	err = t.delete(b.r.seq, b.r.size, b.r.file)
	t.remove = t.remove[:files] // the content file stays with the quarantined message
	return nil, err
}

// keepDamaged writes a row of the table quarantine.
func (c *conn) keepDamaged(b damagedRecord, content driver.Value, at int64) error {
	r := b.r
	_, err := c.exec("INSERT OR REPLACE INTO quarantine (id, at, why, sender, file, head, recipients, content) VALUES (?,?,?,?,?,?,?,?)",
		r.id, at, b.why, r.sender, null(r.file, ""), r.head, r.recipients, content)
	return err
}

// husk is what a damaged message leaves behind so that its sender is told: the message without its content. Who comes to
// relay it finds that the content is damaged, and fails it. There is no husk where the sender is not known for sure, or
// nothing is left to fail.
func (s *Spool) husk(r *record) *record {
	m, err := r.decodeAnyway()
	if err != nil || m.Report || m.Envelope.From == "" || !strings.EqualFold(m.Envelope.From, r.sender) {
		return nil
	}
	waits := false
	for i := range m.Recipients {
		if m.Recipients[i].Waiting() {
			m.Recipients[i].NextAttempt = s.o.Now()
			waits = true
		}
	}
	m.Size = max(m.Size, 1) // no bytes cannot be missing
	husk, err := encode(m)
	if err != nil || !waits {
		return nil
	}
	husk.seq = r.seq
	husk.headSum = husk.sumHead()
	s.turn(husk)
	return husk
}

// rewrite replaces a record, and removes its content.
func (t *tx) rewrite(r *record) error {
	_, err := t.exec("UPDATE message SET size=?, sum=0, file=NULL, head=?, head_sum=? WHERE seq=?", r.size, r.head, int64(r.headSum), r.seq)
	if err == nil {
		_, err = t.exec("DELETE FROM content WHERE seq=?", r.seq)
	}
	if err == nil {
		_, err = t.update(r)
	}
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

package database

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Columns are those of a record, in the order in which ScanRecord reads them.
const Columns = columns2 + ", mail, content"

// columns2 are the columns until format 2.
const columns2 = "seq, id, lane, sender, arrived, size, sum, file, turn, due, open, crashes, head, " +
	"head_sum, recipients, state_sum"

// RowLengths are how many columns the rows of the table message have. Those that were written before the
// database was migrated have fewer than today's; the rest is NULL.
func RowLengths() []int {
	return []int{strings.Count(columns2, ",") + 1, strings.Count(Columns, ",") + 1}
}

// columns are Columns, as the database has them.
func (c *Conn) columns() string {
	if c.format == 1 || c.format == 2 {
		return columns2 + ", NULL, NULL"
	}
	return Columns
}

// columnsAndContent are these and the content, if it is not in a file and takes at most ?1 bytes.
const columnsAndContent = Columns + ", (SELECT data FROM content" +
	" WHERE content.seq=coalesce(message.content, message.seq) AND message.size<=?1)"

// ScanRecord reads a row of columns, or of columnsAndContent.
func ScanRecord(row []driver.Value) (*spool.Record, error) {
	r := &spool.Record{Due: spool.Never}
	ok := true
	integer := func(i int) int64 {
		n, is := row[i].(int64)
		ok = ok && (is || row[i] == nil)
		return n
	}
	text := func(i int) string {
		s, is := row[i].(string)
		ok = ok && (is || row[i] == nil)
		return s
	}
	r.Seq, r.ID, r.Lane, r.Sender = integer(0), text(1), text(2), text(3)
	r.Arrived, r.Size, r.Sum, r.File = integer(4), integer(5), uint32(integer(6)), text(7)
	r.Slot, r.Open, r.Crashes = integer(8), integer(10), integer(11)
	if row[9] != nil {
		r.Due = integer(9)
	}
	r.Head, r.HeadSum, r.Recipients, r.StateSum = text(12), uint32(integer(13)), text(14), uint32(integer(15))
	if len(row) > 16 {
		r.Mail, r.Content = text(16), integer(17)
	}
	if len(row) > 18 {
		r.Data, _ = row[18].([]byte)
	}
	if !ok {
		return nil, DamagedError{"a row of the table message has values of a wrong type"}
	}
	return r, nil
}

// HasID reports whether there is a message of this id. It is for the connection that all messages are stored
// through: ids begin with the time, so most new ones are greater than all that are stored, and nothing has to
// be looked up.
func (c *Conn) HasID(id string) (there bool, err error) {
	if !c.newestKnown {
		var stored string
		if err := c.Query(rowInto(&stored), "SELECT max(id) FROM message"); err != nil {
			return false, err
		}
		c.newest, c.newestKnown = max(c.newest, stored), true
	}
	if id > c.newest {
		return false, nil
	}
	_, there, err = c.Integer("SELECT 1 FROM message WHERE id=?", id)
	return there, err
}

// Has reports whether the message of a record is there, and no other one of its id.
func (c *Conn) Has(r *spool.Record) (bool, error) {
	_, there, err := c.Integer("SELECT 1 FROM message WHERE id=? AND seq=?", r.ID, r.Seq)
	return there, err
}

// Record reads the record of a message. It returns relay.ErrNotFound when there is none.
func (c *Conn) Record(id string) (*spool.Record, error) {
	return c.oneOf("SELECT "+c.columns()+" FROM message WHERE id=?", id)
}

// RecordAt is Record for the number of a message.
func (c *Conn) RecordAt(seq int64) (*spool.Record, error) {
	return c.oneOf("SELECT "+c.columns()+" FROM message WHERE seq=?", seq)
}

// RecordWithContent reads the record seq, with its content if that is at most limit bytes long and not in a
// file.
func (c *Conn) RecordWithContent(seq, limit int64) (*spool.Record, error) {
	return c.oneOf("SELECT "+columnsAndContent+" FROM message WHERE seq=?2", limit, seq)
}

func (c *Conn) oneOf(query string, args ...driver.Value) (r *spool.Record, err error) {
	err = c.Query(func(row []driver.Value) error {
		if r, err = ScanRecord(row); err != nil {
			return err
		}
		return ErrStop
	}, query, args...)
	if err == nil && r == nil {
		err = relay.ErrNotFound
	}
	return r, err
}

// Content reads the content of a record from the database; nil when there is none.
func (c *Conn) Content(r *spool.Record) (data driver.Value, err error) {
	err = c.Query(func(row []driver.Value) error {
		data = row[0]
		return ErrStop
	}, "SELECT data FROM content WHERE seq=?", contentOf(r))
	return data, err
}

// FindContent finds the content of a message, and reads it if it is in the database: the record has what
// concerns the content, and nothing else. A damaged index can lead to the row of another message, whose
// content is whole and not for these recipients: that the row is the one that was asked for shows its
// checksum, which has the id in it. On a mismatch this message is the damaged one, whatever the cause, and
// the error is relay.ErrCorrupt.
func (c *Conn) FindContent(id string) (r *spool.Record, err error) {
	err = c.Query(func(row []driver.Value) error {
		r = &spool.Record{ID: id}
		r.Size, _ = row[0].(int64)
		sum, _ := row[1].(int64)
		r.Sum = uint32(sum)
		r.File, _ = row[2].(string)
		r.Head, _ = row[4].(string)
		if headSum, _ := row[5].(int64); uint32(headSum) != r.SumHead() {
			return fmt.Errorf("%w: its row is damaged, or another's", relay.ErrCorrupt)
		}
		r.Data, _ = row[3].([]byte)
		return ErrStop
	}, "SELECT m.size, m.sum, m.file, c.data, m.head, m.head_sum FROM message m"+
		" LEFT JOIN content c ON c.seq=coalesce(m.content, m.seq) WHERE m.id=?", id)
	if err == nil && r == nil {
		err = relay.ErrNotFound
	}
	return r, err
}

// contentOf is the number that the content of a record is stored under.
func contentOf(r *spool.Record) int64 {
	if r.Content != 0 {
		return r.Content
	}
	return r.Seq
}

// UsesFile reports whether a message, or one in quarantine, has its content in a file of this name, which
// begins with the id of its mail.
func (c *Conn) UsesFile(mail, name string) (bool, error) {
	_, used, err := c.Integer("SELECT 1 FROM message WHERE id=?1 AND file=?2"+
		" UNION ALL SELECT 1 FROM message WHERE mail=?1 AND file=?2"+
		" UNION ALL SELECT 1 FROM quarantine WHERE id=?1 OR file=?2", mail, name)
	return used, err
}

// LaneOf is the lane and the sender of a message; both are "" when it has gone.
func LaneOf(c *Conn, seq int64) (lane, sender string, err error) {
	err = c.Query(rowInto(&lane, &sender), "SELECT lane, sender FROM message WHERE seq=?", seq)
	return lane, sender, err
}

// Oldest is the arrival of the first message in id order: ids begin with the time. It is zero when there is
// none.
func Oldest(c *Conn) (time.Time, error) {
	n, ok, err := c.Integer("SELECT arrived FROM message ORDER BY id LIMIT 1")
	if err != nil || !ok {
		return time.Time{}, err
	}
	return spool.TimeOf(n), nil
}

// Quarantined is how many messages are in quarantine.
func Quarantined(c *Conn) (int64, error) {
	n, _, err := c.Integer("SELECT count(*) FROM quarantine")
	return n, err
}

package database

import (
	"database/sql/driver"

	"mailwhy/relay/spool"
)

// Lane is what the database has of one lane.
type Lane struct {
	c    *Conn
	name string
}

// Lane is the lane of this name.
func (c *Conn) Lane(name string) Lane { return Lane{c, name} }

// Scan calls each for the records that stand after a place in the lane's order, with their contents if these
// are at most limit bytes long and not in files. ErrStop ends it.
func (l Lane) Scan(slot, seq, limit int64, each func(*spool.Record) error) error {
	return l.c.Query(func(row []driver.Value) error {
		r, err := ScanRecord(row)
		if err != nil {
			return err
		}
		return each(r)
	}, "SELECT "+columnsAndContent+" FROM message"+
		" WHERE lane=?2 AND turn>=?3 AND (turn, seq) > (?3, ?4) ORDER BY turn, seq", limit, l.name, slot, seq)
}

// FirstDue is when the earliest message without a slot is due; ok is false when there is none.
func (l Lane) FirstDue() (due int64, ok bool, err error) {
	return l.c.Integer("SELECT due FROM message WHERE lane=? AND turn IS NULL AND due IS NOT NULL"+
		" ORDER BY due LIMIT 1", l.name)
}

// Due finds up to limit messages without a slot that are due now: by their due time, or because that lies
// after far. Their records have the number, the lane and the sender only.
func (l Lane) Due(now, far int64, limit int) (up []*spool.Record, err error) {
	const waiting = "SELECT seq, sender FROM message WHERE lane=?1 AND turn IS NULL AND due IS NOT NULL AND "
	collect := func(row []driver.Value) error {
		r := &spool.Record{Lane: l.name}
		r.Seq, _ = row[0].(int64)
		r.Sender, _ = row[1].(string)
		up = append(up, r)
		return nil
	}
	err = l.c.Query(collect, waiting+"due<=?2 ORDER BY due, seq LIMIT ?3", l.name, now, int64(limit))
	if err == nil && len(up) < limit {
		err = l.c.Query(collect, waiting+"due>?2 ORDER BY due, seq LIMIT ?3", l.name, far, int64(limit))
	}
	return up, err
}

// Head is the lowest slot.
func (l Lane) Head() (slot int64, err error) {
	slot, _, err = l.c.Integer("SELECT turn FROM message WHERE lane=? AND turn IS NOT NULL"+
		" ORDER BY turn LIMIT 1", l.name)
	return slot, err
}

// Newest are the highest slots of the senders that the last thousand messages in the lane's order are of.
func (l Lane) Newest() (map[string]int64, error) {
	slots := map[string]int64{}
	err := l.c.Query(func(row []driver.Value) error {
		sender, _ := row[0].(string)
		slot, _ := row[1].(int64)
		slots[sender] = max(slots[sender], slot)
		return nil
	}, "SELECT sender, turn FROM message WHERE lane=? AND turn IS NOT NULL"+
		" ORDER BY turn DESC LIMIT 1000", l.name)
	return slots, err
}

// MoveTo gives up to limit messages to another lane, without their slots, and returns how many it were.
func (l Lane) MoveTo(to string, limit int) (int64, error) {
	return l.c.Exec("UPDATE message SET lane=?, turn=NULL WHERE seq IN (SELECT seq FROM message"+
		" WHERE lane=? LIMIT ?)",
		to, l.name, int64(limit))
}

// NextLane is the first lane after a name that has messages.
func NextLane(c *Conn, after string) (lane string, ok bool, err error) {
	return laneAfter(c, "SELECT lane FROM message WHERE lane>? ORDER BY lane LIMIT 1", after)
}

// NextQueuedLane is the first lane after a name that has messages with slots.
func NextQueuedLane(c *Conn, after string) (lane string, ok bool, err error) {
	return laneAfter(c, "SELECT lane FROM message WHERE lane>? AND turn IS NOT NULL"+
		" ORDER BY lane LIMIT 1", after)
}

// laneAfter is the lane that a query finds after a name.
func laneAfter(c *Conn, query, after string) (lane string, ok bool, err error) {
	err = c.Query(func(row []driver.Value) error {
		lane, ok = row[0].(string)
		return ErrStop
	}, query, after)
	return lane, ok, err
}

package sqlite

import (
	"database/sql/driver"

	"mailwhy/relay/spool"
)

// laneRows are the messages of one lane.
type laneRows struct {
	c    *conn
	name string
}

// lane is the lane of this name.
func (c *conn) lane(name string) laneRows { return laneRows{c, name} }

// scan calls each for the records that stand after a place in the lane's order, with their contents if these are at
// most limit bytes long and not in files. errStop ends it.
func (l laneRows) scan(slot, seq, limit int64, each func(*spool.Record) error) error {
	return l.c.query(func(row []driver.Value) error {
		r, err := scanRecord(row)
		if err != nil {
			return err
		}
		return each(r)
	}, "SELECT "+columnsAndContent+" FROM message"+
		" WHERE lane=?2 AND turn>=?3 AND (turn, seq) > (?3, ?4) ORDER BY turn, seq", limit, l.name, slot, seq)
}

// firstDue is when the earliest message without a slot is due; ok is false when there is none.
func (l laneRows) firstDue() (due int64, ok bool, err error) {
	return l.c.integer("SELECT due FROM message WHERE lane=? AND turn IS NULL AND due IS NOT NULL"+
		" ORDER BY due LIMIT 1", l.name)
}

// due finds up to limit messages without a slot that are due now: by their due time, or because that lies after far.
// Their records have the number, the lane and the sender only.
func (l laneRows) due(now, far int64, limit int) (up []*spool.Record, err error) {
	const waiting = "SELECT seq, sender FROM message WHERE lane=?1 AND turn IS NULL AND due IS NOT NULL AND "
	collect := func(row []driver.Value) error {
		r := &spool.Record{Lane: l.name}
		r.Seq, _ = row[0].(int64)
		r.Sender, _ = row[1].(string)
		up = append(up, r)
		return nil
	}
	err = l.c.query(collect, waiting+"due<=?2 ORDER BY due, seq LIMIT ?3", l.name, now, int64(limit))
	if err == nil && len(up) < limit {
		err = l.c.query(collect, waiting+"due>?2 ORDER BY due, seq LIMIT ?3", l.name, far, int64(limit))
	}
	return up, err
}

// head is the lowest slot.
func (l laneRows) head() (slot int64, err error) {
	slot, _, err = l.c.integer("SELECT turn FROM message WHERE lane=? AND turn IS NOT NULL ORDER BY turn LIMIT 1", l.name)
	return slot, err
}

// newest are the highest slots of the senders that the last thousand messages in the lane's order are of.
func (l laneRows) newest() (map[string]int64, error) {
	slots := map[string]int64{}
	err := l.c.query(func(row []driver.Value) error {
		sender, _ := row[0].(string)
		slot, _ := row[1].(int64)
		slots[sender] = max(slots[sender], slot)
		return nil
	}, "SELECT sender, turn FROM message WHERE lane=? AND turn IS NOT NULL ORDER BY turn DESC LIMIT 1000", l.name)
	return slots, err
}

// moveTo gives up to limit messages to another lane, without their slots, and returns how many it were.
func (l laneRows) moveTo(to string, limit int) (int64, error) {
	return l.c.exec("UPDATE message SET lane=?, turn=NULL WHERE seq IN (SELECT seq FROM message WHERE lane=? LIMIT ?)",
		to, l.name, int64(limit))
}

// nextLane is the first lane after a name that has messages.
func nextLane(c *conn, after string) (lane string, ok bool, err error) {
	return laneAfter(c, "SELECT lane FROM message WHERE lane>? ORDER BY lane LIMIT 1", after)
}

// nextQueuedLane is the first lane after a name that has messages with slots.
func nextQueuedLane(c *conn, after string) (lane string, ok bool, err error) {
	return laneAfter(c, "SELECT lane FROM message WHERE lane>? AND turn IS NOT NULL ORDER BY lane LIMIT 1", after)
}

// laneAfter is the lane that a query finds after a name.
func laneAfter(c *conn, query, after string) (lane string, ok bool, err error) {
	err = c.query(func(row []driver.Value) error {
		lane, ok = row[0].(string)
		return errStop
	}, query, after)
	return lane, ok, err
}

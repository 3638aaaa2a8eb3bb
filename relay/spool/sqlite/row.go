package sqlite

import (
	"database/sql/driver"
	"mailwhy/relay/spool"
)

// columns are those of a record, in the order in which scan reads them.
const columns = "seq, id, lane, sender, arrived, size, sum, file, turn, due, open, crashes, head, " +
	"head_sum, recipients, state_sum"

// columnsAndContent are these and the content, if it is not in a file and takes at most ?1 bytes.
const columnsAndContent = columns +
	", (SELECT data FROM content WHERE content.seq=message.seq AND message.size<=?1)"

// scanRecord reads a row of columns, or of columnsAndContent.
func scanRecord(row []driver.Value) (*spool.Record, error) {
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
		r.Data, _ = row[16].([]byte)
	}
	if !ok {
		return nil, errDamaged{"a row of the table message has values of a wrong type"}
	}
	return r, nil
}

// null is n, or NULL for the value that stands for none.
func null[T comparable](n, none T) driver.Value {
	if n == none {
		return nil
	}
	return n
}

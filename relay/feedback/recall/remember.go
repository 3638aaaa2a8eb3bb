package recall

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// The bounds of what was told and is not written yet.
const (
	bufferBytes  = 16 << 20 // about
	flushMost    = 1000     // messages in one transaction
	messageBytes = 640      // that a message is counted with, and for each recipient
	eachBytes    = 256
)

// buffer has the messages that were relayed and are not written yet. It is safe for concurrent use.
type buffer struct {
	full    chan struct{} // fires for the first message, and when there are enough for a transaction
	dropped atomic.Int64

	mu    sync.Mutex
	list  []remembered
	bytes int
}

// remembered is a message that was relayed.
type remembered struct {
	m    *relay.Message
	at   time.Time
	size int // about
}

// Relayed remembers that a message was handed to its upstream for some of its recipients: those that are
// relayed, or deferred without an answer to the final dot (Attempt.Uncertain). It is called again when
// there are more. It copies what it needs, returns at once and never blocks; what does not fit into the
// buffer is dropped, and counted.
func (s *Store) Relayed(m *relay.Message) {
	r := remembered{copyOf(m), s.o.Now(), messageBytes + eachBytes*len(m.Recipients) + len(m.Subject)}
	b := &s.buffer
	b.mu.Lock()
	if b.bytes+r.size > s.o.bufferBytes {
		b.mu.Unlock()
		b.dropped.Add(1)
		return
	}
	b.list = append(b.list, r)
	b.bytes += r.size
	n := len(b.list)
	b.mu.Unlock()
	if n == 1 || n == flushMost {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
}

// copyOf copies what is stored of a message.
func copyOf(m *relay.Message) *relay.Message {
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	for i := range c.Recipients {
		r := &c.Recipients[i]
		r.Diagnosis, r.History = nil, nil
		if a := r.Last; a != nil {
			r.Last = &relay.Attempt{
				Time: a.Time, Upstream: a.Upstream, Host: a.Host, UpstreamID: a.UpstreamID,
				Uncertain: a.Uncertain, DSN: a.DSN,
			}
		}
	}
	return &c
}

// take takes up to flushMost messages, the oldest first.
func (b *buffer) take() (list []remembered, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.list), flushMost)
	list = slices.Clone(b.list[:n])
	b.list = slices.Delete(b.list, 0, n)
	for i := range list {
		b.bytes -= list[i].size
	}
	return list, len(b.list) > 0
}

// flush writes messages out of the buffer, in one transaction that is not synced, and reports whether there
// are more. Those that cannot be written are lost.
func (s *Store) flush() (more bool) {
	list, more := s.buffer.take()
	if len(list) == 0 {
		return false
	}
	err := s.w.transaction(false, func(t *tx) error { return t.rememberAll(list) })
	if err != nil {
		s.buffer.dropped.Add(int64(len(list)))
		if s.Fault() == nil { // which is logged, once
			s.o.Log.Error("relayed mail cannot be remembered; what comes back for it will not be matched",
				"messages", len(list), "err", err)
		}
	}
	return more
}

// enough reports whether there are messages for a transaction.
func (b *buffer) enough() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.list) >= flushMost
}

// Flush writes what Relayed was told so far, and waits until that is durable, and until all that is being
// written already is there.
func (s *Store) Flush(ctx context.Context) error {
	for more := true; more; {
		var list []remembered
		list, more = s.buffer.take()
		err := s.w.write(ctx, func(t *tx) error { return t.rememberAll(list) })
		if err != nil {
			s.buffer.dropped.Add(int64(len(list)))
			return err
		}
	}
	return nil
}

// rememberAll stores messages and their keys.
func (t *tx) rememberAll(list []remembered) error {
	keys := make([]keyRow, 0, 4*len(list))
	for i := range list {
		seq, err := t.remember(&list[i])
		if err != nil {
			return err
		}
		for _, k := range keysOf(list[i].m) {
			keys = append(keys, keyRow{partOf(seq), k.hash(), seq})
		}
	}
	return t.addKeys(keys)
}

// remember stores a message, or what is new about it.
func (t *tx) remember(r *remembered) (seq int64, err error) {
	day := dayOf(r.at)
	n, err := t.Exec("INSERT INTO message (seq, id, day, body) VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
		t.n.seq+1, r.m.ID, day, encode(r.m))
	if err != nil || n == 1 {
		t.n.seq += n
		t.n.messages += n
		return t.n.seq, err
	}
	seq, _, err = t.Integer("SELECT seq FROM message WHERE id=?", r.m.ID)
	if err != nil {
		return 0, err
	}
	body, err := t.doubted(seq, r.m)
	if err == nil {
		_, err = t.Exec("UPDATE message SET day=?, body=? WHERE seq=?", day, body, seq)
	}
	return seq, err
}

// keyRow is a row of the keys.
type keyRow struct{ part, hash, message int64 }

// keysAtOnce is how many keys a statement adds: fewer, larger statements take half the time.
const keysAtOnce = 32

// addKeys adds keys, in the order of the table: those of a batch are near each other, so that a page is
// looked for once.
func (t *tx) addKeys(rows []keyRow) error {
	slices.SortFunc(rows, func(a, b keyRow) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.hash, b.hash),
			cmp.Compare(a.message, b.message))
	})
	many := "INSERT INTO key (part, hash, message) VALUES (?,?,?)" +
		strings.Repeat(",(?,?,?)", keysAtOnce-1) + " ON CONFLICT DO NOTHING"
	args := make([]driver.Value, 0, 3*keysAtOnce)
	for len(rows) > 0 {
		n, query := keysAtOnce, many
		if len(rows) < keysAtOnce {
			n, query = 1, "INSERT INTO key (part, hash, message) VALUES (?,?,?) ON CONFLICT DO NOTHING"
		}
		args = args[:0]
		for _, r := range rows[:n] {
			args = append(args, r.part, r.hash, r.message)
		}
		if _, err := t.Exec(query, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// doubted encodes what is new about a message. That the upstream may have it for a recipient stays true until
// the recipient is settled, though it was offered again meanwhile.
func (t *tx) doubted(seq int64, m *relay.Message) ([]byte, error) {
	before, err := messageOf(t.Conn, seq)
	if errors.Is(err, errDamaged) {
		return encode(m), nil
	}
	if err != nil {
		return nil, err
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if i < len(before.Recipients) && stateOf(&before.Recipients[i]) == feedback.StateUncertain &&
			!r.State.Final() && r.Last != nil {
			r.Last.Uncertain = true // it is our own copy
		}
	}
	return encode(m), nil
}

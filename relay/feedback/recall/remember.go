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
	bufferBytes = 16 << 20 // about
	flushMost   = 4096     // messages in one transaction: the more, the fewer pages are written for each
	eachBytes   = 128      // that a message is counted with beside its record and keys
)

// buffer has the messages that were relayed and are not written yet. It is safe for concurrent use.
type buffer struct {
	full    chan struct{} // fires for the first message, and when there are enough for a transaction
	dropped atomic.Int64

	mu    sync.Mutex
	list  []remembered
	bytes int
}

// remembered is a message that was relayed, as it is stored.
type remembered struct {
	id   string
	day  int64
	body []byte  // its record
	keys []int64 // the hashes of its keys
}

// rememberedOf is what is stored of a message.
func rememberedOf(m *relay.Message, at time.Time) remembered {
	r := remembered{id: m.ID, day: dayOf(at), body: encode(m)}
	keys := keysOf(m)
	r.keys = make([]int64, len(keys))
	for i, k := range keys {
		r.keys[i] = k.hash()
	}
	return r
}

// size is about what it takes in memory.
func (r *remembered) size() int { return eachBytes + len(r.body) + 8*len(r.keys) }

// Relayed remembers that a message was handed to its upstream for some of its recipients: those that are
// relayed, or deferred without an answer to the final dot (Attempt.Uncertain). It is called again when
// there are more. It keeps nothing of m, returns at once and never blocks; what does not fit into the buffer
// is dropped, and counted.
func (s *Store) Relayed(m *relay.Message) {
	r := rememberedOf(m, s.o.Now())
	size := r.size()
	b := &s.buffer
	b.mu.Lock()
	if b.bytes+size > s.o.bufferBytes {
		b.mu.Unlock()
		b.dropped.Add(1)
		return
	}
	b.list = append(b.list, r)
	b.bytes += size
	n := len(b.list)
	b.mu.Unlock()
	if n == 1 || n == flushMost {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
}

// take takes up to flushMost messages, the oldest first.
func (b *buffer) take() (list []remembered, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.list), flushMost)
	list, b.list = b.list[:n:n], b.list[n:]
	if len(b.list) == 0 {
		b.list = nil // the next ones are not kept beside these
	}
	for i := range list {
		b.bytes -= list[i].size()
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

// messagesAtOnce is how many messages a statement stores.
const messagesAtOnce = 16

// rememberAll stores messages and their keys.
func (t *tx) rememberAll(list []remembered) error {
	keys := make([]keyRow, 0, 4*len(list))
	for group := range slices.Chunk(list, messagesAtOnce) {
		seqs, err := t.rememberGroup(group)
		if err != nil {
			return err
		}
		for i, seq := range seqs {
			for _, hash := range group[i].keys {
				keys = append(keys, keyRow{partOf(seq), hash, seq})
			}
		}
	}
	return t.addKeys(keys)
}

// rememberGroup stores messages: all by one statement, or one by one if not all of them are new.
func (t *tx) rememberGroup(group []remembered) (seqs []int64, err error) {
	first := t.n.seq + 1
	args := make([]driver.Value, 0, 4*messagesAtOnce)
	for i := range group {
		r := &group[i]
		args = append(args, first+int64(i), r.id, r.day, r.body)
		seqs = append(seqs, first+int64(i))
	}
	n, err := t.Exec("INSERT INTO message (seq, id, day, body) VALUES (?,?,?,?)"+
		strings.Repeat(",(?,?,?,?)", len(group)-1)+" ON CONFLICT DO NOTHING", args...)
	if err != nil {
		return nil, err
	}
	if n == int64(len(group)) {
		t.n.seq += n
		t.n.messages += n
		return seqs, nil
	}
	if _, err := t.Exec("DELETE FROM message WHERE seq>=?", first); err != nil {
		return nil, err
	}
	for i := range group {
		if seqs[i], err = t.remember(&group[i]); err != nil {
			return nil, err
		}
	}
	return seqs, nil
}

// remember stores a message, or what is new about it.
func (t *tx) remember(r *remembered) (seq int64, err error) {
	n, err := t.Exec("INSERT INTO message (seq, id, day, body) VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
		t.n.seq+1, r.id, r.day, r.body)
	if err != nil || n == 1 {
		t.n.seq += n
		t.n.messages += n
		return t.n.seq, err
	}
	seq, _, err = t.Integer("SELECT seq FROM message WHERE id=?", r.id)
	if err != nil {
		return 0, err
	}
	body, err := t.doubted(seq, r.body)
	if err == nil {
		_, err = t.Exec("UPDATE message SET day=?, body=? WHERE seq=?", r.day, body, seq)
	}
	return seq, err
}

// keyRow is a row of the keys.
type keyRow struct{ part, hash, message int64 }

// keysAtOnce is how many keys a statement adds: fewer, larger statements take half the time.
const keysAtOnce = 128

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

// doubted is the record of what is new about a message. That the upstream may have it for a recipient stays
// true until the recipient is settled, though it was offered again meanwhile.
func (t *tx) doubted(seq int64, body []byte) ([]byte, error) {
	before, err := messageOf(t.Conn, seq)
	if errors.Is(err, errDamaged) {
		return body, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := decode(body)
	if err != nil {
		return nil, err
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if i < len(before.Recipients) && stateOf(&before.Recipients[i]) == feedback.StateUncertain &&
			!r.State.Final() && r.Last != nil {
			r.Last.Uncertain = true
		}
	}
	return encode(m), nil
}

package recall

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/internal/sqlite"
)

// findMost is how many messages a key may fit; the newest are found.
const findMost = 100

// readers is how many connections read at the same time.
const readers = 2

// Reader reads a store, also beside the relay that has it open. It is safe for concurrent use.
type Reader struct {
	name   string
	opened *atomic.Int64 // how often the writer has opened the file; nil: there is no writer here
	slots  chan reading  // of which some may not be open
}

// reading is a connection that reads.
type reading struct {
	*sqlite.Conn             // nil: it is not open
	file         fs.FileInfo // that it has open
	opened       int64       // Reader.opened before that
}

// OpenReader opens a store for reading.
func OpenReader(name string) (*Reader, error) {
	r := newReader(name, nil)
	return r, r.read(context.Background(), func(*sqlite.Conn) error { return nil })
}

func newReader(name string, opened *atomic.Int64) *Reader {
	r := &Reader{name: name, opened: opened, slots: make(chan reading, readers)}
	for range readers {
		r.slots <- reading{}
	}
	return r
}

// Close closes the connections; the Reader is not used after that.
func (r *Reader) Close() error {
	var errs []error
	for range readers {
		if c := <-r.slots; c.Conn != nil {
			errs = append(errs, c.Close())
		}
	}
	close(r.slots)
	return errors.Join(errs...)
}

// read calls do with a connection, when one is free.
func (r *Reader) read(ctx context.Context, do func(*sqlite.Conn) error) (err error) {
	var c reading
	var open bool
	select {
	case c, open = <-r.slots:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !open {
		return ErrClosed
	}
	defer func() { r.slots <- c }()
	if c.Conn != nil && r.stale(&c) {
		c.Close()
		c = reading{}
	}
	if c.Conn == nil {
		if r.opened != nil {
			c.opened = r.opened.Load()
		}
		file, err := os.Stat(r.name)
		if err == nil {
			c.Conn, err = openReader(r.name)
		}
		if err != nil {
			c = reading{}
			return err
		}
		c.file = file
	}
	if err = do(c.Conn); isBroken(err) {
		c.Close()
		c = reading{}
	}
	return err
}

// stale reports whether a connection has a file open that is not the store any more. Beside a writer it is
// the writer's file that counts.
func (r *Reader) stale(c *reading) bool {
	if r.opened != nil {
		return c.opened != r.opened.Load()
	}
	return replaced(r.name, c.file)
}

// Find finds the messages that a key fits, the newest first: of equal ones the last that were relayed.
func (r *Reader) Find(ctx context.Context, k feedback.Key) (found []feedback.Remembered, err error) {
	err = r.read(ctx, func(c *sqlite.Conn) error {
		found = nil
		for _, k := range sought(k) {
			if found, err = find(c, found, k); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// find appends the messages that a key fits. The id of a mail that was parted is that of several messages.
func find(c *sqlite.Conn, found []feedback.Remembered, k key) ([]feedback.Remembered, error) {
	if k.kind == feedback.KeyQueueID {
		var err error
		if found, err = appendFound(c, found, k, "id=?", k.value); err != nil ||
			len(found) == 1 && found[0].Message.Mail == "" {
			return found, err
		}
	}
	return findKey(c, found, k)
}

// findKey appends the messages with a key, the newest first. It looks into each part of the keys, from the
// last to the first.
func findKey(c *sqlite.Conn, found []feedback.Remembered, k key) ([]feedback.Remembered, error) {
	var seqs []int64
	err := c.Query(func(row []driver.Value) error {
		seq, _ := row[0].(int64)
		seqs = append(seqs, seq)
		return nil
	}, "WITH RECURSIVE p(n, low) AS ("+
		"SELECT (SELECT max(part) FROM key), (SELECT min(part) FROM key)"+ // each is one look at the index
		" UNION ALL SELECT n-1, low FROM p WHERE n>low)"+
		" SELECT key.message FROM p CROSS JOIN key ON key.part=p.n AND key.hash=? LIMIT ?", k.hash(),
		int64(findMost))
	slices.SortFunc(seqs, func(a, b int64) int { return cmp.Compare(b, a) })
	for i := 0; err == nil && i < len(seqs); i++ {
		found, err = appendFound(c, found, k, "seq=?", seqs[i])
	}
	return found, err
}

// appendFound appends the message that a condition selects, if it has the key and is not there yet.
func appendFound(c *sqlite.Conn, found []feedback.Remembered, k key, where string, is driver.Value) (
	[]feedback.Remembered, error,
) {
	var m *relay.Message
	var seq int64
	told := false
	err := c.Query(func(row []driver.Value) (err error) {
		seq, _ = row[0].(int64)
		body, _ := row[1].([]byte)
		told = row[2] == int64(1)
		m, err = decode(body)
		return err
	}, "SELECT seq, body, EXISTS (SELECT 1 FROM outcome WHERE message=seq) FROM message WHERE "+where, is)
	if err != nil || m == nil || !k.fits(m) {
		return found, err
	}
	if slices.ContainsFunc(found, func(s feedback.Remembered) bool { return s.Message.ID == m.ID }) {
		return found, nil
	}
	states := make([]feedback.State, len(m.Recipients))
	for i := range m.Recipients {
		states[i] = stateOf(&m.Recipients[i])
	}
	if told {
		err = advance(c, seq, states)
	}
	return append(found, feedback.Remembered{Message: m, States: states}), err
}

// messageOf reads a message; nil if it was forgotten.
func messageOf(c *sqlite.Conn, seq int64) (m *relay.Message, err error) {
	err = c.Query(func(row []driver.Value) error {
		body, _ := row[0].([]byte)
		m, err = decode(body)
		return err
	}, "SELECT body FROM message WHERE seq=?", seq)
	return m, err
}

// advance brings the states of a message's recipients to those that were told.
func advance(c *sqlite.Conn, seq int64, states []feedback.State) error {
	return c.Query(func(row []driver.Value) error {
		i, _ := row[0].(int64)
		state, _ := row[1].(string)
		if i >= 0 && i < int64(len(states)) && states[i].Before(feedback.State(state)) {
			states[i] = feedback.State(state)
		}
		return nil
	}, "SELECT recipient, state FROM outcome WHERE message=?", seq)
}

// FindRecipient finds the messages that were handed over for an address from one time to another, the newest
// first. Without case, as addresses are compared.
func (r *Reader) FindRecipient(ctx context.Context, address string, from,
	to time.Time) (found []feedback.Remembered, err error) {
	err = r.read(ctx, func(c *sqlite.Conn) error {
		found, err = findKey(c, nil, key{keyRecipient, strings.ToLower(address)})
		return err
	})
	return slices.DeleteFunc(found, func(s feedback.Remembered) bool {
		return !slices.ContainsFunc(s.Message.Recipients, func(r relay.Recipient) bool {
			return strings.EqualFold(r.Address, address) && r.Last != nil && !r.Last.Time.Before(from) &&
				!r.Last.Time.After(to)
		})
	}), err
}

// Remembered is what is remembered of the message with a queue id, and all that came back for it; of a mail
// that was parted, of each of its messages. It returns relay.ErrNotFound if there is none.
func (r *Reader) Remembered(ctx context.Context, id string) (found []feedback.Remembered, err error) {
	err = r.read(ctx, func(c *sqlite.Conn) error {
		found, err = find(c, nil, key{feedback.KeyQueueID, id})
		for i := 0; err == nil && i < len(found); i++ {
			found[i].Told, err = toldOf(c, found[i].Message.ID)
		}
		return err
	})
	if err == nil && len(found) == 0 {
		err = relay.ErrNotFound
	}
	return found, err
}

// toldOf is what was told of a message, in the order in which it came.
func toldOf(c *sqlite.Conn, id string) (all []feedback.Told, err error) {
	err = c.Query(func(row []driver.Value) error {
		var t feedback.Told
		body, _ := row[0].([]byte)
		if err := json.Unmarshal(body, &t); err != nil {
			return err
		}
		all = append(all, t)
		return nil
	}, "SELECT body FROM told WHERE message=(SELECT seq FROM message WHERE id=?) ORDER BY n", id)
	return all, err
}

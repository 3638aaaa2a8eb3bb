package recall

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/internal/sqlite"
)

// Claim implements relay.Outbox. The messages are as they are remembered, with what was told of the
// recipients for whom a notice is owed: these have failed. While the database cannot be used nothing is due.
func (s *Store) Claim(ctx context.Context, q relay.ClaimQuery) ([]relay.Claim, time.Time, error) {
	var made claiming
	err := s.w.write(ctx, func(t *tx) error {
		s.claims.giveBack(made.reset()) // of a transaction that failed
		list, soonest, err := s.claimDue(t, q)
		if err != nil || !made.set(list, soonest) { // else they would be nobody's until they end
			s.claims.giveBack(tokensOf(list))
		}
		return err
	})
	if err != nil {
		s.claims.giveBack(made.leave())
	}
	switch {
	case err != nil && s.Fault() != nil:
		return nil, q.Now.Add(openAgain), nil
	case err != nil:
		return nil, time.Time{}, err
	}
	return made.list, made.next, nil
}

// claimDue claims what is due, and says when the next entry is.
func (s *Store) claimDue(t *tx, q relay.ClaimQuery) (list []relay.Claim, next time.Time, err error) {
	due, next, err := t.dueEntries(q, &s.claims)
	for i := 0; err == nil && i < len(due); i++ {
		var c *relay.Claim
		c, err = t.claim(due[i], q.Topic)
		if errors.Is(err, errDamaged) {
			s.o.Log.Error("no bounce is made of a message", "id", due[i].id, "err", err)
			_, err = t.Exec("DELETE FROM owed WHERE message=?", due[i].seq)
		}
		if err == nil && c != nil {
			c.Token = s.claims.take(claimKey{c.Message.ID, q.Topic}, q.For)
			for j := range c.Entries {
				c.Entries[j].Claim = c.Token
			}
			list = append(list, *c)
		}
	}
	return list, next, err
}

// claiming is what a transaction has claimed, which may still run when its caller no longer waits. Its list
// and next are for a caller whose transaction has ended.
type claiming struct {
	mu   sync.Mutex
	left bool // nobody waits
	list []relay.Claim
	next time.Time
}

// set takes over what was claimed, if anybody waits for it.
func (c *claiming) set(list []relay.Claim, next time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return false
	}
	c.list, c.next = list, next
	return true
}

// reset forgets what was claimed, and returns the tokens.
func (c *claiming) reset() []relay.Token {
	c.mu.Lock()
	defer c.mu.Unlock()
	tokens := tokensOf(c.list)
	c.list = nil
	return tokens
}

// leave is reset by a caller that no longer waits.
func (c *claiming) leave() []relay.Token {
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	return c.reset()
}

// tokensOf are the tokens of claims.
func tokensOf(list []relay.Claim) (tokens []relay.Token) {
	for i := range list {
		tokens = append(tokens, list[i].Token)
	}
	return tokens
}

// owing is a message that has an entry of the outbox due.
type owing struct {
	seq int64
	id  string
}

// dueEntries finds the messages that have an entry due and that nobody has claimed, and when the next one is.
func (t *tx) dueEntries(q relay.ClaimQuery, c *claims) (due []owing, next time.Time, err error) {
	seen := map[int64]bool{}
	err = t.Query(func(row []driver.Value) error {
		seq, _ := row[0].(int64)
		at, _ := row[1].(int64)
		id, _ := row[2].(string)
		switch {
		case seen[seq], c.taken(claimKey{id, q.Topic}):
		case at > nanos(q.Now), len(due) == q.Max:
			next = timeOf(at)
			return sqlite.ErrStop
		default:
			seen[seq] = true
			due = append(due, owing{seq, id})
		}
		return nil
	}, "SELECT o.message, o.due, m.id FROM owed o CROSS JOIN message m ON m.seq=o.message"+
		" WHERE o.topic=? ORDER BY o.due", string(q.Topic))
	return due, next, err
}

// claim reads a message and what it owes.
func (t *tx) claim(of owing, topic relay.Topic) (*relay.Claim, error) {
	m, err := messageOf(t.Conn, of.seq)
	if err != nil || m == nil {
		return nil, err
	}
	c := &relay.Claim{Message: m}
	err = t.Query(func(row []driver.Value) error {
		e := relay.Entry{Message: of.id, Topic: topic}
		e.Key, _ = row[0].(string)
		due, _ := row[1].(int64)
		e.Due = timeOf(due)
		e.Payload, _ = row[2].([]byte)
		c.Entries = append(c.Entries, e)
		told, _ := row[3].([]byte)
		return failed(m, told)
	}, "SELECT key, due, payload, told FROM owed WHERE message=? AND topic=? ORDER BY key", of.seq,
		string(topic))
	return c, err
}

// failed gives the recipient of m the failure that was told of it.
func failed(m *relay.Message, told []byte) error {
	var t feedback.Told
	if err := json.Unmarshal(told, &t); err != nil {
		return err
	}
	if t.Recipient >= 0 && t.Recipient < len(m.Recipients) {
		r := &m.Recipients[t.Recipient]
		r.State, r.Last, r.Diagnosis = relay.Failed, &t.Attempt, t.Diagnosis
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

// Consume implements relay.Outbox: the entries go in the transaction that stores the answer here. From here
// it is put into the spool, at once, or later if the spool takes nothing now.
func (s *Store) Consume(ctx context.Context, a relay.Answer) error {
	messages, content, err := encodeAnswer(a)
	if err != nil {
		return err
	}
	stale := false
	err = s.w.write(ctx, func(t *tx) error {
		if stale = s.claims.stale(a.Entries); stale {
			return nil
		}
		for _, e := range a.Entries {
			_, err := t.Exec("DELETE FROM owed WHERE message=(SELECT seq FROM message WHERE id=?)"+
				" AND topic=? AND key=?", e.Message, string(e.Topic), e.Key)
			if err != nil {
				return err
			}
		}
		if len(a.Messages) == 0 {
			return nil
		}
		_, err := t.Exec("INSERT INTO answer (messages, content) VALUES (?,?)", messages, content)
		return err
	})
	switch {
	case err != nil:
		return err
	case stale:
		return relay.ErrStaleLease
	case len(a.Messages) > 0:
		s.deliver(ctx)
	}
	return nil
}

// encodeAnswer is the answer as it is stored.
func encodeAnswer(a relay.Answer) (messages, content []byte, err error) {
	content = []byte{}
	if len(a.Messages) == 0 {
		return nil, content, nil
	}
	if messages, err = json.Marshal(a.Messages); err == nil && a.Content != nil {
		content, err = io.ReadAll(a.Content)
	}
	return messages, content, err
}

// answer is an answer on its way to the spool.
type answer struct {
	seq      int64
	messages []*relay.Message
	content  []byte
}

// deliver puts the answers that wait into the spool, which knows those that it has had by their ids.
func (s *Store) deliver(ctx context.Context) {
	s.delivering.Lock()
	defer s.delivering.Unlock()
	for ctx.Err() == nil {
		a, err := s.firstAnswer(ctx)
		if a == nil && err == nil {
			return
		}
		if err == nil {
			err = s.o.Spool.Put(ctx, a.messages, bytes.NewReader(a.content))
		}
		if err == nil {
			err = s.w.write(ctx, func(t *tx) error {
				_, err := t.Exec("DELETE FROM answer WHERE seq=?", a.seq)
				return err
			})
		}
		if err != nil {
			if ctx.Err() == nil && s.Fault() == nil {
				s.o.Log.Error("a bounce cannot be put into the spool; it is tried again", "err", err)
			}
			return
		}
		for _, m := range a.messages {
			s.o.Stored(m.Lane)
		}
	}
}

// firstAnswer is the oldest answer that waits, nil if there is none.
func (s *Store) firstAnswer(ctx context.Context) (a *answer, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		a = nil
		return c.Query(func(row []driver.Value) error {
			a = &answer{}
			a.seq, _ = row[0].(int64)
			messages, _ := row[1].([]byte)
			a.content, _ = row[2].([]byte)
			return json.Unmarshal(messages, &a.messages)
		}, "SELECT seq, messages, content FROM answer ORDER BY seq LIMIT 1")
	})
	return a, err
}

// Postpone implements relay.Outbox.
func (s *Store) Postpone(ctx context.Context, entries []relay.Entry) error {
	stale := false
	err := s.w.write(ctx, func(t *tx) error {
		if stale = s.claims.stale(entries); stale {
			return nil
		}
		for _, e := range entries {
			_, err := t.Exec("UPDATE owed SET due=?, payload=?"+
				" WHERE message=(SELECT seq FROM message WHERE id=?) AND topic=? AND key=?",
				nanos(e.Due), payload(e), e.Message, string(e.Topic), e.Key)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && stale {
		err = relay.ErrStaleLease
	}
	return err
}

// GiveBack implements relay.Outbox.
func (s *Store) GiveBack(claims ...relay.Token) { s.claims.giveBack(claims) }

// Content implements relay.Outbox: the content of a message that was relayed is not kept.
func (s *Store) Content(context.Context, string) (io.ReadCloser, error) {
	return nil, relay.ErrNotFound
}

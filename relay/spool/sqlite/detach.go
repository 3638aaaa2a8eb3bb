package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
)

// detachedWhy is the HeldWhy of what was detached for a batch, and asidePrefix begins the topics of its
// entries, which nobody claims. Stored messages have these words.
func detachedWhy(batch string) string { return relay.HeldExported + batch }
func asidePrefix(batch string) string { return "exported/" + batch + "/" }

// claimWait is how long a message waits for the claims of its entries to end before it is looked at again.
const claimWait = 20 * time.Millisecond

// Detach takes a message out of the work and returns it, with what is owed for it, as it was: its waiting
// recipients are held, and its entries of the outbox are put aside, as one transaction. It waits for the
// message's lease and for claims of its entries. Detaching it again for the same batch returns the same. ok
// is false for a message that nothing waits for but the operator.
func (s *Spool) Detach(ctx context.Context, id, batch string) (m *relay.Message, owed []relay.Entry,
	ok bool, err error) {
	err = s.rework(ctx, id, func(now *relay.Message, entries []relay.Entry) (rework, error) {
		if other := otherBatch(now, entries, batch); other != "" {
			return rework{}, fmt.Errorf("it is exported already: end batch %[1]s first, with queue export "+
				"--done and its receipt, or with --undo %[1]s", other)
		}
		attached, were := attach(now, entries, batch)
		m, owed = attached, were
		held, waits := detach(attached, batch)
		ok = waits || len(were) > 0
		change := ok && !isDetached(now, entries, batch)
		return rework{change: change, recipients: held, to: asidePrefix(batch)}, nil
	})
	return m, owed, ok, err
}

// Attach undoes Detach. ok is false for a message that was not detached for the batch.
func (s *Spool) Attach(ctx context.Context, id, batch string) (ok bool, err error) {
	err = s.rework(ctx, id, func(now *relay.Message, entries []relay.Entry) (rework, error) {
		ok = isDetached(now, entries, batch)
		m, _ := attach(now, entries, batch)
		return rework{change: ok, recipients: m.Recipients, from: asidePrefix(batch), to: ""}, nil
	})
	return ok, err
}

// Remove removes a message that was detached for a batch, with its entries. ok is false for any other.
func (s *Spool) Remove(ctx context.Context, id, batch string) (ok bool, err error) {
	err = s.rework(ctx, id, func(now *relay.Message, entries []relay.Entry) (rework, error) {
		ok = isDetached(now, entries, batch)
		return rework{change: ok, remove: true}, nil
	})
	if errors.Is(err, relay.ErrNotFound) {
		return false, nil
	}
	return ok, err
}

// Adopt stores a message that another spool has detached for a batch, with what is owed for it. stored is
// false when it is there, or came in this batch before: that is known for ten years. It may come back in
// another batch. The spool that has it detached for the batch refuses it: whoever then removed it there would
// lose it. The limits of the spool do not hold for it.
func (s *Spool) Adopt(ctx context.Context, m *relay.Message, batch string, owed []relay.Entry,
	content io.Reader) (stored bool, err error) {
	if err := s.notFromHere(ctx, m.ID, batch); err != nil {
		return false, err
	}
	p, err := s.receive([]*relay.Message{m}, content, false)
	if err != nil {
		return false, err
	}
	p.owed = owed
	known := func(t *database.Tx, r *spool.Record) (bool, error) {
		return t.Remember(batch+"/"+r.ID, spool.Nanos(s.o.Now().Add(recoveredFor)))
	}
	op := &operation{put: p, grows: true, size: p.bytes(), after: p.after,
		apply: func(t *database.Tx) error { return p.insert(t, known) }}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return p.stored() && err == nil, err
}

// notFromHere refuses a message that is detached here for the batch.
func (s *Spool) notFromHere(ctx context.Context, id, batch string) error {
	err := s.rework(ctx, id, func(now *relay.Message, entries []relay.Entry) (rework, error) {
		if isDetached(now, entries, batch) {
			return rework{}, fmt.Errorf("%s was exported from this very spool: import it into another, or "+
				"let it go on here with queue export --undo %s", id, batch)
		}
		return rework{}, nil
	})
	if errors.Is(err, relay.ErrNotFound) {
		return nil
	}
	return err
}

// rework is a change of a message together with its entries.
type rework struct {
	change     bool // else nothing is to be done
	remove     bool
	recipients []relay.Recipient
	from, to   string // prefix of the topics, before and after
}

// rework changes a message that nobody has leased, and whose entries nobody has claimed.
func (s *Spool) rework(ctx context.Context, id string,
	decide func(*relay.Message, []relay.Entry) (rework, error)) error {
	for {
		claimed, err := s.reworkOnce(ctx, id, decide)
		if !claimed || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(claimWait):
		}
	}
}

// reworkOnce reports whether somebody has claimed entries of the message; then nothing was changed.
func (s *Spool) reworkOnce(ctx context.Context, id string,
	decide func(*relay.Message, []relay.Entry) (rework, error)) (claimed bool, err error) {
	le, r, err := takeForEdit(ctx, s, id)
	if err != nil {
		return false, err
	}
	release := func() { s.queue.Release(le.Token) }
	m, err := r.Decode()
	if err != nil {
		release()
		return false, err
	}
	var entries []relay.Entry
	err = s.read(func(c *database.Conn) (err error) {
		entries, err = c.AllEntries(r)
		return err
	})
	if err != nil {
		release()
		return false, err
	}
	end, err := s.claims.BeginWrite(entries)
	if err != nil {
		release()
		return true, nil
	}
	defer end()
	change, err := decide(m, entries)
	if err != nil || !change.change {
		release()
		return false, err
	}
	if le, err = s.queue.BeginSettle(le.Token); err != nil {
		return false, err
	}
	le.Recipients = len(m.Recipients)
	op := dropping(s, le)
	if !change.remove {
		if op, err = settlement(s, le, relay.Settlement{Recipients: change.recipients}); err != nil {
			s.queue.AbortSettle(le)
			release()
			return false, err
		}
		settle := op.apply
		op.journal = nil
		op.apply = func(t *database.Tx) error {
			if err := settle(t); err != nil {
				return err
			}
			return t.RenameTopics(r.Seq, change.from, change.to)
		}
	}
	return false, s.w.ops.do(ctx, op)
}

// detach are the recipients of a message with those that wait held for a batch.
func detach(m *relay.Message, batch string) (held []relay.Recipient, waits bool) {
	held = append(held, m.Recipients...)
	for i := range held {
		if r := &held[i]; r.Waiting() {
			r.HeldFrom, r.State, r.HeldWhy = r.State, relay.Held, detachedWhy(batch)
			waits = true
		}
	}
	return held, waits
}

// attach is a message, and what is owed for it, as it was before it was detached for a batch.
func attach(m *relay.Message, entries []relay.Entry, batch string) (*relay.Message, []relay.Entry) {
	was := *m
	was.Recipients = append([]relay.Recipient(nil), m.Recipients...)
	for i := range was.Recipients {
		if r := &was.Recipients[i]; r.State == relay.Held && r.HeldWhy == detachedWhy(batch) {
			r.State, r.HeldFrom, r.HeldWhy = r.HeldFrom, "", ""
		}
	}
	owed := append([]relay.Entry(nil), entries...)
	for i := range owed {
		owed[i].Topic = relay.Topic(strings.TrimPrefix(string(owed[i].Topic), asidePrefix(batch)))
	}
	return &was, owed
}

// isDetached reports whether a message is detached for a batch.
func isDetached(m *relay.Message, entries []relay.Entry, batch string) bool {
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.State == relay.Held && r.HeldWhy == detachedWhy(batch) {
			return true
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(string(e.Topic), asidePrefix(batch)) {
			return true
		}
	}
	return false
}

// otherBatch is another batch that a message is detached for; "" when there is none.
func otherBatch(m *relay.Message, entries []relay.Entry, batch string) string {
	for i := range m.Recipients {
		other, exported := strings.CutPrefix(m.Recipients[i].HeldWhy, relay.HeldExported)
		if exported && other != batch {
			return other
		}
	}
	for _, e := range entries {
		topic, aside := strings.CutPrefix(string(e.Topic), "exported/")
		if other, _, _ := strings.Cut(topic, "/"); aside && other != batch {
			return other
		}
	}
	return ""
}

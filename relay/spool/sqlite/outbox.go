package sqlite

import (
	"context"
	"errors"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/queue"
)

// claimBudget is how many bytes of recipients' states Claim reads at a time, so that a thousand messages to
// as many recipients do not fill the memory.
const claimBudget = 8 << 20

// claimContent is the largest content that Claim reads with its message, to spare a query.
const claimContent = 32 << 10

// Claim implements relay.Outbox.
func (s *Spool) Claim(_ context.Context, q relay.ClaimQuery) ([]relay.Claim, time.Time, error) {
	defer s.claims.BeginRead()()
	c := &claiming{s: s, q: q}
	if err := s.read(c.read); err != nil {
		s.claims.GiveBack(c.tokens()...)
		return nil, time.Time{}, err
	}
	s.queue.KeepContents(c.records)
	return c.readable(), c.next, nil
}

// claiming is what one Claim has found.
type claiming struct {
	s       *Spool
	q       relay.ClaimQuery
	records []*spool.Record // those of claims
	claims  []relay.Claim
	next    time.Time
}

// tokens are those of the claims.
func (c *claiming) tokens() (all []relay.Token) {
	for i := range c.claims {
		all = append(all, c.claims[i].Token)
	}
	return all
}

// read claims what is due, and reads it.
func (c *claiming) read(conn *database.Conn) error {
	c.s.claims.GiveBack(c.tokens()...) // of an earlier run
	c.records, c.claims = nil, nil
	claimed := func(id string) bool { return c.s.claims.Claimed(c.q.Topic, id) }
	far := queue.FarAhead(c.q.Now, c.s.o.MaxDelay)
	due, next, err := conn.Due(c.q.Topic, spool.Nanos(c.q.Now), far, c.q.Max, claimed)
	if err != nil {
		return err
	}
	c.next = next
	left, contents := claimBudget, c.s.o.Limits.Cache/4
	for _, o := range due {
		if left < 0 {
			c.next = c.q.Now
			break
		}
		token, ok := c.s.claims.Take(c.q.Topic, o.ID, c.q.For)
		if !ok {
			c.next = c.q.Now // somebody has it, or has answered it since
			continue
		}
		c.claims = append(c.claims, relay.Claim{Token: token})
		r, err := conn.RecordWithContent(o.Seq, min(claimContent, contents))
		if errors.Is(err, relay.ErrNotFound) { // somebody has dropped it since
			c.s.claims.GiveBack(token)
			c.claims = c.claims[:len(c.claims)-1]
			continue
		}
		if err != nil {
			return err
		}
		c.records = append(c.records, r)
		if c.claims[len(c.claims)-1].Entries, err = conn.Entries(r, c.q.Topic); err != nil {
			return err
		}
		left -= len(r.Recipients)
		contents -= int64(len(r.Data))
	}
	return nil
}

// readable fills in the messages and tokens of the claims, and leaves out those whose message cannot be
// read.
func (c *claiming) readable() (whole []relay.Claim) {
	var bad []database.Damaged
	for i, r := range c.records {
		cl := c.claims[i]
		m, err := r.Decode()
		if err != nil {
			bad = append(bad, database.Damaged{Record: r, Why: err.Error()})
			c.s.claims.GiveBack(cl.Token)
			continue
		}
		cl.Message = m
		for j := range cl.Entries {
			cl.Entries[j].Claim = cl.Token
		}
		whole = append(whole, cl)
	}
	if len(bad) > 0 {
		c.s.quarantine.add(context.Background(), bad)
	}
	return whole
}

// GiveBack implements relay.Outbox.
func (s *Spool) GiveBack(claims ...relay.Token) { s.claims.GiveBack(claims...) }

// Consume implements relay.Outbox.
func (s *Spool) Consume(ctx context.Context, a relay.Answer) error {
	end, err := s.claims.BeginWrite(a.Entries)
	if err != nil {
		return err
	}
	defer end()
	after := func(err error) {
		if err == nil {
			for i := range a.Entries { // the messages have most likely gone
				s.queue.DropContent(a.Entries[i].Message)
			}
		}
	}
	if len(a.Messages) == 0 {
		return s.w.ops.do(ctx, &operation{
			size:    64 * len(a.Entries),
			apply:   func(t *database.Tx) error { return t.Consume(a.Entries) },
			journal: func(j *journaling) (bool, error) { j.report(a.Entries, nil); return true, nil },
			after:   after,
		})
	}
	p, err := s.receive(a.Messages, a.Content, false)
	if err != nil {
		return err
	}
	p.report = true
	p.throttle(ctx)
	op := &operation{
		size: 64*len(a.Entries) + p.bytes(),
		put:  p,
		apply: func(t *database.Tx) error {
			if err := t.Consume(a.Entries); err != nil {
				return err
			}
			return p.apply(t)
		},
		journal: func(j *journaling) (bool, error) { return p.journalReport(j, a.Entries) },
		after:   func(err error) { p.after(err); after(err) },
	}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return err
}

// journalReport stores the report in the journal, with the entries that it answers, if its lane is going to
// get it from memory.
func (p *putting) journalReport(j *journaling, answered []relay.Entry) (bool, error) {
	pt := &p.parts[0]
	pt.stored = false
	if !p.fitsJournal() {
		return false, nil
	}
	known, err := j.knowsReport(pt.r.ID)
	if err != nil {
		return false, err
	}
	if known || p.gone(pt.r) {
		j.report(answered, nil)
		return true, nil
	}
	if p.s.queue.GiveSlot(pt.r); pt.r.Slot == 0 {
		return false, nil
	}
	j.report(answered, pt.r)
	pt.stored = true
	return true, nil
}

// Postpone implements relay.Outbox.
func (s *Spool) Postpone(ctx context.Context, entries []relay.Entry) error {
	end, err := s.claims.BeginWrite(entries)
	if err != nil {
		return err
	}
	defer end()
	return s.w.ops.do(ctx, &operation{
		size:  64 * len(entries),
		apply: func(t *database.Tx) error { return t.Postpone(entries) },
	})
}

package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/journal"
	"mailwhy/relay/spool/queue"
)

// Put implements relay.Spool. When ctx ends before the writer has taken the message nothing is stored;
// after that Put waits for the commit, so that an error always means that nothing was stored. A message may
// be stored again once it has gone and many others have gone since; our own reports (Message.Report) are
// known for a week.
func (s *Spool) Put(ctx context.Context, m *relay.Message, content io.Reader) error {
	p, err := s.receive(m, content, true)
	if err != nil {
		return err
	}
	s.queue.Throttle(ctx, m.Lane)
	op := &operation{apply: p.apply, journal: p.journal, after: p.after, size: p.bytes(), grows: true, put: p}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return err
}

// admit says whether a content of which size bytes have come may go on coming.
func (s *Spool) admit(size int64) error {
	if err := s.w.ops.refused(); err != nil {
		return err
	}
	n := database.Counts{Messages: s.stat.messages.Load(), Bytes: s.stat.bytes.Load()}
	if err := s.disk.room(n, size); err != nil {
		return err
	}
	return s.disk.aboveFloor(size)
}

// putting is a message on its way into the spool.
type putting struct {
	s       *Spool
	r       *spool.Record
	report  bool
	bounded bool           // the limits hold for it
	m       *relay.Message // as it is to be leased
	stored  bool           // by the last run of apply
}

// receive reads the content of m, into memory or, when it is large, into a file that is durable when
// receive returns.
func (s *Spool) receive(m *relay.Message, content io.Reader, bounded bool) (*putting, error) {
	if !relay.ValidID(m.ID) {
		return nil, fmt.Errorf("not a valid queue id: %q", m.ID)
	}
	if bounded {
		if err := s.admit(0); err != nil {
			return nil, err
		}
	}
	c, err := s.contents.receive(m.ID, content, bounded)
	if err != nil {
		return nil, err
	}
	m.Size = c.Size
	p := &putting{s: s, report: m.Report, bounded: bounded, m: queue.Leasable(m)}
	if p.r, err = spool.Encode(m); err == nil {
		p.r.File, p.r.Sum, p.r.Data = c.File, c.Sum, c.Data
		p.r.HeadSum = p.r.SumHead()
		return p, nil
	}
	if c.File != "" {
		s.tidy.remove([]string{c.File})
	}
	return nil, err
}

// bytes is how much the message adds to a batch.
func (p *putting) bytes() int { return len(p.r.Data) + len(p.r.Head) + len(p.r.Recipients) }

// apply stores the message within a transaction. An id that is known already is no error, and stores nothing.
func (p *putting) apply(t *database.Tx) error {
	p.stored = false
	if p.bounded {
		if err := p.s.disk.room(t.Counts, p.r.Size); err != nil {
			return err
		}
	}
	known, err := p.known(t)
	if err != nil || known {
		return err
	}
	p.s.queue.GiveSlot(p.r)
	p.stored, err = t.Insert(p.r, p.r.Data)
	return err
}

// journal stores the message in the journal, if its lane is going to get it from memory.
func (p *putting) journal(j *journaling) (bool, error) {
	p.stored = false
	if p.report || !p.fitsJournal() {
		return false, nil
	}
	if p.bounded {
		if err := p.s.disk.room(j.n, p.r.Size); err != nil {
			return true, err
		}
	}
	if known, err := j.knows(p.r.ID); known || err != nil || p.gone() {
		return err == nil, nil
	}
	if p.s.queue.GiveSlot(p.r); p.r.Slot == 0 {
		return false, nil
	}
	j.put(p.r)
	p.stored = true
	return true, nil
}

// fitsJournal reports whether the journal may have the message: its content is small, and its lane is going
// to get it from memory.
func (p *putting) fitsJournal() bool { return p.r.File == "" && p.s.queue.KeepsUp(p.r.Lane) }

// gone reports whether the message was here before and has gone.
func (p *putting) gone() bool { return p.s.queue.HasGone(p.r.ID) }

// known is gone, and more certain for our own reports.
func (p *putting) known(t *database.Tx) (bool, error) {
	if p.gone() {
		return true, nil
	}
	if !p.report {
		return false, nil
	}
	return t.Remember(p.r.ID, spool.Nanos(p.s.o.Now()))
}

// after tells the lane of the message.
func (p *putting) after(err error) {
	if err == nil && p.stored {
		p.s.queue.ArriveNew(p.r, p.m)
	}
}

// finish removes the content file of a message that was not stored. Where that is in doubt the writer does
// it.
func (p *putting) finish(op *operation, err error) {
	if p.r.File != "" && !op.doubt && (err != nil || !p.stored) {
		p.s.tidy.remove([]string{p.r.File})
	}
}

// takeBack removes the message, if it is there, and its content file in any case. A report stays, since
// the notices that it reports were consumed with it: its id makes it harmless to store it again.
func (p *putting) takeBack(t *database.Tx) error {
	// By the number, too: another message of the same id may have been there before, and was acknowledged.
	there, err := t.Has(p.r)
	there = there && p.stored
	switch {
	case err != nil:
		return err
	case there && !p.report:
		return t.Delete(p.r.Seq, p.r.Size, p.r.File)
	case !there && p.r.File != "":
		t.Unused = append(t.Unused, p.r.File)
	}
	return nil
}

// recoveredFor is how long the ids of messages that were put back are known.
const recoveredFor = 10 * 365 * 24 * time.Hour

// Recover puts a message of a journal back under its id. It reports false when the message is there, or was
// put back before. The limits of the spool do not hold for it.
func (s *Spool) Recover(ctx context.Context, r journal.Recovered) (stored bool, err error) {
	if r.Damage != "" {
		return false, fmt.Errorf("%s is damaged: %s", r.Message.ID, r.Damage)
	}
	p, err := s.receive(r.Message, bytes.NewReader(r.Content), false)
	if err != nil {
		return false, err
	}
	op := &operation{put: p, grows: true, size: p.bytes(), after: p.after, apply: func(t *database.Tx) error {
		p.stored = false
		if known, err := t.Remember(p.r.ID, spool.Nanos(s.o.Now().Add(recoveredFor))); known || err != nil {
			return err
		}
		s.queue.GiveSlot(p.r)
		p.stored, err = t.Insert(p.r, p.r.Data)
		return err
	}}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return p.stored && err == nil, err
}

package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
	"mailwhy/relay/spool/queue"
)

// Put implements relay.Spool. When ctx ends before the writer has taken the mail nothing is stored; after
// that Put waits for the commit, so that an error always means that nothing was stored. A message may be
// stored again once it has gone and many others have gone since; our own reports (Message.Report) are known
// for a week.
func (s *Spool) Put(ctx context.Context, ms []*relay.Message, content io.Reader) error {
	p, err := s.receive(ms, content, true)
	if err != nil {
		return err
	}
	p.throttle(ctx)
	op := &operation{apply: p.apply, journal: p.journal, after: p.after, size: p.bytes(), grows: true, put: p}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return err
}

// Admit implements relay.Admitter.
func (s *Spool) Admit() error { return s.admit(0) }

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

// putting is a mail on its way into the spool.
type putting struct {
	s        *Spool
	parts    []part // one for each lane
	content  *spool.Record
	report   bool          // of our own
	bounded  bool          // the limits hold for it
	owed     []relay.Entry // with the first of its messages
	leaseFor time.Duration // the first of its messages is leased from the beginning; 0: it is not
	token    relay.Token   // of that lease
}

// part is one message of a mail.
type part struct {
	r      *spool.Record
	m      *relay.Message // as it is to be leased
	stored bool           // by the last run of apply or journal
}

// receive reads the content of a mail, into memory or, when it is large, into a file that is durable when
// receive returns.
func (s *Spool) receive(ms []*relay.Message, content io.Reader, bounded bool) (*putting, error) {
	if err := checkIDs(ms); err != nil {
		return nil, err
	}
	if bounded {
		if err := s.admit(0); err != nil {
			return nil, err
		}
	}
	c, err := s.contents.receive(ms[0].MailID(), content, bounded)
	if err != nil {
		return nil, err
	}
	if err := c.keep(); err != nil {
		return nil, err
	}
	return s.putting(ms, c.Record, bounded)
}

// checkIDs refuses messages that cannot be stored under their ids.
func checkIDs(ms []*relay.Message) error {
	if len(ms) == 0 {
		return errors.New("no message to store")
	}
	for _, m := range ms {
		if !relay.ValidID(m.ID) || !relay.ValidID(m.MailID()) {
			return fmt.Errorf("not a valid queue id: %q, of the mail %q", m.ID, m.MailID())
		}
	}
	return nil
}

// putting is a mail whose content was received.
func (s *Spool) putting(ms []*relay.Message, c *spool.Record, bounded bool) (*putting, error) {
	p := &putting{s: s, content: c, bounded: bounded}
	for _, m := range ms {
		m.Size = c.Size
		p.report = p.report || m.Report
		r, err := spool.Encode(m)
		if err != nil {
			p.removeFile()
			return nil, err
		}
		r.File, r.Sum, r.Data = c.File, c.Sum, c.Data
		r.HeadSum = r.SumHead()
		p.parts = append(p.parts, part{r: r, m: queue.Leasable(m)})
	}
	return p, nil
}

// removeFile removes the content's file, if it has one.
func (p *putting) removeFile() {
	if p.content.File != "" {
		p.s.tidy.remove([]string{p.content.File})
	}
}

// throttle lets the mail wait for its lanes.
func (p *putting) throttle(ctx context.Context) {
	for i := range p.parts {
		p.s.queue.Throttle(ctx, p.parts[i].r.Lane)
	}
}

// bytes is how much the mail adds to a batch.
func (p *putting) bytes() int {
	n := len(p.content.Data)
	for i := range p.parts {
		n += len(p.parts[i].r.Head) + len(p.parts[i].r.Recipients)
	}
	return n
}

// apply stores the mail within a transaction. An id that is known already is no error, and stores nothing.
func (p *putting) apply(t *database.Tx) error {
	if p.bounded {
		if err := p.s.disk.room(t.Counts, p.content.Size); err != nil {
			return err
		}
	}
	return p.insert(t, p.known)
}

// insert stores those of the messages that are not known. The first of them stores the content.
func (p *putting) insert(t *database.Tx, known func(*database.Tx, *spool.Record) (bool, error)) error {
	shared := int64(0)
	for i := range p.parts {
		p.parts[i].stored = false
	}
	for i := range p.parts {
		pt := &p.parts[i]
		if known, err := known(t, pt.r); err != nil {
			return err
		} else if known {
			continue
		}
		if pt.r.Slot = 0; p.leaseFor == 0 || i > 0 {
			p.s.queue.GiveSlot(pt.r)
		}
		data := pt.r.Data
		if pt.r.Content = shared; shared != 0 {
			data = nil
		}
		var err error
		if pt.stored, err = t.Insert(pt.r, data); err != nil {
			return err
		}
		if pt.stored && shared == 0 {
			shared = pt.r.Seq
		}
	}
	if len(p.owed) == 0 || !p.parts[0].stored {
		return nil
	}
	return t.AddEntries(p.parts[0].r.Seq, p.owed)
}

// journal stores the mail in the journal, if it has one message whose lane is going to get it from memory.
func (p *putting) journal(j *journaling) (bool, error) {
	pt := &p.parts[0]
	pt.stored = false
	if p.report || !p.fitsJournal() {
		return false, nil
	}
	if p.bounded {
		if err := p.s.disk.room(j.n, p.content.Size); err != nil {
			return true, err
		}
	}
	if known, err := j.knows(pt.r.ID); known || err != nil || p.gone(pt.r) {
		return err == nil, nil
	}
	if p.s.queue.GiveSlot(pt.r); pt.r.Slot == 0 {
		return false, nil
	}
	j.put(pt.r)
	pt.stored = true
	return true, nil
}

// fitsJournal reports whether the journal may have the mail: one message with a small content, whose lane is
// going to get it from memory.
func (p *putting) fitsJournal() bool {
	r := p.parts[0].r
	return len(p.parts) == 1 && r.Mail == "" && r.File == "" && p.s.queue.KeepsUp(r.Lane)
}

// gone reports whether a message was here before and has gone.
func (p *putting) gone(r *spool.Record) bool { return p.s.queue.HasGone(r.ID) }

// known is gone, and more certain for our own reports.
func (p *putting) known(t *database.Tx, r *spool.Record) (bool, error) {
	if p.gone(r) {
		return true, nil
	}
	if !p.report {
		return false, nil
	}
	return t.Remember(r.ID, spool.Nanos(p.s.o.Now()))
}

// after tells the lanes of the messages.
func (p *putting) after(err error) {
	for i := range p.parts {
		switch pt := &p.parts[i]; {
		case err != nil || !pt.stored:
		case p.leaseFor > 0 && i == 0:
			p.token = p.s.queue.ArriveLeased(pt.r, len(pt.m.Recipients), p.leaseFor)
		default:
			p.s.queue.ArriveNew(pt.r, pt.m)
		}
	}
}

// stored reports whether any of the messages was stored.
func (p *putting) stored() bool {
	return slices.ContainsFunc(p.parts, func(pt part) bool { return pt.stored })
}

// finish removes the content file of a mail that was not stored. Where that is in doubt the writer does it.
func (p *putting) finish(op *operation, err error) {
	if !op.doubt && (err != nil || !p.stored()) {
		p.removeFile()
	}
}

// takeBack removes the messages that are there, and the content file in any case. A report stays, since the
// entries that it answers were consumed with it: its id makes it harmless to store it again.
func (p *putting) takeBack(t *database.Tx) error {
	unused := p.content.File != ""
	for i := range p.parts {
		pt := &p.parts[i]
		// By the number, too: another message of the same id may have been there before, and was
		// acknowledged.
		there, err := t.Has(pt.r)
		if err != nil {
			return err
		}
		if !there || !pt.stored {
			continue
		}
		unused = false
		if p.report {
			continue
		}
		if err := t.DropEntries(pt.r.Seq); err != nil {
			return err
		}
		if err := t.Delete(pt.r); err != nil {
			return err
		}
	}
	if unused {
		t.Unused = append(t.Unused, p.content.File)
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
	p, err := s.receive([]*relay.Message{r.Message}, bytes.NewReader(r.Content), false)
	if err != nil {
		return false, err
	}
	known := func(t *database.Tx, r *spool.Record) (bool, error) {
		return t.Remember(r.ID, spool.Nanos(s.o.Now().Add(recoveredFor)))
	}
	op := &operation{put: p, grows: true, size: p.bytes(), after: p.after,
		apply: func(t *database.Tx) error { return p.insert(t, known) }}
	err = s.w.ops.do(ctx, op)
	p.finish(op, err)
	return p.stored() && err == nil, err
}

// staged is a message whose content was received and that is not stored.
type staged struct {
	s       *Spool
	m       *relay.Message
	content *received
	over    error // why it can no longer be stored: it is, it was discarded, or it could not be
}

var errDiscarded = errors.New("the message was discarded")

// Stage implements relay.Stager. The file of a large content has the name of one that is stored. It is not
// synced, and a start removes it, since no message refers to it.
func (s *Spool) Stage(_ context.Context, m *relay.Message, content io.Reader) (relay.Staged, error) {
	if err := checkIDs([]*relay.Message{m}); err != nil {
		return nil, err
	}
	c, err := s.contents.receive(m.MailID(), content, true)
	if err != nil {
		return nil, err
	}
	m.Size = c.Size
	return &staged{s: s, m: m, content: c}, nil
}

// Content implements relay.Staged.
func (st *staged) Content() (io.ReadCloser, error) {
	r := st.content.Record
	if r.File == "" {
		return io.NopCloser(bytes.NewReader(r.Data)), nil
	}
	return openFile(st.s.dir.File(files.Contents, r.File), r)
}

// Put implements relay.Staged. A message that is leased gets no slot before its lease ends: so nobody finds
// it between its commit and its lease.
func (st *staged) Put(ctx context.Context, set relay.Settlement, leaseFor time.Duration,
	with ...*relay.Message) (relay.Token, error) {
	if err := spool.CheckSettlement(&set, len(st.m.Recipients)); err != nil {
		return "", err
	}
	err := st.over
	if err == nil {
		err = st.s.admit(0)
	}
	if err != nil {
		return "", err
	}
	ms := spool.ToStore(st.m, &set, with)
	switch {
	case len(ms) == 0:
		return "", nil
	case ms[0].ID != st.m.ID:
		leaseFor = 0
	}
	p, err := st.s.putting(ms, st.content.Record, true)
	if err != nil {
		return "", err
	}
	st.over = errors.New("the message was stored before")
	p.owed, p.leaseFor = set.Owed, leaseFor
	if err = st.content.keep(); err == nil {
		op := &operation{apply: p.apply, after: p.after, size: p.bytes(), grows: true, put: p}
		if leaseFor == 0 && len(set.Owed) == 0 {
			p.throttle(ctx)
			op.journal = p.journal
		}
		err = st.s.w.ops.do(ctx, op)
		p.finish(op, err)
	}
	if err == nil && leaseFor > 0 && p.token == "" {
		err = relay.ErrStaleLease // a message of this id was there before
	}
	if err != nil {
		st.over = err
	}
	return p.token, err
}

// Discard implements relay.Staged.
func (st *staged) Discard() {
	if f := st.content.f; f != nil {
		st.content.f = nil
		f.Abort()
	}
	if st.over == nil {
		st.over = errDiscarded
	}
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
	"mailwhy/relay/spool/queue"
)

// Put implements relay.Spool. An error means that nothing was stored, but for one that wraps
// postgres.ErrInDoubt: then that is not known, and what there is will be removed as soon as it can be. Ids of
// messages that have gone are known for an hour where others may have put them again, those of reports and of
// what an operator dropped for a week.
func (s *Spool) Put(ctx context.Context, ms []*relay.Message, content io.Reader) error {
	p, err := s.receive(ctx, ms, content)
	if err != nil {
		return err
	}
	return s.store(ctx, p)
}

// putting is mail on its way into the spool.
type putting struct {
	s        *Spool
	content  *received
	parts    []*part // one for each lane
	owed     []relay.Entry
	answers  *database.Answer // of the outbox, which it is
	leaseFor time.Duration    // the first message is leased from the beginning; 0: it is not
	lease    granted
}

// part is one message of a mail.
type part struct {
	r     *spool.Record
	m     *relay.Message // as it is to be leased
	fresh bool           // it is stored leased to this process
}

// receive reads a content, and makes the mail.
func (s *Spool) receive(ctx context.Context, ms []*relay.Message, content io.Reader) (*putting, error) {
	if err := checkIDs(ms); err != nil {
		return nil, err
	}
	if err := s.Admit(); err != nil {
		return nil, err
	}
	c, err := s.receiveContent(ctx, ms[0].MailID(), content)
	if err != nil {
		return nil, err
	}
	p, err := s.putting(ms, c)
	if err != nil {
		c.discard()
	}
	return p, err
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

// putting is mail whose content was received.
func (s *Spool) putting(ms []*relay.Message, c *received) (*putting, error) {
	p := &putting{s: s, content: c}
	for _, m := range ms {
		m.Size = c.size
		r, err := spool.Encode(m)
		if err != nil {
			return nil, err
		}
		r.Sum, r.Data = c.sum, c.data
		r.HeadSum = r.SumHead()
		p.parts = append(p.parts, &part{r: r, m: queue.Leasable(m)})
	}
	return p, nil
}

// store stores mail.
func (s *Spool) store(ctx context.Context, p *putting) error {
	p.place()
	op := &operation{add: p.add, known: p.known, bytes: p.bytes()}
	if p.content.key != "" {
		op.inc = p.content.inc // which the parts of the content belong to
	}
	op.after = func(ch *database.Changes, err error) { p.after(op, ch, err) }
	err := s.w.do(ctx, op)
	if err != nil {
		p.content.discard()
		if p.answers == nil && errors.Is(err, relay.ErrStaleLease) {
			err = unavailable(errors.New("this process was taken over while the content came"))
		}
	}
	return storeError(err)
}

// place decides in which table each message is stored, once for all tries.
func (p *putting) place() {
	for i, pt := range p.parts {
		keepsUp := p.s.memory.giveTurn(pt.r)
		switch leased := p.leaseFor > 0 && i == 0; {
		case len(p.parts) > 1 || len(p.owed) > 0 || p.content.key != "" || pt.r.Mail != "" &&
			pt.r.Mail != pt.r.ID:
		default:
			pt.fresh = leased || keepsUp
		}
	}
}

// bytes is how much the mail adds to a transaction.
func (p *putting) bytes() int {
	n := len(p.content.data)
	for _, pt := range p.parts {
		n += len(pt.r.Head) + len(pt.r.Recipients)
	}
	return n
}

// add adds the mail to a transaction.
func (p *putting) add(ch *database.Changes) {
	for i, pt := range p.parts {
		switch {
		case p.s.memory.hasGone(pt.r.ID):
		case pt.fresh:
			ch.Fresh = append(ch.Fresh, pt.r)
		default:
			ch.New = append(ch.New, &database.New{
				Record: pt.r, Content: p.key(pt), Staged: p.content.key != "", Shared: len(p.parts) > 1,
				Leased: p.leaseFor > 0 && i == 0,
			})
		}
	}
	if p.content.key != "" {
		ch.Staged = append(ch.Staged, p.content.key)
	}
	ch.Owed = append(ch.Owed, p.owed...)
	if p.answers != nil {
		ch.Answers = append(ch.Answers, *p.answers)
	}
}

// key is under which the content of a message is stored.
func (p *putting) key(pt *part) string {
	if p.content.key != "" {
		return p.content.key
	}
	return pt.m.MailID()
}

// known reports whether some of the mail was there before.
func (p *putting) known(ch *database.Changes) bool {
	for _, pt := range p.parts {
		if !ch.Stored[pt.r.ID] {
			return true
		}
	}
	return false
}

// after takes in the messages that are leased to this process.
func (p *putting) after(op *operation, ch *database.Changes, err error) {
	if err != nil {
		if op.doubt {
			p.takeBack()
		}
		return
	}
	for i, pt := range p.parts {
		leased := p.leaseFor > 0 && i == 0
		switch {
		case !ch.Stored[pt.r.ID]:
		case leased || pt.fresh:
			p.s.arrive(ch.Me, func(inc *incarnation) { p.arrive(inc, pt, leased) })
		case pt.r.Due != spool.Never:
			p.s.memory.due(pt.r.Lane, pt.r.Due)
		}
	}
}

// arrive takes in a message that was stored leased to this process.
func (p *putting) arrive(inc *incarnation, pt *part, leased bool) {
	o := &owned{
		row: &database.Row{Record: pt.r, Content: p.key(pt), Fresh: pt.fresh}, m: pt.m,
		recipients: len(pt.m.Recipients), inc: inc,
	}
	if leased {
		p.lease = p.s.memory.leaseArrived(o, time.Now().Add(p.leaseFor))
	} else {
		p.s.memory.arrive(o)
	}
}

// takeBack removes mail that may have been stored, and of which the client was told that it was not. A
// report may have been stored with the entries that it answers, so it is looked for instead.
func (p *putting) takeBack() {
	if p.answers != nil {
		again := *p
		op := &operation{add: again.add, must: true, again: true}
		op.after = func(ch *database.Changes, err error) { again.after(op, ch, err) }
		p.s.w.add(op)
		return
	}
	var ids []string
	for _, pt := range p.parts {
		ids = append(ids, pt.r.ID)
	}
	p.s.w.add(&operation{must: true, again: true, add: func(ch *database.Changes) {
		ch.TakenBack = append(ch.TakenBack, ids...)
	}})
}

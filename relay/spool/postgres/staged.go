package postgres

import (
	"context"
	"errors"
	"io"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// staged is a message whose content was received and that is not stored.
type staged struct {
	s       *Spool
	m       *relay.Message
	content *received
	over    error // why it can no longer be stored: it is, it was discarded, or it could not be
	stored  bool  // the content is a message's
}

var errDiscarded = errors.New("the message was discarded")

// Stage implements relay.Stager. A large content is stored in the database, in parts that belong to no
// message.
func (s *Spool) Stage(ctx context.Context, m *relay.Message, content io.Reader) (relay.Staged, error) {
	if err := checkIDs([]*relay.Message{m}); err != nil {
		return nil, err
	}
	c, err := s.receiveContent(ctx, m.MailID(), content)
	if err != nil {
		return nil, err
	}
	m.Size = c.size
	return &staged{s: s, m: m, content: c}, nil
}

// Content implements relay.Staged.
func (st *staged) Content() (io.ReadCloser, error) { return st.content.open(), nil }

// Put implements relay.Staged.
func (st *staged) Put(ctx context.Context, set relay.Settlement, leaseFor time.Duration,
	with ...*relay.Message) (relay.Token, error) {
	if err := spool.CheckSettlement(&set, len(st.m.Recipients)); err != nil {
		return "", err
	}
	if st.over != nil {
		return "", st.over
	}
	if err := st.s.Admit(); err != nil {
		return "", err
	}
	ms := spool.ToStore(st.m, &set, with)
	if len(ms) == 0 {
		return "", nil
	}
	p, err := st.s.putting(ms, st.content)
	if err != nil {
		return "", err
	}
	if ms[0].ID == st.m.ID {
		p.owed, p.leaseFor = owedBy(st.m.ID, set.Owed), leaseFor
	}
	st.over, st.stored = errors.New("the message was stored before"), true
	if err = st.s.store(ctx, p); err == nil && p.leaseFor > 0 && p.lease.token == "" {
		err = relay.ErrStaleLease // a message of this id was there before
	}
	if err != nil {
		st.over = err
	}
	return p.lease.token, err
}

// Discard implements relay.Staged.
func (st *staged) Discard() {
	if st.over == nil {
		st.over = errDiscarded
	}
	if !st.stored {
		st.stored = true
		st.content.discard()
	}
}

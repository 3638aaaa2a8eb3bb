package relay

import (
	"bytes"
	"context"
	"io"
	"strconv"
)

// tell makes one report: composes it, stores it and consumes its notices, and records that.
func (r *Reporter) tell(ctx context.Context, p *parcel) error {
	route := r.o.Route(p.message)
	if route.Off {
		return r.o.Spool.Report(ctx, p.notices, nil, nil)
	}
	to := route.addressees(p.message)
	draft, err := r.compose(p, route, to[0])
	if err != nil {
		return err
	}
	m := r.reportMessage(p, route, to, draft)
	if route.Maildir != "" {
		return r.file(ctx, p, m, route, draft.Content)
	}
	if err := r.o.Spool.Report(ctx, p.notices, m, bytes.NewReader(draft.Content)); err != nil {
		return err
	}
	r.recordTold(p, m, route)
	r.o.Stored(m.Lane)
	return nil
}

// file writes a report into a maildir.
func (r *Reporter) file(ctx context.Context, p *parcel, m *Message, route Route, content []byte) error {
	if err := r.o.File(route.Maildir, m.ID, content); err != nil {
		return err
	}
	if err := r.o.Spool.Report(ctx, p.notices, nil, nil); err != nil {
		return err
	}
	r.recordTold(p, m, route)
	return nil
}

// compose writes the report.
func (r *Reporter) compose(p *parcel, route Route, to string) (*Draft, error) {
	if p.failures != nil {
		return r.o.Composer.ComposeDigest(&Digest{
			ID: p.id(), Time: r.o.Now(), To: to, Failures: p.failures,
			Diagnosis: p.message.Recipients[p.notices[0].Recipient].Diagnosis,
		})
	}
	recipients := make([]int, len(p.notices))
	for i, n := range p.notices {
		recipients[i] = n.Recipient
	}
	return r.o.Composer.Compose(&Report{
		ID: p.id(), Time: r.o.Now(), Kind: p.kind, To: to, Message: p.message, Recipients: recipients,
		RetryUntil: r.o.Expires(p.message),
		EightBit:   route.Maildir != "" || r.o.EightBit(route.lane(p.message)),
		Open:       func() (io.ReadCloser, error) { return r.o.Spool.Content(context.Background(), p.message.ID) },
	})
}

// id is the queue id of the report: the same for the same notices, so that a repetition stores nothing new.
func (p *parcel) id() string {
	parts := []string{"dsn", string(p.kind)}
	for i, n := range p.notices {
		parts = append(parts, n.Message, strconv.Itoa(n.Recipient), attemptsOf(p.messageOf(i), n))
	}
	return DerivedID(p.message.Arrived, parts...)
}

// attemptsOf tells a second failure of a recipient, after the operator put it back into the queue, from the first.
func attemptsOf(m *Message, n Notice) string {
	last := m.Recipients[n.Recipient].Last
	if last == nil {
		return ""
	}
	return strconv.FormatInt(last.Time.UnixNano(), 36)
}

// messageOf is the message of notice i.
func (p *parcel) messageOf(i int) *Message {
	if p.messages != nil {
		return p.messages[i]
	}
	return p.message
}

// reportMessage is the report as a message of its own (RFC 3461, 6.1): with the null sender, and asking for no report.
func (r *Reporter) reportMessage(p *parcel, route Route, to []string, d *Draft) *Message {
	m := &Message{
		ID:         p.id(),
		Envelope:   Envelope{SMTPUTF8: d.UTF8},
		Client:     Client{Name: "mailwhy"},
		MessageID:  d.MessageID,
		Subject:    d.Subject,
		HeaderFrom: d.From,
		Size:       int64(len(d.Content)),
		Arrived:    r.o.Now(),
		Report:     true,
	}
	if route.Maildir == "" {
		m.Lane = route.lane(p.message)
	}
	if d.EightBit || d.UTF8 {
		m.Envelope.Body = Body8BitMIME
	}
	for _, address := range to {
		m.Recipients = append(m.Recipients, Recipient{Address: address, Notify: NotifyNever, State: Queued})
	}
	return m
}

// recordTold records a report: for each recipient that it is about, and for each whom it is addressed to.
func (r *Reporter) recordTold(p *parcel, dsn *Message, route Route) {
	now := r.o.Now()
	for i, n := range p.notices {
		m := p.messageOf(i)
		rc := &m.Recipients[n.Recipient]
		e := Event{
			Time: now, Kind: EventDSN, ID: m.ID, MessageID: m.MessageID, From: m.Envelope.From, To: rc.Address,
			Attempt: rc.Attempts, Delay: now.Sub(m.Arrived), Diagnosis: rc.Diagnosis, DSN: dsn.ID, DSNKind: n.Kind,
		}
		if n.Kind == NoticeDelayed {
			e.Kind, e.NextAttempt = EventDelayed, rc.NextAttempt
		}
		r.o.Record.Record(e)
	}
	for i := range dsn.Recipients {
		r.o.Record.Record(Event{
			Time: now, Kind: EventDSN, First: i == 0, ID: dsn.ID, MessageID: dsn.MessageID, To: dsn.Recipients[i].Address, Size: dsn.Size,
			DSN: p.message.ID, DSNKind: p.kind, Note: p.story(route), Lane: dsn.Lane,
		})
	}
}

// story says in a few words what a report is.
func (p *parcel) story(route Route) string {
	what := "report on " + strconv.Itoa(len(p.notices)) + " recipient"
	switch {
	case p.failures != nil:
		what = "digest of " + strconv.Itoa(len(p.notices)) + " failures"
	case len(p.notices) > 1:
		what += "s"
	}
	if route.Maildir != "" {
		what += ", written to the maildir"
	}
	return what
}

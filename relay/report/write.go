package report

import (
	"bytes"
	"context"
	"io"
	"strconv"

	"mailwhy/relay"
)

// write makes one report: composes it, stores it and consumes its notices, and records that.
func (r *Reporter) write(ctx context.Context, p *job) error {
	dest := r.o.Destination(p.message)
	if dest.Off {
		return r.o.Spool.Report(ctx, p.notices, nil, nil)
	}
	to := dest.addressees(p.message)
	draft, err := r.compose(p, dest, to[0])
	if err != nil {
		return err
	}
	m := r.reportMessage(p, dest, to, draft)
	if dest.Maildir != "" {
		return r.file(ctx, p, m, dest, draft.Content)
	}
	if err := r.o.Spool.Report(ctx, p.notices, m, bytes.NewReader(draft.Content)); err != nil {
		return err
	}
	r.recordReported(p, m, dest)
	r.o.Stored(m.Lane)
	return nil
}

// file writes a report into a maildir.
func (r *Reporter) file(ctx context.Context, p *job, m *relay.Message, dest Destination, content []byte) error {
	if err := r.o.File(dest.Maildir, m.ID, content); err != nil {
		return err
	}
	if err := r.o.Spool.Report(ctx, p.notices, nil, nil); err != nil {
		return err
	}
	r.recordReported(p, m, dest)
	return nil
}

// compose writes the report.
func (r *Reporter) compose(p *job, dest Destination, to string) (*relay.Draft, error) {
	if p.failures != nil {
		return r.o.Composer.ComposeDigest(&relay.Digest{
			ID: p.id(), Time: r.o.Now(), To: to, Failures: p.failures,
			Diagnosis: p.message.Recipients[p.notices[0].Recipient].Diagnosis,
		})
	}
	recipients := make([]int, len(p.notices))
	for i, n := range p.notices {
		recipients[i] = n.Recipient
	}
	return r.o.Composer.Compose(&relay.Report{
		ID: p.id(), Time: r.o.Now(), Kind: p.kind, To: to, Message: p.message, Recipients: recipients,
		RetryUntil: r.o.Expires(p.message),
		EightBit:   dest.Maildir != "" || r.o.EightBit(dest.lane(p.message)),
		Open:       func() (io.ReadCloser, error) { return r.o.Spool.Content(context.Background(), p.message.ID) },
	})
}

// id is the queue id of the report: the same for the same notices, so that a repetition stores nothing new.
func (p *job) id() string {
	parts := []string{"dsn", string(p.kind)}
	for i, n := range p.notices {
		parts = append(parts, n.Message, strconv.Itoa(n.Recipient), attemptsOf(p.messageOf(i), n))
	}
	return relay.DerivedID(p.message.Arrived, parts...)
}

// attemptsOf tells a second failure of a recipient, after the operator put it back into the queue, from the first.
func attemptsOf(m *relay.Message, n relay.Notice) string {
	last := m.Recipients[n.Recipient].Last
	if last == nil {
		return ""
	}
	return strconv.FormatInt(last.Time.UnixNano(), 36)
}

// messageOf is the message of notice i.
func (p *job) messageOf(i int) *relay.Message {
	if p.messages != nil {
		return p.messages[i]
	}
	return p.message
}

// reportMessage is the report as a message of its own (RFC 3461, 6.1): with the null sender, and asking for no report.
func (r *Reporter) reportMessage(p *job, dest Destination, to []string, d *relay.Draft) *relay.Message {
	m := &relay.Message{
		ID:         p.id(),
		Envelope:   relay.Envelope{SMTPUTF8: d.UTF8},
		Client:     relay.Client{Name: "mailwhy"},
		MessageID:  d.MessageID,
		Subject:    d.Subject,
		HeaderFrom: d.From,
		Size:       int64(len(d.Content)),
		Arrived:    r.o.Now(),
		Report:     true,
	}
	if dest.Maildir == "" {
		m.Lane = dest.lane(p.message)
	}
	if d.EightBit || d.UTF8 {
		m.Envelope.Body = relay.Body8BitMIME
	}
	for _, address := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: address, Notify: relay.NotifyNever, State: relay.Queued})
	}
	return m
}

// recordReported records a report: for each recipient that it is about, and for each whom it is addressed to.
func (r *Reporter) recordReported(p *job, dsn *relay.Message, dest Destination) {
	now := r.o.Now()
	for i, n := range p.notices {
		m := p.messageOf(i)
		r.o.Record.Record(relay.ReportedEvent(m, n.Recipient, n.Kind, dsn.ID, now))
	}
	for i := range dsn.Recipients {
		r.o.Record.Record(relay.ReportEvent(dsn, i, p.kind, p.message.ID, p.summary(dest), now))
	}
}

// summary says in a few words what a report is.
func (p *job) summary(dest Destination) string {
	what := "report on " + strconv.Itoa(len(p.notices)) + " recipient"
	switch {
	case p.failures != nil:
		what = "digest of " + strconv.Itoa(len(p.notices)) + " failures"
	case len(p.notices) > 1:
		what += "s"
	}
	if dest.Maildir != "" {
		what += ", written to the maildir"
	}
	return what
}

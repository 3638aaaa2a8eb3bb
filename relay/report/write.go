package report

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"

	"mailwhy/relay"
)

// write makes one report: it composes and stores it, consumes its notices, and records that.
func (r *Reporter) write(ctx context.Context, j *job) error {
	dest := r.o.Destination(j.message)
	if j.kind == relay.NoticeOperator {
		dest = Destination{Lane: dest.Lane, Operator: j.notices[0].To, SkipSenders: true}
	}
	if dest.Off {
		return r.consume(ctx, j, nil, nil)
	}
	to := dest.addressees(j.message)
	draft, err := r.compose(j, dest, to[0])
	if err != nil {
		return err
	}
	m := r.reportMessage(j, dest, to, draft)
	if dest.Maildir != "" {
		return r.file(ctx, j, m, dest, draft.Content)
	}
	if err := r.consume(ctx, j, []*relay.Message{m}, bytes.NewReader(draft.Content)); err != nil {
		return err
	}
	r.recordReported(j, m, dest)
	r.o.Stored(m.Lane)
	return nil
}

// file writes a report into a maildir.
func (r *Reporter) file(ctx context.Context, j *job, m *relay.Message, dest Destination,
	content []byte) error {
	if err := r.o.File(dest.Maildir, m.ID, content); err != nil {
		return err
	}
	if err := r.consume(ctx, j, nil, nil); err != nil {
		return err
	}
	r.recordReported(j, m, dest)
	return nil
}

// consume consumes the notices of a report and stores it, if it is to be stored.
func (r *Reporter) consume(ctx context.Context, j *job, ms []*relay.Message, content io.Reader) error {
	return r.o.Spool.Consume(ctx, relay.Answer{
		Entries: relay.NoticeEntries(j.notices), Messages: ms, Content: content,
	})
}

// compose writes the report.
func (r *Reporter) compose(j *job, dest Destination, to string) (*relay.Draft, error) {
	if j.failures != nil {
		return r.o.Composer.ComposeDigest(&relay.Digest{
			ID: j.id(), Time: r.o.Now(), To: to, Failures: j.failures,
			Diagnosis: j.message.Recipients[j.notices[0].Recipient].Diagnosis,
		})
	}
	recipients := make([]int, len(j.notices))
	for i, n := range j.notices {
		recipients[i] = n.Recipient
	}
	open := func() (io.ReadCloser, error) {
		return r.o.Spool.Content(context.Background(), j.message.ID)
	}
	return r.o.Composer.Compose(&relay.Report{
		ID:         j.id(),
		Time:       r.o.Now(),
		Kind:       j.composed(),
		To:         to,
		Message:    j.message,
		Recipients: recipients,
		RetryUntil: r.o.Expires(j.message),
		EightBit:   dest.Maildir != "" || r.o.EightBit(dest.lane(j.message)),
		Open:       open,
	})
}

// composed is the kind by which the report is written. One for the operator is what the sender gets, or would
// get.
func (j *job) composed() relay.NoticeKind {
	switch {
	case j.kind != relay.NoticeOperator:
		return j.kind
	case j.message.Recipients[j.notices[0].Recipient].State.Final():
		return relay.NoticeFailed
	}
	return relay.NoticeDelayed
}

// id is the queue id of the report. It is the same for the same notices, so that a repetition stores nothing
// new.
func (j *job) id() string {
	parts := []string{"dsn", string(j.kind)}
	for i, n := range j.notices {
		parts = append(parts, n.Message, strconv.Itoa(n.Recipient), attemptOf(j.messageOf(i), n))
	}
	return relay.DerivedID(j.message.Arrived, parts...)
}

// attemptOf distinguishes a second failure of a recipient, after the operator put it back into the queue,
// from the first.
func attemptOf(m *relay.Message, n relay.Notice) string {
	last := m.Recipients[n.Recipient].Last
	if last == nil {
		return ""
	}
	return strconv.FormatInt(last.Time.UnixNano(), 36)
}

// messageOf is the message of notice i.
func (j *job) messageOf(i int) *relay.Message {
	if j.messages != nil {
		return j.messages[i]
	}
	return j.message
}

// reportMessage is the report as a message of its own (RFC 3461, 6.1): it has the null sender and asks for no
// report.
func (r *Reporter) reportMessage(j *job, dest Destination, to []string, d *relay.Draft) *relay.Message {
	m := &relay.Message{
		ID:         j.id(),
		Envelope:   relay.Envelope{SMTPUTF8: d.UTF8},
		Client:     relay.Client{Name: "mailwhy"},
		MessageID:  d.MessageID,
		Subject:    d.Subject,
		HeaderFrom: d.From[strings.LastIndexByte(d.From, '@')+1:],
		Size:       int64(len(d.Content)),
		Arrived:    r.o.Now(),
		Report:     true,
	}
	if j.failures == nil { // about one message
		m.TraceID, m.SpanID = j.message.TraceID, j.message.SpanID
	}
	if dest.Maildir == "" {
		m.Lane = dest.lane(j.message)
	}
	if d.EightBit || d.UTF8 {
		m.Envelope.Body = relay.Body8BitMIME
	}
	for _, address := range to {
		m.Recipients = append(m.Recipients,
			relay.Recipient{Address: address, Notify: relay.NotifyNever, State: relay.Queued})
	}
	return m
}

// recordReported records a report: an event for each recipient that it is about, and one for each addressee.
func (r *Reporter) recordReported(j *job, dsn *relay.Message, dest Destination) {
	now := r.o.Now()
	for i, n := range j.notices {
		m := j.messageOf(i)
		r.o.Record.Record(relay.ReportedEvent(m, n.Recipient, n.Kind, dsn.ID, now))
	}
	for i := range dsn.Recipients {
		r.o.Record.Record(relay.ReportEvent(dsn, i, j.kind, j.message.ID, j.summary(dest), now))
	}
}

// summary describes a report in a few words.
func (j *job) summary(dest Destination) string {
	what := "report on " + strconv.Itoa(len(j.notices)) + " recipient"
	switch {
	case j.failures != nil:
		what = "digest of " + strconv.Itoa(len(j.notices)) + " failures"
	case len(j.notices) > 1:
		what += "s"
	}
	if dest.Maildir != "" {
		what += ", written to the maildir"
	}
	return what
}

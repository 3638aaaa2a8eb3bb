package smtpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/smtpd/refusal"
	"mailwhy/relay/smtpd/wire"
)

// Data implements smtp.Session. It reads from the wire, not from the reader that the library offers.
func (s *session) Data(io.Reader) error { return s.tell(s.takeContent()) }

// takeContent takes the content of the open transaction. What it returns is the reply.
func (s *session) takeContent() error {
	if s.listen.Bounces {
		return s.takeBounce()
	}
	body := &contentReader{session: s, content: s.wire.Content()}
	defer body.release()
	if body.content == nil {
		return refusal.New("internal_error")
	}
	defer func() { s.lfOnly = body.content.LFOnly() }()
	m := s.message()
	body.message = m
	content := &outgoing{src: s.options.Mend(m, s.network != nil, body), body: body}
	buf := s.server.heads.Get().(*[]byte)
	defer s.server.heads.Put(buf)
	head, err := peek(content, buf, s.options.Limits.HeaderPeek)
	if err != nil {
		return s.contentReply(err)
	}
	f := readHeader(head, s.options.Hostname, s.options.Fields)
	l := &s.options.Limits
	// RFC 5321, 6.3
	if l.Received > 0 && f.received >= l.Received || l.OwnReceived > 0 && f.own >= l.OwnReceived {
		return refusal.New("loop")
	}
	describe(m, &f)
	trace := s.trace(m)
	if err := content.limitUpstream(len(trace) + len(head)); err != nil {
		return s.contentReply(err)
	}
	body.storing = true
	whole := io.MultiReader(strings.NewReader(trace), bytes.NewReader(head), content)
	if !s.tries() {
		return s.conclude(m, body, nil, s.options.Accept(s.server.ctx, m, whole))
	}
	after, err := s.options.Try(s.server.ctx, m, whole, s.listen.LMTP)
	return s.conclude(m, body, after, err)
}

// message is the message of the open transaction, before its content is read.
func (s *session) message() *relay.Message {
	now := s.options.Now()
	m := &relay.Message{
		ID: s.options.NewID(now), Envelope: s.tx.envelope, Recipients: s.tx.recipients, Arrived: now,
		Client: relay.Client{
			User: s.user, Addr: s.addrString(), Hello: s.hello, Protocol: s.protocol(),
		},
	}
	m.Client.Name = s.clientName()
	if m.Client.Name == m.Client.Addr {
		m.Client.Name = ""
	}
	if state := s.wire.TLS(); state != nil {
		m.Client.TLS = tlsVersion(state)
	}
	if s.tx.completed {
		m.Changed = append(m.Changed, "domain added")
	}
	return m
}

// describe notes in m what its header says.
func describe(m *relay.Message, f *facts) {
	m.MessageID, m.Subject, m.HeaderFrom = f.messageID, f.subject, f.from
	m.TraceID, m.SpanID = f.traceID, f.spanID
	m.DKIM, m.StatusReport, m.Headers = f.dkim, f.report, f.kept
}

// conclude is the reply to the content. It is 250 only if the message was stored, or taken by the upstream,
// and the final dot was seen. after is what Try returned.
func (s *session) conclude(m *relay.Message, body *contentReader, after []relay.Recipient, err error) error {
	suppressed, isSuppressed := errors.AsType[*relay.SuppressedError](err)
	switch {
	case body.err != nil && body.err != io.EOF:
		return s.contentReply(body.err)
	case isSuppressed: // the content was not read; the wire does that
		s.final = s.suppressedAnswers(m, suppressed)
		return refusal.New("other") // s.final takes its place
	case err == nil && body.err == io.EOF:
		s.messages++
		s.errs, s.others, s.overshoot = 0, 0, 0
		s.final = s.verdicts(m.ID, after)
		return took("Ok: queued as " + m.ID) // s.final takes its place
	case errors.Is(err, relay.ErrHeaderTooLong):
		return s.contentReply(relay.ErrHeaderTooLong)
	case errors.Is(err, relay.ErrFull):
		s.options.Log.Error("message not accepted: the spool is full", "err", err)
		return refusal.New("spool_full")
	case errors.Is(err, relay.ErrNoRoute):
		return refusal.New("no_upstream", m.Envelope.From)
	case err == nil:
		err = errors.New("stored without its end")
	}
	s.options.Log.Error("message not accepted", "id", m.ID, "err", err)
	return refusal.New("not_stored")
}

// contentReply is the reply to content that was not accepted.
func (s *session) contentReply(err error) error {
	switch {
	case errors.Is(err, wire.ErrBareLF):
		return refusal.New("bare_lf")
	case errors.Is(err, wire.ErrBareCR):
		return refusal.New("bare_cr")
	case errors.Is(err, wire.ErrNUL):
		return refusal.New("nul")
	case errors.Is(err, wire.ErrLineTooLong):
		return refusal.New("line_too_long", s.options.Limits.ContentLine)
	case errors.Is(err, relay.ErrHeaderTooLong):
		return refusal.New("header_too_long")
	case errors.Is(err, wire.ErrTooLarge):
		return sizeLimit{bytes: s.options.Limits.MessageSize}.check(s.options.Limits.MessageSize + 1)
	case errors.Is(err, errUpstream):
		return s.tx.limit.check(s.tx.limit.bytes + 1)
	case errors.Is(err, errMemory):
		return refusal.New("out_of_memory")
	case errors.Is(err, wire.ErrTooSlow), errors.Is(err, wire.ErrIdle):
		return refusal.New("too_slow")
	}
	return refusal.New("connection_lost")
}

// tlsVersion is "TLS1.3" and the like.
func tlsVersion(state *tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(state.Version), " ", "")
}

func tlsCipher(state *tls.ConnectionState) string { return tls.CipherSuiteName(state.CipherSuite) }

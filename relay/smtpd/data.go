package smtpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/smtpd/wire"
)

// Data implements smtp.Session. What it reads comes from the wire, not from the reader that the library offers.
func (s *session) Data(io.Reader) error {
	body := &intake{session: s, content: s.wire.Content(), left: -1}
	defer body.release()
	if body.content == nil {
		return refuse(451, 4, 3, 0, "Internal trouble, please try again later")
	}
	defer func() { s.lfOnly = body.content.LFOnly() }()
	buf := s.server.heads.Get().(*[]byte)
	defer s.server.heads.Put(buf)
	head, err := body.peek(buf, s.options.Limits.HeaderPeek)
	if err != nil {
		return s.contentReply(err)
	}
	f := readHeader(head, s.options.Hostname)
	l := &s.options.Limits
	if l.Received > 0 && f.received >= l.Received || l.OwnReceived > 0 && f.own >= l.OwnReceived { // RFC 5321, 6.3
		return refuse(554, 5, 4, 6, "Loop detected: the message has been here or elsewhere too often")
	}
	m := s.message(&f)
	prefix := s.trace(m) + s.missing(m, &f)
	if err := body.reserveUpstream(len(prefix), len(head)); err != nil {
		return s.contentReply(err)
	}
	body.storing = true
	err = s.options.Accept(s.server.ctx, m, io.MultiReader(strings.NewReader(prefix), bytes.NewReader(head), body))
	return s.conclude(m, body, err)
}

// message is the message of the open transaction.
func (s *session) message(f *facts) *relay.Message {
	now := s.options.Now()
	m := &relay.Message{
		ID: s.options.NewID(now), Envelope: s.tx.envelope, Recipients: s.tx.recipients, MessageID: f.messageID,
		Subject: f.subject, HeaderFrom: f.from, DKIM: f.dkim, Arrived: now, StatusReport: f.report,
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
	return m
}

// conclude is the reply to the content. 250 is said only to a message that Accept took and whose final dot was seen.
func (s *session) conclude(m *relay.Message, body *intake, err error) error {
	switch {
	case body.err != nil && body.err != io.EOF:
		return s.contentReply(body.err)
	case err == nil && body.err == io.EOF:
		s.messages++
		s.errs, s.others, s.overshoot = 0, 0, 0
		return refuse(250, 2, 0, 0, "Ok: queued as %s", m.ID)
	case errors.Is(err, relay.ErrFull):
		s.options.Log.Error("message not accepted: the spool is full", "error", err)
		return refuse(452, 4, 3, 1, "The spool is full, please try again later")
	case err == nil:
		err = errors.New("taken without its end")
	}
	s.options.Log.Error("message not accepted", "id", m.ID, "error", err)
	return refuse(451, 4, 3, 0, "The message could not be stored, please try again later")
}

// The errors of an intake that are not the wire's.
var (
	errFlight   = errors.New("too many bytes in flight")
	errUpstream = errors.New("content over the upstream's size limit")
	errEightBit = errors.New("8-bit content, which the upstream does not take")
)

// contentReply is the reply to content that could not be taken.
func (s *session) contentReply(err error) error {
	switch {
	case errors.Is(err, wire.ErrBareLF):
		return refuse(554, 5, 6, 0, "Bare LF in content: lines must end in CRLF")
	case errors.Is(err, wire.ErrBareCR):
		return refuse(554, 5, 6, 0, "Bare CR in content: lines must end in CRLF")
	case errors.Is(err, wire.ErrNUL):
		return refuse(554, 5, 6, 0, "NUL in content")
	case errors.Is(err, wire.ErrLineTooLong):
		return refuse(554, 5, 6, 0, "A line of the content is over %d bytes", s.options.Limits.ContentLine)
	case errors.Is(err, wire.ErrTooLarge):
		return sizeLimit{bytes: s.options.Limits.MessageSize}.check(s.options.Limits.MessageSize + 1)
	case errors.Is(err, errUpstream):
		return s.tx.limit.check(s.tx.limit.bytes + 1)
	case errors.Is(err, errEightBit):
		return refuse(554, 5, 6, 3, "8-bit content, which the upstream does not take (8BITMIME); encode the message as 7-bit")
	case errors.Is(err, errFlight):
		return refuse(452, 4, 3, 1, "Too much mail is being received, please try again later")
	case errors.Is(err, wire.ErrTooSlow), errors.Is(err, wire.ErrIdle):
		return refuse(421, 4, 4, 2, "The content came too slowly")
	}
	return refuse(421, 4, 4, 2, "Connection lost in the content")
}

// intake is the content on its way from the wire to Accept. Its errors stay, and are io.EOF only at the final dot.
type intake struct {
	session  *session
	content  *wire.Content
	seen     int64 // bytes so far
	reserved int64 // of them in the server's flight
	storing  bool  // Accept has begun
	left     int64 // bytes that the upstream's limit still allows; -1 is no limit
	err      error
}

// Read implements io.Reader.
func (b *intake) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.content.Read(p)
	if err == nil {
		err = b.admit(p[:n])
	}
	b.err = err
	if err != nil && err != io.EOF {
		return 0, err
	}
	return n, err
}

// admit holds a part of the content against what is known of the upstream and of the server's load.
func (b *intake) admit(p []byte) error {
	if !b.session.tx.eightBit && hasHighBit(p) {
		return errEightBit
	}
	if b.left >= 0 {
		if b.left -= int64(len(p)); b.left < 0 {
			return errUpstream
		}
	}
	b.seen += int64(len(p))
	if !b.reserve() {
		return errFlight
	}
	return nil
}

// reserve keeps the server's count of memory to what the content takes: all that was seen of it, until the store has put it
// on disk.
func (b *intake) reserve() bool {
	l := &b.session.options.Limits
	takes := b.seen
	if b.storing && l.Spill > 0 && b.seen > l.Spill {
		takes = min(b.seen, flightBuffer)
	}
	more := takes - b.reserved
	if more > 0 && !b.session.server.flight.reserve(more, l.InFlight) {
		return false
	}
	if more < 0 {
		b.session.server.flight.release(-more)
	}
	b.reserved = takes
	return true
}

// reserveUpstream sets out the upstream's size limit, of which our own fields and what was read so far are a part.
func (b *intake) reserveUpstream(own, read int) error {
	limit := b.session.tx.limit
	if !limit.upstream {
		return nil
	}
	if b.left = limit.bytes - int64(own) - int64(read); b.left < 0 {
		b.left = 0
		b.err = errUpstream
		return errUpstream
	}
	return nil
}

func (b *intake) release() { b.session.server.flight.release(b.reserved) }

// peek reads into buf, which it enlarges as needed, until the header has ended, the content has, or max bytes are there.
func (b *intake) peek(buf *[]byte, max int) ([]byte, error) {
	head := (*buf)[:0]
	for len(head) < max {
		if len(head) == cap(head) {
			head = append(make([]byte, 0, min(max, 4096+2*cap(head))), head...)
			*buf = head
		}
		from := len(head)
		n, err := b.Read(head[from:min(cap(head), max)])
		head = head[:from+n]
		if err == io.EOF {
			return head, nil
		}
		if err != nil {
			return nil, err
		}
		if headerEnded(head, from) {
			return head, nil
		}
	}
	return head, nil
}

func hasHighBit(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// tlsVersion is "TLS1.3" and the like.
func tlsVersion(state *tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(state.Version), " ", "")
}

func tlsCipher(state *tls.ConnectionState) string { return tls.CipherSuiteName(state.CipherSuite) }

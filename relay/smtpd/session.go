package smtpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/smtpd/wire"
)

// session is one client's connection. It is go-smtp's Session and the wire's Dialogue; both call it from
// the one goroutine that serves the connection.
type session struct {
	server  *Server
	options *Options
	listen  *Listen
	wire    *wire.Conn

	addr    netip.Addr // of the client; invalid for a unix socket
	unix    bool
	network *Network // that contains addr; nil if none does
	counted bool     // in Server.clients
	greeted bool     // the greeting was sent

	hello    string // its name in EHLO or HELO, cleaned
	extended bool   // by EHLO
	user     string // authenticated
	loggedIn bool   // as anybody; see AuthAny

	verb    string // of the current command, or contentEnd; "" between commands
	pending path   // of the current MAIL or RCPT
	tx      *transaction
	final   []string // replies in place of the library's to the content; nil: none

	lfOnly bool // the last content contained LF.LF

	messages, failures, errs, others, overshoot int
}

// transaction is what MAIL opened.
type transaction struct {
	envelope   relay.Envelope
	recipients []relay.Recipient
	order      []int // for each RCPT that was taken, its recipient
	rejected   int   // RCPTs that were refused
	completed  bool  // an address got our domain
	limit      sizeLimit
}

// newSession is called by go-smtp at EHLO.
func newSession(c *smtp.Conn) (smtp.Session, error) {
	w, ok := c.Conn().(*wire.Conn)
	if !ok {
		return nil, errors.New("connection is not a wire.Conn")
	}
	return w.Dialogue().(*session), nil
}

// findClient notes who the client is.
func (s *session) findClient(remote net.Addr) {
	_, s.unix = remote.(*net.UnixAddr)
	s.addr = addrOf(remote)
	if s.listen.Bounces { // whoever it is, it may do no more than anybody
		return
	}
	s.network = s.options.Access.network(s.addr, s.unix)
	if s.lenient() {
		s.wire.Lenient()
	}
	s.server.origins.note(s.options, s.addr)
}

// lenient reports whether the client may send what old devices do.
func (s *session) lenient() bool { return s.network != nil && s.network.Lenient }

// Reset implements smtp.Session: it ends the transaction.
func (s *session) Reset() { s.tx = nil }

// Logout implements smtp.Session.
func (s *session) Logout() error {
	s.tx = nil
	return nil
}

// reply makes a reply that go-smtp sends unchanged. It must not be wrapped: the library asserts its type.
func reply(code int, class, subject, detail int, format string, args ...any) *smtp.SMTPError {
	return &smtp.SMTPError{
		Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail},
		Message: fmt.Sprintf(format, args...),
	}
}

// Mail implements smtp.Session. It ignores what the library read from the line; see Command.
func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.tx != nil {
		return reply(503, 5, 5, 1, "A transaction is open, finish it or send RSET first")
	}
	if err := s.maySend(); err != nil {
		return err
	}
	p := &s.pending
	if err := s.maySendAs(p.address); err != nil {
		return err
	}
	caps, _ := s.capabilities()
	limit := s.sizeLimit(caps)
	if err := limit.check(p.size); err != nil {
		return err
	}
	if err := s.forUpstream(p.address); err != nil {
		return err
	}
	s.tx = &transaction{envelope: p.envelope, limit: limit, completed: p.completed}
	return nil
}

// forUpstream checks whether an address can be written to the upstream. A content with SMTPUTF8 is converted
// where it lacks that, and so are domains (RFC 6531, 3.4).
func (s *session) forUpstream(addr string) error {
	if _, plain := address.ASCII(addr); plain {
		return nil
	}
	if caps, known := s.capabilities(); known && !caps.SMTPUTF8 {
		return reply(553, 5, 6, 7, "The local part is not ASCII, and the upstream does not offer SMTPUTF8")
	}
	return nil
}

// maySend checks whether the client may send at all.
func (s *session) maySend() error {
	a := &s.options.Access
	switch {
	case s.listen.Bounces, s.user != "", s.network != nil && !a.AuthRequired:
		return nil
	case s.authOffered():
		return reply(530, 5, 7, 0, "Authentication required") // RFC 4954, 6
	case s.hasUsers() && s.startTLS() != nil:
		return reply(530, 5, 7, 0, "Authentication required, start TLS first")
	}
	return reply(550, 5, 7, 1, "Relaying denied, %s is not in a network that may send mail", s.origin())
}

// origin names the client's address in a reply.
func (s *session) origin() string {
	switch {
	case s.unix:
		return "the unix socket"
	case s.addr.IsValid():
		return s.addr.String()
	}
	return "your address"
}

// maySendAs checks whether the client may use an envelope sender.
func (s *session) maySendAs(from string) error {
	a := &s.options.Access
	own, who := []string(nil), ""
	if s.listen.Bounces {
		return nil // nothing of it is relayed
	}
	if s.user != "" {
		own, who = a.Users.byName[s.user].senders, "user "+clean.ASCII(s.user, 64)
	} else if s.network != nil {
		own, who = s.network.Senders, "network "+clean.ASCII(s.network.Name, 64)
	}
	switch {
	case matches(a.DenySenders, from), len(a.AllowSenders) > 0 && !matches(a.AllowSenders, from):
		return reply(553, 5, 7, 1, "Sender address not allowed here")
	case len(own) > 0 && !matches(own, from):
		return reply(553, 5, 7, 1, "Sender address not allowed for %s", who)
	}
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	r := &s.pending.recipient
	same := func(have relay.Recipient) bool {
		return sameMailbox(have.Address, r.Address) && have.ORCPT == r.ORCPT && have.Notify == r.Notify
	}
	at := slices.IndexFunc(s.tx.recipients, same)
	if at < 0 {
		at = len(s.tx.recipients)
		if err := s.addRecipient(*r); err != nil {
			s.tx.rejected++
			return err
		}
	}
	s.tx.order = append(s.tx.order, at)
	return nil
}

// addRecipient adds a recipient to the transaction.
func (s *session) addRecipient(r relay.Recipient) error {
	a := &s.options.Access
	if n := s.options.Limits.Recipients; n > 0 && len(s.tx.recipients) >= n {
		s.overshoot++
		// RFC 5321, 4.5.3.1.10
		return reply(452, 4, 5, 3, "Too many recipients, send to the rest in another transaction")
	}
	if s.listen.Bounces {
		if err := s.expect(r.Address); err != nil {
			return err
		}
		s.tx.recipients = append(s.tx.recipients, r)
		return nil
	}
	if err := s.forUpstream(r.Address); err != nil {
		return err
	}
	if matches(a.DenyRecipients, r.Address) || len(a.AllowRecipients) > 0 &&
		!matches(a.AllowRecipients, r.Address) {
		return reply(550, 5, 7, 1, "Recipient address not allowed here")
	}
	if len(a.AllowRecipients) > 0 && routed(r.Address) && !named(a.AllowRecipients, r.Address) {
		return reply(550, 5, 7, 1,
			"Recipient address not allowed here: its local part may name another domain (%%, ! or @)")
	}
	s.tx.recipients = append(s.tx.recipients, r)
	s.tx.completed = s.tx.completed || s.pending.completed
	return nil
}

// sameMailbox reports whether two addresses are one: domains compare without case, local parts do not (RFC
// 5321, 2.4).
func sameMailbox(a, b string) bool {
	localA, domainA := address.Split(a)
	localB, domainB := address.Split(b)
	return localA == localB && strings.EqualFold(domainA, domainB)
}

// capabilities are those of the upstream, if they are known. Bounce mail goes to no upstream.
func (s *session) capabilities() (c relay.Capabilities, known bool) {
	if s.listen.Bounces {
		return c, false
	}
	return s.options.Capabilities()
}

// sizeLimit is the largest content that is accepted, and whose limit that is.
type sizeLimit struct {
	bytes    int64 // 0: none
	upstream bool
}

// sizeLimit returns the lower of our limit and the upstream's. The upstream also counts the header fields
// we add.
func (s *session) sizeLimit(caps relay.Capabilities) sizeLimit {
	ours := s.options.Limits.MessageSize
	if caps.Size > 0 && (ours == 0 || caps.Size < ours) {
		return sizeLimit{caps.Size, true}
	}
	return sizeLimit{ours, false}
}

// check refuses a size over the limit (RFC 1870, 6.1).
func (l sizeLimit) check(size int64) error {
	switch {
	case l.bytes == 0 || size <= l.bytes:
		return nil
	case l.upstream:
		return reply(552, 5, 3, 4, "Message too large, the upstream accepts at most %d bytes", l.bytes)
	}
	return reply(552, 5, 3, 4, "Message too large, the limit is %d bytes", l.bytes)
}

// clientName is the client's configured name, or else its address.
func (s *session) clientName() string {
	switch {
	case s.user != "":
		return s.user
	case s.network != nil && s.network.Name != "":
		return s.network.Name
	}
	return s.addrString()
}

func (s *session) addrString() string {
	if !s.addr.IsValid() {
		return ""
	}
	return s.addr.String()
}

// refused records a refusal.
func (s *session) refused(stage diagnose.Stage, to, reply string) {
	from := ""
	if s.tx != nil {
		from = s.tx.envelope.From
	} else if stage == diagnose.StageMail {
		from = s.pending.address
	}
	s.options.Recorder.Record(relay.RefusedEvent(
		s.clientName(), s.user, stage, from, to, clean.Line(reply, 512), s.options.Now()))
}

// logFailure logs what ended a connection, loudly if the operator can do something about it.
func (s *session) logFailure(err error) {
	log := s.options.Log.With("client", s.clientName(), "addr", s.addrString())
	var netErr net.Error
	switch {
	case errors.Is(err, wire.ErrBareLF):
		log.Warn("refused content with bare LF: the client ends its lines with LF only; " +
			`configure it to send CRLF, or set lenient = true in its [[client]], or ` +
			`smtpd.bare_newline = "normalize" for all`)
	case s.lfOnly:
		log.Warn("content never ended: the client ends its lines with LF only, " +
			"so its final dot does not end the content; configure it to send CRLF, " +
			"or set lenient = true in its [[client]]")
	case errors.Is(err, wire.ErrBareCR), errors.Is(err, wire.ErrNUL):
		log.Warn("refused content", "err", err)
	// also those of port scans and health checks
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF), errors.As(err, &netErr):
		log.Debug("connection ended", "err", err)
	default:
		log.Info("connection ended", "err", clean.Line(err.Error(), 512))
	}
}

// protocol is the value of the with clause of a Received field (RFC 3848; RFC 6531, 4.3).
func (s *session) protocol() string {
	if !s.extended {
		return "SMTP"
	}
	p := "ESMTP"
	if s.listen.LMTP {
		p = "LMTP"
	}
	if s.tx != nil && s.tx.envelope.SMTPUTF8 {
		p = "UTF8" + strings.TrimPrefix(p, "E")
	}
	if s.wire.TLS() != nil {
		p += "S"
	}
	if s.user != "" {
		p += "A"
	}
	return p
}

// startTLS is the configuration for STARTTLS; nil if it is not offered.
func (s *session) startTLS() *tls.Config {
	if s.listen.Clear {
		return nil
	}
	return s.tlsConfig()
}

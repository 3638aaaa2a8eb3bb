package smtpd

import (
	"cmp"
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
	"mailwhy/relay/smtpd/refusal"
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

	verb    string         // of the current command, or contentEnd; "" between commands
	why     *refusal.Error // that the next reply is; nil: another reply
	tried   string         // name of the last login that failed
	pending path           // of the current MAIL or RCPT
	tx      *transaction
	final   []answer // in place of the library's reply to the content; nil: none

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

// took is the reply to a content that was taken. The library asserts its type, so it must not be wrapped.
func took(text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: text}
}

// tell gives the library a refusal, in the form that it sends unchanged, and keeps it for the event. Other
// errors, nil among them, stay what they are.
func (s *session) tell(err error) error {
	e, ok := errors.AsType[*refusal.Error](err)
	if !ok {
		return err
	}
	s.why = e
	code, enhanced, text := s.server.refusals.Reply(e)
	out := &smtp.SMTPError{Code: code, Message: text}
	fmt.Sscanf(enhanced, "%d.%d.%d", &out.EnhancedCode[0], &out.EnhancedCode[1], &out.EnhancedCode[2])
	return out
}

// Mail implements smtp.Session. It ignores what the library read from the line; see Command.
func (s *session) Mail(string, *smtp.MailOptions) error { return s.tell(s.begin()) }

// begin opens a transaction.
func (s *session) begin() error {
	if s.tx != nil {
		return refusal.New("transaction_open")
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
		return refusal.New("upstream_without_utf8", addr)
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
		return refusal.New("auth_required") // RFC 4954, 6
	case s.hasUsers() && s.startTLS() != nil:
		return refusal.New("auth_required_tls")
	}
	return refusal.New("relay_denied", s.origin())
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
		own, who = a.Users.byName[s.user].senders, "access.users_file for user "+clean.ASCII(s.user, 64)
	} else if s.network != nil {
		own, who = s.network.Senders, "client.senders of "+clean.ASCII(s.network.Name, 64)
	}
	deny := func(setting string) error {
		return refusal.New("sender_not_allowed", from, setting).By(setting)
	}
	switch entry := fitting(a.DenySenders, from); {
	case entry != "":
		return deny("access.deny_senders lists " + entry)
	case len(a.AllowSenders) > 0 && fitting(a.AllowSenders, from) == "":
		return deny("access.allow_senders does not list it")
	case len(own) > 0 && fitting(own, from) == "":
		return deny(who + " does not list it")
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
			return s.tell(err)
		}
	}
	s.tx.order = append(s.tx.order, at)
	return nil
}

// addRecipient adds a recipient to the transaction.
func (s *session) addRecipient(r relay.Recipient) error {
	if n := s.options.Limits.Recipients; n > 0 && len(s.tx.recipients) >= n {
		s.overshoot++
		// RFC 5321, 4.5.3.1.10
		return refusal.New("too_many_recipients", n)
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
	if err := s.mayReceive(r.Address); err != nil {
		return err
	}
	s.tx.recipients = append(s.tx.recipients, r)
	s.tx.completed = s.tx.completed || s.pending.completed
	return nil
}

// mayReceive checks whether mail may go to an address.
func (s *session) mayReceive(to string) error {
	a := &s.options.Access
	deny := func(setting string) error {
		return refusal.New("recipient_not_allowed", to, setting).By(setting)
	}
	switch entry := fitting(a.DenyRecipients, to); {
	case entry != "":
		return deny("access.deny_recipients lists " + entry)
	case len(a.AllowRecipients) > 0 && fitting(a.AllowRecipients, to) == "":
		return deny("access.allow_recipients does not list it")
	case len(a.AllowRecipients) > 0 && routed(to) && !named(a.AllowRecipients, to):
		return deny("access.allow_recipients does not list it itself, and its local part may name another " +
			"domain (%, ! or @)")
	}
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
		return refusal.New("too_large_upstream", l.bytes)
	}
	return refusal.New("too_large", l.bytes)
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

// refused records a refusal at a stage, with our reply: an event for each recipient of a content, else one.
func (s *session) refused(stage diagnose.Stage, why *refusal.Error, line string) {
	e := relay.RefusedEvent(s.clientName(), s.user, stage, clean.Line(line, maxRefusal), s.options.Now())
	e.Diagnosis = s.server.refusals.Diagnosis(why)
	if s.tx != nil {
		e.From = s.tx.envelope.From
	}
	switch stage {
	case diagnose.StageMail:
		e.From = cmp.Or(s.pending.address, clean.Line(s.pending.raw, maxRefusal))
	case diagnose.StageRcpt:
		e.To = cmp.Or(s.pending.address, clean.Line(s.pending.raw, maxRefusal))
	case diagnose.StageAuth:
		e.User = cmp.Or(s.user, s.tried)
	case diagnose.StageData, diagnose.StageEndOfData:
		s.refusedAll(e)
		return
	}
	s.options.Recorder.Record(e)
}

// refusedAll records the refusal of a content for each of its recipients.
func (s *session) refusedAll(e relay.Event) {
	if s.tx != nil {
		for i := range s.tx.recipients {
			e.To = s.tx.recipients[i].Address
			s.options.Recorder.Record(e)
			e.First = false
		}
	}
	if e.First {
		s.options.Recorder.Record(e)
	}
}

// passedOn records a verdict that refuses a content: an event for each recipient that it is about, of which
// one counts.
func (s *session) passedOn(a *answer) {
	e := relay.RefusedEvent(s.clientName(), s.user, diagnose.StageEndOfData,
		clean.Line(firstLine(a.reply), maxRefusal), s.options.Now())
	e.ID, e.From = a.id, s.tx.envelope.From
	for _, j := range a.about {
		e.To, e.Diagnosis = j.given, j.became.Diagnosis
		s.options.Recorder.Record(e)
		e.First = false
	}
}

// maxRefusal is how much of a reply and of what a client sent is in an event.
const maxRefusal = 512

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

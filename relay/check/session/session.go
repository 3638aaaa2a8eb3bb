// Package session checks an upstream by talking to it: the connection, TLS, AUTH, and what it would take. It
// sends no message unless it is asked to.
//
// relay/upstream does the talking, through the port Session, with the settings that the relay would use; so
// what passes here passes there. Each refusal is explained by the diagnosis of its reply. Where no connection
// comes about the other usual ports are tried, and where TLS fails the certificate is fetched without
// verification, to be shown and never to be trusted.
//
// RFC 5321 (SMTP), 8314 (ports and TLS), 1870 (SIZE).
package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/check"
)

// Session is an open session before MAIL.
type Session interface {
	// TLS is the state of TLS; ok is false in clear.
	TLS() (state tls.ConnectionState, ok bool)
	// Offers are the extensions that the server offers, and its AUTH mechanisms.
	Offers() (c relay.Capabilities, auth []string)
	// Ask asks whether an envelope would be taken; to may be empty. The attempt is that of the last command.
	Ask(from, to string) *relay.Attempt
	// Close ends the session.
	Close()
}

// Options say what to check. Every field is required unless its comment says what zero means.
type Options struct {
	Name     string // of the upstream
	Host     string
	Port     int
	Implicit bool     // TLS from the first byte
	Ports    []int    // to try where Port does not answer
	Others   []string // further hosts of the provider, if there are any
	Hello    string   // the name that EHLO gives
	User     string   // that logs in; empty: none

	Open     func(context.Context) (Session, *relay.Attempt)
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	Now      func() time.Time
	Timeout  time.Duration // of each look at a port or certificate

	Exchange bool                         // the server is Exchange Online
	Token    func(context.Context) *Token // that logs in; nil, or its result: none that can be read
	// Sources are the addresses that connections come from; none: those of a proxy. nil: it is not looked at.
	Sources  func() []netip.Addr
	Pointers func(context.Context, netip.Addr) ([]string, error) // names by PTR; nil: none are looked up

	Senders    []string // addresses to ask for
	NullSender bool     // bounces go out with <>
	Recipient  string   // to ask for; empty: none

	// Send sends a message to the Recipient; nil: none is sent.
	Send func(ctx context.Context, from, to string) *relay.Attempt
}

// expiresSoon is how long before its end a certificate is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

// run is one check.
type run struct {
	Options
	lines []check.Line
	jwt   *Token // nil: none
	told  bool   // the addresses to allow are shown
}

// Check runs the check.
func Check(ctx context.Context, o Options) []check.Line {
	r := &run{Options: o}
	r.token(ctx)
	s, fault := o.Open(ctx)
	if fault != nil {
		r.fault(ctx, fault)
		return r.lines
	}
	defer s.Close()
	r.add(check.OK, "connect", "%s answers", net.JoinHostPort(o.Host, fmt.Sprint(o.Port)))
	r.source(s)
	r.secure(s)
	r.offers(s)
	r.envelopes(ctx, s)
	if o.Send != nil && o.Recipient != "" && len(o.Senders) > 0 {
		r.send(ctx)
	}
	return r.lines
}

// add adds a line.
func (r *run) add(level check.Level, name, format string, args ...any) *check.Line {
	r.lines = append(r.lines, check.Line{Level: level, Check: name, Upstream: r.Name,
		Text: fmt.Sprintf(format, args...)})
	return &r.lines[len(r.lines)-1]
}

// secure is about TLS and its certificate.
func (r *run) secure(s Session) {
	state, ok := s.TLS()
	if !ok {
		l := r.add(check.Warning, "tls", "the connection is not encrypted")
		l.Fix = `Set tls = "starttls" if the server offers it.`
		return
	}
	leaf := state.PeerCertificates[0]
	l := r.add(check.OK, "tls", "%s, %s", tls.VersionName(state.Version), describe(leaf))
	if left := leaf.NotAfter.Sub(r.Now()); left < expiresSoon {
		l.Level = check.Warning
		l.Fix = fmt.Sprintf("The certificate ends in %d days: its owner must renew it.", int(left.Hours()/24))
	}
}

// describe is a certificate in words.
func describe(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	const most = 3
	list := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		list += fmt.Sprintf(" and %d more", len(names)-most)
	}
	issuer := c.Issuer.CommonName
	if len(c.Issuer.Organization) > 0 {
		issuer += " (" + c.Issuer.Organization[0] + ")"
	}
	return fmt.Sprintf("a certificate for %s by %s until %s", list, issuer, c.NotAfter.Format(time.DateOnly))
}

// offers is about AUTH, which has succeeded or was not wanted, and about the size of messages.
func (r *run) offers(s Session) {
	c, auth := s.Offers()
	switch {
	case r.User != "":
		r.add(check.OK, "auth", "logged in as %s", r.User)
	case len(auth) > 0:
		l := r.add(check.Warning, "auth", "the server offers %s, but no user is configured",
			strings.Join(auth, " "))
		l.Fix = "Set username and password_file, unless the server knows this host by its address."
	}
	if c.Size > 0 {
		r.add(check.OK, "size", "the server takes messages of up to %d bytes", c.Size) // RFC 1870
	}
}

// envelopes asks for each sender, the null sender and the recipient.
func (r *run) envelopes(ctx context.Context, s Session) {
	taken := len(r.Senders) == 0
	for _, from := range r.Senders {
		a := s.Ask(from, r.Recipient)
		what := "mail from " + from
		if a.Stage == diagnose.StageRcpt {
			what += " to " + r.Recipient
		}
		if !r.answer(ctx, a, what+" is taken", what) {
			return
		}
		taken = taken || a.Reply.Class() == 2 || a.Stage != diagnose.StageMail
	}
	if !r.NullSender {
		return
	}
	const what = "the null sender, of bounces,"
	a, at := s.Ask("", ""), len(r.lines)
	if r.answer(ctx, a, what+" is taken", what); taken && a.Reply.Class() != 2 {
		r.lines[at].Fix = "Set dsn.fallback_sender to an address that the upstream " +
			"lets you send from, or another dsn.route."
	}
}

// send sends a message.
func (r *run) send(ctx context.Context) {
	from := r.Senders[0]
	a := r.Send(ctx, from, r.Recipient)
	what := "a message from " + from + " to " + r.Recipient
	r.answer(ctx, a, fmt.Sprintf("%s was relayed as %q", what, a.UpstreamID), what)
}

// answer adds the line for an attempt. It returns false if the session is over.
func (r *run) answer(ctx context.Context, a *relay.Attempt, taken, what string) bool {
	if a.Reply.Class() == 2 {
		r.add(check.OK, stageName(a.Stage), "%s", taken)
		return true
	}
	d := r.diagnosis(a)
	l := r.add(check.Failure, stageName(a.Stage), "%s is refused: %s: %s", what, words(a), d.Cause)
	l.Fix = strings.Join(d.Fix, " ")
	r.hints(ctx, a, &d)
	return a.NetErr.Kind == diagnose.NetNone || a.NetErr.Kind == diagnose.NetLocal
}

// diagnosis is what an attempt means.
func (r *run) diagnosis(a *relay.Attempt) diagnose.Diagnosis {
	return r.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: r.Host})
}

// words are what the server said, or why it said nothing.
func words(a *relay.Attempt) string {
	if a.NetErr.Kind != diagnose.NetNone {
		return a.NetErr.Text
	}
	return strings.Join(strings.Fields(a.Reply.Raw), " ")
}

// stageName is the name of the lines about a stage.
func stageName(s diagnose.Stage) string {
	switch s {
	case diagnose.StageTLS:
		return "tls"
	case diagnose.StageAuth:
		return "auth"
	case diagnose.StageMail, diagnose.StageReset:
		return "mail"
	case diagnose.StageRcpt:
		return "rcpt"
	case diagnose.StageData, diagnose.StageEndOfData:
		return "send"
	}
	return "connect"
}

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/tlsconf"
)

// problem is why a connection could not be opened: a reply or an error.
type problem struct {
	stage diagnose.Stage
	rep   reply
	err   error
	note  string // what the server said before its reply
	clear bool   // a connection without STARTTLS is acceptable

	renewed bool // refused credentials were replaced by new ones, which another connection may try
}

// extensions are what the server offers in its reply to EHLO (RFC 5321, 4.1.1.1).
type extensions struct {
	relay.Capabilities
	startTLS bool
	sized    bool     // SIZE is offered, with or without a limit
	auth     []string // mechanisms, in upper case
	mailMax  int      // RFC 9422, LIMITS MAILMAX
	helo     bool     // EHLO failed, and HELO says nothing of extensions
	first    string   // line of the reply to EHLO
}

// opening is a connection between the TCP handshake and the point before MAIL. It has no reader goroutine
// yet: each reply is read after its command.
type opening struct {
	p     *Pool
	ctx   context.Context
	probe bool // tries credentials that were refused before
	need  func(*extensions) *netError
	c     *conn
	ext   extensions
}

// open makes a new connection, trying the host's addresses in turn (RFC 5321, 5.1), and returns it or the
// fault. AUTH is tried once: credentials that fail at one address fail everywhere, and providers lock
// accounts. need, if not nil, says what the extensions of a connection lack; if one lacks something and all
// others fail, that is the fault.
func (p *Pool) open(
	ctx context.Context, probe bool, need func(*extensions) *netError,
) (*conn, *relay.Attempt) {
	o := &opening{p: p, ctx: ctx, probe: probe, need: need}
	began := p.opt.Now()
	addrs, err := p.resolve(ctx)
	if err != nil {
		return nil, p.fault(began, "", "", &problem{stage: diagnose.StageConnect, err: err})
	}
	var last *relay.Attempt
	for len(addrs) > 0 {
		nc, at, rest, err := p.dialFirst(ctx, addrs)
		if err != nil {
			if last == nil {
				last = p.fault(began, at.String(), "", &problem{stage: diagnose.StageConnect, err: err})
			}
			break
		}
		pr := o.raise(nc, at)
		if pr != nil && pr.renewed {
			pr = o.raiseAgain(at)
		}
		if pr == nil {
			return o.c, nil
		}
		if last == nil || !lacks(last) {
			last = p.fault(began, at.String(), o.c.tls, pr)
		}
		if pr.triedAuth() || ctx.Err() != nil {
			break
		}
		addrs = rest
	}
	return nil, last
}

// triedAuth reports whether credentials were tried or not available: another address would make no
// difference.
func (pr *problem) triedAuth() bool {
	var lack *netError
	unavailable := errors.As(pr.err, &lack) && lack.kind == diagnose.NetAuthUnavailable
	return pr.stage == diagnose.StageAuth && !unavailable
}

// lacks reports whether fault is that of a connection that lacked what was needed.
func lacks(fault *relay.Attempt) bool {
	return fault.Stage == diagnose.StageHello && fault.NetErr.Kind == diagnose.NetExtensionMissing
}

// fault makes the Attempt for a connection that could not be opened.
func (p *Pool) fault(began time.Time, remote, tlsName string, pr *problem) *relay.Attempt {
	a := &relay.Attempt{
		Time: began, Duration: p.opt.Now().Sub(began), Upstream: p.opt.Name, Host: p.opt.Host,
		Remote: remote, TLS: tlsName, Stage: pr.stage,
	}
	say(a, pr.rep, pr.err)
	if a.NetErr.Text == "" {
		a.NetErr.Text = pr.note
	}
	return a
}

// say records in a the reply, or why there is none.
func say(a *relay.Attempt, r reply, err error) {
	if err == nil {
		err = r.err
	}
	if err != nil {
		a.NetErr = netErr(a.Stage, err)
		return
	}
	a.Reply, a.ReplyCut = diagnose.ParseReply(r.raw), r.cut
}

// raise takes a TCP connection to the point before MAIL. On a problem it closes the connection; if STARTTLS
// was optional and failed, it opens a second one without it.
func (o *opening) raise(nc net.Conn, at netip.AddrPort) *problem {
	pr := o.raiseOnce(nc, at, o.p.tls != nil)
	if pr == nil || !pr.clear || o.ctx.Err() != nil {
		return pr
	}
	o.p.opt.Log.Warn("STARTTLS failed, continuing without TLS", "upstream", o.p.opt.Name, "remote",
		at.String(), "err", pr.err)
	nc, err := o.p.dialOne(o.ctx, at)
	if err != nil {
		return &problem{stage: diagnose.StageConnect, err: err}
	}
	return o.raiseOnce(nc, at, false)
}

// raiseAgain makes another connection to the same address, for credentials that were replaced.
func (o *opening) raiseAgain(at netip.AddrPort) *problem {
	nc, err := o.p.dialOne(o.ctx, at)
	if err != nil {
		return &problem{stage: diagnose.StageConnect, err: err}
	}
	return o.raise(nc, at)
}

func (o *opening) raiseOnce(nc net.Conn, at netip.AddrPort, secure bool) *problem {
	c := o.p.newConn(nc, at.String())
	o.c, o.ext = c, extensions{}
	if o.p.opt.Proxy != nil {
		through, err := o.p.through(o.ctx, nc)
		if err != nil {
			c.close()
			return &problem{stage: diagnose.StageConnect, err: err}
		}
		c.net, c.in = through, newReplyReader(through)
	}
	stop := context.AfterFunc(o.ctx, func() { nc.Close() })
	pr := o.steps(secure)
	switch stopped := stop(); {
	case pr != nil && o.ctx.Err() != nil:
		pr = &problem{stage: pr.stage, err: context.Canceled}
	case pr == nil && !stopped:
		pr = &problem{stage: diagnose.StageConnect, err: context.Canceled}
	}
	if pr != nil {
		if pr.err != nil && c.tls != "" && tlsKind(pr.err) != diagnose.NetNone {
			// a TLS 1.3 server checks a client certificate after our handshake ends
			pr.stage = diagnose.StageTLS
		}
		if pr.err == nil && !pr.rep.ending() {
			o.quit() // the server replied, so it is listening
		}
		c.close()
		return pr
	}
	c.start(o.ext)
	return nil
}

// steps runs the steps from the greeting to AUTH.
func (o *opening) steps(secure bool) *problem {
	if secure && o.p.opt.TLS.Mode == tlsconf.Implicit {
		if pr := o.handshake(); pr != nil {
			pr.err = hinted(pr.err, o.p.portHint())
			return pr
		}
	}
	if pr := o.greeting(); pr != nil {
		return pr
	}
	if pr := o.hello(); pr != nil {
		return pr
	}
	if o.c.tls == "" {
		o.p.history.learnTLS(&o.ext, o.p.opt.Now())
	}
	if secure && o.c.tls == "" {
		if pr := o.startTLS(); pr != nil {
			return pr
		}
	}
	o.p.history.learn(&o.ext, o.p.opt.Now())
	if o.need != nil {
		if lack := o.need(&o.ext); lack != nil {
			return &problem{stage: diagnose.StageHello, err: lack}
		}
	}
	return o.authenticate()
}

// limit bounds what follows.
func (o *opening) limit(d time.Duration) { o.c.net.SetDeadline(time.Now().Add(d)) }

// command sends one line and reads its reply.
func (o *opening) command(line string) reply {
	o.limit(o.p.opt.Timeouts.Command)
	if _, err := o.c.net.Write([]byte(line + "\r\n")); err != nil {
		if r := o.c.in.next(); r.err == nil {
			return r // sent before the connection was lost
		}
		return reply{err: err}
	}
	return o.c.in.next()
}

// quit sends QUIT to a server that refuses us.
func (o *opening) quit() {
	o.limit(quitTimeout)
	if _, err := o.c.net.Write([]byte("QUIT\r\n")); err == nil {
		o.c.in.next()
	}
}

// name is what EHLO gives: the configured name, or the connection's own address (RFC 5321, 4.1.3).
func (o *opening) name() string {
	if o.p.opt.Hello != "" {
		return o.p.opt.Hello
	}
	at, ok := o.c.net.LocalAddr().(*net.TCPAddr)
	if !ok {
		return "localhost"
	}
	ip := at.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

// hello sends EHLO, and HELO to a server that permanently refuses EHLO: 500, 501, 502 or 550 means that it
// does not know EHLO (RFC 5321, 4.1.4), and some servers reply 554.
func (o *opening) hello() *problem {
	r := o.command("EHLO " + o.name())
	switch {
	case r.err == nil && r.class() == 2:
		o.ext = parseExtensions(r.raw)
		o.ext.Pipelining = o.ext.Pipelining && !o.p.opt.NoPipelining
		return nil
	case r.err != nil || r.class() != 5:
		return &problem{stage: diagnose.StageHello, rep: r, err: r.err}
	}
	refusal := r
	if r = o.command("HELO " + o.name()); r.err != nil || r.class() != 2 {
		return &problem{stage: diagnose.StageHello, rep: r, err: r.err}
	}
	if o.p.opt.Auth != nil || o.p.tls != nil && o.c.tls == "" && !o.p.clearOffered() {
		return &problem{stage: diagnose.StageHello, rep: refusal} // only EHLO offers what is needed
	}
	o.ext = extensions{helo: true}
	return nil
}

// startTLS starts TLS (RFC 3207) as the mode requires.
func (o *opening) startTLS() *problem {
	if !o.ext.startTLS {
		return o.noStartTLS()
	}
	clear := o.p.clearAllowed()
	r := o.command("STARTTLS")
	switch {
	case r.err != nil:
		return &problem{stage: diagnose.StageTLS, err: r.err, clear: clear}
	case r.class() >= 4 && clear && !r.ending():
		return nil
	case r.class() >= 4:
		return &problem{stage: diagnose.StageTLS, rep: r}
	case r.code != 220: // RFC 3207, 4: only 220 starts the handshake
		return &problem{stage: diagnose.StageTLS, clear: clear, err: &netError{diagnose.NetProtocol,
			fmt.Sprintf("the server answered STARTTLS with %q instead of 220", clip(r.raw))}}
	case o.c.in.r.Buffered() > 0: // bytes sent in the clear must not count as encrypted
		return &problem{stage: diagnose.StageTLS, clear: clear, err: &netError{diagnose.NetProtocol,
			"the server, or an attacker, sent more after the reply to STARTTLS"}}
	}
	if pr := o.handshake(); pr != nil {
		pr.clear = clear
		return pr
	}
	return o.hello() // RFC 3207, 4.2: discard what was learned without TLS
}

// noStartTLS is the problem with a server without STARTTLS; nil if it is acceptable.
func (o *opening) noStartTLS() *problem {
	switch {
	case !o.p.clearOffered():
		return &problem{stage: diagnose.StageTLS, err: &netError{diagnose.NetTLSUnavailable,
			"TLS is required, but the server does not offer STARTTLS"}}
	case o.p.history.offeredTLS():
		return &problem{stage: diagnose.StageTLS, err: &netError{diagnose.NetExtensionMissing,
			"the server does not offer STARTTLS now, though it did before"}}
	}
	return nil
}

// handshake starts TLS on the connection.
func (o *opening) handshake() *problem {
	o.limit(o.p.opt.Timeouts.Connect)
	t := tls.Client(o.c.net, o.p.tls)
	if err := t.HandshakeContext(o.ctx); err != nil {
		return &problem{stage: diagnose.StageTLS, err: err}
	}
	o.c.net, o.c.in = t, newReplyReader(t)
	o.c.tls = strings.ReplaceAll(tls.VersionName(t.ConnectionState().Version), " ", "")
	return nil
}

// parseExtensions reads the lines of a reply to EHLO. It ignores the case of keywords (RFC 5321, 2.4) and
// accepts the old form AUTH=PLAIN.
func parseExtensions(raw string) extensions {
	var e extensions
	lines := strings.Split(strings.TrimRight(raw, "\r\n"), "\n")
	e.first = clip(strings.TrimSpace(lines[0]))
	for _, line := range lines[1:] {
		if len(line) > 4 {
			f := strings.Fields(strings.ToUpper(line[4:]))
			if len(f) > 0 {
				e.keyword(f[0], f[1:])
			}
		}
	}
	return e
}

func (e *extensions) keyword(name string, args []string) {
	if old, ok := strings.CutPrefix(name, "AUTH="); ok {
		name, args = "AUTH", append([]string{old}, args...)
	}
	switch name {
	case "STARTTLS":
		e.startTLS = true
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBit = true
	case "SMTPUTF8":
		e.SMTPUTF8 = true
	case "DSN":
		e.DSN = true
	case "AUTH":
		for _, m := range args {
			e.auth = append(e.auth, strings.TrimPrefix(m, "="))
		}
	case "SIZE":
		e.sized = true
		if len(args) > 0 {
			e.Size, _ = strconv.ParseInt(args[0], 10, 64)
			e.Size = max(e.Size, 0)
		}
	case "LIMITS": // RFC 9422
		for _, a := range args {
			name, value, _ := strings.Cut(a, "=")
			n, err := strconv.Atoi(value)
			switch {
			case err != nil || n <= 0:
			case name == "RCPTMAX":
				e.RcptMax = n
			case name == "MAILMAX":
				e.mailMax = n
			}
		}
	}
}

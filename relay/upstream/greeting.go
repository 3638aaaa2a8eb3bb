package upstream

import (
	"errors"
	"fmt"
	"os"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/tlsconf"
)

// greetingPatience is how long a greeting may take before the log says that we are waiting.
const greetingPatience = 10 * time.Second

// greeting waits for the greeting (RFC 5321, 4.3.1). A server that speaks TLS from the first byte sends
// none, because it waits for us: silence is logged early, with what to check.
func (o *opening) greeting() *problem {
	p := o.p
	remote := o.c.remote
	late := time.AfterFunc(greetingPatience, func() { o.logSilence(remote) })
	defer late.Stop()
	o.limit(p.opt.Timeouts.Greeting)
	r := o.c.in.next()
	if r.err != nil {
		return &problem{stage: diagnose.StageGreeting, err: o.ungreeted(r.err)}
	}
	p.silence.Store(false)
	if r.class() != 2 {
		return &problem{stage: diagnose.StageGreeting, rep: r}
	}
	return nil
}

// logSilence logs that we are still waiting for a greeting, once until one comes.
func (o *opening) logSilence(remote string) {
	p := o.p
	if o.ctx.Err() != nil || p.silence.Swap(true) {
		return
	}
	p.opt.Log.Warn("still no greeting after "+greetingPatience.String(),
		"upstream", p.opt.Name, "host", p.opt.Host, "remote", remote,
		"greeting_timeout", p.opt.Timeouts.Greeting, "hint", p.silenceHint())
}

// ungreeted adds to the error that came instead of a greeting what to check.
func (o *opening) ungreeted(err error) error {
	p := o.p
	var cut *cutError
	switch {
	case o.c.tls == "" && tlsRecord(err):
		return &netError{diagnose.NetTLSProtocol,
			`the server speaks TLS from the first byte: set tls = "implicit"`}
	case errors.Is(err, os.ErrDeadlineExceeded) && !errors.As(err, &cut):
		text := fmt.Sprintf("the server sent no greeting within %v", p.opt.Timeouts.Greeting)
		return hinted(&netError{diagnose.NetNoGreeting, text}, p.silenceHint())
	}
	return hinted(err, p.portHint())
}

// tlsRecord reports whether a TLS alert or handshake record came instead of a reply (RFC 8446, 5.1).
func tlsRecord(err error) bool {
	var proto *protocolError
	var cut *cutError
	raw := ""
	if errors.As(err, &proto) {
		raw = proto.raw
	} else if errors.As(err, &cut) {
		raw = cut.raw
	}
	return len(raw) >= 2 && (raw[0] == 0x15 || raw[0] == 0x16) && raw[1] == 3
}

// silenceHint is what to check if no greeting comes.
func (p *Pool) silenceHint() string {
	if hint := p.portHint(); hint != "" || p.opt.TLS.Mode == tlsconf.Implicit {
		return hint
	}
	return `if the server speaks TLS from the first byte, set tls = "implicit"`
}

// portHint says that the TLS mode is unusual for the port (RFC 8314, 3.3); "" if it is not.
func (p *Pool) portHint() string {
	port, implicit := p.opt.Port, p.opt.TLS.Mode == tlsconf.Implicit
	switch {
	case port == 465 && !implicit:
		return `port 465 usually speaks TLS from the first byte: set tls = "implicit"`
	case (port == 25 || port == 587) && implicit:
		return fmt.Sprintf(`port %d usually starts without TLS: set tls = "starttls"`, port)
	}
	return ""
}

// hintedError is an error with what to check. Its kind is that of the error.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return netText(e.err) + "; " + e.hint }

func (e *hintedError) Unwrap() error { return e.err }

// hinted adds a hint, if there is one.
func hinted(err error, hint string) error {
	if hint == "" {
		return err
	}
	return &hintedError{err, hint}
}

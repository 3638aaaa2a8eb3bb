package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"

	"mailwhy/diagnose"
	"mailwhy/relay/upstream/mechanism"
	"mailwhy/relay/upstream/oauth"
)

// logins keeps many connections from trying credentials that the server refuses: providers lock accounts.
// Until the credentials have worked, one connection at a time tries them. After a refusal only a probe
// tries them, and every other connection gets the same refusal without asking.
type logins struct {
	turn chan struct{} // held by the connection that tries credentials not known to be good

	mu      sync.Mutex
	good    bool     // they were accepted, and not refused since
	refused *problem // they were refused, and not accepted since
}

func newLogins() *logins { return &logins{turn: make(chan struct{}, 1)} }

// try logs a connection in when its turn comes.
func (l *logins) try(ctx context.Context, probe bool, login func() *problem) *problem {
	good, refused := l.known()
	if !good {
		select {
		case l.turn <- struct{}{}:
		case <-ctx.Done():
			return &problem{stage: diagnose.StageAuth, err: context.Canceled}
		}
		if good, refused = l.known(); good { // the connection before it succeeded
			<-l.turn
		} else {
			defer func() { <-l.turn }()
		}
	}
	if refused != nil && !probe {
		again := *refused
		return &again
	}
	pr := login()
	l.learn(pr)
	return pr
}

func (l *logins) known() (good bool, refused *problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good, l.refused
}

// learn records how a login ended. One that was neither accepted nor refused says nothing of the credentials.
// Those that take the place of refused ones are not known to be good.
func (l *logins) learn(pr *problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pr != nil && pr.renewed {
		l.good = false
	} else if pr == nil || pr.rep.class() == 5 {
		l.good, l.refused = pr == nil, pr
	}
}

// authenticate logs in (RFC 4954). If the server offers a mechanism but then does not support it, the next
// one is tried. A refusal is final until a probe, because providers lock accounts.
func (o *opening) authenticate() *problem {
	if o.p.opt.Auth == nil {
		return nil
	}
	if o.c.tls == "" && !o.p.opt.AllowPlaintextAuth {
		return &problem{stage: diagnose.StageTLS, err: &netError{diagnose.NetTLSUnavailable,
			"credentials are configured, but the connection is not encrypted: the server does not offer " +
				"STARTTLS"}}
	}
	return o.p.logins.try(o.ctx, o.probe, o.login)
}

// login tries the mechanisms in turn.
func (o *opening) login() *problem {
	offered := o.ext.auth
	for {
		client, err := o.p.opt.Auth.Client(o.ctx, offered)
		if err != nil {
			return &problem{stage: diagnose.StageAuth, err: o.authErr(offered, err)}
		}
		mech, pr := o.sasl(client)
		if again, ok := client.(renewable); ok && pr != nil && pr.rep.code == 535 {
			pr.renewed = again.renew()
		}
		if pr == nil || pr.rep.code != 504 { // RFC 4954, 4: mechanism not supported
			return pr
		}
		if offered = slices.DeleteFunc(slices.Clone(offered),
			func(m string) bool { return m == mech }); len(offered) == 0 {
			return pr
		}
	}
}

// authErr turns an Authenticator's error into one with a kind.
func (o *opening) authErr(offered []string, err error) error {
	var known *netError
	var token *oauth.Error
	switch {
	case errors.As(err, &token):
		return token
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return context.Canceled // only our caller ends the context
	case !errors.Is(err, ErrNoMechanism) && errors.As(err, &known):
		return err
	case !errors.Is(err, ErrNoMechanism):
		return &netError{diagnose.NetLocal, err.Error()}
	case len(offered) == 0:
		return &netError{diagnose.NetAuthUnavailable,
			"credentials are configured, but the server does not offer AUTH"}
	}
	return &netError{diagnose.NetAuthUnavailable,
		"credentials are configured, but none of the mechanisms of the server can use them: " +
			strings.Join(offered, " ")}
}

// sasl runs one exchange. None of its lines reaches a log, even if the server echoes one.
func (o *opening) sasl(client sasl.Client) (mech string, pr *problem) {
	mech, initial, err := client.Start()
	if err != nil {
		return mech, &problem{stage: diagnose.StageAuth, err: o.authErr(nil, err)}
	}
	mech = strings.ToUpper(mech)
	line, secrets := "AUTH "+mech, []string(nil)
	if initial != nil {
		// RFC 4954, 4: no initial response if it makes the command longer than 512 octets
		if resp := encodeSASL(initial); len(line)+1+len(resp)+2 <= 512 {
			line, initial, secrets = line+" "+resp, nil, append(secrets, resp)
		}
	}
	for {
		r := o.command(line)
		switch {
		case r.err != nil:
			return mech, &problem{stage: diagnose.StageAuth, err: r.err}
		case r.class() == 2:
			return mech, proved(client)
		case r.code != 334:
			return mech, refused(client, r, secrets)
		}
		if initial != nil {
			line, initial = base64.StdEncoding.EncodeToString(initial), nil
		} else {
			resp, err := client.Next(challenge(r.raw))
			if err != nil {
				o.command("*") // RFC 4954, 4: cancels the exchange
				return mech, &problem{stage: diagnose.StageAuth,
					err: &netError{diagnose.NetProtocol, err.Error()}}
			}
			line = base64.StdEncoding.EncodeToString(resp)
		}
		secrets = append(secrets, line)
	}
}

// proved is the problem with a server that accepts a login without having proved what it must.
func proved(client sasl.Client) *problem {
	if p, ok := client.(mechanism.Prover); ok {
		if err := p.Proved(); err != nil {
			return &problem{stage: diagnose.StageAuth, err: &netError{diagnose.NetProtocol, err.Error()}}
		}
	}
	return nil
}

// refused is the problem with a refusal, and what the server said of it before.
func refused(client sasl.Client, r reply, secrets []string) *problem {
	if s, ok := client.(mechanism.Secretive); ok {
		secrets = append(secrets, s.Secrets()...)
	}
	pr := &problem{stage: diagnose.StageAuth, rep: redact(r, secrets)}
	if e, ok := client.(mechanism.Explainer); ok && e.Refusal() != "" {
		pr.note = "the server explained: " + e.Refusal()
	}
	return pr
}

// encodeSASL encodes an initial response; an empty one is "=" (RFC 4954, 4).
func encodeSASL(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// challenge decodes the text of a 334 reply. A text that is not base64 is used unchanged.
func challenge(raw string) []byte {
	text := strings.TrimSpace(raw[3:])
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return []byte(text)
	}
	return b
}

// redact removes from a reply what we sent during AUTH: some servers echo a line that they do not understand.
func redact(r reply, secrets []string) reply {
	for _, s := range secrets {
		if len(s) >= 4 && strings.Contains(r.raw, s) {
			r.raw = strings.ReplaceAll(r.raw, s, fmt.Sprintf("[%d characters not shown]", len(s)))
		}
	}
	return r
}

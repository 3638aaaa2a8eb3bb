package upstream

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"mailwhy/diagnose"
)

// Authenticator proves to the server who we are. Implementations are safe for concurrent use.
type Authenticator interface {
	// Client returns the SASL client for the best of the mechanisms that the server offers, which are in
	// upper case and in the server's order. It returns ErrNoMechanism if it supports none of them. Any
	// other error is a problem on our side (a secret that cannot be read, a token that was not granted),
	// and its text is logged.
	Client(ctx context.Context, offered []string) (sasl.Client, error)
}

// ErrNoMechanism is returned by an Authenticator that supports none of the offered mechanisms.
var ErrNoMechanism = errors.New("none of the offered mechanisms is supported")

// The mechanisms that Credentials support.
const (
	plain   = "PLAIN"    // RFC 4616
	login   = "LOGIN"    // never standardised; draft-murchison-sasl-login
	cramMD5 = "CRAM-MD5" // RFC 2195
)

// Credentials are a user name and a password.
type Credentials struct {
	Username   string
	Password   func() (string, error) // called for each login, so that a changed secret needs no restart
	Mechanisms []string               // that may be used, best first: PLAIN, LOGIN, CRAM-MD5
}

// Client implements Authenticator.
func (c *Credentials) Client(_ context.Context, offered []string) (sasl.Client, error) {
	for _, m := range c.Mechanisms {
		if !slices.Contains(offered, m) {
			continue
		}
		password, err := c.Password()
		if err != nil {
			return nil, err
		}
		switch m {
		case plain:
			return sasl.NewPlainClient("", c.Username, password), nil
		case login:
			return &loginClient{username: c.Username, password: password}, nil
		case cramMD5:
			return &cramMD5Client{username: c.Username, password: password}, nil
		}
	}
	return nil, ErrNoMechanism
}

// loginClient is LOGIN. Servers word their prompts in any way and language. If the words do not tell, the
// order does: first the name, then the password.
type loginClient struct {
	username, password string
	step               int
}

// Start implements sasl.Client. It sends no initial response: some servers ignore one and ask again.
func (l *loginClient) Start() (string, []byte, error) { return login, nil, nil }

// Next implements sasl.Client.
func (l *loginClient) Next(challenge []byte) ([]byte, error) {
	l.step++
	prompt := strings.ToLower(string(challenge))
	switch {
	case l.step > 2:
		return nil, errors.New("LOGIN: the server asks a third time")
	case strings.Contains(prompt, "pass"):
		return []byte(l.password), nil
	case strings.Contains(prompt, "user"), l.step == 1:
		return []byte(l.username), nil
	}
	return []byte(l.password), nil
}

// cramMD5Client is CRAM-MD5.
type cramMD5Client struct{ username, password string }

// Start implements sasl.Client.
func (c *cramMD5Client) Start() (string, []byte, error) { return cramMD5, nil, nil }

// Next implements sasl.Client.
func (c *cramMD5Client) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(c.password)) // RFC 2195, 2
	mac.Write(challenge)
	return []byte(c.username + " " + hex.EncodeToString(mac.Sum(nil))), nil
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
	switch {
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
			return mech, nil
		case r.code != 334:
			return mech, &problem{stage: diagnose.StageAuth, rep: redact(r, secrets)}
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

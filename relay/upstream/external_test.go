package upstream

import (
	"errors"
	"strings"
	"testing"

	"mailwhy/diagnose"
)

// TestExternal: the certificate says who we are, so no password is asked for; the message is empty or names
// whom to act for (RFC 4422, A).
func TestExternal(t *testing.T) {
	for user, want := range map[string]string{"": "AUTH EXTERNAL =", "box": "AUTH EXTERNAL Ym94"} {
		var said string
		s := newRaw(t, func(c *peer) {
			c.say("220 x\r\n")
			c.until("EHLO", "250-x\r\n250 AUTH PLAIN EXTERNAL\r\n")
			said = c.line()
			c.say("235 2.7.0 ok\r\n")
			c.until("QUIT", "221 bye\r\n")
		})
		p := newPool(t, s.addr, func(o *Options) {
			o.Auth = &Credentials{Username: user, Mechanisms: []string{"EXTERNAL", "PLAIN"},
				Password: func() (string, error) { return "", errors.New("there is none") }}
			o.AllowPlaintextAuth, o.TLS.CertFile = true, "client.pem"
		})
		if f := p.Probe(t.Context()); f != nil || said != want {
			t.Errorf("said %q, want %q: %+v", said, want, f)
		}
	}
	o := testOptions("h.test", 25)
	o.Auth, o.AllowPlaintextAuth = &Credentials{Mechanisms: []string{"EXTERNAL"}}, true
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "needs a client certificate") {
		t.Error(err)
	}
}

// TestServerMustProve: SCRAM is a proof of both sides; a server that accepts without its own is an impostor.
func TestServerMustProve(t *testing.T) {
	s := newRaw(t, func(c *peer) {
		c.say("220 x\r\n")
		c.until("EHLO", "250-x\r\n250 AUTH SCRAM-SHA-256\r\n")
		c.line()
		c.say("235 2.7.0 come in\r\n")
		c.until("QUIT", "221 bye\r\n")
	})
	p := newPool(t, s.addr, func(o *Options) {
		auth := secret("secret")
		auth.Mechanisms = []string{"SCRAM-SHA-256"}
		o.Auth, o.AllowPlaintextAuth = auth, true
	})
	if f := p.Probe(t.Context()); f == nil || f.Stage != diagnose.StageAuth ||
		f.NetErr.Kind != diagnose.NetProtocol || !strings.Contains(f.NetErr.Text, "did not prove") {
		t.Errorf("%+v", f)
	}
}

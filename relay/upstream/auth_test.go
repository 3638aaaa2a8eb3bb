package upstream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

func TestAuth(t *testing.T) {
	id := smtptest.NewCertificate(t, "127.0.0.1")
	inTLS := TLS{Mode: TLSRequired, CAFile: caFile(t, id)}
	users := map[string]string{"user": "secret"}
	server := func(mechs ...string) smtptest.Options {
		return smtptest.Options{TLS: id.Server(), Users: users, RequireAuth: true, Mechanisms: mechs}
	}
	with := func(o smtptest.Options, script func(smtptest.Command) smtptest.Action) smtptest.Options {
		o.Script = script
		return o
	}
	refuse := func(reply string) func(smtptest.Command) smtptest.Action {
		return at(diagnose.StageAuth, reply, smtptest.EndNot)
	}
	tests := []struct {
		name   string
		server smtptest.Options
		tls    TLS
		auth   Authenticator
		clear  bool
		stage  diagnose.Stage // of the fault
		kind   diagnose.NetKind
		raw    string
	}{
		{name: "PLAIN", server: server("PLAIN"), tls: inTLS, auth: secret("secret")},
		{name: "LOGIN", server: server("LOGIN"), tls: inTLS, auth: secret("secret")},
		{name: "CRAM-MD5", server: server("CRAM-MD5"), tls: inTLS, auth: secret("secret")},
		{name: "in clear, allowed", server: smtptest.Options{Users: users, RequireAuth: true},
			auth: secret("secret"), clear: true},
		{name: "old form", tls: TLS{}, clear: true, auth: secret("secret"),
			server: smtptest.Options{Users: users, RequireAuth: true,
				Without: nil, Script: ehlo("250-x\r\n250 auth=plain\r\n")}},
		{name: "wrong password", server: server("PLAIN"), tls: inTLS, auth: secret("wrong"),
			stage: diagnose.StageAuth, raw: "535 5.7.8 Authentication credentials invalid\r\n"},
		{name: "opportunistic without STARTTLS", server: smtptest.Options{Users: users},
			tls: TLS{Mode: TLSOpportunistic}, auth: secret("secret"),
			stage: diagnose.StageTLS, kind: diagnose.NetTLSUnavailable},
		{name: "opportunistic, certificate unknown", server: server("PLAIN"),
			tls: TLS{Mode: TLSOpportunistic}, auth: secret("secret"), clear: true,
			stage: diagnose.StageTLS, kind: diagnose.NetTLSAuthority},
		{name: "no AUTH", server: smtptest.Options{TLS: id.Server()}, tls: inTLS, auth: secret("secret"),
			stage: diagnose.StageAuth, kind: diagnose.NetAuthUnavailable},
		{name: "no mechanism", server: server("XOAUTH2"), tls: inTLS, auth: secret("secret"),
			stage: diagnose.StageAuth, kind: diagnose.NetAuthUnavailable},
		{name: "HELO only", server: smtptest.Options{Script: at(diagnose.StageHello, "502 5.5.1 what\r\n",
			smtptest.EndNot)}, auth: secret("secret"), clear: true,
			stage: diagnose.StageHello, raw: "502 5.5.1 what\r\n"},
		{name: "password file gone", server: server("PLAIN"), tls: inTLS,
			auth: &Credentials{Mechanisms: []string{"PLAIN"},
				Password: func() (string, error) { return "", errors.New("no such file") }},
			stage: diagnose.StageAuth, kind: diagnose.NetLocal},
		{name: "454", server: with(server("PLAIN"), refuse("454 4.7.0 try later\r\n")), tls: inTLS,
			auth: secret("secret"), stage: diagnose.StageAuth, raw: "454 4.7.0 try later\r\n"},
		{name: "echo", server: with(server("PLAIN"), refuse("500 what is AHVzZXIAc2VjcmV0\r\n")), tls: inTLS,
			auth:  secret("secret"),
			stage: diagnose.StageAuth, raw: "500 what is [16 characters not shown]\r\n"},
		{name: "504, then another mechanism", tls: inTLS, auth: secret("secret"),
			server: with(server("PLAIN", "LOGIN"), func(c smtptest.Command) smtptest.Action {
				if strings.HasPrefix(c.Line, "AUTH PLAIN") {
					return smtptest.Action{Reply: "504 5.5.4 not after all"}
				}
				return smtptest.Action{}
			})},
		{name: "long token", server: smtptest.Options{TLS: id.Server(),
			Users: map[string]string{"user": strings.Repeat("t", 2000)}, RequireAuth: true,
			Mechanisms: []string{"XOAUTH2"}},
			tls: inTLS, auth: bearer(strings.Repeat("t", 2000))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, tt.server)
			var log bytes.Buffer
			p := newPool(t, s.Addr(), func(o *Options) {
				o.TLS, o.Auth, o.AllowPlaintextAuth = tt.tls, tt.auth, tt.clear
				o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			o := send(t, p, message(content, "a@b.test"))[0]
			if tt.stage == "" {
				if a := attempts(t, o)[0]; !a.Accepted() {
					t.Errorf("%+v", a)
				}
				return
			}
			if f := o.r.Fault; f == nil || f.Stage != tt.stage || f.NetErr.Kind != tt.kind ||
				f.Reply.Raw != tt.raw {
				t.Errorf("%+v", f)
			}
			for _, ses := range s.Sessions() {
				if n := strings.Count(strings.Join(ses.Commands, "\n"), "AUTH"); n > 1 {
					t.Errorf("AUTH was tried %d times: %q", n, ses.Commands)
				}
			}
			if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "c2VjcmV0") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// TestRefusedLoginIsNotRepeated: twenty connections come up at once with a password that the server
// refuses. One of them tries it, and then nobody but a probe does.
func TestRefusedLoginIsNotRepeated(t *testing.T) {
	password := atomic.Value{}
	password.Store("wrong")
	s := smtptest.New(t, smtptest.Options{Users: map[string]string{"user": "secret"}, RequireAuth: true})
	p := newPool(t, s.Addr(), func(o *Options) {
		credentials := secret("")
		credentials.Password = func() (string, error) { return password.Load().(string), nil }
		o.Auth = credentials
		o.AllowPlaintextAuth = true
	})
	logins := func() (n int) {
		for _, ses := range s.Sessions() {
			n += strings.Count(strings.Join(ses.Commands, "\n"), "AUTH ")
		}
		return n
	}
	atOnce := func(each func(outcome)) {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { each(send(t, p, message(content, "a@b.test"))[0]) })
		}
		wg.Wait()
	}
	atOnce(func(o outcome) {
		if f := o.r.Fault; f == nil || f.Stage != diagnose.StageAuth || f.Reply.Code != 535 {
			t.Errorf("%+v", o.r)
		}
	})
	if n := logins(); n != 1 {
		t.Errorf("%d logins by twenty connections, want 1", n)
	}
	if f := p.Probe(t.Context()); f == nil || f.Reply.Code != 535 || logins() != 2 {
		t.Errorf("%d logins after a probe, want 2: %+v", logins(), f)
	}
	password.Store("secret")
	if f := p.Probe(t.Context()); f != nil {
		t.Errorf("%+v", f)
	}
	atOnce(func(o outcome) {
		if a := attempts(t, o)[0]; !a.Accepted() {
			t.Errorf("%+v", a)
		}
	})
}

// TestLoginWaitsItsTurn: a connection that waits for another's login ends with its context.
func TestLoginWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogins()
		release := make(chan struct{})
		go l.try(t.Context(), false, func() *problem { <-release; return nil })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		pr := l.try(ctx, false, func() *problem { t.Error("tried out of turn"); return nil })
		if pr == nil || !errors.Is(pr.err, context.Canceled) {
			t.Errorf("%+v", pr)
		}
		close(release)
		synctest.Wait()
		if pr := l.try(t.Context(), false, func() *problem { return nil }); pr != nil {
			t.Errorf("%+v", pr)
		}
	})
}

// bearer is XOAUTH2, as the OAuth part will bring it.
type bearer string

func (x bearer) Client(context.Context, []string) (sasl.Client, error) { return x, nil }
func (x bearer) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=user\x01auth=Bearer " + string(x) + "\x01\x01"), nil
}
func (x bearer) Next([]byte) ([]byte, error) { return []byte{}, nil }

func ehlo(raw string) func(smtptest.Command) smtptest.Action {
	return at(diagnose.StageHello, raw, smtptest.EndNot)
}

// TestLoginPrompts: LOGIN servers word their prompts as they like.
func TestLoginPrompts(t *testing.T) {
	for _, prompts := range [][2]string{
		{"VXNlcm5hbWU6", "UGFzc3dvcmQ6"}, {"dXNlciBuYW1l", "cGFzcw=="}, {"Username:", "Password:"}, {"", ""},
		{"QmVudXR6ZXI=", "S2Vubndvcnq="},
	} {
		var got [3]string
		s := newRaw(t, func(c *peer) {
			c.say("220 x\r\n")
			c.until("EHLO", "250-x\r\n250 AUTH LOGIN\r\n")
			got[0] = c.line()
			c.say("334 " + prompts[0] + "\r\n")
			got[1] = c.line()
			c.say("334 " + prompts[1] + "\r\n")
			got[2] = c.line()
			c.say("235 2.7.0 ok\r\n")
			c.until("QUIT", "221 bye\r\n")
		})
		p := newPool(t, s.addr, func(o *Options) { o.Auth, o.AllowPlaintextAuth = secret("secret"), true })
		if f := p.Probe(t.Context()); f != nil {
			t.Errorf("%q: %+v", prompts, f)
		}
		if got != [3]string{"AUTH LOGIN", "dXNlcg==", "c2VjcmV0"} {
			t.Errorf("%q: said %q", prompts, got)
		}
	}
}

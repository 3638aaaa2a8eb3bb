package upstream

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest/oauthtest"
	"mailwhy/relay/upstream/oauth"
)

const clientID = "11111111-2222-3333-4444-555555555555"

// signedIn is a token endpoint with a Cached in front of it.
func signedIn(t *testing.T, o oauthtest.Options) (*oauthtest.Server, *oauth.Cached) {
	t.Helper()
	o.ClientID, o.Secret = clientID, "marked-secret"
	s := oauthtest.New(o)
	c := oauth.NewCached("test", &oauth.ClientCredentials{Scope: "scope", Endpoint: oauth.Endpoint{
		TokenURL: s.URL("/token"), ClientID: clientID, HTTP: s,
		Proof: &oauth.ClientSecret{Read: func() (string, error) { return "marked-secret", nil }},
	}}, nil)
	t.Cleanup(c.Close)
	return s, c
}

func bearerOf(c *oauth.Cached, mechanisms ...string) *Bearer {
	return &Bearer{Username: "box@contoso.com", Tokens: c, Mechanisms: mechanisms, Host: "smtp.test",
		Port: 587}
}

// m365 speaks as smtp.office365.com does: LOGIN and XOAUTH2, and an explanation before the 535. accept says
// which tokens it takes.
func m365(accept func(token string) bool, refusal string, seen *sayings) func(*peer) {
	return func(c *peer) {
		c.say("220 x Microsoft ESMTP MAIL Service ready\r\n")
		c.until("EHLO", "250-x Hello\r\n250-SIZE 157286400\r\n250-PIPELINING\r\n250-AUTH LOGIN XOAUTH2\r\n"+
			"250-8BITMIME\r\n250 SMTPUTF8\r\n")
		line := c.line()
		if !strings.HasPrefix(line, "AUTH ") {
			return
		}
		first, data, _ := strings.Cut(strings.TrimPrefix(line, "AUTH "), " ")
		if data == "" {
			c.say("334 \r\n")
			data = c.line()
		}
		b, _ := base64.StdEncoding.DecodeString(data)
		_, rest, _ := strings.Cut(string(b), "auth=Bearer ")
		token, _, _ := strings.Cut(rest, "\x01")
		seen.add(first + " " + string(b))
		explained, reply, both := strings.Cut(refusal, "|")
		switch {
		case accept(token):
			reply = "235 2.7.0 Authentication successful"
		case both:
			c.say("334 " + base64.StdEncoding.EncodeToString([]byte(explained[4:])) + "\r\n")
			seen.add("then " + c.line())
		default:
			reply = refusal
		}
		c.say(reply + "\r\n")
		c.until("QUIT", "221 bye\r\n")
	}
}

type sayings struct {
	mu  sync.Mutex
	all []string
}

func (s *sayings) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, line)
}

func (s *sayings) get() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.all...)
}

// probe opens one connection and returns its fault, which no secret may be in.
func probe(t *testing.T, addr string, auth Authenticator) (f diagnose.NetErr, reply string,
	stage diagnose.Stage) {
	t.Helper()
	var log bytes.Buffer
	p := newPool(t, addr, func(o *Options) {
		o.Auth, o.AllowPlaintextAuth = auth, true
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	a := p.Probe(t.Context())
	if a == nil {
		return f, "", ""
	}
	if text := a.Reply.Raw + a.NetErr.Text + log.String(); strings.Contains(text, "marked") {
		t.Errorf("a secret is shown: %s", text)
	}
	return a.NetErr, a.Reply.Raw, a.Stage
}

// TestBearerMessages: what is sent, byte for byte, in one step or, if the line would be too long, in two.
func TestBearerMessages(t *testing.T) {
	for _, mech := range []string{"XOAUTH2", "OAUTHBEARER"} {
		for _, long := range []bool{false, true} {
			seen := &sayings{}
			var lines []string
			s := newRaw(t, func(c *peer) {
				c.say("220 x\r\n")
				c.until("EHLO", "250-x\r\n250 AUTH "+mech+"\r\n")
				line := c.line()
				lines = append(lines, line)
				data := strings.TrimPrefix(line, "AUTH "+mech)
				if data == "" {
					c.say("334 \r\n")
					data = c.line()
				}
				b, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(data))
				seen.add(string(b))
				c.say("235 2.7.0 ok\r\n")
				c.until("QUIT", "221 bye\r\n")
			})
			o := oauthtest.Options{}
			if long {
				o.Marked = strings.Repeat("t", 1500)
			}
			_, c := signedIn(t, o)
			if f, reply, _ := probe(t, s.addr, bearerOf(c, mech)); reply != "" || f.Kind != "" {
				t.Fatalf("%+v %s", f, reply)
			}
			token, _ := c.Token(t.Context())
			want := "user=box@contoso.com\x01auth=Bearer " + token.Access.Reveal() + "\x01\x01"
			if mech == "OAUTHBEARER" { // RFC 7628, 4.1
				want = "n,a=box@contoso.com,\x01host=smtp.test\x01port=587\x01auth=Bearer " +
					token.Access.Reveal() + "\x01\x01"
			}
			if got := seen.get(); len(got) != 1 || got[0] != want {
				t.Errorf("%s: sent %q, want %q", mech, got, want)
			}
			if twoSteps := lines[0] == "AUTH "+mech; twoSteps != long {
				t.Errorf("%s: the first line is %.40q", mech, lines[0])
			}
		}
	}
}

// TestRefusedBearer: the explanation is in the fault, beside the reply. A token is replaced once, tried on a
// new connection, and then the refusal stands.
func TestRefusedBearer(t *testing.T) {
	google := `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`
	for name, tt := range map[string]struct{ says, reply, note, then string }{
		"M365": {`334 {"status":"401","schemes":"bearer"}|535 5.7.3 Authentication unsuccessful [x.prod]`,
			"535 5.7.3 Authentication unsuccessful [x.prod]\r\n", "status 401, schemes bearer", "then "},
		"M365, at once": {"535 5.7.3 Authentication unsuccessful",
			"535 5.7.3 Authentication unsuccessful\r\n",
			"", ""},
		"SMTP AUTH off": {"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled",
			"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled\r\n", "", ""},
		"Gmail": {"334 " + google + "|535 5.7.8 Username and Password not accepted. gsmtp",
			"535 5.7.8 Username and Password not accepted. gsmtp\r\n",
			"status 400, schemes Bearer, scope https://mail.google.com/", "then "},
		"not JSON": {"334 nonsense|535 5.7.3 no", "535 5.7.3 no\r\n", "", "then "},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &sayings{}
			s := newRaw(t, m365(func(string) bool { return false }, tt.says, seen))
			endpoint, c := signedIn(t, oauthtest.Options{})
			f, reply, stage := probe(t, s.addr, bearerOf(c, "XOAUTH2"))
			want := ""
			if tt.note != "" {
				want = "the server explained: " + tt.note
			}
			if reply != tt.reply || f.Text != want || f.Kind != "" || stage != diagnose.StageAuth {
				t.Errorf("%q %+v at %s", reply, f, stage)
			}
			var logins, answers int
			for _, line := range seen.get() {
				if strings.HasPrefix(line, "XOAUTH2 ") {
					logins++
				} else if answers++; line != tt.then {
					t.Errorf("the explanation was answered with %q", line)
				}
			}
			if logins != 2 || len(endpoint.Requests()) != 2 || tt.then != "" && answers != 2 {
				t.Errorf("%d logins with %d tokens, want 2 with 2", logins, len(endpoint.Requests()))
			}
		})
	}
}

// TestOtherRefusalsKeepTheToken: a 501 or 454 says nothing of the token.
func TestOtherRefusalsKeepTheToken(t *testing.T) {
	for _, reply := range []string{"501 5.5.124 Invalid XOAUTH2 auth data", "454 4.7.0 Temporary failure"} {
		seen := &sayings{}
		s := newRaw(t, m365(func(string) bool { return false }, reply, seen))
		endpoint, c := signedIn(t, oauthtest.Options{})
		_, got, _ := probe(t, s.addr, bearerOf(c, "XOAUTH2"))
		if got != reply+"\r\n" || len(seen.get()) != 1 || len(endpoint.Requests()) != 1 {
			t.Errorf("%q after %d logins with %d tokens", got, len(seen.get()), len(endpoint.Requests()))
		}
	}
}

// TestRevokedTokenIsReplaced: the server takes new tokens only; one login more, and mail goes.
func TestRevokedTokenIsReplaced(t *testing.T) {
	seen := &sayings{}
	endpoint, c := signedIn(t, oauthtest.Options{})
	s := newRaw(t, m365(endpoint.Valid, "535 5.7.3 no", seen))
	if _, err := c.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	endpoint.RevokeAccess()
	if f, reply, _ := probe(t, s.addr, bearerOf(c, "XOAUTH2")); reply != "" || f.Kind != "" {
		t.Errorf("%+v %s", f, reply)
	}
	if n := len(seen.get()); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// TestTokenFaultIsTheLanes: without a token nothing is said to the server after EHLO, and the fault has the
// endpoint's reason.
func TestTokenFaultIsTheLanes(t *testing.T) {
	seen := &sayings{}
	s := newRaw(t, m365(func(string) bool { return true }, "", seen))
	_, c := signedIn(t, oauthtest.Options{Script: func(oauthtest.Request) *oauthtest.Answer {
		return oauthtest.Refusal("invalid_client", 7000222, "The provided client secret keys are expired.")
	}})
	p := newPool(t, s.addr, func(o *Options) { o.Auth, o.AllowPlaintextAuth = bearerOf(c, "XOAUTH2"), true })
	o := send(t, p, message(content, "a@b.test"))[0]
	f := o.r.Fault
	if f == nil || f.Stage != diagnose.StageAuth || f.NetErr.Kind != diagnose.NetOAuthToken ||
		f.NetErr.Reason != oauth.ReasonSecret || !strings.Contains(f.NetErr.Text, "AADSTS7000222") {
		t.Fatalf("%+v", o.r)
	}
	if len(seen.get()) != 0 {
		t.Errorf("said %q", seen.get())
	}
}

// TestManyRefusedBearers: twenty connections come up at once with a token that the server refuses. It is
// tried once, its successor once, and then nobody but a probe tries.
func TestManyRefusedBearers(t *testing.T) {
	seen := &sayings{}
	s := newRaw(t, m365(func(string) bool { return false }, "535 5.7.3 no", seen))
	_, c := signedIn(t, oauthtest.Options{})
	p := newPool(t, s.addr, func(o *Options) { o.Auth, o.AllowPlaintextAuth = bearerOf(c, "XOAUTH2"), true })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if f := send(t, p, message(content, "a@b.test"))[0].r.Fault; f == nil || f.Reply.Code != 535 {
				t.Errorf("%+v", f)
			}
		})
	}
	wg.Wait()
	if n := len(seen.get()); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// TestForgedBearers: what could forge a field is refused before anything is sent.
func TestForgedBearers(t *testing.T) {
	for user, token := range map[string]string{
		"a\x01auth=Bearer x": "good", "": "good", "a b": "good", "ä@b.test": "good",
		"a@b.test": "marked\x01\x01", "b@b.test": "marked token", "c@b.test": "märked",
	} {
		seen := &sayings{}
		s := newRaw(t, m365(func(string) bool { return true }, "", seen))
		b := &Bearer{Username: user, Tokens: fixedToken(token), Mechanisms: []string{"XOAUTH2"}}
		f, _, stage := probe(t, s.addr, b)
		if f.Kind != diagnose.NetLocal || stage != diagnose.StageAuth || len(seen.get()) != 0 {
			t.Errorf("%q: %+v, said %q", user, f, seen.get())
		}
	}
}

// fixedToken gives out the same token for ever.
type fixedToken string

func (f fixedToken) Token(context.Context) (oauth.Token, error) {
	return oauth.Token{Access: oauth.NewSecret(string(f)), Expires: time.Now().Add(time.Hour)}, nil
}
func (f fixedToken) Refused(oauth.Token) bool { return false }

// TestTokenEchoIsRedacted: a server that repeats the token in clear.
func TestTokenEchoIsRedacted(t *testing.T) {
	says := `334 {"status":"401 marked-token","schemes":"bearer"}|535 5.7.3 bad token marked-token`
	s := newRaw(t, m365(func(string) bool { return false }, says, &sayings{}))
	b := &Bearer{Username: "a@b.test", Tokens: fixedToken("marked-token"), Mechanisms: []string{"XOAUTH2"}}
	f, reply, _ := probe(t, s.addr, b)
	if reply != "535 5.7.3 bad token [12 characters not shown]\r\n" || !strings.Contains(f.Text,
		"401 [hidden]") {
		t.Errorf("%q %+v", reply, f)
	}
}

func TestNoBearerMechanism(t *testing.T) {
	s := newRaw(t, func(c *peer) {
		c.say("220 x\r\n")
		c.until("EHLO", "250-x\r\n250 AUTH PLAIN LOGIN\r\n")
		c.until("QUIT", "221 bye\r\n")
	})
	endpoint, c := signedIn(t, oauthtest.Options{})
	f, _, _ := probe(t, s.addr, bearerOf(c, "OAUTHBEARER", "XOAUTH2"))
	if f.Kind != diagnose.NetAuthUnavailable || len(endpoint.Requests()) != 0 {
		t.Errorf("%+v, after %d requests", f, len(endpoint.Requests()))
	}
}

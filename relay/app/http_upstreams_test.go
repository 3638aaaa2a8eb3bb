package app

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	"mailwhy/relay/app/query"
	"mailwhy/relay/check"
	"mailwhy/relay/lane"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/apitest"
	"mailwhy/relay/smtptest/oauthtest"
)

// apiDoor is the configuration of a relay in front of an API, less the upstream's type and credentials.
func apiDoor(d *door, endpoint, caFile string) string {
	return fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n[delivery_log]\nfile = %q\n"+
		"[retry]\nschedule = \"200ms\"\n[dsn]\ncollect = \"100ms\"\n"+
		"fallback_sender = \"bounces@shop.example\"\n"+
		"[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.default]\nendpoint = %q\nca_file = %q\n",
		d.dir+"/spool", d.dir+"/log", endpoint, caFile)
}

// openAPI starts such a relay.
func openAPI(t *testing.T, endpoint, caFile, keys string) *door {
	t.Helper()
	d := &door{t: t, dir: t.TempDir()}
	d.write("secret", apitest.Secret+"\n")
	opened, err := openDoor(t, d.dir, apiDoor(d, endpoint, caFile)+
		strings.ReplaceAll(keys, "{dir}", d.dir))
	if err != nil {
		t.Fatal(err)
	}
	<-opened.app.Ready()
	return opened
}

const sesKeys = "type = \"ses-api\"\nregion = \"eu-west-1\"\naccess_key_id = \"" + apitest.Key +
	"\"\nsecret_access_key_file = \"{dir}/secret\"\n"

// hand hands in messages with the numbers from first on.
func (d *door) hand(first, n int) {
	d.t.Helper()
	c, err := smtptest.Greet(d.t.Context(), d.app.Addrs()[0].String(), "client.test",
		smtptest.ClientOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	for i := range n {
		c.Say("MAIL FROM:<app@shop.example>")
		c.Say("RCPT TO:<r%d@x.test>", first+i)
		c.Say("DATA")
		for range 2 {
			if err := c.Expect(2); err != nil {
				d.t.Fatal(err)
			}
		}
		if err := c.Expect(3); err != nil {
			d.t.Fatal(err)
		}
		c.Say("From: app@shop.example\r\nTo: r%d@x.test\r\nSubject: %d\r\n\r\nbody\r\n.", first+i, first+i)
		if err := c.Expect(2); err != nil {
			d.t.Fatal(err)
		}
	}
}

// log is the delivery log.
func (d *door) log() string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// TestSESAPI: a thousand messages go through the API, each once, though one call is throttled; one whose
// answer is lost is uncertain, and the only one that may come twice.
func TestSESAPI(t *testing.T) {
	ses := apitest.StartSES(t)
	ses.SetAccount(10000, 1e6, 0, true, true)
	var calls, hung atomic.Int64
	ses.Script = func(m *apitest.Mail) *apitest.Answer {
		switch n := calls.Add(1); {
		case n == 300:
			return &apitest.Answer{Status: 429, Code: "TooManyRequestsException",
				Text: "Maximum sending rate exceeded."}
		case n == 500:
			hung.Add(1)
			return &apitest.Answer{Hang: true}
		}
		return nil
	}
	d := openAPI(t, ses.Server.URL, ses.CAFile, sesKeys)
	const all = 1000
	d.hand(0, all)
	got := map[string]int{}
	smtptest.WaitFor(t, "all messages", func() bool {
		clear(got)
		for _, m := range ses.Mails() {
			got[m.To[0]]++
		}
		return len(got) == all
	})
	for to, n := range got {
		if n != 1 {
			t.Errorf("%s got it %d times", to, n)
		}
	}
	smtptest.WaitFor(t, "the log", func() bool { return strings.Count(d.log(), `"event":"relayed"`) == all })
	log := d.log()
	if n := strings.Count(log, `"uncertain":true`); n != 1 || hung.Load() != 1 {
		t.Errorf("%d attempts are uncertain, want the one that got no answer", n)
	}
	if strings.Contains(log, `"event":"failed"`) || !strings.Contains(log, `"reason":"throttled"`) ||
		!strings.Contains(log, `"upstream_id":"0102018c`) {
		t.Errorf("%.2000s", log)
	}
	if strings.Contains(log+d.logged.String(), apitest.Secret) {
		t.Error("the secret is logged")
	}
}

// TestSESAccountFault: an account that may not send pauses the lane at its first message. Nobody is bounced,
// and the mail goes when the account may send again.
func TestSESAccountFault(t *testing.T) {
	ses := apitest.StartSES(t)
	ses.SetAccount(10000, 1e6, 0, true, true)
	var paused atomic.Bool
	var refused atomic.Int64
	paused.Store(true)
	ses.Script = func(m *apitest.Mail) *apitest.Answer {
		if !paused.Load() {
			return nil
		}
		refused.Add(1)
		return &apitest.Answer{Status: 400, Code: "SendingPausedException",
			Text: "Sending paused for this account."}
	}
	d := openAPI(t, ses.Server.URL, ses.CAFile, sesKeys)
	d.hand(0, 100)
	smtptest.WaitFor(t, "a pause", func() bool { return d.app.lanes.get("default").lane.State().Paused })
	st := d.app.lanes.get("default").lane.State()
	if st.Diagnosis == nil || st.Diagnosis.Reason != "account_suspended" ||
		!strings.Contains(st.Reply, "SendingPausedException: Sending paused for this account.") {
		t.Errorf("%+v", st)
	}
	if n := refused.Load(); n > 20 {
		t.Errorf("%d messages were tried, want at most one a connection", n)
	}
	paused.Store(false)
	smtptest.WaitFor(t, "the mail", func() bool {
		d.app.lanes.tryNow()
		return len(ses.Mails()) == 100
	})
	log := d.log()
	if strings.Contains(log, `"event":"failed"`) || strings.Contains(log, `"event":"deferred"`) {
		t.Errorf("%.2000s", log)
	}
}

// TestSESRate: the lane has the account's rate, unless another is configured.
func TestSESRate(t *testing.T) {
	ses := apitest.StartSES(t)
	for keys, want := range map[string]lane.Rate{
		"":                 {Messages: 14, Per: time.Second},
		"rate = \"3/m\"\n": {Messages: 3, Per: time.Minute},
	} {
		d := openAPI(t, ses.Server.URL, ses.CAFile, sesKeys+keys)
		h := d.app.lanes.get("default")
		smtptest.WaitFor(t, "the rate", func() bool { return h.settings(d.app.cfg.Load()).Rate == want })
		d.stop()
	}
}

// TestGraph: mail goes through Graph with a token, and a bounce that it cannot carry has the fallback sender.
func TestGraph(t *testing.T) {
	endpoint := oauthtest.Start(t, oauthtest.Options{ClientID: "client", Secret: "marked-secret"})
	g := apitest.StartGraph(t, endpoint.Valid)
	g.Script = func(m *apitest.Mail) *apitest.Answer {
		if m.To[0] == "r1@x.test" {
			return &apitest.Answer{Status: 400, Code: "ErrorMessageSizeExceeded", Text: "too much"}
		}
		return nil
	}
	d := openAPI(t, g.Server.URL, g.CAFile, fmt.Sprintf("type = \"graph\"\nmailbox = \"app@shop.example\"\n"+
		"rate = \"1000/s\"\noauth_client_id = \"client\"\noauth_tenant = \"shop.example\"\n"+
		"oauth_client_secret = \"marked-secret\"\noauth_token_url = %q\n", endpoint.URL("/token")))
	d.hand(0, 2)
	smtptest.WaitFor(t, "the message and the bounce", func() bool { return len(g.Mails()) == 2 })
	var to []string
	for _, m := range g.Mails() {
		to = append(to, m.To...)
	}
	slices.Sort(to)
	if strings.Join(to, " ") != "app@shop.example r0@x.test" {
		t.Errorf("%v", to)
	}
	if scope := endpoint.Requests()[0].Form.Get("scope"); scope != "https://graph.microsoft.com/.default" {
		t.Errorf("scope %q", scope)
	}
	if log := d.log(); !strings.Contains(log, `"reason":"message_too_large"`) ||
		!strings.Contains(log, `"error":"api_refused"`) {
		t.Errorf("%.2000s", log)
	}
	if strings.Contains(d.log()+d.logged.String(), "marked") {
		t.Error("a secret is logged")
	}
}

// TestCheckSES: what a check says of the account and of each sender, and how to mend it.
func TestCheckSES(t *testing.T) {
	sender := query.Upstreams{Senders: query.Senders{Domains: []string{"app@mail.shop.example"}}}
	for name, tt := range map[string]struct {
		prepare func(*apitest.SES)
		failed  bool
		want    []string
	}{
		"good": {func(s *apitest.SES) { s.Missing("app@mail.shop.example", "mail.shop.example") }, false,
			[]string{"ok auth 127.0.0.1 accepts",
				"ok quota 14 recipients a second, 50000 in 24 hours, of which 10",
				"ok identity shop.example, for mail from app@mail.shop.example, is verified"}},
		"sandbox": {func(s *apitest.SES) { s.SetAccount(1, 200, 190, false, true) }, false,
			[]string{"warning account the account is in the sandbox in eu-west-1",
				"Request production access",
				"warning quota 1 recipients a second"}},
		"switched off": {func(s *apitest.SES) { s.SetAccount(1, 200, 0, true, false) }, true,
			[]string{"failure account sending is switched off"}},
		"not verified": {func(s *apitest.SES) {
			s.Missing("app@mail.shop.example", "mail.shop.example", "shop.example")
		}, true, []string{"failure identity neither app@mail.shop.example nor its domain is an identity"}},
		"may only send": {func(s *apitest.SES) { s.Deny() }, false,
			[]string{"warning account the credentials may not ask", "Allow ses:GetAccount",
				"Allow ses:GetEmailIdentity"}},
		"unknown key": {func(s *apitest.SES) { s.Revoke() }, true,
			[]string{"failure auth HTTP 403 UnrecognizedClientException: The security token"}},
	} {
		t.Run(name, func(t *testing.T) {
			ses := apitest.StartSES(t)
			tt.prepare(ses)
			d := &door{t: t, dir: t.TempDir()}
			d.write("secret", apitest.Secret)
			d.write("relay.toml", apiDoor(d, ses.Server.URL, ses.CAFile)+
				strings.ReplaceAll(sesKeys, "{dir}", d.dir))
			said, failed := checked(t, d, sender)
			if failed != tt.failed {
				t.Errorf("failed %t: %s", failed, said)
			}
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in %s", want, said)
				}
			}
			if len(ses.Mails()) != 0 || strings.Contains(said, apitest.Secret) {
				t.Errorf("%d mails; %s", len(ses.Mails()), said)
			}
		})
	}
}

// checked runs a check with the configuration of d.
func checked(t *testing.T, d *door, q query.Upstreams) (said string, failed bool) {
	t.Helper()
	cfg, err := config.Load(config.Source{File: filepath.Join(d.dir, "relay.toml")})
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(cfg); err != nil {
		t.Fatal(err)
	}
	lines, err := query.CheckUpstreams(t.Context(), cfg, &q)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		said += fmt.Sprintf("%s %s %s fix: %s\n", l.Level, l.Check, l.Text, l.Fix)
	}
	return said, check.Failed(lines)
}

// TestCheckGraph: what a check says of the token, and that --send sends.
func TestCheckGraph(t *testing.T) {
	endpoint := oauthtest.Start(t, oauthtest.Options{ClientID: "client", Secret: "marked-secret"})
	g := apitest.StartGraph(t, endpoint.Valid)
	d := &door{t: t, dir: t.TempDir()}
	d.write("relay.toml", apiDoor(d, g.Server.URL, g.CAFile)+fmt.Sprintf("type = \"graph\"\n"+
		"mailbox = \"app@shop.example\"\noauth_client_id = \"client\"\noauth_tenant = \"shop.example\"\n"+
		"oauth_client_secret = \"marked-secret\"\noauth_token_url = %q\n", endpoint.URL("/token")))
	said, failed := checked(t, d, query.Upstreams{Send: true, Recipient: "me@x.test",
		Senders: query.Senders{Domains: []string{"app@shop.example"}}})
	if failed || !strings.Contains(said, "accepts the credentials") || len(g.Mails()) != 1 ||
		!strings.Contains(said, "a message from app@shop.example to me@x.test was relayed as") {
		t.Errorf("%d mails: %s", len(g.Mails()), said)
	}
}

// TestTokenTransportCA: the ca_file of an HTTP API holds for its token endpoint, that of an SMTP server not.
func TestTokenTransportCA(t *testing.T) {
	g := apitest.StartGraph(t, func(string) bool { return false })
	for kind, trusted := range map[string]bool{"graph": true, "ses-api": true, "smtp": false} {
		carrier, err := options.TokenTransport(&config.Upstream{Type: kind, CAFile: g.CAFile})
		if err != nil {
			t.Fatal(err)
		}
		r, err := (&http.Client{Transport: carrier}).Get(g.Server.URL)
		if err == nil {
			r.Body.Close()
		}
		if (err == nil) != trusted {
			t.Errorf("%s: %v", kind, err)
		}
	}
	u := &config.Upstream{Type: "graph", CAFile: t.TempDir() + "/none"}
	if _, err := options.TokenTransport(u); err == nil {
		t.Error("a missing ca_file is no error")
	}
}

package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/app/options"
	"mailwhy/relay/app/query"
	"mailwhy/relay/check"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/oauthtest"
	"mailwhy/relay/smtptest/proxytest"
	"mailwhy/relay/upstream"
)

// signedDoor is a relay whose upstream takes access tokens, as Microsoft 365 does: EHLO offers LOGIN and
// XOAUTH2, and a refused token is explained before the 535.
type signedDoor struct {
	*door
	upstream *smtptest.Server
	endpoint *oauthtest.Server
	conf     string // with the grant left out
}

const oauthMailbox = "box@contoso.test"

// signedFiles prepares the upstream, the token endpoint and the configuration.
func signedFiles(t *testing.T, o oauthtest.Options) *signedDoor {
	t.Helper()
	o.ClientID = "client"
	d := &signedDoor{door: &door{t: t, dir: t.TempDir()}, endpoint: oauthtest.Start(t, o)}
	id := smtptest.NewCertificate(t, "127.0.0.1")
	d.write("ca.pem", string(id.CAPEM))
	d.upstream = smtptest.New(t, smtptest.Options{TLS: id.Server(), RequireTLS: true, RequireAuth: true,
		Mechanisms: []string{"LOGIN", "XOAUTH2"},
		Tokens:     func(user, token string) bool { return user == oauthMailbox && d.endpoint.Valid(token) }})
	d.conf = signedConf(d.dir, d)
	return d
}

// signedConf is the configuration of a relay in a directory, with the upstream and the endpoint of d.
func signedConf(dir string, d *signedDoor) string {
	host, port, _ := strings.Cut(d.upstream.Addr(), ":")
	return fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n[delivery_log]\nfile = %q\n"+
		"[metrics]\nlisten = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n"+
		"[upstream.default]\nhost = %q\nport = %s\nca_file = %q\nidle_timeout = \"0s\"\nusername = %q\n"+
		"oauth_token_url = %q\n",
		dir+"/spool", dir+"/log", host, port, d.dir+"/ca.pem", oauthMailbox, d.endpoint.URL("/token"))
}

// open starts the relay with the keys of a grant.
func (d *signedDoor) open(grant string) {
	d.t.Helper()
	opened, err := openDoor(d.t, d.dir, d.conf+grant)
	if err != nil {
		d.t.Fatal(err)
	}
	d.door = opened
	<-d.app.Ready()
}

// send hands the relay a message.
func (d *signedDoor) send(text string) {
	d.t.Helper()
	v := d.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.mail(text)
}

// looksSecret fails the test if a secret is in a log.
func (d *signedDoor) looksSecret() {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, log := range []string{d.logged.String(), string(b)} {
		if i := strings.Index(log, "marked"); i >= 0 {
			d.t.Errorf("a secret is logged: %.300s", log[max(0, i-200):])
		}
	}
}

const clientGrant = "oauth_client_id = \"client\"\noauth_scope = \"mail\"\n" +
	"oauth_secret_expires = \"2099-01-02\"\n"

// TestOAuth: mail goes out with an access token. One that the upstream no longer takes is replaced, once, on
// another connection, and the message still goes at its first attempt.
func TestOAuth(t *testing.T) {
	d := signedFiles(t, oauthtest.Options{Secret: "marked-secret"})
	d.write("secret", "marked-secret\n")
	d.open(clientGrant + fmt.Sprintf("oauth_client_secret_file = %q\n", d.dir+"/secret"))
	d.send("first")
	arrives(t, d.upstream, 1)
	scrape(t, "tcp", d.app.MetricsAddr().String()).Expect(t, map[string]float64{
		`mailwhy_credential_expiry_timestamp_seconds{upstream="default",credential="client_secret"}`: float64(
			time.Date(2099, 1, 2, 0, 0, 0, 0, time.UTC).Unix()),
		`mailwhy_lane_paused{upstream="default"}`: 0,
	})
	d.endpoint.RevokeAccess()
	d.send("second")
	arrives(t, d.upstream, 2)
	if n := len(d.endpoint.Requests()); n != 2 {
		t.Errorf("%d tokens were asked for, want 2", n)
	}
	d.stop()
	if b, _ := os.ReadFile(filepath.Join(d.dir, "log")); strings.Contains(string(b), `"deferred"`) {
		t.Errorf("a message was deferred: %s", b)
	}
	d.looksSecret()
}

// TestTokenFaultPausesTheLane: without a token the mail waits and nobody is bounced; the lane says what is
// wrong. A corrected secret and a reload let it go at once.
func TestTokenFaultPausesTheLane(t *testing.T) {
	d := signedFiles(t, oauthtest.Options{Secret: "marked-secret"})
	d.write("secret", "marked-wrong\n")
	grant := clientGrant + fmt.Sprintf("oauth_client_secret_file = %q\n", d.dir+"/secret")
	d.open(grant)
	d.send("waits")
	smtptest.WaitFor(t, "the pause", func() bool { return d.app.lanes.states()[0].Paused })
	state := d.app.lanes.states()[0]
	if state.Diagnosis == nil || state.Diagnosis.Reason != "oauth_secret_invalid" ||
		!strings.Contains(state.Reply, "AADSTS7000215") {
		t.Errorf("%+v, %q", state.Diagnosis, state.Reply)
	}
	st, err := d.app.Stat(t.Context())
	if err != nil || st.Messages != 1 || st.Owed != 0 {
		t.Errorf("%+v %v", st, err)
	}
	d.write("secret", "marked-secret\n")
	d.mustReload(d.conf + grant)
	arrives(t, d.upstream, 1)
	smtptest.WaitFor(t, "the end of the pause", func() bool { return !d.app.lanes.states()[0].Paused })
	d.stop()
	if !strings.Contains(d.logged.String(), "oauth_secret_invalid") {
		t.Error("the log does not say why the lane paused")
	}
	d.looksSecret()
}

// TestRefreshTokenIsRotated: a relay that was restarted goes on with the token that the first one was given.
func TestRefreshTokenIsRotated(t *testing.T) {
	d := signedFiles(t, oauthtest.Options{Rotate: true, Once: true})
	file := d.dir + "/token.json"
	grant := fmt.Sprintf("oauth_token_file = %q\n", file)
	_, err := openDoor(t, d.dir, d.conf+grant)
	if err == nil || !strings.Contains(err.Error(), "auth login") {
		t.Errorf("without a token file: %v", err)
	}
	d.write("token.json", fmt.Sprintf(`{"version":1,"client_id":"client","token_url":%q,"refresh_token":%q,`+
		`"logged_in":"2026-11-01T00:00:00Z"}`, d.endpoint.URL("/token"), d.endpoint.Refresh()))
	before, _ := os.ReadFile(file)
	for i := range 2 {
		d.open(grant)
		d.send(fmt.Sprint(i))
		arrives(t, d.upstream, i+1)
		d.stop()
		if after, _ := os.ReadFile(file); string(after) == string(before) {
			t.Error("the new refresh token is not in the file")
		}
		d.looksSecret()
	}
}

// TestOAuthMistakes: what only the files can show is told at the start and by check, all at once.
func TestOAuthMistakes(t *testing.T) {
	d := signedFiles(t, oauthtest.Options{})
	d.write("junk", "junk")
	for grant, want := range map[string]string{
		"oauth_token_file = %q\n":           "not a valid token file",
		"oauth_service_account_file = %q\n": "is not the JSON key of a service account",
		"oauth_client_id = \"client\"\noauth_scope = \"x\"\noauth_cert_file = %q\n": "no PEM block",
	} {
		cfg, err := d.load(d.conf + fmt.Sprintf(grant, d.dir+"/junk"))
		if err != nil {
			t.Errorf("%s: %v", grant, err)
			continue
		}
		if err := Check(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: check says %v", grant, err)
		}
		if _, err := openDoor(t, d.dir, d.conf+fmt.Sprintf(grant, d.dir+"/junk")); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: the start says %v", grant, err)
		}
	}
}

// TestCredentials: what the configuration says becomes the login of the upstream room, which takes it.
func TestCredentials(t *testing.T) {
	id := smtptest.NewCertificate(t, "127.0.0.1")
	files := &door{t: t, dir: t.TempDir()}
	files.write("cert.pem", string(id.CertPEM))
	files.write("key.pem", string(id.KeyPEM))
	files.write("password", "secret\n")
	cert := fmt.Sprintf("cert_file = %q\nkey_file = %q\n", files.dir+"/cert.pem", files.dir+"/key.pem")
	file := fmt.Sprintf("username = \"u\"\npassword_file = %q\n", files.dir+"/password")
	for conf, want := range map[string]*upstream.Credentials{
		"": nil,
		"username = \"u\"\npassword = \"secret\"\n": {Username: "u",
			Mechanisms: []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5"}},
		file + "auth = [\"scram-sha-256\"]\n": {Username: "u", Mechanisms: []string{"SCRAM-SHA-256"}},
		cert:                                  nil, // it is shown in TLS, and that is all
		cert + "auth = [\"external\"]\n":      {Mechanisms: []string{"EXTERNAL"}},
	} {
		cfg, err := files.load("[upstream.default]\nhost = \"smtp.test\"\n" + conf)
		if err != nil {
			t.Errorf("%s: %v", conf, err)
			continue
		}
		o, err := options.Upstream(cfg, "default")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := upstream.New(o); err != nil {
			t.Errorf("%s: %v", conf, err)
		}
		got, _ := o.Auth.(*upstream.Credentials)
		if (got == nil) != (want == nil) {
			t.Errorf("%s: %+v", conf, o.Auth)
		} else if want != nil {
			password, err := got.Password()
			if got.Username != want.Username || !slices.Equal(got.Mechanisms, want.Mechanisms) ||
				err != nil || want.Username != "" && password != "secret" {
				t.Errorf("%s: %s, %v, %v", conf, got.Username, got.Mechanisms, err)
			}
		}
	}
}

// TestLoginThroughProxy: mail and the requests for tokens go through the upstream's proxy, which alone knows
// the upstream's name, and so does check.
func TestLoginThroughProxy(t *testing.T) {
	d := signedFiles(t, oauthtest.Options{Secret: "marked-client"})
	proxy := proxytest.SOCKS5(t, proxytest.Options{User: "relay", Password: "marked-proxy",
		Hosts: map[string]string{"mail.hidden.test:587": d.upstream.Addr()}})
	d.write("proxy-password", "marked-proxy\n")
	host, port, _ := strings.Cut(d.upstream.Addr(), ":")
	d.conf = strings.Replace(d.conf, fmt.Sprintf("host = %q\nport = %s\n", host, port), fmt.Sprintf(
		"host = \"mail.hidden.test\"\nport = 587\nserver_name = \"127.0.0.1\"\n"+
			"proxy = \"socks5://relay@%s\"\nproxy_password_file = %q\n",
		proxy.Addr, d.dir+"/proxy-password"), 1)
	grant := "oauth_client_id = \"client\"\noauth_client_secret = \"marked-client\"\noauth_scope = \"smtp\"\n"
	d.open(grant)
	d.send("through the proxy")
	if err := d.upstream.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	token := strings.TrimPrefix(d.endpoint.URL(""), "http://")
	asked := proxy.Asked()
	if !slices.Contains(asked, "mail.hidden.test:587") || !slices.Contains(asked, token) {
		t.Errorf("the proxy was asked for %q, want the upstream and %s", asked, token)
	}
	d.looksSecret()

	before := len(proxy.Asked())
	lines, err := query.CheckUpstreams(t.Context(), d.app.cfg.Load(), &query.Upstreams{})
	if err != nil || check.Failed(lines) || len(proxy.Asked()) != before+2 {
		t.Errorf("%v %+v, %d more connections through the proxy", err, lines, len(proxy.Asked())-before)
	}
}

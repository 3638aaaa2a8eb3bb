package pagetest

import (
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay/admin"
	"mailwhy/relay/admin/access"
	"mailwhy/relay/app"
	"mailwhy/relay/app/apptest"
	"mailwhy/relay/smtptest"
)

// world is a relay with a page, an upstream that refuses by the recipient's address, and tokens.
type world struct {
	*testing.T
	app           *app.Relay
	url           string
	reader, admin string // tokens
	tokens        string // file
	socket        string // the control socket
	ctl           *admin.Client
	logged        *smtptest.Buffer
}

// evil is what strangers write where it may be shown.
const evil = `<script>document.title="owned"</script><img src=x onerror="document.title='owned'">`

// upstreamSays is the script of the upstream.
func upstreamSays(c smtptest.Command) smtptest.Action {
	if c.Stage != diagnose.StageRcpt {
		return smtptest.Action{}
	}
	for part, reply := range map[string]string{
		"unknown": "550-5.1.1 The email account that you tried to reach does not exist.\n" +
			"550 5.1.1 Please check the address for typos.",
		"full": "452 4.2.2 The recipient's inbox is out of storage space.",
		"grey": "450 4.7.1 Greylisting in action, please come back in 300 seconds",
		"spam": "554 5.7.1 Message rejected: listed at zen.spamhaus.org, see https://check.spamhaus.org/",
		"dmarc": "550 5.7.26 Unauthenticated email from shop.example is not accepted due to the " +
			"domain's DMARC policy.",
		"slow":     "421 4.7.28 Our system has detected an unusual rate of mail from your IP address.",
		"evil":     "550 5.1.1 " + evil + " \u202egnp.exe\u202c \x1b[31mred",
		"longword": "550 5.1.1 " + strings.Repeat("x", 4000),
	} {
		if strings.Contains(c.Line, part) {
			return smtptest.Action{Reply: reply}
		}
	}
	return smtptest.Action{}
}

// newWorld starts one. more is added to its configuration.
func newWorld(t *testing.T, more string) *world {
	t.Helper()
	dir := t.TempDir()
	up := smtptest.New(t, smtptest.Options{Script: upstreamSays})
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(hook.Close)
	w := &world{T: t, logged: &smtptest.Buffer{}, tokens: filepath.Join(dir, "spool", "tokens.json")}
	conf := fmt.Sprintf("hostname = \"relay.example.com\"\nshutdown_grace = \"1s\"\n[spool]\ndir = %q\n"+
		"[delivery_log]\nfile = %q\n[upstream.default]\nurl = %q\n[[listen]]\naddress = \"127.0.0.1:0\"\n"+
		"[suppression]\nmode = \"observe\"\n[dsn]\nroute = \"off\"\n"+
		"[[webhook]]\nname = \"shop\"\nurl = \"%s/hook?key=topsecret\"\nsecret = \"whsec_%s\"\n"+
		"[page]\nlisten = \"127.0.0.1:0\"\n%s", dir+"/spool", dir+"/log", up.URL(), hook.URL,
		"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", more)
	file := filepath.Join(dir, "relay.toml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.app, _ = apptest.Run(t, cfg, io.Discard, log)
	w.url = "http://" + w.app.PageAddr().String()
	w.reader, w.admin = w.token("reader", access.Read), w.token("admin", access.Write)
	w.socket = cfg.Admin.Socket
	w.ctl = admin.NewClient(w.socket)
	return w
}

// token makes a token.
func (w *world) token(name string, scope access.Scope) string {
	w.Helper()
	secret, err := access.Create(w.tokens, name, []access.Scope{scope}, time.Now(), time.Time{})
	if err != nil {
		w.Fatal(err)
	}
	return secret
}

// send hands in a mail.
func (w *world) send(from, subject string, to ...string) {
	w.Helper()
	text := "From: <" + from + ">\r\nTo: undisclosed\r\nSubject: " + subject + "\r\n\r\nHello\r\n"
	if err := smtp.SendMail(w.app.Addrs()[0].String(), nil, from, to, []byte(text)); err != nil {
		w.Fatalf("send to %q: %v", to, err)
	}
}

// browser is an HTTP client with cookies that follows no redirect.
func (w *world) browser() *http.Client {
	jar, _ := cookiejar.New(nil)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// login logs a browser in.
func (w *world) login(token string) *http.Client {
	w.Helper()
	c := w.browser()
	if got := w.post(c, "/login", url.Values{"token": {token}, "next": {"/"}}); got.status != 303 {
		w.Fatalf("login: %d %s", got.status, got.body)
	}
	return c
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request.
func (w *world) do(c *http.Client, r *http.Request) answer {
	w.Helper()
	resp, err := c.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// get asks for a page.
func (w *world) get(c *http.Client, path string) answer {
	w.Helper()
	r, err := http.NewRequest(http.MethodGet, w.url+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	return w.do(c, r)
}

// post sends a form as the page itself does, unless set changes that.
func (w *world) post(c *http.Client, path string, form url.Values, set ...func(*http.Request)) answer {
	w.Helper()
	r, err := http.NewRequest(http.MethodPost, w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", w.url)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, s := range set {
		s(r)
	}
	return w.do(c, r)
}

// revoke revokes a token.
func (w *world) revoke(name string) {
	w.Helper()
	if err := access.Revoke(w.tokens, name); err != nil {
		w.Fatal(err)
	}
}

// now is the time.
func (w *world) now() time.Time { return time.Now() }

// hidden are the hidden fields of the form of a page that asks for confirmation.
func hidden(t *testing.T, body string) url.Values {
	t.Helper()
	_, form, ok := strings.Cut(body, `<div class="actions">`)
	if !ok {
		t.Fatalf("no form on the page:\n%s", body)
	}
	body, _, _ = strings.Cut(form, "</form>")
	values := url.Values{}
	field := regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`)
	for _, m := range field.FindAllStringSubmatch(body, -1) {
		values.Add(m[1], html.UnescapeString(m[2]))
	}
	return values
}

package pagetest

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// pages are all that can be looked at, but for single messages.
func pages() []string {
	return []string{"/", "/failures", "/failures?span=1h&kind=final", "/failures?span=7d", "/queue",
		"/upstreams", "/suppressions", "/webhooks", "/explain", "/configuration", "/configuration?changed=1"}
}

// deferred waits for a message that waits, and returns its id.
func (w *world) deferred(recipient string) (id string) {
	w.Helper()
	smtptest.WaitFor(w, "a deferral of "+recipient, func() bool {
		f := relay.QueueFilter{State: relay.Deferred, Recipient: recipient}
		w.ctl.List(w.Context(), f, func(s admin.Summary) error { id = s.ID; return nil })
		return id != ""
	})
	return id
}

// states are the states of a message's recipients; none when it is gone.
func (w *world) states(id string) (list []relay.State) {
	w.Helper()
	m, err := w.ctl.Show(w.Context(), id)
	if err != nil {
		return nil
	}
	for _, r := range m.Recipients {
		list = append(list, r.State)
	}
	return list
}

// remembered waits until a page says something.
func (w *world) remembered(c *http.Client, path, words string) {
	w.Helper()
	smtptest.WaitFor(w, path+" to say "+words, func() bool {
		return strings.Contains(w.get(c, path).body, words)
	})
}

// TestManyConnections: who opens connections and says nothing gets no more than 256, and the next one waits
// until one of them has gone.
func TestManyConnections(t *testing.T) {
	w := newWorld(t, "")
	var held []net.Conn
	dial := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for range 256 {
		held = append(held, dial())
	}
	next := dial()
	io.WriteString(next, "GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
	next.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	answer := make([]byte, 15)
	if n, err := next.Read(answer); err == nil {
		t.Errorf("one more got %q", answer[:n])
	}
	held[0].Close()
	next.SetReadDeadline(time.Time{})
	if _, err := io.ReadFull(next, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
		t.Errorf("%q, %v", answer, err)
	}
}

// TestPages: every page is there for whoever has logged in, and for nobody else; every answer has the headers
// that protect it.
func TestPages(t *testing.T) {
	w := newWorld(t, "")
	w.send("orders@shop.example", "Your order", "full@example.net", "unknown@example.net")
	id := w.deferred("full@example.net")
	all := append(pages(), "/message/"+id, "/search?q=full@example.net", "/queue/confirm?action=drop&id="+id,
		"/upstreams/probe", "/webhooks/shop/replay", "/webhooks/shop/test")
	in, out := w.login(w.admin), w.browser()
	w.remembered(in, "/message/"+id, "mailbox full")
	for _, path := range all {
		got := w.get(in, path)
		if got.status != 200 || !strings.Contains(got.body, "</html>") {
			t.Errorf("%s: %d", path, got.status)
		}
		for name, want := range map[string]string{"Content-Security-Policy": policy,
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer"} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, got.header.Get(name))
			}
		}
		if strings.Contains(got.body, "style=") || strings.Contains(got.body, "topsecret") ||
			strings.Contains(got.body, w.admin) || strings.Contains(got.body, "whsec_") {
			t.Errorf("%s has a style or a secret in it", path)
		}
		if got := w.get(out, path); got.status != 303 || got.header.Get("Location") == "" ||
			!strings.HasPrefix(got.header.Get("Location"), "/login?next=") {
			t.Errorf("%s without a login: %d %s", path, got.status, got.header.Get("Location"))
		}
	}
	if log := w.logged.String(); strings.Contains(log, "history of the page") {
		t.Errorf("the history has trouble: %s", log)
	}
	if got := w.get(out, "/events"); got.status != http.StatusUnauthorized {
		t.Errorf("events without a login: %d", got.status)
	}
	if got := w.get(in, "/message/"+relay.NewID(w.now())); got.status != http.StatusNotFound {
		t.Errorf("a message that is not there: %d", got.status)
	}
	if got := w.get(in, "/queue?state=lost"); got.status != http.StatusBadRequest {
		t.Errorf("a state that is none: %d", got.status)
	}
}

// TestActions: what the buttons do, with the right to and without.
func TestActions(t *testing.T) {
	w := newWorld(t, "")
	w.send("orders@shop.example", "Your order", "full@example.net")
	id := w.deferred("full@example.net")
	writer, reader := w.login(w.admin), w.login(w.reader)

	for _, path := range append(pages(), "/message/"+id) {
		if body := w.get(reader, path).body; strings.Contains(body, `name="action"`) ||
			strings.Contains(body, "/probe") || strings.Contains(body, "/remove") {
			t.Errorf("%s shows an action to whoever may only read", path)
		}
	}
	confirm := "/queue/confirm?action=hold&id=" + id
	page := w.get(writer, confirm)
	if !strings.Contains(page.body, "Hold 1 message?") {
		t.Errorf("the confirmation: %s", page.body)
	}
	form := hidden(t, page.body)
	for _, path := range []string{confirm, "/upstreams/probe"} {
		if got := w.get(reader, path); got.status != http.StatusForbidden {
			t.Errorf("%s for a reader: %d", path, got.status)
		}
	}
	for _, path := range []string{"/queue/act", "/upstreams/probe", "/suppressions/add",
		"/suppressions/remove", "/suppressions/import", "/webhooks/shop/replay"} {
		if got := w.post(reader, path, form); got.status != http.StatusForbidden {
			t.Errorf("POST %s for a reader: %d", path, got.status)
		}
		if got := w.post(w.browser(), path, form); got.status != http.StatusUnauthorized {
			t.Errorf("POST %s for nobody: %d", path, got.status)
		}
		if got := w.get(writer, path); path != "/upstreams/probe" && path != "/suppressions/remove" &&
			path != "/webhooks/shop/replay" && got.status != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, got.status)
		}
	}
	if got := w.states(id); !slices.Equal(got, []relay.State{relay.Deferred}) {
		t.Fatalf("before any action: %v", got)
	}
	w.post(writer, "/queue/act", form)
	if got := w.states(id); !slices.Equal(got, []relay.State{relay.Held}) {
		t.Errorf("after hold: %v", got)
	}
	release := hidden(t, w.get(writer, "/queue/confirm?action=release&selection=all&state=held").body)
	if got := w.post(writer, "/queue/act", release); !strings.Contains(got.body, "1 message changed") {
		t.Errorf("release: %s", got.body)
	}
	w.deferred("full@example.net")
	drop := hidden(t, w.get(writer, "/queue/confirm?action=drop&id="+id).body)
	smtptest.WaitFor(t, "the drop", func() bool {
		w.post(writer, "/queue/act", drop)
		return w.states(id) == nil
	})
	if got := w.get(writer, "/queue/confirm?action=drop"); got.status != http.StatusBadRequest {
		t.Errorf("a drop of nothing that was chosen: %d", got.status)
	}
}

// TestLists: the suppression list and the webhooks can be changed.
func TestLists(t *testing.T) {
	w := newWorld(t, "")
	c := w.login(w.admin)
	gone := url.Values{"address": {"gone@example.net"}, "note": {"left"}, "days": {"3"}}
	w.post(c, "/suppressions/add", gone)
	if body := w.get(c, "/suppressions").body; !strings.Contains(body, "gone@example.net") ||
		!strings.Contains(body, "left") {
		t.Errorf("after the addition: %s", body)
	}
	list := url.Values{"list": {"a@example.net\nb@example.net\nno address\n"}}
	got := w.post(c, "/suppressions/import", list)
	if !strings.Contains(got.body, "2 addresses added") || !strings.Contains(got.body, "no address") {
		t.Errorf("the import: %s", got.body)
	}
	list.Set("list", "address,code,error,created_at\ndead@example.net,550,550 5.1.1 no such user,\n"+
		"soon@example.net,452,452 4.2.2 mailbox full,\n")
	got = w.post(c, "/suppressions/import", list)
	if !strings.Contains(got.body, "1 address added") || !strings.Contains(got.body, "1 address left out") ||
		!strings.Contains(got.body, "line 3: soon@example.net: not about the address: a temporary refusal") {
		t.Errorf("the import of replies: %s", got.body)
	}
	soon := w.get(c, "/suppressions?address=soon@example.net")
	if body := soon.body; strings.Contains(body, "Remove soon") {
		t.Errorf("suppressed by a reply that is not about the address: %s", body)
	}
	page := w.get(c, "/suppressions/remove?address=gone@example.net")
	if !strings.Contains(page.body, "1 entry goes") {
		t.Errorf("the confirmation: %s", page.body)
	}
	w.post(c, "/suppressions/remove", hidden(t, page.body))
	if body := w.get(c, "/suppressions").body; strings.Contains(body, "gone@example.net") {
		t.Errorf("after the removal: %s", body)
	}
	malformed := url.Values{"address": {"x"}}
	if got := w.post(c, "/suppressions/remove", malformed); got.status != http.StatusBadRequest {
		t.Errorf("a malformed address: %d %s", got.status, got.body)
	}
	for _, path := range []string{"add", "import", "remove"} {
		if line := `"changed over the page" by=admin request=/suppressions/` + path; !strings.Contains(
			w.logged.String(), line) {
			t.Errorf("the log does not have %s", line)
		}
	}
	if got := w.post(c, "/webhooks/shop/test", nil); !strings.Contains(got.body, "The test event was taken") {
		t.Errorf("the test: %s", got.body)
	}
	replay := url.Values{"since": {"2026-01-01T00:00"}}
	if got := w.post(c, "/webhooks/shop/replay", replay); !strings.Contains(got.body, "sent again") {
		t.Errorf("the replay: %s", got.body)
	}
	got = w.post(c, "/explain", url.Values{"reply": {"452 4.2.2 The mailbox is full"}})
	if !strings.Contains(got.body, "mailbox full") {
		t.Errorf("the explanation: %s", got.body)
	}
}

// policy is what docs/page.md promises of every answer.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// TestAttacks: what others try is refused, and changes nothing. What the guard refuses by itself is in its
// own test.
func TestAttacks(t *testing.T) {
	w := newWorld(t, "auth_header = \"Remote-User\"\ntrusted_proxies = [\"192.0.2.1\"]\n"+
		"writers = [\"*\"]\n")
	w.send("orders@shop.example", "Your order", "full@example.net")
	id := w.deferred("full@example.net")
	c := w.login(w.admin)
	form := hidden(t, w.get(c, "/queue/confirm?action=drop&id="+id).body)
	set := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				if r.Header.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
					r.Header.Del(pairs[i])
				}
			}
		}
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for name, attack := range map[string]struct {
		set    func(*http.Request)
		client *http.Client
		want   int
	}{
		"a form of another site": {set("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"),
			c, 403},
		"a form of another port": {set("Origin", "http://127.0.0.1:3000", "Sec-Fetch-Site", "same-site"),
			c, 403},
		"the same, an old browser": {set("Origin", "http://127.0.0.1:3000", "Sec-Fetch-Site", ""), c, 403},
		"a sandboxed frame":        {set("Origin", "null", "Sec-Fetch-Site", ""), c, 403},
		"rebinding":                {host("evil.example"), c, 421},
		"a header of no proxy":     {set("Remote-User", "root"), w.browser(), 401},
		"a token as a bearer":      {set("Authorization", "Bearer "+w.admin), w.browser(), 401},
		"a token in the address": {func(r *http.Request) { r.URL.RawQuery = "token=" + w.admin },
			w.browser(), 401},
	} {
		if got := w.post(attack.client, "/queue/act", form, attack.set); got.status != attack.want {
			t.Errorf("%s: %d, want %d", name, got.status, attack.want)
		}
		if got := w.states(id); !slices.Equal(got, []relay.State{relay.Deferred}) {
			t.Fatalf("%s: the message is %v", name, got)
		}
	}
	for _, path := range []string{"/%71ueue", "//queue", "/./queue", "/queue/../queue",
		"/assets/../templates/now.html", "/assets/..%2ftemplates%2fnow.html"} {
		if got := w.get(w.browser(), path); got.status == 200 {
			t.Errorf("%s is shown to nobody", path)
		}
	}
	for next, want := range map[string]string{"//evil.example": "/", "https://evil.example/": "/",
		`/\evil.example`: "/", "/queue?state=held": "/queue?state=held", "javascript:alert(1)": "/"} {
		got := w.post(w.browser(), "/login", url.Values{"token": {w.admin}, "next": {next}})
		if got.header.Get("Location") != want {
			t.Errorf("login, then %s: to %s", next, got.header.Get("Location"))
		}
	}
}

// TestSessions: a cookie that was stolen is of no use after the logout, one that was planted never is, and a
// revoked token ends its sessions.
func TestSessions(t *testing.T) {
	w := newWorld(t, "")
	c := w.browser()
	base, _ := url.Parse(w.url)
	planted := &http.Cookie{Name: "mailwhy", Value: strings.Repeat("A", 43)}
	c.Jar.SetCookies(base, []*http.Cookie{planted})
	w.post(c, "/login", url.Values{"token": {w.admin}})
	stolen := c.Jar.Cookies(base)[0]
	if stolen.Value == planted.Value {
		t.Error("the planted key was taken over")
	}
	with := func(cookie *http.Cookie) *http.Client {
		thief := w.browser()
		thief.Jar.SetCookies(base, []*http.Cookie{cookie})
		return thief
	}
	if got := w.get(with(planted), "/queue"); got.status != 303 {
		t.Errorf("the planted cookie: %d", got.status)
	}
	if got := w.get(with(stolen), "/queue"); got.status != 200 {
		t.Errorf("the cookie itself: %d", got.status)
	}
	w.post(c, "/logout", nil)
	if got := w.get(with(stolen), "/queue"); got.status != 303 {
		t.Errorf("the stolen cookie after the logout: %d", got.status)
	}
	c = w.login(w.admin)
	w.revoke("admin")
	if got := w.get(c, "/queue"); got.status != 303 {
		t.Errorf("after the token was revoked: %d", got.status)
	}
	if got := w.post(w.browser(), "/login", url.Values{"token": {w.admin}}); got.status != 401 {
		t.Errorf("a login with a revoked token: %d", got.status)
	}
	if got := w.post(w.browser(), "/login", url.Values{"token": {""}}); got.status != 401 {
		t.Errorf("a login without a token: %d", got.status)
	}
}

// TestHostile: what strangers write stands on every page as text.
func TestHostile(t *testing.T) {
	w := newWorld(t, "")
	w.send(`"<script>alert(1)</script>"@evil.example`, evil+" \u202egnp.exe", `"evil<b>"@example.net`,
		"full@example.net", "longword@example.net")
	w.send("orders@shop.example", strings.Repeat("y", 700), "full@example.net")
	id := w.deferred("full@example.net")
	c := w.login(w.admin)
	w.remembered(c, "/", "evil&lt;b&gt;")
	w.post(c, "/suppressions/add", url.Values{"address": {`"<b>x</b>"@example.net`}, "note": {evil}})
	paths := append(pages(), "/message/"+id, "/search?q="+url.QueryEscape(evil),
		"/queue?sender="+url.QueryEscape(`"><script>`), "/queue/confirm?action=drop&selection=all",
		"/message/"+url.PathEscape(evil), "/failures?span="+url.QueryEscape(evil),
		"/webhooks/"+url.PathEscape(evil)+"/test", "/suppressions?reason="+url.QueryEscape(evil),
		"/suppressions/remove?address="+url.QueryEscape(evil))
	w.ctl.List(t.Context(), relay.QueueFilter{}, func(s admin.Summary) error {
		paths = append(paths, "/message/"+s.ID)
		return nil
	})
	harmless := func(path string, got answer) {
		t.Helper()
		body := strings.ReplaceAll(got.body, "<script src=", "") // our own
		for _, bad := range []string{"<script", "<img src=x", "<b>", "\u202e", "\x1b",
			strings.Repeat("x", 2500)} {
			if strings.Contains(body, bad) {
				t.Errorf("%s (%d) has %.20q in it", path, got.status, bad)
			}
		}
	}
	for _, path := range paths {
		harmless(path, w.get(c, path))
	}
	harmless("explain", w.post(c, "/explain", url.Values{"reply": {"550 5.1.1 " + evil}}))
	harmless("login", w.post(c, "/login", url.Values{"token": {evil}, "next": {`"><script>`}}))
}

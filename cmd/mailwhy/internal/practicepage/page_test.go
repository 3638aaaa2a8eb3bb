package practicepage

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"mailwhy/relay/smtptest"
)

// world is a practice upstream with its page.
type world struct {
	*testing.T
	page     *Page
	upstream *smtptest.Server
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	o.Addr = "127.0.0.1:0"
	if o.Keep == 0 {
		o.Keep, o.Bytes = 100, 1<<20
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := smtptest.Options{Script: smtptest.Practice(), Forget: true}
	p.Watch(&server)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return &world{t, p, smtptest.New(t, server)}
}

// send sends a mail to the upstream; the error is what it answered.
func (w *world) send(content string, to ...string) error {
	w.Helper()
	return smtp.SendMail(w.upstream.Addr(), nil, "app@shop.example", to, []byte(content))
}

// said is an error of the upstream as it was said.
func said(err error) string {
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return fmt.Sprintf("%d %s", reply.Code, reply.Msg)
	}
	return fmt.Sprint(err)
}

// taken sends a mail that must be taken.
func (w *world) taken(content string) {
	w.Helper()
	if err := w.send(content, "ann@there.example"); err != nil {
		w.Fatal(err)
	}
}

// do is an answer of the page, without following redirects.
func (w *world) do(r *http.Request) (*http.Response, string) {
	w.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	res, err := client.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res, string(b)
}

// request is one for the page.
func (w *world) request(method, path, form string) *http.Request {
	w.Helper()
	r, err := http.NewRequest(method, strings.TrimSuffix(w.page.URL(), "/")+path, strings.NewReader(form))
	if err != nil {
		w.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

// get is a page that must be there.
func (w *world) get(path string) string {
	w.Helper()
	res, body := w.do(w.request(http.MethodGet, path, ""))
	if res.StatusCode != http.StatusOK {
		w.Fatalf("GET %s: %s\n%s", path, res.Status, body)
	}
	return body
}

// post sends a form, and expects the way back to the list.
func (w *world) post(path string, form url.Values) {
	w.Helper()
	res, body := w.do(w.request(http.MethodPost, path, form.Encode()))
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/" {
		w.Fatalf("POST %s: %s\n%s", path, res.Status, body)
	}
}

// has checks that a page has some texts.
func (w *world) has(page string, wants ...string) {
	w.Helper()
	for _, want := range wants {
		if !strings.Contains(page, want) {
			w.Errorf("%q is not in\n%s", want, page)
		}
	}
}

const full = "From: =?utf-8?q?Caf=C3=A9?= <app@shop.example>\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe?= <b>\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n" +
	"--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n" +
	"--r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n" +
	"--a\r\nContent-Type: text/plain; charset=windows-1251\r\n" +
	"Content-Transfer-Encoding: quoted-printable\r\n\r\n" +
	"=CF=F0=E8=E2=E5=F2 <script>alert(1)</script>\r\n" +
	"--a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p><img src=\"cid:logo\">\r\n--a--\r\n" +
	"--r\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
	"iVBORw0KGgo=\r\n--r--\r\n" +
	"--m\r\nContent-Type: text/html; name=\"a/b.html\"\r\nContent-Disposition: attachment; " +
	"filename=\"../a\\\"b.html\"\r\n\r\n<script>alert(2)</script>\r\n--m--\r\n"

// TestMailIsShown: the list, and a mail's HTML, text, headers, source and files.
func TestMailIsShown(t *testing.T) {
	w := newWorld(t, Options{})
	w.has(w.get("/"), "No mail yet")
	w.taken(full)
	w.has(w.get("/"), `<a href="/mail/1">Grüße &lt;b&gt;</a>`, "app@shop.example", "ann@there.example",
		`data-newest="1"`)
	w.has(w.get("/mail/1"), `sandbox src="/mail/1/frame"`, "attachments",
		"Nothing is loaded from other servers")
	w.has(w.get("/mail/1/frame"), "<p>Hello</p>", `<img src="/mail/1/image/3">`)
	w.has(w.get("/mail/1/text"), "Привет &lt;script&gt;alert(1)&lt;/script&gt;")
	w.has(w.get("/mail/1/headers"), "Café", "Grüße &lt;b&gt;", "=?iso-8859-1?q?Gr=FC=DFe?= &lt;b&gt;")
	w.has(w.get("/mail/1/source"), "&lt;script&gt;alert(2)&lt;/script&gt;")
	w.has(w.get("/mail/1/attachments"), `href="/mail/1/file/3">part-3`, `href="/mail/1/file/4">`)
	for path, want := range map[string][3]string{
		"/mail/1/image/3": {"image/png", "", "\x89PNG\r\n\x1a\n"},
		"/mail/1/file/4": {"application/octet-stream", "attachment; filename=.._a_b.html",
			"<script>alert(2)</script>"},
		"/mail/1/raw": {"application/octet-stream", "attachment; filename=mail-1.eml", full},
	} {
		res, body := w.do(w.request(http.MethodGet, path, ""))
		h := res.Header
		if h.Get("Content-Type") != want[0] || h.Get("Content-Disposition") != want[1] ||
			!strings.HasPrefix(body, want[2]) || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox; default-src 'none'") {
			t.Errorf("%s: %v %q", path, h, body)
		}
	}
	for _, path := range strings.Fields("/mail/2 /mail/1/else /mail/1/file/9 /mail/1/image/4 /mail/x /x") {
		if res, _ := w.do(w.request(http.MethodGet, path, "")); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

// TestOddMail: what is no good MIME is shown as far as it goes.
func TestOddMail(t *testing.T) {
	w := newWorld(t, Options{})
	nested := ""
	for i := range 40 {
		nested += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for i, content := range []string{
		"", "no header at all\r\n", "Subject: x\r\nContent-Type: text/html\r\n\r\n<b>",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ncut off", nested,
		"Content-Type: text/plain; charset=big5\r\nContent-Transfer-Encoding: x-odd\r\n\r\n\xa4\xa4"} {
		w.taken(content)
		for _, kind := range []string{"", "/text", "/headers", "/source"} {
			w.get(fmt.Sprintf("/mail/%d%s", i+1, kind))
		}
	}
	w.has(w.get("/mail/5"), "it cannot be read in full: it has too many parts")
}

// TestBounds: the oldest mails make room, by number and by size, and what is too large is cut off.
func TestBounds(t *testing.T) {
	w := newWorld(t, Options{Keep: 3, Bytes: 1000})
	for i := range 5 {
		w.taken(fmt.Sprintf("Subject: mail %d\r\n\r\n", i))
	}
	if list := w.get("/"); strings.Contains(list, "mail 1") || !strings.Contains(list, "mail 2") {
		t.Errorf("by number:\n%s", list)
	}
	w.taken("Subject: large\r\n\r\n" + strings.Repeat("x\r\n", 1000))
	list := w.get("/")
	if strings.Contains(list, "mail 4") || !strings.Contains(list, "large") {
		t.Errorf("by size:\n%s", list)
	}
	w.has(w.get("/mail/6"), "its end is missing")
	if w.page.box.size != 1000 || len(w.page.box.mails) != 1 {
		t.Errorf("%d bytes in %d mails", w.page.box.size, len(w.page.box.mails))
	}
}

// TestDelete: one, and all that the list had.
func TestDelete(t *testing.T) {
	w := newWorld(t, Options{})
	for _, s := range []string{"one", "two", "three"} {
		w.taken("Subject: " + s + "\r\n\r\n")
	}
	w.post("/mail/2/delete", nil)
	w.post("/mail/delete", url.Values{"newest": {"2"}})
	if list := w.get("/"); strings.Contains(list, "one") || strings.Contains(list, "two") ||
		!strings.Contains(list, "three") || w.get("/newest") != "3" {
		t.Errorf("left:\n%s", list)
	}
}

// TestAnswers: what is chosen is answered, at its stage, to its recipient, as often as asked, and then no
// more.
func TestAnswers(t *testing.T) {
	w := newWorld(t, Options{})
	for _, tt := range []struct {
		form string
		to   string   // of each mail
		want []string // in the answers to mails, one after the other; "" is taken
	}{
		{"case=full&times=2", "a@x.test", []string{"452 4.2.2", "452 4.2.2", ""}},
		{"reply=550-5.1.1+No%0D%0A550+5.1.1+such&times=1", "a@x.test",
			[]string{"550 5.1.1 No\n5.1.1 such", ""}},
		{"reply=554+5.7.1+no&stage=end_of_data&times=1", "a@x.test", []string{"554 5.7.1 no", ""}},
		{"reply=421+4.3.2+later&stage=greeting&times=1", "a@x.test", []string{"421 4.3.2 later", ""}},
		{"reply=451+4.1.8+no&stage=mail&times=1", "a@x.test", []string{"451 4.1.8 no", ""}},
		{"reply=550+5.1.1+no&to=B@x.test&times=0", "a@x.test", []string{"", ""}},
		{"reply=550+5.1.1+no&to=B@x.test&times=0", "b@x.test", []string{"550 5.1.1", "550 5.1.1"}},
		{"reply=250+2.0.0+really&times=1", "550-5.7.1@x.test", []string{"", "550 5.7.1 Practice"}},
	} {
		form, err := url.ParseQuery(tt.form)
		if err != nil {
			t.Fatal(err)
		}
		w.post("/answers", form)
		for i, want := range tt.want {
			err := w.send("Subject: x\r\n\r\n", tt.to)
			if got := said(err); want == "" && err != nil || want != "" && !strings.Contains(got, want) {
				t.Errorf("%s, mail %d to %s: %v, want %q", tt.form, i+1, tt.to, err, want)
			}
		}
		w.post("/answers/0/delete", nil)
	}
	w.post("/answers", url.Values{"case": {"unknown"}, "times": {"3"}})
	list := w.get("/")
	w.has(list, "550-5.1.1 The email account", "RCPT TO", "any recipient", "3 times")
	id := regexp.MustCompile(`action="(/answers/[1-9]\d*/delete)"`).FindStringSubmatch(list)
	w.post(id[1], nil)
	if err := w.send("\r\n", "a@x.test"); err != nil {
		t.Errorf("after the answer was removed: %v", err)
	}
}

// TestAnswerMistakes: a form that cannot be is sent back with what is wrong, and nothing is lost of it.
func TestAnswerMistakes(t *testing.T) {
	w := newWorld(t, Options{})
	for form, want := range map[string]string{
		"reply=nonsense&times=1":                             "line 1 is not a reply",
		"reply=550+a%0A551+b&times=1":                        "line 1: all lines but the last have a -",
		"reply=550-a%0A551+b&times=1":                        "line 2 has another code",
		"reply=650+a&times=1":                                "line 1 is not a reply",
		"reply=550+caf%C3%A9&times=1":                        "line 1 is not a reply",
		"case=nosuch&times=1":                                "no case is called",
		"case=full&times=-1":                                 "how often: write a number",
		"case=full&stage=lunch&times=1":                      "is not a stage",
		"reply=550+a&stage=mail&to=a@x.test&times=7":         "there is no recipient yet at this stage",
		"reply=550+" + strings.Repeat("x", 600) + "&times=1": "line 1 is not a reply",
	} {
		res, body := w.do(w.request(http.MethodPost, "/answers", form))
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, want) ||
			!strings.Contains(body, `role="alert"`) {
			t.Errorf("%s: %s, want %q in\n%s", form, res.Status, want, body)
		}
	}
	_, body := w.do(w.request(http.MethodPost, "/answers", "reply=550+a&stage=mail&to=a@x.test&times=7"))
	w.has(body, `value="7"`, `value="a@x.test"`, ">550 a</textarea>", `value="mail" selected`)
	if all := w.page.answers.all(); len(all) != 0 {
		t.Errorf("added: %v", all)
	}
}

// TestGuard: only the page's own names, only changes from its own pages, and no change by GET.
func TestGuard(t *testing.T) {
	w := newWorld(t, Options{Hosts: []string{"mail.dev.example"}})
	w.taken("Subject: stays\r\n\r\n")
	for host, want := range map[string]int{
		"": 200, "localhost:8026": 200, "[::1]:8026": 200,
		"mail.dev.example": 200, "MAIL.dev.example:80": 200,
		"evil.example": 421, "127.0.0.1.evil.example": 421, "192.168.1.1:8026": 421, "evil.example:80": 421,
	} {
		r := w.request(http.MethodGet, "/%6dail/1", "")
		if host != "" {
			r.Host = host
		}
		if res, _ := w.do(r); res.StatusCode != want {
			t.Errorf("Host %q: %s, want %d", host, res.Status, want)
		}
	}
	for _, path := range []string{"/mail/1/delete", "/mail/delete", "/answers", "/answers/0/delete"} {
		for _, site := range []string{"cross-site", "same-site"} {
			r := w.request(http.MethodPost, path, "newest=9&reply=550+no&times=0")
			r.Header.Set("Sec-Fetch-Site", site)
			if res, _ := w.do(r); res.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s from %s: %s", path, site, res.Status)
			}
		}
		r := w.request(http.MethodGet, path+"?newest=9&reply=550+no&times=0", "")
		res, _ := w.do(r)
		if res.StatusCode != http.StatusMethodNotAllowed && res.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s", path, res.Status)
		}
	}
	w.has(w.get("/"), "stays", "Mail is accepted, unless")
	res, body := w.do(w.request(http.MethodGet, "/", ""))
	if csp := res.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") ||
		!strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("the policy of the list is %q", csp)
	}
	if regexp.MustCompile(`style=|<style|\son\w+=|javascript:`).MatchString(body + w.get("/mail/1")) {
		t.Error("styles or scripts stand in the page")
	}
}

// TestRemoteImages: they are allowed where the person asks for it, never by a link of another site.
func TestRemoteImages(t *testing.T) {
	w := newWorld(t, Options{})
	w.taken("Content-Type: text/html\r\n\r\n<img src=\"https://elsewhere.example/x.png\">")
	for _, tt := range []struct {
		path, site string
		want       bool
	}{
		{"/mail/1/frame", "same-origin", false}, {"/mail/1/frame?remote=1", "same-origin", true},
		{"/mail/1/frame?remote=1", "", true}, {"/mail/1/frame?remote=1", "cross-site", false},
		{"/mail/1/frame?remote=1", "same-site", false},
	} {
		r := w.request(http.MethodGet, tt.path, "")
		r.Header.Set("Sec-Fetch-Site", tt.site)
		if tt.site == "" {
			r.Header.Del("Sec-Fetch-Site")
		}
		res, _ := w.do(r)
		csp := res.Header.Get("Content-Security-Policy")
		if got := strings.Contains(csp, "https:"); got != tt.want || !strings.HasPrefix(csp, "sandbox; ") ||
			strings.Contains(csp, "script-src") {
			t.Errorf("%s from %q: %q", tt.path, tt.site, csp)
		}
	}
}

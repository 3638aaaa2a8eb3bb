package pagetest

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

var update = flag.Bool("update", false, "write the picture of the first page, docs/page.png")

// TestBrowser visits the page with Chromium: one browser for all of it.
func TestBrowser(t *testing.T) {
	b := &tab{T: t, ctx: chromium(t)}
	w := newWorld(t, "")
	b.url = w.url
	for i, kind := range []string{"unknown", "full", "grey", "spam", "dmarc", "unknown2", "longword",
		"evil"} {
		w.send("orders@shop.example", "Your order", kind+"@example.net", fmt.Sprintf("ok%d@example.net", i))
	}
	w.send(`"<script>alert(1)</script>"@evil.example`, evil+" \u202egnp.exe", `"evil<b>"@example.net`,
		"full@example.net")
	id := w.deferred("full@example.net")
	b.do(chromedp.EmulateViewport(1180, 820))
	b.login(w.admin)
	w.remembered(w.login(w.admin), "/", "mailbox full")
	for _, sub := range []struct {
		name string
		test func(*tab, *world, string)
	}{
		{"live", live}, {"appearance", appearance}, {"keyboard", keyboard}, {"attacks", attacks},
		{"actions", actions}, {"picture", picture},
	} {
		t.Run(sub.name, func(t *testing.T) {
			w, b := *w, *b
			w.T, b.T = t, t
			sub.test(&b, &w, id)
		})
	}
}

// live: what happens appears without a reload.
func live(b *tab, w *world, _ string) {
	b.do(chromedp.Navigate(b.url + "/"))
	b.waitFor(`document.getElementById("live-state").textContent === "Live"`)
	value[int](b, `window.before = 1`)
	w.send("orders@shop.example", "Your order", "news@example.net")
	b.waitFor(`document.getElementById("live").innerText.includes("news@example.net")`)
	if value[int](b, `window.before || 0`) != 1 {
		b.Error("the page was loaded again")
	}
}

// appearance: each page is legible in both colour schemes, names its controls, and fits a telephone.
func appearance(b *tab, _ *world, id string) {
	paths := append(pages(), "/message/"+id, "/search?q=full@example.net", "/login?next=/",
		"/queue/confirm?action=drop&selection=all", "/suppressions/remove?address=unknown@example.net",
		"/webhooks/shop/replay", "/nowhere")
	for _, path := range paths {
		b.scheme("light")
		b.do(chromedp.EmulateViewport(1180, 820), chromedp.Navigate(b.url+path))
		b.legible(path + ", light")
		b.named(path)
		b.scheme("dark")
		b.legible(path + ", dark")
		b.do(chromedp.EmulateViewport(360, 740))
		b.legible(path + ", 360 px")
		if wide := value[int](b, `document.documentElement.scrollWidth`); wide > 360 {
			b.Errorf("%s is %d px wide on a telephone: %s", path, wide, value[string](b, widest))
		}
		if title := value[string](b, `document.title`); !strings.HasSuffix(title, " · mailwhy") {
			b.Errorf("%s has the title %q", path, title)
		}
	}
	b.scheme("light")
	b.do(chromedp.EmulateViewport(1180, 820))
}

// keyboard: the first key leads past the navigation, and the focus is seen.
func keyboard(b *tab, _ *world, _ string) {
	b.do(chromedp.Navigate(b.url+"/queue"), chromedp.KeyEvent("\t"))
	if got := value[string](b, `document.activeElement.className`); got != "skip" {
		b.Errorf("the first stop is %q", got)
	}
	if got := value[string](b, `getComputedStyle(document.activeElement).outlineStyle`); got == "none" {
		b.Error("the focus is not seen")
	}
	b.do(chromedp.KeyEvent("\r"))
	b.waitFor(`document.activeElement.id === "main"`)
	stops := value[int](b, `[...document.querySelectorAll(
		"a[href], button, select, input:not([type=hidden])")].filter((e) => e.tabIndex < 0).length`)
	if stops != 0 {
		b.Errorf("%d controls cannot be reached by the keyboard", stops)
	}
}

// attacks: what other sites try in the browser of an operator who is logged in changes nothing.
func attacks(b *tab, w *world, id string) {
	form := fmt.Sprintf(`<body><form method="post" action="%s/queue/act"><input name="action" value="drop">`+
		`<input name="id" value="%s"><input name="older_than" value="2099-01-01T00:00:00Z"></form>`+
		`<script>document.forms[0].submit()</script>`, w.url, id)
	site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprint(rw, form)
	}))
	defer site.Close()
	other := strings.Replace(site.URL, "127.0.0.1", "evil.example", 1)
	for name, from := range map[string]string{"another site": other, "another port": site.URL} {
		b.do(chromedp.Navigate(from), chromedp.WaitReady(chromedp.CSS("pre")))
		text := value[string](b, `document.body.innerText`)
		if !strings.Contains(text, "comes from another site") {
			b.Errorf("a form of %s: %q", name, text)
		}
		if got := w.states(id); !slices.Contains(got, relay.Deferred) {
			b.Fatalf("a form of %s: the message is %v", name, got)
		}
	}
	rebound := strings.Replace(w.url, "127.0.0.1", "rebound.example", 1)
	resp, err := chromedp.Run(b.ctx, chromedp.NavigateResponse(rebound+"/queue"))
	if err != nil || resp.Status != http.StatusMisdirectedRequest {
		b.Errorf("by a name that was made to lead here: %v, %+v", err, resp)
	}
	b.do(chromedp.Navigate(w.url + "/queue"))
	kept := value[bool](b, `(() => { const s = document.createElement("script");
		s.textContent = "window.ran = 1"; document.body.append(s); return window.ran === undefined })()`)
	if !kept {
		b.Error("the policy lets an inline script run")
	}
}

// actions: a person with the right holds a message by clicks; one without sees no button.
func actions(b *tab, w *world, id string) {
	b.do(chromedp.Navigate(b.url+"/message/"+id), chromedp.Click(chromedp.CSS("button[value=hold]")),
		chromedp.WaitVisible(chromedp.CSS("form[method=post] button.first")))
	if got := value[string](b, `document.querySelector("h1").textContent`); got != "Hold 1 message?" {
		b.Errorf("it asks %q", got)
	}
	b.do(chromedp.Click(chromedp.CSS("form[action$='/queue/act'] button.first")),
		chromedp.WaitVisible(chromedp.CSS(".notice")))
	if got := w.states(id); !slices.Contains(got, relay.Held) {
		b.Errorf("the message is %v", got)
	}
	b.do(chromedp.Click(chromedp.CSS("form[action$='/logout'] button")),
		chromedp.WaitVisible(chromedp.CSS("#token")))
	b.login(w.reader)
	b.do(chromedp.Navigate(b.url + "/message/" + id))
	if n := value[int](b, `document.querySelectorAll("main button, main input").length`); n != 0 {
		b.Errorf("whoever may only read sees %d buttons", n)
	}
}

// picture writes the picture of the documentation, if that is asked for.
func picture(b *tab, w *world, _ string) {
	if !*update {
		b.Skip("-update writes docs/page.png")
	}
	for i := range 30 {
		w.send("orders@shop.example", "Your order", fmt.Sprintf("customer%d@example.org", i))
	}
	for _, kind := range []string{"unknown", "full", "dmarc", "grey"} {
		w.send("orders@shop.example", "Your order", kind+"@customer.example")
	}
	w.deferred("grey@customer.example")
	b.do(chromedp.EmulateViewport(1180, 780), chromedp.Navigate(b.url+"/"))
	b.waitFor(`document.getElementById("live").innerText.includes("grey@customer.example")`)
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile("../../../../docs/page.png", png, 0o600)
	}
	if err != nil || len(png) > 150_000 {
		b.Errorf("%d bytes, %v", len(png), err)
	}
}

// chromium starts the one browser of the tests, or skips them where there is none.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed: apt-get install chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1"))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal("chromium is installed and does not start: ", err)
	}
	return ctx
}

// tab is a page in the browser.
type tab struct {
	*testing.T
	ctx context.Context
	url string
}

// do carries out steps.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

// value evaluates an expression.
func value[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// waitFor waits until an expression is true.
func (b *tab) waitFor(expression string) {
	b.Helper()
	smtptest.WaitFor(b, expression, func() bool { return value[bool](b, expression) })
}

// scheme chooses the colours.
func (b *tab) scheme(name string) {
	b.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	if err != nil {
		b.Fatal(err)
	}
}

// login logs in by the form.
func (b *tab) login(token string) {
	b.Helper()
	b.do(chromedp.Navigate(b.url+"/login"), chromedp.SendKeys(chromedp.CSS("#token"), token+"\n"),
		chromedp.WaitVisible(chromedp.CSS("nav")))
}

// named checks that the accessibility tree has no control without a name.
func (b *tab) named(path string) {
	b.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.Fatal(err)
	}
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		return strings.Trim(string(v.Value), `"`)
	}
	controls := 0
	for _, n := range tree.Nodes {
		role := text(n.Role)
		if n.Ignored || !slices.Contains([]string{"button", "link", "textbox", "searchbox", "combobox",
			"checkbox", "image", "img", "navigation", "search", "region", "DisclosureTriangle"}, role) {
			continue
		}
		if controls++; text(n.Name) == "" && role != "search" {
			b.Errorf("%s: a %s without a name (node %s of the page)", path, role, n.NodeID)
		}
	}
	if controls == 0 {
		b.Errorf("%s: the tree has no controls", path)
	}
}

// legible checks the contrast of every text against what is behind it (WCAG 2.2, 1.4.3).
func (b *tab) legible(where string) {
	b.Helper()
	for _, bad := range value[[]string](b, contrast) {
		b.Errorf("%s: %s", where, bad)
	}
}

// contrast lists the texts with less than 4.5:1.
const contrast = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
	const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
	const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), 0);
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c[3] === 1) return c;
		}
		return [255, 255, 255, 1];
	};
	const bad = [];
	let seen = 0;
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const text = walker.currentNode.data.trim(), e = walker.currentNode.parentElement;
		if (!text || !e.checkVisibility() || e.closest("script, option, title, svg, .unseen")) continue;
		const both = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))];
		const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
		seen++;
		if (ratio < 4.5) bad.push(ratio.toFixed(2) + ":1 for " + text.slice(0, 40));
	}
	if (!seen) bad.push("no text was seen");
	return bad;
})()`

// widest names what is wider than a telephone.
const widest = `[...document.querySelectorAll("body *")]
	.map((e) => [e, Math.round(e.getBoundingClientRect().right)]).filter(([_, right]) => right > 361)
	.map(([e, right]) => e.tagName + "." + e.className + " " + right).slice(0, 5).join(", ")`

package practicepage

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// canary is a server elsewhere, which notes what a browser asks of it.
type canary struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked = append(c.asked, r.URL.Path)
		w.Header().Set("Access-Control-Allow-Origin", "*")
	}))
	t.Cleanup(c.Close)
	return c
}

// seen is what was asked, and forgets it.
func (c *canary) seen() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.asked, " ")
	c.asked = nil
	return s
}

// browse opens a page in a real browser until all of it is loaded, and returns its document.
func browse(t *testing.T, url string) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--headless=new", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--disable-background-networking", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=3000", "--dump-dom", url)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
	return string(out)
}

// hostile is the HTML of a mail that tries whatever could make a browser ask a server, or run a script.
const hostile = `<html><head><script>fetch("CANARY/script");top.document.title="owned"</script>
<script src="CANARY/src"></script><link rel="stylesheet" href="CANARY/css">
<link rel="prefetch" href="CANARY/pre">
<meta http-equiv="refresh" content="0;url=CANARY/refresh"><base href="CANARY/base/">
<style>@import url(CANARY/import); @font-face{font-family:f;src:url(CANARY/font)}
body{background:url(CANARY/background);font-family:f}</style></head>
<body onload="fetch('CANARY/onload')"><img src="CANARY/image"><img src="x" onerror="fetch('CANARY/onerror')">
<svg><script>fetch("CANARY/svg")</script><image href="CANARY/svgimage"/></svg>
<iframe src="CANARY/frame"></iframe><iframe srcdoc="<script>fetch('CANARY/srcdoc')</script>"></iframe>
<object data="CANARY/object"></object><embed src="CANARY/embed"><video src="CANARY/video" autoplay></video>
<form id="f" action="CANARY/form" method="post"><input autofocus onfocus="fetch('CANARY/focus')"></form>
<script>document.getElementById("f").submit()</script><a href="CANARY/ping" ping="CANARY/ping">x</a>
<p>shown</p></body></html>`

// TestHostileMailInBrowser: in a real browser a hostile mail runs nothing and asks no server for anything;
// with remote images its images are asked for, and still nothing else, which shows that the mail was on
// display.
func TestHostileMailInBrowser(t *testing.T) {
	w, c := newWorld(t, Options{}), newCanary(t)
	w.taken("Subject: hostile\r\nContent-Type: text/html\r\n\r\n" +
		strings.ReplaceAll(strings.ReplaceAll(hostile, "CANARY", c.URL), "\n", "\r\n"))
	dom := browse(t, w.page.URL()+"mail/1")
	if asked := c.seen(); asked != "" {
		t.Errorf("the mail made the browser ask for %s", asked)
	}
	if !strings.Contains(dom, "<title>hostile</title>") {
		t.Errorf("a script ran:\n%s", dom)
	}
	browse(t, w.page.URL()+"mail/1?remote=1")
	asked := c.seen()
	for _, path := range strings.Fields(asked) {
		// A policy that allows images allows a prefetch too (CSP 3, 6.1.3).
		if !slices.Contains([]string{"/image", "/background", "/svgimage", "/pre"}, path) {
			t.Errorf("with remote images the browser asked for %s", path)
		}
	}
	if !strings.Contains(asked, "/image") {
		t.Errorf("with remote images the browser asked for %q", asked)
	}
}

package app

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// probe asks a relay over HTTP, and returns the status and the body.
func (d *door) probe(path string) (status int, body string) {
	d.t.Helper()
	resp, err := http.Get("http://" + d.app.MetricsAddr().String() + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// TestProbes: a relay without its upstream is live and ready, and one whose spool is full only live; the
// socket answers as HTTP does.
func TestProbes(t *testing.T) {
	dir := t.TempDir()
	conf := strings.Replace(plainDoor(dir, "smtp://127.0.0.1:9?tls=none"), "[spool]",
		"[spool]\nmax_messages = 1", 1) +
		"[[listen]]\naddress = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n"
	d, err := openDoor(t, dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	<-d.app.Ready()
	expect := func(path string, want int, words string) {
		t.Helper()
		status, body := d.probe(path)
		if status != want || !strings.Contains(body, words) {
			t.Errorf("%s: %d %s, want %d and %q", path, status, body, want, words)
		}
		reasons, err := admin.NewClient(dir+"/spool/admin.sock").Probe(t.Context(), path)
		if err != nil || (len(reasons) == 0) != (want == http.StatusOK) {
			t.Errorf("%s of the control socket: %q, %v", path, reasons, err)
		}
	}
	expect("/livez", http.StatusOK, `{"ok":true,"phase":"running"}`)
	expect("/readyz", http.StatusOK, `{"ok":true,"phase":"running"}`)
	v := d.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.mail("x")
	smtptest.WaitFor(t, "the upstream to be found away", func() bool {
		states := d.app.lanes.states()
		return len(states) == 1 && states[0].Paused
	})
	expect("/readyz", http.StatusServiceUnavailable, "the spool takes no mail: spool full: it holds 1")
	expect("/livez", http.StatusOK, "")
}

package app

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"mailwhy/relay/admin"
	"mailwhy/relay/lifecycle"
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

// stopAside has the relay stop, and returns what is closed when it has.
func (d *door) stopAside() (stopped <-chan struct{}) {
	ended := make(chan struct{})
	go func() { d.stop(); close(ended) }()
	return ended
}

// await waits until the relay has ended.
func await(t *testing.T, stopped <-chan struct{}) {
	t.Helper()
	smtptest.WaitFor(t, "the relay to end", func() bool {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	})
}

// phase waits for the relay to come to a phase.
func (d *door) phase(p lifecycle.Phase) {
	d.t.Helper()
	smtptest.WaitFor(d.t, string(p), func() bool { return d.app.Life().Phase() == p })
}

// TestStopKeepsOrder: at first the relay is only not ready, and takes mail; then idle clients are sent away
// and transactions go on to their end; and when it has ended all mail is relayed.
func TestStopKeepsOrder(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	dir := t.TempDir()
	conf := strings.Replace(plainDoor(dir, upstream.URL()), `shutdown_grace = "1s"`,
		"shutdown_delay = \"3s\"\nshutdown_drain = \"10m\"\nshutdown_grace = \"20s\"", 1)
	d, err := openDoor(t, dir,
		conf+"[[listen]]\naddress = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n")
	if err != nil {
		t.Fatal(err)
	}
	<-d.app.Ready()
	begin := func() *visitor {
		v := d.visit(0, "")
		v.say("", "220")
		v.say("EHLO client.test", "250")
		return v
	}
	idle, busy := begin(), begin()
	busy.say("MAIL FROM:<app@client.test>", "250")
	busy.say("RCPT TO:<joe@example.test>", "250")
	busy.say("DATA", "354")

	stopped := d.stopAside()
	d.phase(lifecycle.Stopping)
	if status, body := d.probe("/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("while it stops: %d %s", status, body)
	}
	if status, body := d.probe("/livez"); status != http.StatusOK {
		t.Errorf("while it stops: %d %s", status, body)
	}
	late, err := net.Dial("tcp", d.app.Addrs()[0].String())
	if d.app.Life().Phase() == lifecycle.Stopping { // else the machine was too slow to look
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		v := &visitor{t, late, bufio.NewReader(late)}
		v.say("", "220")
	}
	d.phase(lifecycle.Draining)
	idle.say("", "421 4.3.2")
	smtptest.WaitFor(t, "new connections to be refused", func() bool {
		c, err := net.Dial("tcp", d.app.Addrs()[0].String())
		if err != nil {
			return true
		}
		c.Close()
		return false
	})
	busy.say("Subject: x\r\n\r\nx\r\n.", "250 2.0.0 ")
	busy.say("", "421 4.3.2")
	await(t, stopped)
	if n := len(upstream.Messages()); n != 1 {
		t.Errorf("%d messages were relayed", n)
	}
	if left := d.app.Left(); left == nil || left.Messages != 0 {
		t.Errorf("left: %+v", left)
	}
	if log := d.logged.String(); !strings.Contains(log, "nothing is left in the spool") {
		t.Errorf("the log has no word of what is left:\n%s", log)
	}
}

// TestStopTellsWhatIsLeft: a drain ends when nothing can be sent in its time, and what is left is counted by
// upstream and reason.
func TestStopTellsWhatIsLeft(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	dir := t.TempDir()
	conf := strings.Replace(plainDoor(dir, upstream.URL()), `shutdown_grace`,
		"shutdown_drain = \"10m\"\nshutdown_grace", 1) +
		"[[listen]]\naddress = \"127.0.0.1:0\"\n[retry]\nschedule = \"1h\"\n"
	d, err := openDoor(t, dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	<-d.app.Ready()
	v := d.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	for _, to := range []string{"452-4.2.2@any.test", "452-4.2.2@other.test", "joe@any.test"} {
		v.say("MAIL FROM:<app@client.test>", "250")
		v.say("RCPT TO:<"+to+">", "250")
		v.say("DATA", "354")
		v.say("Subject: x\r\n\r\nx\r\n.", "250 2.0.0 ")
	}
	await(t, d.stopAside())
	if n := len(upstream.Messages()); n != 1 {
		t.Errorf("%d messages were relayed", n)
	}
	left := d.app.Left()
	want := []lifecycle.Group{{Upstream: "default", Reason: "mailbox_full", Recipients: 2}}
	if left == nil || left.Messages != 2 || len(left.IDs) != 2 || !slices.Equal(left.Groups, want) {
		t.Fatalf("left: %+v", left)
	}
	var text strings.Builder
	left.Write(&text)
	for _, words := range []string{"2 messages left in the spool", "default", "mailbox_full", left.IDs[1]} {
		if !strings.Contains(text.String(), words) || !strings.Contains(d.logged.String(), words[1:]) &&
			!strings.Contains(words, " ") {
			t.Errorf("%q is missing:\n%s", words, text.String())
		}
	}
}

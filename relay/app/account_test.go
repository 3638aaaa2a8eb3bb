package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// sessions counts those that are open at once.
type sessions struct {
	mu   sync.Mutex
	open map[int]bool
	most int
}

func (s *sessions) script(c smtptest.Command) smtptest.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[c.Session] = true
	s.most = max(s.most, len(s.open))
	if c.Stage == diagnose.StageEndOfData {
		return smtptest.Action{Delay: 20 * time.Millisecond}
	}
	return smtptest.Action{}
}

func (s *sessions) ended(session int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, session)
}

// TestOneAccount: two upstreams of one account share its connections and its rate, each with its own name in
// the log, also after a reload; where they come with other names they are two accounts again.
func TestOneAccount(t *testing.T) {
	seen := &sessions{open: map[int]bool{}}
	server := smtptest.New(t, smtptest.Options{Script: seen.script, Ended: seen.ended})
	host, port, _ := strings.Cut(server.Addr(), ":")
	dir := t.TempDir()
	conf := func(connections int, hello string) string {
		text := fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n[delivery_log]\nfile = %q\n"+
			"[[listen]]\naddress = \"127.0.0.1:0\"\n", dir+"/spool", dir+"/log")
		for name, hello := range map[string]string{"a": "relay.test", "b": hello} {
			text += fmt.Sprintf("[upstream.%s]\nhost = %q\nport = %s\ntls = \"none\"\nconcurrency = %d\n"+
				"rate = \"20/s\"\nhello = %q\n", name, host, port, connections, hello)
		}
		return text + "[[route]]\nrecipients = [\"@b.test\"]\nupstreams = [\"b\"]\n" +
			"[[route]]\nupstreams = [\"a\"]\n"
	}
	d, err := openDoor(t, dir, conf(2, "relay.test"))
	if err != nil {
		t.Fatal(err)
	}
	<-d.app.Ready()
	send := func(n int) {
		t.Helper()
		v := d.visit(0, "")
		v.say("", "220")
		v.say("EHLO client.test", "250")
		for i := range n {
			v.mailTo(fmt.Sprintf("r%d@%s.test", i, []string{"a", "b"}[i%2]))
		}
		v.say("QUIT", "221")
	}

	const many = 40
	send(many)
	arrives(t, server, many)
	first, last := server.Messages()[0].Arrived, server.Messages()[many-1].Arrived
	// The bucket holds two messages, and one more may be under way before the first is there.
	if took := last.Sub(first); took < time.Second*(many-4)/20 {
		t.Errorf("%d messages in %s at 20 a second", many, took)
	}
	if seen.most > 2 {
		t.Errorf("%d connections at once, want 2", seen.most)
	}
	smtptest.WaitFor(t, "half of the mail in the log of each", func() bool {
		upstreams := map[string]int{}
		text, _ := os.ReadFile(dir + "/log")
		for line := range strings.Lines(string(text)) {
			var e struct{ Event, Upstream string }
			if json.Unmarshal([]byte(line), &e) == nil && e.Event == "relayed" {
				upstreams[e.Upstream]++
			}
		}
		return upstreams["a"] == many/2 && upstreams["b"] == many/2
	})

	shared := d.app.lanes.get("a").account.Load()
	d.mustReload(conf(1, "relay.test"))
	if got := d.app.lanes.get("b").account.Load(); got != shared || got == nil {
		t.Error("a reload made another account of the same one")
	}
	smtptest.WaitFor(t, "idle connections to end", func() bool { return server.Stats().Open == 0 })
	seen.mu.Lock()
	seen.most = 0
	seen.mu.Unlock()
	send(10)
	arrives(t, server, many+10)
	if seen.most > 1 {
		t.Errorf("%d connections at once after the reload, want 1", seen.most)
	}

	d.mustReload(conf(1, "other.test"))
	hops := slices.Collect(maps.Values(d.app.lanes.hops))
	if hops[0].account.Load() != nil || hops[1].account.Load() != nil ||
		*hops[0].next.Load() == *hops[1].next.Load() {
		t.Error("two upstreams share an account that is no longer one")
	}
	send(10)
	arrives(t, server, many+20)
}

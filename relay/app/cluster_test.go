package app

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postgrestest"
)

// within fails the test if more sessions were open at once.
func (s *sessions) within(t *testing.T, most int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most > most {
		t.Errorf("%d connections at once, want %d", s.most, most)
	}
}

// TestCluster: three relays with spools of their own share the connections of an upstream through a database,
// know one another, and pause and resume as one.
func TestCluster(t *testing.T) {
	seen := &sessions{open: map[int]bool{}}
	var down atomic.Bool
	script := func(c smtptest.Command) smtptest.Action {
		if down.Load() && c.Stage == diagnose.StageGreeting {
			return smtptest.Action{Reply: "554 5.7.1 Your address is blocked"}
		}
		return seen.script(c)
	}
	server := smtptest.New(t, smtptest.Options{Ended: seen.ended, Script: script})
	host, port, _ := strings.Cut(server.Addr(), ":")
	url := postgrestest.Database(t)
	var doors []*door
	for range 3 {
		dir := t.TempDir()
		d, err := openDoor(t, dir, fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n"+
			"[delivery_log]\nfile = %q\n[[listen]]\naddress = \"127.0.0.1:0\"\n[cluster]\nurl = %q\n"+
			"heartbeat = \"1s\"\ndead_after = \"5s\"\n[upstream.default]\nhost = %q\nport = %s\n"+
			"tls = \"none\"\nconcurrency = 2\nidle_timeout = \"500ms\"\n",
			dir+"/spool", dir+"/log", url, host, port))
		if err != nil {
			t.Fatal(err)
		}
		<-d.app.Ready()
		doors = append(doors, d)
	}
	send := func(n int) {
		t.Helper()
		for i, d := range doors {
			v := d.visit(0, "")
			v.say("", "220")
			v.say("EHLO client.test", "250")
			for m := range n {
				v.mailTo(fmt.Sprintf("r%d-%d@b.test", i, m))
			}
			v.say("QUIT", "221")
		}
	}
	members := func(want int) func() bool {
		return func() bool {
			list, err := doors[0].app.members()(t.Context())
			return err == nil && len(list) == want
		}
	}
	smtptest.WaitFor(t, "three members", members(3))
	send(20)
	arrives(t, server, 60)
	seen.within(t, 2)

	smtptest.WaitFor(t, "the connections to end", func() bool { return server.Stats().Open == 0 })
	down.Store(true)
	send(1)
	paused := func(want bool) func() bool {
		return func() bool {
			for _, d := range doors {
				if d.app.lanes.get("default").lane.State().Paused != want {
					return false
				}
			}
			return true
		}
	}
	smtptest.WaitFor(t, "all lanes to pause", paused(true))
	down.Store(false)
	smtptest.WaitFor(t, "all lanes to resume", paused(false))
	arrives(t, server, 63)
	states := func(state string) (n int) {
		for _, d := range doors {
			n += strings.Count(d.log(), `"state":"`+state+`"`)
		}
		return n
	}
	smtptest.WaitFor(t, "the pause and its end in one of the logs", func() bool {
		return states("paused") == 1 && states("resumed") == 1
	})

	doors[2].stop()
	smtptest.WaitFor(t, "two members", members(2))
	doors = doors[:2]
	send(5)
	arrives(t, server, 73)
	seen.within(t, 2)
}

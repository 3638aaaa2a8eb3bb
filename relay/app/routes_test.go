package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// reroute puts other routes in force.
func (l *twoLanes) reroute(change func(*config.Config)) {
	l.t.Helper()
	cfg := l.withUpstreams(map[string]*smtptest.Server{"default": l.def, "second": l.second})
	change(cfg)
	if err := l.app.Reload(cfg); err != nil {
		l.t.Fatal(err)
	}
}

// pausedSecond sends a message to the second upstream, which is down, and waits until its lane is paused.
func (l *twoLanes) pausedSecond(to string) {
	l.t.Helper()
	l.secondDown.Store(true)
	l.send(to)
	smtptest.WaitFor(l.t, "the pause", func() bool {
		h, err := l.client().Health(l.t.Context())
		return err == nil && h.Lanes[1].Paused
	})
}

// TestFailover: while an upstream is down its mail goes to the next one of the route, what waits and what
// comes; when it is back new mail goes there first. What may have been taken stays.
func TestFailover(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.reroute(func(cfg *config.Config) {
		cfg.Route = []config.Route{{Upstreams: []string{"second", "default"}}}
		cfg.Retry.FailoverAfter = time.Second
	})
	uncertain := l.putUncertain("second")
	l.pausedSecond("waits@first.test")
	if n := len(l.def.Messages()); n != 0 {
		t.Errorf("%d messages went to the next upstream before the time", n)
	}
	arrives(t, l.def, 1)
	l.send("comes@first.test")
	arrives(t, l.def, 2)
	smtptest.WaitFor(t, "only what may have been taken to wait",
		func() bool { return l.lanesOfQueue() == "second" })
	l.secondDown.Store(false)
	if err := l.client().Act(t.Context(), admin.Retry, relay.QueueFilter{}, true,
		func(admin.Outcome) error { return nil }); err != nil {
		t.Error(err)
	}
	arrives(t, l.second, 1) // what may have been taken
	l.send("again@first.test")
	arrives(t, l.second, 2)
	if got := l.second.Messages()[0].To[0].Address; got != uncertain {
		t.Errorf("the first message at the second upstream is to %s", got)
	}
	if n := len(l.def.Messages()); n != 2 {
		t.Errorf("%d messages at the next upstream, want 2", n)
	}
}

// putUncertain stores a message whose last attempt may have been taken, and returns its recipient.
func (l *twoLanes) putUncertain(lane string) (to string) {
	l.t.Helper()
	now := time.Now()
	to = "uncertain@first.test"
	m := &relay.Message{
		ID: relay.NewID(now), Lane: lane, Arrived: now, Envelope: relay.Envelope{From: "app@client.test"},
		Recipients: []relay.Recipient{{Address: to, State: relay.Deferred, NextAttempt: now.Add(time.Second),
			Last: &relay.Attempt{Time: now, Upstream: lane, Uncertain: true}}},
	}
	content := strings.NewReader("Subject: x\r\n\r\nx\r\n")
	if err := l.app.spool.Put(l.t.Context(), []*relay.Message{m}, content); err != nil {
		l.t.Fatal(err)
	}
	return to
}

// TestAllDown: where all upstreams of a route are down mail waits, and nobody is bounced.
func TestAllDown(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.def.Close()
	l.reroute(func(cfg *config.Config) {
		cfg.Route = []config.Route{{Upstreams: []string{"second", "default"}}}
		cfg.Retry.FailoverAfter = time.Second
	})
	l.pausedSecond("joe@first.test")
	smtptest.WaitFor(t, "the other pause", func() bool {
		h, err := l.client().Health(t.Context())
		return err == nil && h.Lanes[0].Paused && h.Lanes[1].Paused &&
			time.Since(h.Lanes[0].Since) > time.Second
	})
	l.send("ann@first.test")
	stat, err := l.app.Stat(t.Context())
	if err != nil || stat.Messages != 2 || stat.Owed != 0 {
		t.Errorf("%+v, %v; want two messages that wait", stat, err)
	}
	l.secondDown.Store(false)
	if err := l.client().Act(t.Context(), admin.Retry, relay.QueueFilter{}, true,
		func(admin.Outcome) error { return nil }); err != nil {
		t.Error(err)
	}
	arrives(t, l.second, 2)
}

// TestPartedMail: the recipients of one mail go to two upstreams; the id of the 250 finds both messages, and
// each upstream sees its own recipients only.
func TestPartedMail(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	v := l.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.say("MAIL FROM:<app@client.test>", "250")
	for _, to := range []string{"a@first.test", "452-4.2.2@second.test", "b@first.test"} {
		v.say("RCPT TO:<"+to+">", "250")
	}
	v.say("DATA", "354")
	reply := v.say("Subject: parts\r\n\r\nfor all\r\n.", "250")
	id := strings.Fields(reply[strings.Index(reply, "queued as ")+len("queued as "):])[0]
	v.say("QUIT", "221")
	arrives(t, l.def, 1)
	var to []string
	for _, r := range l.def.Messages()[0].To {
		to = append(to, r.Address)
	}
	if !slices.Equal(to, []string{"a@first.test", "b@first.test"}) {
		t.Errorf("the default upstream got mail to %q", to)
	}
	smtptest.WaitFor(t, "the deferral", func() bool {
		var found []string
		err := l.client().List(t.Context(), relay.QueueFilter{IDs: []string{id}},
			func(s admin.Summary) error {
				found = append(found, s.Lane+" "+s.Recipients[0].Address+" "+string(s.Recipients[0].State))
				return nil
			})
		return err == nil && slices.Equal(found, []string{"second 452-4.2.2@second.test deferred"})
	})
}

// TestChangedRoutes: mail that waits follows the routes when they change.
func TestChangedRoutes(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.pausedSecond("joe@second.test")
	l.reroute(func(cfg *config.Config) { cfg.Route = []config.Route{{Upstreams: []string{"default"}}} })
	arrives(t, l.def, 1)
	smtptest.WaitFor(t, "the line in the log", func() bool {
		return strings.Contains(l.logged.String(), "goes where the routes say now")
	})
}

// TestNoUpstreamForSender: mail from a domain that no upstream may send for is refused with the setting that
// would allow it.
func TestNoUpstreamForSender(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.reroute(func(cfg *config.Config) {
		cfg.Route = []config.Route{{Upstreams: []string{"second", "default"}}}
		cfg.Upstream["second"].Domains = []string{"shop.test"}
		cfg.Upstream["default"].Domains = []string{"corp.test"}
	})
	v := l.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.say("MAIL FROM:<app@elsewhere.test>", "250")
	v.say("RCPT TO:<joe@first.test>", "250")
	v.say("DATA", "354")
	got := v.say("Subject: x\r\n\r\nx\r\n.", "550")
	if !strings.Contains(got, "5.7.1") || !strings.Contains(got, "upstream.*.domains") {
		t.Errorf("refused with %q", got)
	}
	for sender, server := range map[string]*smtptest.Server{"a@shop.test": l.second, "a@corp.test": l.def} {
		v.say("MAIL FROM:<"+sender+">", "250")
		v.say("RCPT TO:<joe@first.test>", "250")
		v.say("DATA", "354")
		v.say("Subject: x\r\n\r\nx\r\n.", "250")
		arrives(t, server, 1)
	}
}

// TestDailyCap: what is over the cap of an upstream goes to the next one.
func TestDailyCap(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.reroute(func(cfg *config.Config) {
		cfg.Route = []config.Route{{Upstreams: []string{"second", "default"}}}
		cfg.Upstream["second"].DailyCap = 2
	})
	for range 3 {
		l.send("joe@first.test")
	}
	arrives(t, l.second, 2)
	arrives(t, l.def, 1)
}

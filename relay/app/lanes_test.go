package app

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// twoLanes is a relay with the upstreams "default" and "second", which takes the mail for second.test.
type twoLanes struct {
	*door
	conf            *config.Config
	def, second     *smtptest.Server
	secondDown      atomic.Bool // second greets with 421
	secondRefuses   atomic.Bool // second refuses the null sender
	secondDelay     atomic.Int64
	secondBeganData atomic.Bool
}

// openTwoLanes starts one.
func openTwoLanes(t *testing.T, o smtptest.Options) *twoLanes {
	t.Helper()
	l := &twoLanes{def: smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})}
	o.Script = l.script(smtptest.Practice())
	l.second = smtptest.New(t, o)
	dir := t.TempDir()
	l.door = &door{t: t, dir: dir, logged: &smtptest.Buffer{}}
	l.conf = l.withUpstreams(map[string]*smtptest.Server{"default": l.def, "second": l.second})
	var err error
	log := slog.New(slog.NewTextHandler(l.logged, nil))
	if l.app, err = New(Options{Config: l.conf, Engine: embedded(),
		Stdout: io.Discard, Log: log}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.app.Run(ctx) })
	l.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(l.stop)
	<-l.app.Ready()
	return l
}

// script is what the second upstream does.
func (l *twoLanes) script(otherwise func(smtptest.Command) smtptest.Action) func(
	smtptest.Command) smtptest.Action {
	return func(c smtptest.Command) smtptest.Action {
		switch {
		case c.Stage == diagnose.StageGreeting && l.secondDown.Load():
			return smtptest.Action{Reply: "421 4.3.2 Down for maintenance", End: smtptest.EndClose}
		case strings.HasPrefix(c.Line, "MAIL FROM:<>") && l.secondRefuses.Load():
			return smtptest.Action{Reply: "501 5.1.7 Invalid MAIL FROM address provided"}
		case c.Stage == diagnose.StageEndOfData && l.secondDelay.Load() > 0:
			l.secondBeganData.Store(true)
			return smtptest.Action{Delay: time.Duration(l.secondDelay.Load())}
		}
		return otherwise(c)
	}
}

// withUpstreams is a configuration of these upstreams. Each takes the mail for the domain NAME.test, and
// "default", or else the first by name, the rest.
func (l *twoLanes) withUpstreams(servers map[string]*smtptest.Server) *config.Config {
	l.t.Helper()
	upstreams := map[string]*config.Upstream{}
	var cfg *config.Config
	for name, s := range servers {
		flag := func(key, value string) config.Flag { return config.Flag{Name: key, Key: key, Value: value} }
		var err error
		cfg, err = config.Load(config.Source{Flags: []config.Flag{
			flag("hostname", "relay.test"), flag("listen", "127.0.0.1:0"), flag("upstream", s.URL()),
			flag("spool.dir", filepath.Join(l.dir, "spool")),
			flag("delivery_log.file", filepath.Join(l.dir, "log")),
			flag("retry.schedule", "1h"), flag("dsn.collect", "0s"), flag("shutdown_grace", "10s"),
			flag("dsn.fallback_sender", "bounces@client.test"),
		}})
		if err != nil {
			l.t.Fatal(err)
		}
		upstreams[name] = cfg.Upstream["default"]
	}
	cfg.Upstream, cfg.Route = upstreams, nil
	names := slices.Sorted(maps.Keys(upstreams))
	rest := names[0]
	for _, name := range names {
		if name == "default" {
			rest = name
			continue
		}
		cfg.Route = append(cfg.Route, config.Route{
			Name: name, Recipients: []string{"@" + name + ".test"}, Upstreams: []string{name},
		})
	}
	cfg.Route = append(cfg.Route, config.Route{Name: "rest", Upstreams: []string{rest}})
	return cfg
}

// send hands a message in.
func (l *twoLanes) send(to string) {
	l.t.Helper()
	v := l.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.mailTo(to)
	v.say("QUIT", "221")
}

// counts waits until the metrics are so; the labels stand in the order of their names.
func (l *twoLanes) counts(want map[string]float64) {
	l.t.Helper()
	for series, value := range want {
		smtptest.WaitFor(l.t, series, func() bool {
			got, there := scrape(l.t, "unix", l.conf.Admin.Socket)[series]
			return there && got == value
		})
	}
}

// settled waits until nothing is under way to an upstream.
func (l *twoLanes) settled() {
	l.t.Helper()
	smtptest.WaitFor(l.t, "all exchanges to be settled", func() bool {
		stat, err := l.app.Stat(l.t.Context())
		return err == nil && stat.Leased == 0
	})
}

// client speaks to the control socket.
func (l *twoLanes) client() *admin.Client { return admin.NewClient(l.conf.Admin.Socket) }

// TestTwoLanes: each upstream gets the mail that is routed to it, and the bounces for that.
func TestTwoLanes(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.send("joe@first.test")
	l.send("joe@second.test")
	arrives(t, l.def, 1)
	arrives(t, l.second, 1)
	l.send("550-5.1.1@second.test")
	arrives(t, l.second, 2)
	if got := l.second.Messages()[1]; got.From != "" || got.To[0].Address != "app@client.test" {
		t.Errorf("the bounce is from %q to %v", got.From, got.To)
	}
	if n := len(l.def.Messages()); n != 1 {
		t.Errorf("%d messages at the default upstream", n)
	}
	h, err := l.client().Health(t.Context())
	if err != nil || len(h.Lanes) != 2 || h.Lanes[0].Name != "default" || h.Lanes[1].Name != "second" {
		t.Errorf("%+v, %v", h.Lanes, err)
	}
	l.counts(map[string]float64{
		`mailwhy_recipients_total{category="none",event="relayed",upstream="default"}`:            1,
		`mailwhy_recipients_total{category="none",event="relayed",upstream="second"}`:             2,
		`mailwhy_recipient_reasons_total{event="failed",reason="user_unknown",upstream="second"}`: 1,
		`mailwhy_lane_paused{upstream="default"}`:                                                 0,
		`mailwhy_lane_paused{upstream="second"}`:                                                  0,
	})
}

// TestDoorOffersWhatAllTake: the front door offers the smaller size of two upstreams, and takes addresses
// that need an extension which one of them has.
func TestDoorOffersWhatAllTake(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{Without: []string{"SMTPUTF8"}, SizeLimit: 100_000})
	l.send("joe@first.test")
	arrives(t, l.def, 1)
	l.send("joe@second.test")
	arrives(t, l.second, 1)
	v := l.visit(0, "")
	v.say("", "220")
	got := v.say("EHLO client.test", "250")
	if !strings.Contains(got, "SMTPUTF8") || !strings.Contains(got, "8BITMIME") ||
		!strings.Contains(got, "SIZE 100000\r\n") {
		t.Errorf("%q", got)
	}
	v.say("MAIL FROM:<jörg@b.test> SMTPUTF8", "250") // the first upstream takes it
}

func TestCommonCapabilities(t *testing.T) {
	all := relay.Capabilities{Size: 10, DSN: true, SMTPUTF8: true, EightBit: true, Pipelining: true,
		RcptMax: 5}
	for _, other := range []relay.Capabilities{{Size: 20, DSN: true, RcptMax: 0},
		{Size: 0, EightBit: true, RcptMax: 7}} {
		want := relay.Capabilities{Size: 10, RcptMax: 5, DSN: other.DSN, EightBit: other.EightBit,
			SMTPUTF8: true}
		if got := common(all, other); got != want || common(other, all) != want {
			t.Errorf("with %+v: %+v", other, got)
		}
	}
}

// TestOneLanePauses: an upstream that is out of reach holds up its own mail only, and the operator sees
// which.
func TestOneLanePauses(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.secondDown.Store(true)
	l.send("joe@second.test")
	var h admin.Health
	smtptest.WaitFor(t, "the pause", func() bool {
		var err error
		if h, err = l.client().Health(t.Context()); err != nil {
			t.Fatal(err)
		}
		return h.Lanes[1].Paused
	})
	if !h.OK || h.Lanes[0].Paused || len(h.Notes) != 1 ||
		!strings.HasPrefix(h.Notes[0], "upstream second is paused since ") {
		t.Errorf("%+v", h)
	}
	l.send("joe@first.test")
	arrives(t, l.def, 1)
	smtptest.WaitFor(t, "the list of what waits for the second upstream only", func() bool {
		var waits []string
		err := l.client().List(t.Context(), relay.QueueFilter{}, func(s admin.Summary) error {
			waits = append(waits, s.Lane+" "+s.Recipients[0].WaitsFor)
			return nil
		})
		return err == nil && slices.Equal(waits, []string{"second " + relay.WaitsForUpstream})
	})
	l.secondDown.Store(false)
	if err := l.client().Act(t.Context(), admin.Retry, relay.QueueFilter{}, true,
		func(admin.Outcome) error { return nil }); err != nil {
		t.Error(err)
	}
	arrives(t, l.second, 1)
}

// TestFallbackSenderOfOneLane: an upstream that refuses the null sender gets bounces with another one; the
// other upstream does not.
func TestFallbackSenderOfOneLane(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.secondRefuses.Store(true)
	l.send("550-5.1.1@second.test")
	l.send("550-5.1.1@first.test")
	arrives(t, l.second, 1)
	arrives(t, l.def, 1)
	if def, second := l.def.Messages()[0].From, l.second.Messages()[0].From; def != "" ||
		second != "bounces@client.test" {
		t.Errorf("bounces from %q and %q", def, second)
	}
}

// TestReloadOfLanes: a reload takes an upstream away, whose exchange finishes and whose waiting mail goes
// to the other one, and adds a new one.
func TestReloadOfLanes(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.send("452-4.2.2@second.test") // waits for an hour
	smtptest.WaitFor(t, "the first try", func() bool { return len(l.second.Sessions()) > 0 })
	l.settled()
	l.secondDelay.Store(int64(500 * time.Millisecond))
	l.send("joe@second.test")
	smtptest.WaitFor(t, "the content", l.secondBeganData.Load)
	third := smtptest.New(t, smtptest.Options{})
	if err := l.app.Reload(l.withUpstreams(
		map[string]*smtptest.Server{"default": l.def, "third": third})); err != nil {
		t.Fatal(err)
	}
	if got := l.app.lanes.names(); !slices.Equal(got, []string{"default", "third"}) {
		t.Errorf("lanes: %q", got)
	}
	l.send("ann@second.test") // now for the default upstream
	arrives(t, l.def, 1)
	arrives(t, l.second, 1)
	smtptest.WaitFor(t, "the mail to change lanes", func() bool { return l.lanesOfQueue() == "default" })
	l.send("joe@third.test")
	arrives(t, third, 1)
	l.putAstray("second") // as for a message that was under way at the reload
	arrives(t, l.def, 2)
	if def, second := len(l.def.Messages()), len(l.second.Messages()); def != 2 || second != 1 {
		t.Errorf("%d messages at the default upstream, %d at the second", def, second)
	}
	l.counts(map[string]float64{
		`mailwhy_recipients_total{category="none",event="relayed",upstream="third"}`:  1,
		`mailwhy_recipients_total{category="none",event="relayed",upstream="second"}`: 1,
	})
}

// putAstray stores a message for an upstream that is not there.
func (l *twoLanes) putAstray(lane string) {
	l.t.Helper()
	now := time.Now()
	m := &relay.Message{
		ID: relay.NewID(now), Lane: lane, Arrived: now, Envelope: relay.Envelope{From: "app@client.test"},
		Recipients: []relay.Recipient{{Address: "late@first.test", State: relay.Queued, NextAttempt: now}},
	}
	content := strings.NewReader("Subject: late\r\n\r\nx\r\n")
	if err := l.app.spool.Put(l.t.Context(), []*relay.Message{m}, content); err != nil {
		l.t.Fatal(err)
	}
	l.app.wake(lane)
}

// lanesOfQueue names the lanes that mail waits for.
func (l *twoLanes) lanesOfQueue() string {
	l.t.Helper()
	seen := map[string]bool{}
	err := l.app.spool.List(l.t.Context(), relay.QueueFilter{},
		func(m *relay.Message) bool { seen[m.Lane] = true; return true })
	if err != nil {
		l.t.Fatal(err)
	}
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestRenamedUpstream: a reload may rename the upstream; its mail follows.
func TestRenamedUpstream(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.secondDown.Store(true)
	l.send("joe@second.test")
	if err := l.app.Reload(l.withUpstreams(map[string]*smtptest.Server{"other": l.def})); err != nil {
		t.Fatal(err)
	}
	l.send("ann@first.test")
	arrives(t, l.def, 2)
}

package replica_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/cluster/postgres"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postgrestest"
	"mailwhy/relay/suppress"
	"mailwhy/relay/suppress/replica"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Run(m)) }

// scene is a database for replicas.
type scene struct {
	t        *testing.T
	database string
	settings suppress.Settings
	ahead    atomic.Int64 // how far the clocks of the lists are before the time
}

func newScene(t *testing.T) *scene {
	return &scene{t: t, database: postgrestest.Database(t), settings: suppress.Settings{
		Mode: suppress.Enforce, TTL: []time.Duration{7 * 24 * time.Hour}, Most: 1e6,
		Breaker: suppress.Breaker{Share: 2}}}
}

// node is a replica: a list and its exchange with the others.
type node struct {
	*scene
	dir   string
	proxy *smtptest.Proxy
	list  *suppress.List
	swap  *replica.Replica
	stop  func()

	mu     sync.Mutex
	events []relay.Event
}

// node starts a replica with an empty list.
func (s *scene) node() *node {
	s.t.Helper()
	n := s.prepare()
	n.start()
	return n
}

// prepare makes a replica that is not started.
func (s *scene) prepare() *node {
	s.t.Helper()
	u, err := url.Parse(s.database)
	if err != nil {
		s.t.Fatal(err)
	}
	n := &node{scene: s, dir: s.t.TempDir(), proxy: smtptest.NewProxy(s.t, u.Host), stop: func() {}}
	s.t.Cleanup(func() { n.stop() })
	return n
}

// start opens the list, and begins the exchange.
func (n *node) start() {
	n.t.Helper()
	u, _ := url.Parse(n.database)
	u.Host = n.proxy.Addr()
	log := slog.New(slog.DiscardHandler)
	cluster, err := postgres.Open(n.t.Context(), postgres.Options{URL: u.String(), Name: "mail",
		Connections: 2, Host: "host", Version: "test", Heartbeat: time.Second, DeadAfter: 30 * time.Second,
		Timeout: 20 * time.Second, Log: log})
	if err != nil {
		n.t.Fatal(err)
	}
	n.open()
	n.swap = replica.New(replica.Options{List: n.list, Shared: cluster.Suppressions(),
		Every: 20 * time.Millisecond, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.swap.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		cluster.Close()
		n.list.Close()
	})
}

// open opens the list.
func (n *node) open() {
	n.t.Helper()
	var err error
	n.list, err = suppress.Open(suppress.Options{Path: filepath.Join(n.dir, "suppressions.db"),
		Settings: func() suppress.Settings { return n.settings }, FoldCase: true,
		Log:    slog.New(slog.DiscardHandler),
		Now:    func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) },
		Record: func(e relay.Event) { n.mu.Lock(); n.events = append(n.events, e); n.mu.Unlock() }})
	if err != nil {
		n.t.Fatal(err)
	}
}

// away takes the engine away from a replica, or gives it back.
func (n *node) away(is bool) {
	if !is {
		n.proxy.Damage(smtptest.Faults{}, smtptest.Faults{})
		return
	}
	cut := smtptest.Faults{Cut: &smtptest.Cut{End: smtptest.EndReset}}
	n.proxy.Damage(cut, cut)
	n.proxy.End(smtptest.EndReset)
	smtptest.WaitFor(n.t, "the engine is missed", func() bool { return n.swap.State().Fault != nil })
}

const unknown = "550 5.1.1 <jane@dead.test>: Recipient address rejected: User unknown \xff\r\n"

// learns has a replica hear what became of a message to an address.
func (n *node) learns(kind relay.EventKind, to string) {
	e := relay.Event{Time: time.Now(), Kind: kind, ID: rand.Text(), From: "a@shop.test", To: to, Lane: "one",
		Tried: &relay.Attempt{Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply(unknown)},
		Diagnosis: &diagnose.Diagnosis{Reason: "user_unknown", Basis: diagnose.BasisText,
			Confidence: diagnose.High, Scope: diagnose.ScopeRecipient, Action: diagnose.ActionRemoveAddress}}
	if kind == relay.EventRelayed {
		e.Tried, e.Diagnosis = nil, nil
	}
	n.list.Record(e)
}

// puts has the operator add an address.
func (n *node) puts(entries ...relay.Suppression) {
	n.t.Helper()
	if _, err := n.list.Put(n.t.Context(), entries); err != nil {
		n.t.Fatal(err)
	}
}

// removes has the operator remove an address.
func (n *node) removes(address string) {
	n.t.Helper()
	if _, err := n.list.Remove(n.t.Context(), address, ""); err != nil {
		n.t.Fatal(err)
	}
}

// dump is all of a list.
func (n *node) dump() string {
	n.t.Helper()
	var lines []string
	err := n.list.List(n.t.Context(), relay.SuppressionFilter{}, func(s *relay.Suppression) bool {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s %d %d %q %q %d", s.Address, s.Scope, s.State,
			s.Reason, s.Source, s.LastSeen.UnixNano(), s.Hits, s.Reply, s.Note, s.Expires.Unix()))
		return true
	})
	if err != nil {
		n.t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// suppresses reports whether mail to an address is suppressed.
func (n *node) suppresses(to string) bool {
	now := time.Now().Add(time.Duration(n.ahead.Load()))
	return n.list.Check("a@shop.test", to, now).Entry != nil
}

// agree waits until lists are the same, with something in them.
func agree(t *testing.T, nodes ...*node) {
	t.Helper()
	smtptest.WaitFor(t, "the lists are alike", func() bool {
		want := nodes[0].dump()
		for _, n := range nodes[1:] {
			if n.dump() != want {
				return false
			}
		}
		return true
	})
}

// TestBothWays: what one replica learns or is told, the others know, and tell nobody of.
func TestBothWays(t *testing.T) {
	s := newScene(t)
	one, two := s.node(), s.node()
	one.learns(relay.EventFailed, "Jane@Dead.test")
	two.puts(relay.Suppression{Address: "joe@dead.test", Note: "by phone"})
	for _, n := range []*node{one, two} {
		smtptest.WaitFor(t, "both are known", func() bool {
			return n.suppresses("jane@dead.test") && n.suppresses("joe@dead.test")
		})
	}
	agree(t, one, two)
	if !strings.Contains(one.dump(), `User unknown \xff`) {
		t.Errorf("the reply is not as it was: %s", one.dump())
	}
	two.removes("jane@dead.test")
	one.learns(relay.EventRelayed, "joe@dead.test") // which does not end what people decided
	smtptest.WaitFor(t, "it is removed everywhere", func() bool { return !one.suppresses("jane@dead.test") })
	agree(t, one, two)
	one.learns(relay.EventFailed, "jane@dead.test") // known to follow the removal
	smtptest.WaitFor(t, "it is suppressed again", func() bool { return two.suppresses("jane@dead.test") })
	agree(t, one, two)
	told := func(n *node) (all []string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, e := range n.events {
			all = append(all, e.State+" "+e.To)
		}
		return all
	}
	if got := fmt.Sprint(told(one), told(two)); got != "[created Jane@dead.test created jane@dead.test] "+
		"[created joe@dead.test removed Jane@dead.test]" {
		t.Errorf("told was %s", got)
	}
}

// TestQuiet: replicas that agree write nothing.
func TestQuiet(t *testing.T) {
	s := newScene(t)
	one, two := s.node(), s.node()
	one.puts(relay.Suppression{Address: "jane@dead.test"})
	smtptest.WaitFor(t, "it is known", func() bool { return two.suppresses("jane@dead.test") })
	place := func(n *node) relay.SharedPlace {
		p, err := n.list.Place(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before, at := place(two), two.swap.State().At
	smtptest.WaitFor(t, "some exchanges", func() bool {
		return two.swap.State().At.Sub(at) > 300*time.Millisecond
	})
	if after := place(two); after != before || after.Version == 0 {
		t.Errorf("the place goes from %v to %v", before, after)
	}
}

// TestAway: without the engine each goes by its own list, also across a restart, and afterwards all agree:
// what people decided stands over what was learned.
func TestAway(t *testing.T) {
	s := newScene(t)
	one, two := s.node(), s.node()
	one.puts(relay.Suppression{Address: "old@dead.test"})
	smtptest.WaitFor(t, "it is known", func() bool { return two.suppresses("old@dead.test") })
	one.away(true)
	two.away(true)
	one.learns(relay.EventFailed, "one@dead.test")
	one.puts(relay.Suppression{Address: "both@dead.test", Note: "never"})
	one.removes("old@dead.test")
	two.learns(relay.EventFailed, "both@dead.test")
	two.learns(relay.EventFailed, "two@dead.test")
	smtptest.WaitFor(t, "the second works on", func() bool {
		return two.suppresses("both@dead.test") && two.suppresses("old@dead.test") &&
			two.suppresses("two@dead.test")
	})
	if one.suppresses("two@dead.test") || two.suppresses("one@dead.test") {
		t.Error("they know of each other without the engine")
	}
	one.stop()
	one.away(false)
	one.start()
	two.away(false)
	smtptest.WaitFor(t, "both have all", func() bool {
		return one.suppresses("two@dead.test") && two.suppresses("one@dead.test") &&
			!two.suppresses("old@dead.test")
	})
	agree(t, one, two)
	if !strings.Contains(two.dump(), `"never" `) {
		t.Errorf("the operator's entry is gone: %s", two.dump())
	}
}

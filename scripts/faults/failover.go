package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
	"mailwhy/scripts/faults/traffic"
)

// upstreamFault is what happens to the first of two upstreams for a while.
type upstreamFault struct {
	name  string
	says  func(c smtptest.Command, since time.Duration) smtptest.Action
	moves bool // the second one must take mail over
}

// upstreamFaults are those of must hold: the upstream dies, throttles, refuses its account, changes its mind.
func upstreamFaults() []upstreamFault {
	reset := smtptest.Action{End: smtptest.EndReset}
	return []upstreamFault{
		{"dies", func(smtptest.Command, time.Duration) smtptest.Action { return reset }, true},
		{"throttles", func(c smtptest.Command, _ time.Duration) smtptest.Action {
			if c.Stage == diagnose.StageMail && c.Session%2 == 0 {
				return smtptest.Action{
					Reply: "421 4.7.0 Too many connections, slow down", End: smtptest.EndClose,
				}
			}
			return smtptest.Action{}
		}, false},
		{"refuses its account", func(c smtptest.Command, _ time.Duration) smtptest.Action {
			if c.Stage == diagnose.StageAuth {
				return smtptest.Action{Reply: "535 5.7.8 Authentication credentials invalid"}
			}
			return smtptest.Action{Reply: "421 4.3.2 Closing", End: smtptest.EndClose}
		}, true},
		{"changes its mind", func(_ smtptest.Command, since time.Duration) smtptest.Action {
			if since/(300*time.Millisecond)%2 == 0 {
				return reset
			}
			return smtptest.Action{}
		}, false},
	}
}

// testFailover relays to two upstreams, the first of which has one fault after the other: over several
// connections each, and over one each, where mail keeps its order.
func testFailover(ctx context.Context, s *site, r *result) {
	t := failover(ctx, s, r, concurrency, s.pick(1, 5))
	if v := t.end(ctx, 2*time.Minute); v.Acked == 0 {
		r.fail("nothing was accepted")
	}
	t = failover(ctx, s, r, 1, 1)
	t.end(ctx, 2*time.Minute)
	t.checkOrder()
}

// failover loads a relay that has so many connections to each of two upstreams, the first of which is faulty.
func failover(ctx context.Context, s *site, r *result, connections, rounds int) *scenario {
	t := newScenario(s, r, "")
	second, err := traffic.StartSink(t.ledger, "", secret)
	must(err, "starting the second sink")
	s.later(func() { second.Release(); second.Close() })
	var took atomic.Int64
	second.Script = func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData {
			took.Add(1)
		}
		return smtptest.Action{}
	}
	var fault atomic.Pointer[upstreamFault]
	var began atomic.Int64
	t.sink.Script = func(c smtptest.Command) smtptest.Action {
		if f := fault.Load(); f != nil {
			return f.says(c, time.Since(time.UnixMilli(began.Load())))
		}
		return smtptest.Action{}
	}
	t.twoUpstreams(second, connections)
	t.start(ctx)
	loading, stop := context.WithCancel(ctx)
	defer stop()
	wait := t.client.Load(loading, 4, 3*time.Millisecond)
	for round := range rounds {
		for _, f := range upstreamFaults() {
			before := took.Load()
			began.Store(time.Now().UnixMilli())
			fault.Store(&f)
			traffic.Sleep(ctx, 4*time.Second)
			fault.Store(nil)
			r.ran(1)
			if n := took.Load() - before; f.moves && n == 0 {
				r.fail("round %d: the upstream %s, and the second one took nothing over", round, f.name)
			}
			traffic.Sleep(ctx, 2*time.Second)
		}
	}
	stop()
	wait()
	second.Quiet()
	r.note("connections to each upstream: %d; the second took %d messages over", connections, took.Load())
	return t
}

// checkOrder sees that each sender's mail kept its order in each lane of one connection. A lane leases in the
// order of acceptance (docs/spool.md), and over one connection that is the order of arrival. Over several the
// exchanges overtake each other; and what was deferred, or moved to the other lane, goes when its time has
// come. So the check is of what was neither.
func (t *scenario) checkOrder() {
	lanes := map[string]string{}
	late := map[string]bool{}
	for _, e := range t.events() {
		switch e.Event {
		case "relayed":
			lanes[e.ID] = e.Upstream
		case "deferred", "moved":
			late[e.ID] = true
		}
	}
	records, err := t.ledger.Records()
	must(err, "reading the ledgers")
	broken, compared := ledger.OutOfOrder(records, func(queue string) string {
		if late[queue] {
			return ""
		}
		return lanes[queue]
	})
	for _, b := range broken[:min(len(broken), 5)] {
		t.result.fail("order: %s", b)
	}
	if compared < 100 {
		t.result.fail("order: only %d messages were neither deferred nor moved", compared)
	}
	t.result.note("order: %d of %d overtaken, of those neither deferred nor moved; %s", len(broken), compared,
		t.usageNote())
}

// twoUpstreams gives the relay a second upstream, which takes over from the first after a second.
func (t *scenario) twoUpstreams(second *traffic.Sink, connections int) {
	file := filepath.Join(t.dir, "relay.toml")
	text := fmt.Sprintf(`[retry]
failover_after = "1s"
[upstream.second]
url = "smtp://user@%s?tls=none"
password_file = %q
allow_plaintext_auth = true
concurrency = %d
[[route]]
upstreams = ["default", "second"]
`, second.Addr(), filepath.Join(t.dir, "password"), connections)
	must(os.WriteFile(file, []byte(text), 0o600), "writing the configuration")
	t.setup.env = append(t.setup.env, "MAILWHY_CONFIG="+file,
		fmt.Sprintf("MAILWHY_UPSTREAM_CONCURRENCY=%d", connections))
	t.rules.Concurrency = 2 * connections
}

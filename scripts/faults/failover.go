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

// testFailover relays to two upstreams, the first of which has one fault after the other.
func testFailover(ctx context.Context, s *site, r *result) {
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
	t.twoUpstreams(second)
	t.start(ctx)
	loading, stop := context.WithCancel(ctx)
	defer stop()
	wait := t.client.Load(loading, 4, 3*time.Millisecond)
	for round := range s.pick(1, 5) {
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
	t.end(ctx, 2*time.Minute)
	r.note("the second upstream took %d messages over; %s", took.Load(), t.usageNote())
}

// twoUpstreams gives the relay a second upstream, which takes over from the first after a second.
func (t *scenario) twoUpstreams(second *traffic.Sink) {
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
`, second.Addr(), filepath.Join(t.dir, "password"), concurrency)
	must(os.WriteFile(file, []byte(text), 0o600), "writing the configuration")
	t.setup.env = append(t.setup.env, "MAILWHY_CONFIG="+file)
	t.rules.Concurrency = 2 * concurrency
}

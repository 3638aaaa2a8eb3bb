package main

import (
	"context"
	"mailwhy/scripts/faults/traffic"
	"time"
)

// testKill kills the relay again and again under load, and starts it again as it is.
func testKill(ctx context.Context, s *site, r *result) {
	t := newScenario(s, r, "")
	cycles := s.pick(20, 200)
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.start(ctx)
	wait := t.client.Load(loading, 4, 3*time.Millisecond)
	for i := range cycles {
		if ctx.Err() != nil {
			break
		}
		traffic.Sleep(ctx, between(50*time.Millisecond, 500*time.Millisecond))
		t.kill()
		r.ran(1)
		t.start(ctx)
		if i%20 == 19 {
			t.checkpoint(ctx, i+1)
		}
	}
	stop()
	wait()
	t.end(ctx, time.Minute)
	r.note("%d cycles; %s", cycles, t.usageNote())
}

// checkpoint sees, with the load going on, that what was acknowledged so far does not stay away for good:
// that the backlog does not grow from cycle to cycle.
func (t *scenario) checkpoint(ctx context.Context, cycle int) {
	if !t.until(ctx, 30*time.Second, func() bool { return t.ledger.Outstanding() < 200 }) {
		t.result.fail("after cycle %d, %d recipients wait for more than 30 s", cycle, t.ledger.Outstanding())
	}
}

package main

import (
	"context"
	"fmt"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/scripts/faults/traffic"
)

// testTerm ends the relay with SIGTERM in each phase. It must end with status 0 within its grace, answer or
// refuse what clients have under way, never pass on half a content, and lose nothing.
func testTerm(ctx context.Context, s *site, r *result) {
	for range s.pick(1, 5) {
		for _, phase := range []struct {
			name string
			run  func(*scenario, context.Context)
		}{
			{"idle", (*scenario).termIdle},
			{"client in the middle of a content", (*scenario).termInContent},
			{"upstream slow to answer the content", (*scenario).termAtDot},
			{"upstream silent after the content", (*scenario).termAtSilence},
			{"under load", (*scenario).termUnderLoad},
		} {
			if ctx.Err() != nil {
				return
			}
			t := newScenario(s, r, "")
			t.client.Drops = false
			t.start(ctx)
			begin := len(r.broken)
			phase.run(t, ctx)
			t.start(ctx)
			if v := t.end(ctx, 20*time.Second); len(v.Broken)+len(r.broken)-begin > len(v.Broken) {
				r.note("phase: %s", phase.name)
			}
			r.ran(1)
		}
	}
}

// termIdle has a client connected that says nothing: it must read 421.
func (t *scenario) termIdle(ctx context.Context) {
	s, err := traffic.Greet(ctx, t.setup.listen)
	must(err, "connecting")
	defer s.Close()
	t.stop()
	if r, err := s.Reply(); r.Code != 421 {
		t.result.fail("an idle client heard %v, %v at SIGTERM; want 421", r, err)
	}
}

// termInContent stops while the client is between 354 and its dot, which it says a moment later.
func (t *scenario) termInContent(ctx context.Context) {
	m := traffic.Mix{}.Message("t000001")
	s, err := traffic.Greet(ctx, t.setup.listen)
	must(err, "connecting")
	defer s.Close()
	offer := m.Offer(t.ledger)
	must(s.Begin(t.ledger, offer), "offering a message")
	content := m.Stuffed()
	s.Put(content[:len(content)/2])
	s.Flush()
	over := make(chan struct{})
	go func() {
		defer close(over)
		traffic.Sleep(ctx, 300*time.Millisecond)
		s.Put(content[len(content)/2:])
		if s.Flush() == nil {
			s.Finish(t.ledger, offer, "")
		}
	}()
	t.stop()
	<-over
}

// termAtDot stops while the upstream takes a second for its 250: the exchange is finished, and not doubled.
func (t *scenario) termAtDot(ctx context.Context) {
	t.sink.Slow = time.Second
	must(t.client.Offer(ctx, traffic.Mix{Plain: true}.Message("t000001")), "offering a message")
	t.until(ctx, 5*time.Second, func() bool { return t.ledger.Outstanding() == 0 })
	t.stop()
	t.sink.Slow = 0
}

// termAtSilence stops while the upstream says nothing after the final dot: the relay gives up within its
// grace, and the message is tried again.
func (t *scenario) termAtSilence(ctx context.Context) {
	reached := make(chan struct{}, 1)
	t.sink.Script = func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData && c.Session == 1 {
			reached <- struct{}{}
			return smtptest.Action{Delay: graceful, Reply: "451 4.3.0 too late"}
		}
		return smtptest.Action{}
	}
	must(t.client.Offer(ctx, traffic.Mix{Plain: true}.Message("t000001")), "offering a message")
	select {
	case <-reached:
	case <-time.After(5 * time.Second):
		t.result.fail("the message did not reach the upstream")
	}
	t.stop()
}

// termUnderLoad stops and starts under load. Whoever is not acknowledged is refused or sees the connection
// end.
func (t *scenario) termUnderLoad(ctx context.Context) {
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.client.Drops = true
	wait := t.client.Load(loading, 4, time.Millisecond)
	for range t.site.pick(2, 5) {
		traffic.Sleep(ctx, between(100*time.Millisecond, 400*time.Millisecond))
		t.stop()
		t.start(ctx)
		t.result.ran(1)
	}
	stop()
	wait()
	t.stop()
	if n := t.ledger.Acked(); n < 20 {
		t.result.fail("%s", fmt.Sprintf("only %d messages were accepted under load", n))
	}
}

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

package main

import (
	"context"
	"fmt"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// testTerm ends the relay with SIGTERM in each phase. It must end with status 0 within its grace, answer or refuse
// what clients have under way, never pass on half a content, and lose nothing.
func testTerm(ctx context.Context, s *site, r *result) {
	for range s.pick(1, 5) {
		for _, phase := range []struct {
			name string
			run  func(*trial, context.Context)
		}{
			{"idle", (*trial).termIdle},
			{"client in the middle of a content", (*trial).termInContent},
			{"upstream slow to answer the content", (*trial).termAtDot},
			{"upstream silent after the content", (*trial).termAtSilence},
			{"under load", (*trial).termUnderLoad},
		} {
			if ctx.Err() != nil {
				return
			}
			t := newTrial(s, r, "")
			t.client.drops = false
			t.start(ctx)
			begin := len(r.broken)
			phase.run(t, ctx)
			t.start(ctx)
			if v := t.end(ctx, 20*time.Second); len(v.broken)+len(r.broken)-begin > len(v.broken) {
				r.note("phase: %s", phase.name)
			}
			r.ran(1)
		}
	}
}

// termIdle has a client connected that says nothing: it is told 421.
func (t *trial) termIdle(ctx context.Context) {
	s, err := dialSession(ctx, t.setup.listen)
	must(err, "connecting")
	defer s.conn.Close()
	t.stop()
	if code, text, err := s.reply(); code != 421 {
		t.result.fail("an idle client heard %d %s, %v at SIGTERM; want 421", code, text, err)
	}
}

// termInContent stops while the client is between 354 and its dot, which it says a moment later.
func (t *trial) termInContent(ctx context.Context) {
	m := mix{}.newMessage("t000001")
	s, err := dialSession(ctx, t.setup.listen)
	must(err, "connecting")
	defer s.conn.Close()
	must(t.ledger.write(record{What: began, ID: m.id, From: m.from, To: m.to, Sum: m.sum}), "writing the ledger")
	must(s.envelope(m), "offering a message")
	content := m.stuffed()
	s.w.Write(content[:len(content)/2])
	s.w.Flush()
	over := make(chan struct{})
	go func() {
		defer close(over)
		sleep(ctx, 300*time.Millisecond)
		s.w.Write(content[len(content)/2:])
		if s.w.Flush() != nil || t.ledger.write(record{What: dotted, ID: m.id}) != nil {
			return
		}
		s.w.WriteString(".\r\n")
		switch code, text, err := s.reply(); {
		case err != nil:
		case code/100 == 2:
			t.ledger.write(record{What: acked, ID: m.id, To: m.to, Queue: queueID(text)})
		default:
			t.ledger.write(record{What: refused, ID: m.id, Code: code})
		}
	}()
	t.stop()
	<-over
}

// termAtDot stops while the upstream takes a second for its 250: the exchange is finished, and not doubled.
func (t *trial) termAtDot(ctx context.Context) {
	t.sink.slow = time.Second
	must(t.client.offerOne(ctx, mix{plain: true}.newMessage("t000001")), "offering a message")
	t.until(ctx, 5*time.Second, func() bool { return t.ledger.outstanding() == 0 })
	t.stop()
	t.sink.slow = 0
}

// termAtSilence stops while the upstream says nothing after the final dot: the relay gives up within its grace, and the
// message is tried again.
func (t *trial) termAtSilence(ctx context.Context) {
	reached := make(chan struct{}, 1)
	t.sink.script = func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData && c.Session == 1 {
			reached <- struct{}{}
			return smtptest.Action{Delay: graceful, Reply: "451 4.3.0 too late"}
		}
		return smtptest.Action{}
	}
	must(t.client.offerOne(ctx, mix{plain: true}.newMessage("t000001")), "offering a message")
	select {
	case <-reached:
	case <-time.After(5 * time.Second):
		t.result.fail("the message did not reach the upstream")
	}
	t.stop()
}

// termUnderLoad stops and starts under load. Whoever is not acknowledged is refused or sees the connection end.
func (t *trial) termUnderLoad(ctx context.Context) {
	loading, stop := context.WithCancel(ctx)
	defer stop()
	t.client.drops = true
	wait := t.client.load(loading, 4, time.Millisecond)
	for range t.site.pick(2, 5) {
		sleep(ctx, between(100*time.Millisecond, 400*time.Millisecond))
		t.stop()
		t.start(ctx)
		t.result.ran(1)
	}
	stop()
	wait()
	t.stop()
	if n := t.ledger.ackedSoFar(); n < 20 {
		t.result.fail("%s", fmt.Sprintf("only %d messages were accepted under load", n))
	}
}

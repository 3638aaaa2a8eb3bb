package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/strace"
	"mailwhy/scripts/faults/traffic"
)

// testPoints kills the relay just before its first, second, third ... change of a file in the spool, from the
// first start on an empty directory through one message's whole life: taken in, refused for one recipient,
// relayed to the other, reported on. A message kept in the database and one kept in a file.
func testPoints(ctx context.Context, s *site, r *result) {
	for _, size := range []int{2000, 700 << 10} {
		points := s.listPoints(ctx, r, size)
		if len(points) == 0 {
			r.fail("no point at which to kill was seen")
			return
		}
		chosen := choosePoints(points, s.pick(8, len(points)), s.pick(4, 40))
		var mu sync.Mutex
		calls := map[string]int{}
		parallel(5, len(chosen), func(i int) {
			if ctx.Err() != nil {
				return
			}
			call := s.killAt(ctx, r, size, chosen[i])
			r.ran(1)
			mu.Lock()
			defer mu.Unlock()
			calls[call]++
		})
		r.note("message of %d kB: %d points, killed at %d of them: %s", size/1000, len(points), len(chosen),
			counted(calls))
	}
}

// choosePoints chooses points by number, from 1: of the writes that follow one another within a content file,
// which are all alike, up to streamed, and of the others up to n.
func choosePoints(calls []string, n, streamed int) []int {
	var alike, others []int
	for i, call := range calls {
		if i > 0 && call == calls[i-1] && strings.HasPrefix(call, "write content/") {
			alike = append(alike, i+1)
		} else {
			others = append(others, i+1)
		}
	}
	chosen := append(spread(others, n), spread(alike, streamed)...)
	slices.Sort(chosen)
	return chosen
}

// spread takes n of all, evenly, the first and the last among them.
func spread(all []int, n int) []int {
	if n >= len(all) {
		return all
	}
	var some []int
	for i := range n {
		some = append(some, all[i*(len(all)-1)/max(n-1, 1)])
	}
	return some
}

// parallel calls f for 0 to n-1, as many as width at a time. A test that ends there ends here.
func parallel(width, n int, f func(i int)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var stopped any
	room := make(chan struct{}, width)
	for i := range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					mu.Lock()
					stopped = p
					mu.Unlock()
				}
				<-room
			}()
			f(i)
		})
	}
	wg.Wait()
	if stopped != nil {
		panic(stopped)
	}
}

// counted is "3 fsync, 1 rename".
func counted(n map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%d %s", n[k], k))
	}
	return strings.Join(parts, ", ")
}

// traced prepares a scenario whose relay is traced, and returns the calls on its spool.
func (s *site) traced(r *result) (*scenario, *strace.Tracer) {
	t := newScenario(s, r, "")
	tr, wrap, err := strace.New(t.dir, t.setup.spool)
	must(err, "making the pipe for strace")
	s.later(tr.Close)
	t.setup.wrap = wrap
	t.client.Drops = false
	return t, tr
}

// oneLife offers the message and waits until it is settled and reported.
func (t *scenario) oneLife(ctx context.Context, size int) {
	m := traffic.Mix{Users: traffic.GoodUser + "," + traffic.BadUser, Size: size}.Message("p000001")
	for ctx.Err() == nil {
		err := t.client.Offer(ctx, m)
		if err == nil || !errors.Is(err, smtptest.ErrRefused) {
			break
		}
		traffic.Sleep(ctx, 20*time.Millisecond)
	}
	t.drain(ctx, 20*time.Second)
}

// listPoints runs the message's life undisturbed, and returns the calls of which each is a point.
func (s *site) listPoints(ctx context.Context, r *result, size int) []string {
	t, tr := s.traced(r)
	t.start(ctx)
	t.oneLife(ctx, size)
	var calls []string
	for range len(tr.Seen) {
		calls = append(calls, <-tr.Seen)
	}
	t.stop()
	t.setup.wrap = nil
	t.judge()
	return calls
}

// killAt kills the relay at its n-th change of the spool, starts it again and checks. It returns the call
// that was not executed any more.
func (s *site) killAt(ctx context.Context, r *result, size, n int) (call string) {
	t, tr := s.traced(r)
	p, err := t.setup.launch()
	must(err, "starting the relay")
	t.relay = p
	life, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for life.Err() == nil && !process.Greets(t.setup.listen) {
			traffic.Sleep(life, 5*time.Millisecond)
		}
		if life.Err() == nil {
			t.oneLife(life, size)
		}
	}()
	call = "never reached"
	for range n {
		select {
		case call = <-tr.Seen:
			continue
		case <-p.Ended():
		case <-done:
		case <-ctx.Done():
		case <-time.After(30 * time.Second):
		}
		call = "never reached"
		break
	}
	t.relay.kill()
	stop()
	<-done
	t.buried()
	call, _, _ = strings.Cut(call, " ")
	t.setup.wrap = nil
	t.start(ctx)
	t.drain(ctx, 20*time.Second)
	t.stop()
	if v := t.judge(); len(v.Broken) > 0 {
		r.fail("... that was at point %d, before %s, message of %d bytes", n, call, size)
	}
	return call
}

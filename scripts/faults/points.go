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
)

// testPoints kills the relay just before its first, second, third ... change of a file in the spool, from the first start on an empty
// directory through one message's whole life: taken in, refused for one recipient, relayed to the other, reported on. A
// message kept in the database and one kept in a file.
func testPoints(ctx context.Context, s *site, r *result) {
	for _, size := range []int{2000, 700 << 10} {
		points := s.countPoints(ctx, r, size)
		if points == 0 {
			r.fail("no point at which to kill was seen")
			return
		}
		chosen := choosePoints(points, s.pick(12, points))
		var mu sync.Mutex
		calls := map[string]int{}
		parallel(3, len(chosen), func(i int) {
			if ctx.Err() != nil {
				return
			}
			call := s.killAt(ctx, r, size, chosen[i])
			r.ran(1)
			mu.Lock()
			defer mu.Unlock()
			calls[call]++
		})
		r.note("message of %d kB: %d points, killed at %d of them: %s", size/1000, points, len(chosen), counted(calls))
	}
}

// choosePoints spreads n over 1 to points.
func choosePoints(points, n int) []int {
	n = min(n, points)
	chosen := make([]int, n)
	for i := range n {
		chosen[i] = 1 + i*(points-1)/max(n-1, 1)
	}
	return chosen
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

// traced prepares a trial whose relay is traced, and returns the calls on its spool.
func (s *site) traced(r *result) (*trial, *tracer) {
	t := newTrial(s, r, "")
	tr, wrap, err := newTracer(t.dir, t.setup.spool)
	must(err, "making the pipe for strace")
	s.later(tr.close)
	t.setup.wrap = wrap
	t.client.drops = false
	return t, tr
}

// oneLife offers the message and waits until all is told.
func (t *trial) oneLife(ctx context.Context, size int) {
	m := mix{users: goodUser + "," + badUser, size: size}.newMessage("p000001")
	for ctx.Err() == nil {
		err := t.client.offerOne(ctx, m)
		if err == nil || !errors.Is(err, errRefused) {
			break
		}
		sleep(ctx, 20*time.Millisecond)
	}
	t.drain(ctx, 20*time.Second)
}

// countPoints runs the message's life undisturbed.
func (s *site) countPoints(ctx context.Context, r *result, size int) int {
	t, tr := s.traced(r)
	t.start(ctx)
	t.oneLife(ctx, size)
	n := len(tr.seen)
	t.stop()
	t.setup.wrap = nil
	t.judge()
	return n
}

// killAt kills the relay at its n-th change of the spool, starts it again and checks. It returns the call that was not
// executed any more.
func (s *site) killAt(ctx context.Context, r *result, size, n int) (call string) {
	t, tr := s.traced(r)
	p, err := t.setup.launch()
	must(err, "starting the relay")
	t.relay = p
	life, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for life.Err() == nil && !greets(t.setup.listen) {
			sleep(life, 5*time.Millisecond)
		}
		if life.Err() == nil {
			t.oneLife(life, size)
		}
	}()
	call = "never reached"
	for range n {
		select {
		case call = <-tr.seen:
			continue
		case <-p.ended:
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
	if v := t.judge(); len(v.broken) > 0 {
		r.fail("... that was at point %d, before %s, message of %d bytes", n, call, size)
	}
	return call
}

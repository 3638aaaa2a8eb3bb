package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/strace"
	"mailwhy/scripts/faults/traffic"
)

// needHistory is the source of earlier releases.
const needHistory need = "the repository's history"

// releases are the earlier releases whose spools differ, by the last commit of each.
func releases() []string {
	return []string{
		"bcd66e4", // no journal
		"84343e8", // a journal without reports
		"3effcbe", // a journal with reports; the last one that did not look at the format
	}
}

// older are the earlier releases for the quick form or the full one.
func (s *site) older() []string {
	all := releases()
	if s.full {
		return all
	}
	return all[len(all)-1:]
}

// tryHistory looks whether the earlier releases can be built.
func tryHistory(ctx context.Context) error {
	for _, commit := range releases() {
		if err := process.Run(ctx, "", "git", "cat-file", "-e", commit+"^{commit}"); err != nil {
			return fmt.Errorf("commit %s is not in this checkout (git fetch --unshallow brings it): %w",
				commit, err)
		}
	}
	return nil
}

// release builds an earlier release, once.
func (s *site) release(ctx context.Context, commit string) string {
	binary := filepath.Join(s.dir, "mailwhy-"+commit)
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	dir := filepath.Join(s.dir, "source-"+commit)
	archive := dir + ".tar"
	must(os.Mkdir(dir, 0o755), "making a directory")
	must(process.Run(ctx, "", "git", "archive", "--format=tar", "-o", archive, commit),
		"getting an earlier release")
	must(process.Run(ctx, dir, "tar", "-xf", archive), "unpacking an earlier release")
	must(process.Run(ctx, dir, "go", "build", "-o", binary, "./cmd/mailwhy"), "building an earlier release")
	return binary
}

// testUpgrade kills earlier releases under load, and starts this one on their spools: it goes on with all of
// their mail. Where strace is there it is killed, too, just before each of its first changes of the spool, by
// which it takes it over.
func testUpgrade(ctx context.Context, s *site, r *result) {
	for _, commit := range s.older() {
		old := s.release(ctx, commit)
		for range s.pick(1, 5) {
			t := newScenario(s, r, "")
			t.loadAndKill(ctx, old)
			t.start(ctx)
			r.ran(1)
			t.end(ctx, time.Minute)
		}
		if why := s.lacks(ctx, needStrace); why != "" {
			r.note("%s: not killed while it takes the spool over: %s", commit, why)
			continue
		}
		points := s.pick(6, 40)
		calls := map[string]int{}
		for i := range points {
			n := 1 + i*s.pick(12, 2) // the first start makes some seventy changes
			calls[s.killUpgrade(ctx, r, old, n)]++
			r.ran(1)
		}
		r.note("%s: killed while this release takes the spool over, before: %s", commit, counted(calls))
	}
}

// loadAndKill runs a release under load for a moment and kills it.
func (t *scenario) loadAndKill(ctx context.Context, binary string) {
	current := t.setup.binary
	t.setup.binary = binary
	t.start(ctx)
	loading, stop := context.WithCancel(ctx)
	wait := t.client.Load(loading, 4, 3*time.Millisecond)
	traffic.Sleep(ctx, between(200*time.Millisecond, 700*time.Millisecond))
	t.kill()
	stop()
	wait()
	t.setup.binary = current
}

// killUpgrade has an earlier release killed under load, and this one just before its n-th change of the
// spool. It returns that change.
func (s *site) killUpgrade(ctx context.Context, r *result, old string, n int) (call string) {
	t, tr := s.traced(r)
	wrap := t.setup.wrap
	t.setup.wrap = nil
	t.loadAndKill(ctx, old)
	t.setup.wrap = wrap
	p, err := t.setup.launch()
	must(err, "starting the relay")
	t.relay = p
	call = reached(ctx, tr, p, n)
	t.kill()
	t.setup.wrap = nil
	t.start(ctx)
	if v := t.end(ctx, time.Minute); len(v.Broken) > 0 {
		r.fail("... that was at point %d, before %s", n, call)
	}
	return call
}

// reached waits until a relay is about to make its n-th change of the spool, and returns which that is.
func reached(ctx context.Context, tr *strace.Tracer, p *relayProcess, n int) (call string) {
	for range n {
		select {
		case call = <-tr.Seen:
			continue
		case <-p.Ended():
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
		return "never reached"
	}
	call, _, _ = strings.Cut(call, " ")
	return call
}

// testDowngrade kills this release under load, or ends it in order, and starts earlier ones on its spool:
// each refuses, and says why. Then this one goes on with all of its mail.
func testDowngrade(ctx context.Context, s *site, r *result) {
	for _, commit := range s.older() {
		old := s.release(ctx, commit)
		for i := range s.pick(2, 10) {
			t := newScenario(s, r, "")
			t.loadAndKill(ctx, t.setup.binary)
			if i%2 == 1 {
				t.closeInOrder(ctx)
			}
			if err := t.refusal(ctx, old); err != nil {
				r.fail("%s on the spool of this release: %v", commit, err)
			}
			r.ran(1)
			t.start(ctx)
			t.end(ctx, time.Minute)
		}
	}
	r.note("earlier releases that refused: %s", strings.Join(s.older(), ", "))
}

// refusal starts an earlier release, which must end by itself and say why. It does so twice: the first must
// not change what the second sees.
func (t *scenario) refusal(ctx context.Context, binary string) error {
	current := t.setup.binary
	t.setup.binary = binary
	defer func() { t.setup.binary = current }()
	for range 2 {
		p, err := t.setup.launch()
		must(err, "starting an earlier release")
		select {
		case <-p.Ended():
		case <-ctx.Done():
			p.kill()
			return ctx.Err()
		case <-time.After(readyIn):
			p.kill()
			return errors.New("it goes on")
		}
		if said := process.Tail(t.setup.log()); p.Err() == nil ||
			!strings.Contains(said, "written by a newer release") {
			return fmt.Errorf("it ended with %v: %s", p.Err(), said)
		}
	}
	return nil
}

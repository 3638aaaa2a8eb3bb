package report_test

import (
	"fmt"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/report"
)

// stormAfter is storm control with a window of ten minutes.
func stormAfter(threshold int) func() report.StormPolicy {
	return func() report.StormPolicy {
		return report.StormPolicy{Threshold: threshold, Window: 10 * time.Minute}
	}
}

// TestStorm: ten thousand failures of one cause in a minute, with crashes, make few reports, and every one is
// reported.
func TestStorm(t *testing.T) {
	w := newWorld(t, newFakeStore(), 7)
	w.o.Storm = stormAfter(20)
	w.storm(60, 10000/60+1, 25)
	w.checkStorm(60*(10000/60+1), 20, 11)
}

func TestStormSQLite(t *testing.T) {
	w := newWorld(t, sqlite(t), 7)
	w.o.Storm = stormAfter(5)
	w.storm(10, 12, 8)
	w.checkStorm(120, 5, 1)
}

// storm fails messages, so many in each of so many seconds, while the reporter crashes now and then.
func (w *world) storm(seconds, each, odds int) {
	w.odds = odds
	for range seconds {
		for range each {
			w.n++
			w.accept("app@example.com", relay.Recipient{Address: fmt.Sprintf("u%d@x", w.n)})
		}
		w.fail("user_unknown")
		w.round(time.Second)
	}
	w.odds, w.now = 0, w.now.Add(2*time.Minute)
	w.fail("user_unknown") // what was under way when a process died, and is leased no more
	w.settleDown()
}

// checkStorm holds the bounds, and that each failure is reported once.
func (w *world) checkStorm(failures, threshold, digests int) {
	w.t.Helper()
	seen := map[string]int{}
	var single, folded int
	for _, x := range w.reports() {
		if x.Digest != nil {
			folded++
		} else {
			single++
		}
		for _, a := range append(x.Recipients, x.Digest...) {
			seen[a]++
		}
	}
	if len(seen) != failures {
		w.t.Errorf("%d of %d failures are reported", len(seen), failures)
	}
	for a, n := range seen {
		if n != 1 {
			w.t.Errorf("%s is reported %d times", a, n)
		}
	}
	if single > threshold || folded > digests || folded == 0 {
		w.t.Errorf("%d reports and %d digests, at most %d and %d are allowed",
			single, folded, threshold, digests)
	}
}

// TestStormEnds: other diagnoses are not folded, a lasting storm stays folded, and after a quiet window all
// is as before.
func TestStormEnds(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	w.o.Storm = stormAfter(2)
	burst := func(n int, reason diagnose.Reason) {
		for range n {
			w.n++
			w.accept("app@example.com", relay.Recipient{Address: fmt.Sprintf("u%d@x", w.n)})
			w.fail(reason)
		}
		w.round(6 * time.Second)
	}
	counts := func() (single, folded int) {
		for _, x := range w.reports() {
			if x.Digest != nil {
				folded++
			} else {
				single++
			}
		}
		return
	}
	expect := func(when string, single, folded int) {
		t.Helper()
		if s, f := counts(); s != single || f != folded {
			t.Errorf("%s: %d reports and %d digests, want %d and %d", when, s, f, single, folded)
		}
	}
	w.restart() // before the storm, not in it
	burst(5, "user_unknown")
	expect("three are put off", 2, 0)
	burst(2, "mailbox_full")
	expect("another diagnosis is another matter", 4, 0)
	w.round(10 * time.Minute)
	expect("the digest", 4, 1)
	burst(3, "user_unknown")
	expect("the storm lasts", 4, 1)
	w.round(10 * time.Minute)
	expect("the second digest", 4, 2)
	w.round(25 * time.Minute)
	burst(2, "user_unknown")
	expect("the storm is over", 6, 2)
	burst(1, "user_unknown")
	w.round(10 * time.Minute)
	expect("a digest of one is a report", 7, 2)
}

// TestStormThroughCrash: a crash among the reports before a storm's digest does not make the storm begin
// again.
func TestStormThroughCrash(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	w.o.Storm = stormAfter(5)
	burst := func(n int) {
		for range n {
			w.n++
			w.accept("app@example.com", relay.Recipient{Address: fmt.Sprintf("u%d@x", w.n)})
		}
		w.fail("user_unknown")
	}
	w.restart()
	w.died.last = 6 // before it: two reads, the postponed notices, two reports
	burst(7)
	w.round(6 * time.Second)
	if n := len(w.reports()); n != 2 || !w.died.dead {
		t.Fatalf("%d reports before the crash, dead: %v", n, w.died.dead)
	}
	burst(4)
	w.settleDown()
	w.checkStorm(11, 5, 1)
}

// TestLongDigest: a message to very many recipients makes several digests, none of them longer than others.
func TestLongDigest(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	w.o.Storm = stormAfter(1)
	var rs []relay.Recipient
	for i := range 2501 {
		rs = append(rs, relay.Recipient{Address: fmt.Sprintf("r%d@x", i)})
	}
	w.accept("app@example.com", rs...)
	w.fail("user_unknown")
	w.settleDown()
	w.checkStorm(2501, 1, 3)
	for _, x := range w.reports() {
		if len(x.Digest) > 1000 {
			t.Errorf("a digest of %d failures", len(x.Digest))
		}
	}
}

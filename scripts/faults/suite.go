package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"mailwhy/relay/smtptest/ledger"
)

// test is one way of attacking.
type test struct {
	name  string
	does  string
	needs []need
	run   func(ctx context.Context, s *site, r *result)
}

// tests are all there are, in the order in which they run.
func tests() []test {
	return []test{
		{"door", "strangers, a second relay on the same spool, no upstream", nil, testDoor},
		{"kill9", "kill -9 at random times under load", nil, testKill},
		{
			"points",
			"kill -9 just before each write to the spool, one after the other",
			[]need{needStrace},
			testPoints,
		},
		{
			"powercut",
			"power cut under load, on ext4 with data=ordered and data=writeback",
			[]need{needLoop},
			testPowerCut,
		},
		{
			"ioerror",
			"system calls on the spool that fail, under load",
			[]need{needStrace, needLoop},
			testIOError,
		},
		{
			"diskfull",
			"no space, no inodes, under load; restart on a full disk",
			[]need{needLoop},
			testDiskFull,
		},
		{"corrupt", "bytes of the spool torn, flipped and zeroed", nil, testCorrupt},
		{
			"matrix",
			"every stage and fault of Postfix's smtp-sink as the upstream",
			[]need{needSink},
			testMatrix,
		},
		{"cut", "the dialogue with the upstream cut after each byte", nil, testCut},
		{"replies", "an upstream whose replies are not SMTP", nil, testReplies},
		{"failover", "one of two upstreams dies, throttles, refuses us, changes its mind, under load",
			nil, testFailover},
		{"feedback", "a provider tells of bounces; kill -9 and a full disk", []need{needLoop}, testFeedback},
		{"webhook", "an application hears of refusals; kill -9 of the relay and of the application", nil,
			testWebhook},
		{"upgrade", "this release on the spools of earlier ones that were killed, and killed there itself",
			[]need{needHistory}, testUpgrade},
		{"downgrade", "earlier releases on the spool of this one", []need{needHistory}, testDowngrade},
		{"sigterm", "SIGTERM in each phase", nil, testTerm},
		clustered("primary", "kill -9 of the primary, its standby promoted", testPrimary),
		clustered("relay", "kill -9 of relays in the middle of attempts", testReplica),
		clustered("frozen", "a relay frozen for longer than others wait, then woken", testFrozen),
		clustered("cutoff", "a relay cut off from the database alone", testCutOff),
		clustered("standby", "the standby frozen, commits cancelled, the primary killed", testStandby),
		clustered("oldprimary", "the old primary is back, and one relay sees no other", testOldPrimary),
		clustered("away", "no database for a while", testAway),
		trying("kill9", nil, testKill), trying("points", []need{needStrace}, testPoints),
		trying("matrix", []need{needSink}, testMatrix), trying("cut", nil, testCut),
		trying("replies", nil, testReplies), trying("sigterm", nil, testTerm),
	}
}

// trying is a test with a relay that offers mail to its upstream while the client waits.
func trying(name string, needs []need, run func(context.Context, *site, *result)) test {
	return test{"try-" + name, name + `, with accept.mode = "try"`, needs,
		func(ctx context.Context, s *site, r *result) {
			r.try = true
			run(ctx, s, r)
		}}
}

// clustered is a test with three relays on one queue, under load.
func clustered(name, does string, run func(context.Context, *site, *result)) test {
	return test{"cluster-" + name, does, []need{needPostgres}, run}
}

// result is what a test found.
type result struct {
	name    string
	does    string
	missing string // why it could not run here
	runs    int    // faults injected
	tally   ledger.Tally
	notes   []string // counts of its own
	broken  []string
	took    time.Duration
	out     io.Writer
	try     bool // the relay offers mail while the client waits

	mu sync.Mutex // tests run scenarios side by side
}

// ran counts n faults.
func (r *result) ran(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs += n
}

// add enters the verdict of a scenario.
func (r *result) add(v *ledger.Verdict) {
	r.mu.Lock()
	r.tally.Add(&v.Tally)
	r.mu.Unlock()
	for _, b := range v.Broken {
		r.fail("%s", b)
	}
}

// fail enters something that did not hold.
func (r *result) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = append(r.broken, text)
	if len(r.broken) <= maxShown {
		fmt.Fprintf(r.out, "  BROKEN %s\n", text)
	}
}

// note enters a sentence with counts.
func (r *result) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
	fmt.Fprintf(r.out, "  %s\n", text)
}

// maxShown bounds how many violations of one test are printed.
const maxShown = 25

// runTest runs one test; a panic in it is a violation, and the next test goes on.
func (s *site) runTest(ctx context.Context, t test) *result {
	r := &result{name: t.name, does: t.does, out: s.out}
	fmt.Fprintf(s.out, "%s: %s\n", t.name, t.does)
	for _, n := range t.needs {
		if why := s.lacks(ctx, n); why != "" {
			r.missing = why
			fmt.Fprintf(s.out, "  CANNOT RUN: %s\n", why)
			return r
		}
	}
	start := time.Now()
	mark := s.mark()
	func() {
		defer s.unwind(mark)
		defer func() {
			if p := recover(); p != nil {
				if f, ok := p.(fatal); ok {
					r.fail("%s", f)
					return
				}
				panic(p)
			}
		}()
		t.run(ctx, s, r)
	}()
	r.took = time.Since(start)
	if ctx.Err() != nil {
		r.fail("stopped before its end: %v", context.Cause(ctx))
	}
	fmt.Fprintf(s.out, "  %s; %d runs in %.1f s: %s\n", r.tally, r.runs, r.took.Seconds(), r.word())
	return r
}

// fatal ends a test; see must.
type fatal string

// must ends the test when what it builds on fails.
func must(err error, doing string) {
	if err != nil {
		panic(fatal(doing + ": " + err.Error()))
	}
}

// word is the outcome.
func (r *result) word() string {
	switch {
	case r.missing != "":
		return "could not run"
	case len(r.broken) > 0:
		return fmt.Sprintf("%d BROKEN", len(r.broken))
	}
	return "held"
}

// summarize prints the table and returns the exit status.
func summarize(out io.Writer, o options, results []*result, err error) int {
	fmt.Fprintf(
		out,
		"\n| test | faults | acked | arrived | bounced | lost | named lost | duplicates (most at one fault) "+
			"| damaged | outcome | s |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
	)
	var sum ledger.Tally
	broken, missing, runs := 0, 0, 0
	for _, r := range results {
		t := &r.tally
		fmt.Fprintf(out, "| %s | %d | %d | %d | %d | %d | %d | %d (%d) | %d | %s | %.0f |\n", r.name, r.runs,
			t.Acked, t.Arrived, t.Bounced, t.Lost, t.Named, t.Duplicates, t.Worst, t.Damaged, r.word(),
			r.took.Seconds())
		sum.Add(t)
		runs += r.runs
		broken += len(r.broken)
		if r.missing != "" {
			missing++
		}
	}
	fmt.Fprintf(out, "| all | %d | %d | %d | %d | %d | %d | %d (%d) | %d | %d broken | |\n\n", runs,
		sum.Acked, sum.Arrived, sum.Bounced, sum.Lost, sum.Named, sum.Duplicates, sum.Worst, sum.Damaged,
		broken)
	for _, r := range results {
		if r.missing != "" {
			fmt.Fprintf(out, "%s could not run: %s\n", r.name, r.missing)
		}
		for _, n := range r.notes {
			fmt.Fprintf(out, "- %s: %s\n", r.name, strings.TrimSpace(n))
		}
	}
	switch {
	case broken > 0 || err != nil:
		return exitBroken
	case missing > 0 && !o.allowMissing:
		return exitMissing
	}
	return 0
}

// counter counts by name. It is safe for concurrent use.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name] += n
}

// String is "3 fsync, 1 rename".
func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return counted(c.n)
}

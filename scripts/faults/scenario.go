package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
	"mailwhy/scripts/faults/traffic"
)

// scenario is one spool with a relay, a sink, a client and their ledgers.
type scenario struct {
	site   *site
	result *result
	dir    string
	ledger *ledger.Ledger
	sink   *traffic.Sink
	client *traffic.Client
	setup  *relaySetup
	others []*relaySetup // of a fleet: whose logs count too
	relay  *relayProcess // nil while none runs
	slow   time.Duration // longest start
	most   [2]int64      // bytes and files, most seen
	rules  ledger.Rules
	kills  int
}

// newScenario prepares a scenario. Its spool is spool, or a directory of its own when that is empty.
func newScenario(s *site, r *result, spool string) *scenario {
	dir := s.fresh(r.name)
	l, err := ledger.Open(dir)
	must(err, "opening the ledgers")
	s.later(func() { l.Close() })
	k, err := traffic.StartSink(l, "", secret)
	must(err, "starting the sink")
	s.later(func() { k.Release(); k.Close() })
	if spool == "" {
		spool = filepath.Join(dir, "spool")
	}
	t := &scenario{
		site: s, result: r, dir: dir, ledger: l, sink: k, rules: ledger.Rules{Concurrency: concurrency},
	}
	password := filepath.Join(dir, "password")
	must(os.WriteFile(password, []byte(secret+"\n"), 0o600), "writing the password")
	t.setup = &relaySetup{
		binary: s.binary, dir: dir, spool: spool, listen: s.freePort(),
		upstream: "smtp://user@" + k.Addr() + "?tls=none",
		env: []string{
			"MAILWHY_UPSTREAM_PASSWORD_FILE=" + password,
			"MAILWHY_UPSTREAM_ALLOW_PLAINTEXT_AUTH=true",
			fmt.Sprintf("MAILWHY_UPSTREAM_CONCURRENCY=%d", concurrency),
			"MAILWHY_DSN_COLLECT=100ms",
			"MAILWHY_LOG_LEVEL=debug",
			"MAILWHY_SPOOL_FREE_FLOOR=1MiB",
		},
	}
	t.setup.env = append(t.setup.env, r.mode()...)
	if r.try {
		k.Script = sometimesSlow
	}
	t.client = &traffic.Client{Ledger: l, Addr: t.setup.listen, Prefix: "m", Drops: true}
	s.later(func() {
		if t.relay != nil {
			t.relay.kill()
		}
	})
	return t
}

// tryFor is how long clients wait for a verdict.
const tryFor = 200 * time.Millisecond

// mode is the part of a relay's environment that says what it does before it answers a client.
func (r *result) mode() []string {
	if !r.try {
		return nil
	}
	return []string{"MAILWHY_ACCEPT_MODE=try", "MAILWHY_ACCEPT_TRY_FOR=" + tryFor.String()}
}

// sometimesSlow has one in a hundred messages take longer than clients wait for the verdict, so that it comes
// into the spool while it is being offered.
func sometimesSlow(c smtptest.Command) smtptest.Action {
	if c.Stage == diagnose.StageEndOfData && rand.IntN(100) == 0 {
		return smtptest.Action{Delay: tryFor + between(0, tryFor/2)}
	}
	return smtptest.Action{}
}

// start starts the relay. That it does not start is a violation, and ends the test.
func (t *scenario) start(ctx context.Context) {
	p, err := t.setup.start(ctx)
	must(err, "I7 starting the relay")
	t.relay = p
	t.slow = max(t.slow, p.ready)
}

// kill is kill -9, entered into the ledger once all that was under way has ended.
func (t *scenario) kill() {
	t.relay.kill()
	t.buried()
	t.kills++
}

// buried notes that the relay is dead.
func (t *scenario) buried() {
	t.noteUsage()
	t.relay = nil
	t.sink.Quiet()
	must(t.ledger.Write(ledger.Record{What: ledger.Crashed}), "writing the ledger")
}

// stop is SIGTERM: the relay must end by itself, in time, with status 0.
func (t *scenario) stop() {
	took, err := t.relay.stop()
	if err != nil {
		t.result.fail("SIGTERM: %v (after %v)", err, took.Round(time.Millisecond))
	}
	t.noteUsage()
	t.relay = nil
}

// noteUsage keeps the most that was seen.
func (t *scenario) noteUsage() {
	t.relay.unwatch()
	t.most[0] = max(t.most[0], t.relay.memory)
	t.most[1] = max(t.most[1], t.relay.files)
}

// drain waits until every recipient of an acknowledged message is accounted for, or for limit, and then a
// moment longer for what should not come.
func (t *scenario) drain(ctx context.Context, limit time.Duration) bool {
	ok := t.until(ctx, limit, func() bool { return t.ledger.Outstanding() == 0 })
	traffic.Sleep(ctx, 300*time.Millisecond)
	return ok
}

// until waits until done, or for limit.
func (t *scenario) until(ctx context.Context, limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; {
		if done() {
			return true
		}
		traffic.Sleep(ctx, 10*time.Millisecond)
	}
	return done()
}

// end drains, stops the relay, and holds the ledgers against each other and the logs against I8 and I9. A
// relay that must not have anything left is then started once more, to see that nothing comes out of the
// spool any more.
func (t *scenario) end(ctx context.Context, limit time.Duration) *ledger.Verdict {
	t.drain(ctx, limit)
	if t.relay != nil {
		t.stop()
	}
	t.start(ctx)
	traffic.Sleep(ctx, 700*time.Millisecond)
	t.stop()
	return t.judge()
}

// judge checks the ledgers and the logs, and enters what it finds into the result.
func (t *scenario) judge() *ledger.Verdict {
	t.sink.Quiet()
	if t.rules.Ambiguous == nil {
		t.rules.Ambiguous = t.uncertain()
	}
	v, err := t.ledger.Check(t.rules)
	must(err, "reading the ledgers")
	t.checkLogs(v)
	if t.most[0] > maxResident || t.most[1] > maxFiles {
		v.Failf("I8 the relay took %d KiB and %d files", t.most[0]>>10, t.most[1])
	}
	t.result.add(v)
	if len(v.Broken) > 0 {
		t.result.note("the ledgers and logs of what did not hold are in %s (with --keep)", t.dir)
	}
	return v
}

// checkLogs looks for what no log may hold, and for delivery log lines that are not JSON: at most one a
// crash.
func (t *scenario) checkLogs(v *ledger.Verdict) {
	for _, name := range t.logs() {
		b, err := os.ReadFile(name)
		if err != nil {
			v.Failf("the log cannot be read: %v", err)
			continue
		}
		for _, word := range []string{secret, traffic.BodyWords} {
			if bytes.Contains(b, []byte(word)) {
				v.Failf("I9 %s contains %q", filepath.Base(name), word)
			}
		}
		if i := bytes.Index(b, []byte("panic")); i >= 0 {
			v.Failf("%s shows a panic: %s", filepath.Base(name), b[i:min(len(b), i+400)])
		}
	}
	torn := 0
	for _, setup := range t.setups() {
		for line := range bytes.Lines(readFile(setup.deliveryLog())) {
			if !json.Valid(line) {
				torn++
			}
		}
	}
	if torn > v.Crashes {
		v.Failf("%d lines of the delivery log are torn, after %d crashes", torn, v.Crashes)
	}
}

// setups are those of all the scenario's relays.
func (t *scenario) setups() []*relaySetup { return append([]*relaySetup{t.setup}, t.others...) }

// logs are the names of all their logs.
func (t *scenario) logs() (names []string) {
	for _, setup := range t.setups() {
		names = append(names, setup.log(), setup.deliveryLog())
	}
	return names
}

// event is a line of the delivery log, as far as it matters here.
type event struct {
	Event     string `json:"event"`
	ID        string `json:"id"`
	To        string `json:"to"`
	Upstream  string `json:"upstream"`
	Stage     string `json:"stage"`
	Code      int    `json:"code"`
	Reply     string `json:"reply"`
	Uncertain bool   `json:"uncertain"`
}

// events reads the delivery logs.
func (t *scenario) events() []event {
	var all []event
	for _, setup := range t.setups() {
		for line := range bytes.Lines(readFile(setup.deliveryLog())) {
			var e event
			if json.Unmarshal(line, &e) == nil {
				all = append(all, e)
			}
		}
	}
	return all
}

// uncertain counts, by queue id, the ends of data that the relay called uncertain.
func (t *scenario) uncertain() map[string]int {
	n := map[string]int{}
	for _, e := range t.events() {
		if e.Uncertain {
			n[e.ID]++
		}
	}
	return n
}

// readFile is a file's content, or nothing.
func readFile(name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return b
}

// named reports whether any log names a message as damaged.
func (t *scenario) named() func(queue string) bool {
	log, lines := string(readFile(t.setup.log())), t.events()
	return func(queue string) bool {
		if queue == "" {
			return false
		}
		for _, e := range lines {
			if e.ID == queue && e.Event == "quarantined" {
				return true
			}
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, queue) && strings.Contains(line, "level=ERROR") {
				return true
			}
		}
		return false
	}
}

// between is a random duration.
func between(from, to time.Duration) time.Duration {
	return from + rand.N(to-from)
}

// usageNote is the relay's use of the machine, for the result.
func (t *scenario) usageNote() string {
	return fmt.Sprintf("slowest start %v, at most %d MiB resident, %d files",
		t.slow.Round(time.Millisecond), t.most[0]>>20, t.most[1])
}

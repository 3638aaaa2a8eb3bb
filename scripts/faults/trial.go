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
	"sync/atomic"
	"time"
)

// trial is one spool with a relay, a sink, a client and their ledgers.
type trial struct {
	site   *site
	result *result
	dir    string
	ledger *ledger
	sink   *sink
	client *client
	setup  *relaySetup
	relay  *relayProcess // nil while none runs
	slow   time.Duration // longest start
	most   [2]int64      // KiB and files, most seen
	rules  rules
	kills  int
}

// newTrial prepares a trial. Its spool is spool, or a directory of its own when that is empty.
func newTrial(s *site, r *result, spool string) *trial {
	dir := s.fresh(r.name)
	l, err := openLedger(dir)
	must(err, "opening the ledgers")
	s.later(l.close)
	k, err := startSink(l, "")
	must(err, "starting the sink")
	s.later(func() { k.release(); k.Close() })
	if spool == "" {
		spool = filepath.Join(dir, "spool")
	}
	t := &trial{site: s, result: r, dir: dir, ledger: l, sink: k, rules: rules{concurrency: concurrency}}
	password := filepath.Join(dir, "password")
	must(os.WriteFile(password, []byte(secret+"\n"), 0o600), "writing the password")
	t.setup = &relaySetup{
		binary: s.binary, dir: dir, spool: spool, listen: s.freePort(), upstream: "smtp://user@" + k.Addr() + "?tls=none",
		env: []string{
			"MAILWHY_UPSTREAM_PASSWORD_FILE=" + password, "MAILWHY_UPSTREAM_ALLOW_PLAINTEXT_AUTH=true",
			fmt.Sprintf("MAILWHY_UPSTREAM_CONCURRENCY=%d", concurrency), "MAILWHY_DSN_COLLECT=100ms", "MAILWHY_LOG_LEVEL=debug",
			"MAILWHY_SPOOL_FREE_FLOOR=1MiB",
		},
	}
	t.client = &client{ledger: l, addr: t.setup.listen, prefix: "m", next: new(atomic.Int64), drops: true}
	s.later(func() {
		if t.relay != nil {
			t.relay.kill()
		}
	})
	return t
}

// start starts the relay. That it does not start is a violation, and ends the test.
func (t *trial) start(ctx context.Context) {
	p, err := t.setup.start(ctx)
	must(err, "I7 starting the relay")
	t.relay = p
	t.slow = max(t.slow, p.ready)
}

// kill is kill -9, entered into the ledger once all that was under way has ended.
func (t *trial) kill() {
	t.relay.kill()
	t.buried()
	t.kills++
}

// buried notes that the relay is dead.
func (t *trial) buried() {
	t.noteUsage()
	t.relay = nil
	t.sink.quiet()
	must(t.ledger.write(record{What: crashed}), "writing the ledger")
}

// stop is SIGTERM: the relay must end by itself, in time, with status 0.
func (t *trial) stop() {
	took, err := t.relay.stop()
	if err != nil {
		t.result.fail("SIGTERM: %v (after %v)", err, took.Round(time.Millisecond))
	}
	t.noteUsage()
	t.relay = nil
}

// noteUsage keeps the most that was seen.
func (t *trial) noteUsage() {
	if t.relay.worst.resident.Load() > 0 {
		<-t.relay.usages
	}
	t.most[0] = max(t.most[0], t.relay.worst.resident.Load())
	t.most[1] = max(t.most[1], t.relay.worst.files.Load())
}

// drain waits until every recipient of an acknowledged message is accounted for, or for limit, and then a moment longer for
// what should not come.
func (t *trial) drain(ctx context.Context, limit time.Duration) bool {
	ok := t.until(ctx, limit, func() bool { return t.ledger.outstanding() == 0 })
	sleep(ctx, 300*time.Millisecond)
	return ok
}

// until waits until done, or for limit.
func (t *trial) until(ctx context.Context, limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; {
		if done() {
			return true
		}
		sleep(ctx, 10*time.Millisecond)
	}
	return done()
}

// end drains, stops the relay, and holds the ledgers against each other and the logs against I8 and I9. A relay that
// must not have anything left is then started once more, to see that nothing comes out of the spool any more.
func (t *trial) end(ctx context.Context, limit time.Duration) *verdict {
	t.drain(ctx, limit)
	if t.relay != nil {
		t.stop()
	}
	t.start(ctx)
	sleep(ctx, 700*time.Millisecond)
	t.stop()
	return t.judge()
}

// judge checks the ledgers and the logs, and enters what it finds into the result.
func (t *trial) judge() *verdict {
	t.sink.quiet()
	records, err := t.ledger.read()
	must(err, "reading the ledgers")
	if t.rules.ambiguous == nil {
		t.rules.ambiguous = t.uncertain()
	}
	v := check(records, t.rules)
	for _, c := range t.sink.complaints() {
		v.fail("I3 %s", c)
	}
	t.checkLogs(v)
	if t.most[0] > maxResident || t.most[1] > maxFiles {
		v.fail("I8 the relay took %d KiB and %d files", t.most[0], t.most[1])
	}
	t.result.add(v)
	if len(v.broken) > 0 {
		t.result.note("the ledgers and logs of what did not hold are in %s (with --keep)", t.dir)
	}
	return v
}

// checkLogs looks for what no log may hold, and for delivery log lines that are no JSON: at most one a crash.
func (t *trial) checkLogs(v *verdict) {
	for _, name := range []string{t.setup.log(), t.setup.deliveryLog()} {
		b, err := os.ReadFile(name)
		if err != nil {
			v.fail("the log cannot be read: %v", err)
			continue
		}
		for _, word := range []string{secret, bodyMark} {
			if bytes.Contains(b, []byte(word)) {
				v.fail("I9 %s contains %q", filepath.Base(name), word)
			}
		}
		if i := bytes.Index(b, []byte("panic")); i >= 0 {
			v.fail("%s tells of a panic: %s", filepath.Base(name), b[i:min(len(b), i+400)])
		}
	}
	torn := 0
	for line := range bytes.Lines(readFile(t.setup.deliveryLog())) {
		if !json.Valid(line) {
			torn++
		}
	}
	if torn > v.Crashes {
		v.fail("%d lines of the delivery log are torn, after %d crashes", torn, v.Crashes)
	}
}

// event is a line of the delivery log, as far as it matters here.
type event struct {
	Event     string `json:"event"`
	ID        string `json:"id"`
	To        string `json:"to"`
	Stage     string `json:"stage"`
	Code      int    `json:"code"`
	Reply     string `json:"reply"`
	Uncertain bool   `json:"uncertain"`
}

// events reads the delivery log.
func (t *trial) events() []event {
	var all []event
	for line := range bytes.Lines(readFile(t.setup.deliveryLog())) {
		var e event
		if json.Unmarshal(line, &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// uncertain counts, by queue id, the ends of data that the relay called uncertain.
func (t *trial) uncertain() map[string]int {
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
func (t *trial) named() func(queue string) bool {
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
func (t *trial) usageNote() string {
	return fmt.Sprintf("slowest start %v, at most %d MiB resident, %d files", t.slow.Round(time.Millisecond), t.most[0]>>10, t.most[1])
}

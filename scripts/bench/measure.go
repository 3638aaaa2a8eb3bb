package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
	"mailwhy/relay/smtptest/process"
)

// measurement is the outcome of one run. What does not apply is 0.
type measurement struct {
	rate     float64       // messages a second, end to end
	p50, p99 time.Duration // from MAIL to the reply to the content
	cpu      float64       // seconds for 1,000 messages, of the relay's processes
	idle     int64         // bytes resident before the load
	peak     int64         // bytes resident, the sum over the relay's processes
	fsyncs   float64       // a message; only from the separate run
	events   float64       // a second, that the relay was told of, or sent
	course   []int64       // bytes resident at the start, in the middle and at the end of a case that lasts
}

// String is the measurement on one line.
func (m measurement) String() string {
	s := fmt.Sprintf(
		"%7.0f msg/s  p50 %8.2f ms  p99 %8.2f ms  CPU %6.3f s/1000  RSS %5.1f MB idle %6.1f MB peak", m.rate,
		ms(m.p50), ms(m.p99), m.cpu, mb(m.idle), mb(m.peak))
	if len(m.course) > 0 {
		s += fmt.Sprintf(" (%.1f at the start, %.1f in the middle, %.1f at the end)", mb(m.course[0]),
			mb(m.course[1]), mb(m.course[2]))
	}
	if m.events > 0 {
		s += fmt.Sprintf("  %4.0f events/s", m.events)
	}
	return s
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mb(n int64) float64 { return float64(n) / 1e6 }

// collecting is how long mailwhy by default waits for further failures of a message before it reports them.
// It is a wait, not work, and is taken off the time of the refused case.
const collecting = 5 * time.Second

// refusal is what the sink says to the recipients of the refused case. Their bounces go to others.
func refusal(c smtptest.Command) smtptest.Action {
	if c.Stage == diagnose.StageRcpt && c.Address == refusedRecipient {
		return smtptest.Action{
			Reply: "550 5.1.1 <" + c.Address + ">: Recipient address rejected: User unknown",
		}
	}
	return smtptest.Action{}
}

const refusedRecipient = "unknown@sink.test"

// bench is one relay between a load and a sink.
type bench struct {
	relay  *running
	ledger *ledger.Ledger
	load   smtptest.Load
	lasts  time.Duration // of the load; 0: until all messages were sent
	close  []func() error
}

// setUp starts the sink, what delays it, and the relay.
func (o *options) setUp(ctx context.Context, c testCase, r relay, under []string) (b *bench, err error) {
	b = &bench{ledger: ledger.New()}
	defer func() {
		if err != nil {
			b.tearDown()
		}
	}()
	sink := smtptest.Options{Ledger: b.ledger, Forget: true}
	if c.refused {
		sink.Script = refusal
	}
	s, err := smtptest.Start(sink)
	if err != nil {
		return b, err
	}
	b.close = append(b.close, s.Close)
	upstream := s.Addr()
	if c.roundTrip > 0 {
		p, err := smtptest.StartProxy(upstream)
		if err != nil {
			return b, err
		}
		b.close = append(b.close, p.Close)
		half := smtptest.Faults{Delay: c.roundTrip / 2}
		p.Damage(half, half)
		upstream = p.Addr()
	}
	dir, err := os.MkdirTemp(o.dir, "run-")
	if err != nil {
		return b, err
	}
	b.close = append(b.close, func() error { return o.cleanUp(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		return b, err
	}
	if b.relay, err = r.start(ctx, dir, upstream, under); err != nil {
		return b, err
	}
	b.close = append(b.close, b.relay.stop)
	b.load = smtptest.Load{
		Addr:          b.relay.addr,
		Sessions:      c.sessions,
		Size:          c.size,
		PerConnection: c.perConnection,
		Messages:      max(int(float64(c.messages)*o.scale), c.sessions),
		Pipelining:    o.pipelining,
		Ledger:        b.ledger,
	}
	if c.refused {
		b.load.To = refusedRecipient
	}
	if b.lasts = time.Duration(float64(c.lasts) * o.scale); b.lasts > 0 {
		b.load.Messages = math.MaxInt
	}
	return b, nil
}

// cleanUp removes a run's directory.
func (o *options) cleanUp(dir string) error {
	if o.keep {
		return nil
	}
	return os.RemoveAll(dir)
}

// tearDown ends everything, last things first.
func (b *bench) tearDown() error {
	var errs []error
	for i := len(b.close) - 1; i >= 0; i-- {
		errs = append(errs, b.close[i]())
	}
	return errors.Join(errs...)
}

// measure runs one case through one relay.
func (o *options) measure(ctx context.Context, c testCase, r relay) (m measurement, err error) {
	b, err := o.setUp(ctx, c, r, nil)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, b.tearDown()) }()
	if b.relay.proc != nil {
		_, m.idle = process.Usage(b.relay.proc.PID())
	}
	if err := o.warmUp(ctx, b); err != nil {
		return m, err
	}
	end := b.observe(&m)
	result, last, err := o.send(ctx, b)
	end(result.Acked, c.lasts > 0)
	if err != nil {
		return m, err
	}
	elapsed := last.Sub(result.Started)
	if c.refused && r.name() != "postfix" {
		elapsed = max(elapsed-collecting, result.Elapsed)
	}
	m.rate = float64(result.Acked) / elapsed.Seconds()
	m.p50, m.p99 = result.Whole.Quantile(0.5), result.Whole.Quantile(0.99)
	return m, o.exactlyOnce(b, c)
}

// observe measures the relay's processes until the end, when so many messages were taken. The process table
// is read rarely: that costs the relay's own processor.
func (b *bench) observe(m *measurement) (end func(messages int, lasts bool)) {
	if b.relay.proc == nil {
		return func(int, bool) {}
	}
	pid, began := b.relay.proc.PID(), time.Now()
	before, _ := process.Usage(pid)
	var sizes []int64
	told := b.told()
	w := process.Watch(250*time.Millisecond, func() {
		_, rss := process.Usage(pid)
		sizes = append(sizes, rss)
		m.peak = max(m.peak, rss)
	})
	return func(messages int, lasts bool) {
		w.End()
		after, _ := process.Usage(pid)
		m.cpu = (after - before).Seconds() * 1000 / float64(messages)
		m.events = float64(b.told()-told) / time.Since(began).Seconds()
		if n := len(sizes); lasts && n > 0 {
			m.course = []int64{sizes[0], sizes[n/2], sizes[n-1]}
		}
	}
}

// told is how many events were told so far.
func (b *bench) told() int64 {
	if b.relay.told == nil {
		return 0
	}
	return b.relay.told.sent.Load()
}

// warmUp lets the relay start its processes and open its connections.
func (o *options) warmUp(ctx context.Context, b *bench) error {
	load := b.load
	load.Messages = 2 * load.Sessions
	load.Size = min(load.Size, 4<<10)
	if _, err := load.Run(ctx); err != nil {
		return err
	}
	return o.settled(ctx, b)
}

// send runs the load and waits until everything has arrived.
func (o *options) send(ctx context.Context, b *bench) (r smtptest.LoadResult, last time.Time, err error) {
	during, stop := ctx, context.CancelFunc(func() {})
	if b.lasts > 0 {
		during, stop = context.WithTimeout(ctx, b.lasts)
	}
	r, err = b.load.Run(during)
	stop()
	if err != nil {
		return r, last, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.settle)
	defer cancel()
	last, err = b.ledger.Settled(ctx)
	return r, last, err
}

// settled waits until everything has arrived.
func (o *options) settled(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, o.settle)
	defer cancel()
	_, err := b.ledger.Settled(ctx)
	return err
}

// exactlyOnce holds the sink to what was offered: each message came once, or came back once, unchanged.
func (o *options) exactlyOnce(b *bench, c testCase) error {
	v, err := b.ledger.Check(ledger.Rules{})
	if err != nil {
		return err
	}
	want := ledger.Tally{Offered: v.Offered, Acked: v.Offered, Arrived: v.Offered}
	if c.refused {
		want.Arrived, want.Bounced = 0, v.Offered
	}
	if v.Tally != want || len(v.Broken) > 0 {
		return fmt.Errorf("not exactly once: %v; %q", v.Tally, v.Broken[:min(5, len(v.Broken))])
	}
	return nil
}

// fsyncCase is the load under which fsyncs are counted.
var fsyncCase = testCase{name: "4k-10", sessions: 10, messages: 500, size: 4 << 10}

// countFsyncs runs each relay once more, shortly, under strace.
func (o *options) countFsyncs(ctx context.Context, relays []relay, all results) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		fmt.Println("skipping the fsyncs: strace is not installed")
		return nil
	}
	for _, r := range relays {
		if r.name() == "direct" {
			continue
		}
		n, err := o.fsyncs(ctx, r, strace)
		if err != nil {
			return fmt.Errorf("counting the fsyncs of %s: %w", r.name(), err)
		}
		all.fsyncs(r.name(), n)
	}
	return nil
}

// fsyncs are those of one relay, for each message.
func (o *options) fsyncs(ctx context.Context, r relay, strace string) (float64, error) {
	out := filepath.Join(o.dir, "strace")
	b, err := o.setUp(ctx, fsyncCase, r, []string{
		strace, "-f", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync,sync_file_range", "-o", out,
	})
	if err != nil {
		return 0, err
	}
	_, _, err = o.send(ctx, b)
	if err = errors.Join(err, b.tearDown()); err != nil { // strace writes its table at the end
		return 0, err
	}
	table, err := os.ReadFile(out)
	if err != nil {
		return 0, err
	}
	calls := 0
	syncs := regexp.MustCompile(`(?m)^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*sync`)
	for _, line := range syncs.FindAllSubmatch(table, -1) {
		n, _ := strconv.Atoi(string(line[1]))
		calls += n
	}
	return float64(calls) / float64(b.load.Messages), nil
}

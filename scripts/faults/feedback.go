package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
	"mailwhy/scripts/faults/disk"
	"mailwhy/scripts/faults/hook"
	"mailwhy/scripts/faults/traffic"
)

// feedbackEvents is how many bounces the provider tells of. Each is about a message of its own.
const feedbackEvents = 1000

// testFeedback lets a provider tell of bounces while the relay is killed, or its disk is full. The provider
// does what all of them do: what is not answered 200 it tells again. Each bounce must become one report to
// the sender, and no two.
func testFeedback(ctx context.Context, s *site, r *result) {
	f := newFeedbackRun(ctx, s, r, "")
	f.telling(ctx, func() {
		for range s.pick(3, 20) {
			traffic.Sleep(ctx, between(20*time.Millisecond, 400*time.Millisecond))
			f.kill()
			r.ran(1)
			f.start(ctx)
		}
	})
	f.judge(ctx, "killed")

	d, err := disk.New(ctx, s.fresh("disk"), 128<<20) // each store has a log of some MiB
	must(err, "making a disk")
	must(d.Mount(ctx), "mounting the disk")
	s.later(func() { d.Unmount() })
	f = newFeedbackRun(ctx, s, r, filepath.Join(d.Dir, "spool"))
	f.telling(ctx, func() {
		must(d.Fill("filler", 0), "filling the disk")
		f.until(ctx, 10*time.Second, func() bool { return f.refused.Load() > 0 })
		if f.refused.Load() == 0 {
			r.fail("full disk: the provider was never refused")
		}
		r.ran(1)
		must(os.Remove(filepath.Join(d.Dir, "filler")), "making room")
	})
	f.judge(ctx, "full disk")
}

// feedbackRun is a relay with mail that was relayed, a provider that tells what became of it, and a sink that
// takes the reports.
type feedbackRun struct {
	*relaySetup
	result *result
	relay  *relayProcess
	sink   *smtptest.Server
	hook   string   // URL of the webhook
	ids    []string // queue ids, by number

	told    atomic.Int64 // answered 200
	refused atomic.Int64 // answered, with something else
	kills   int
}

// newFeedbackRun relays the mail. A run with an empty spool has one of its own.
func newFeedbackRun(ctx context.Context, s *site, r *result, spool string) *feedbackRun {
	dir := s.fresh("feedback")
	if spool == "" {
		spool = filepath.Join(dir, "spool")
	}
	sink, err := smtptest.Start(smtptest.Options{})
	must(err, "starting the sink")
	s.later(func() { sink.Close() })
	hook, conf := s.freePort(), filepath.Join(dir, "relay.toml")
	text := fmt.Sprintf("[feedback]\nlisten = %q\n"+
		"[[feedback.webhook]]\nprovider = \"postmark\"\ncredential = [%q]\n", hook, "provider:"+secret)
	must(os.WriteFile(conf, []byte(text), 0o600), "writing the configuration")
	f := &feedbackRun{
		result: r, sink: sink, hook: "http://" + hook + "/postmark",
		relaySetup: &relaySetup{
			binary: s.binary, dir: dir, spool: spool, listen: s.freePort(),
			upstream: "smtp://" + sink.Addr() + "?tls=none",
			env: []string{
				"MAILWHY_CONFIG=" + conf, "MAILWHY_DSN_COLLECT=100ms", "MAILWHY_SPOOL_FREE_FLOOR=1MiB",
			},
		},
	}
	s.later(func() {
		if f.relay != nil {
			f.relay.kill()
		}
	})
	f.start(ctx)
	f.send(ctx)
	return f
}

func (f *feedbackRun) start(ctx context.Context) {
	p, err := f.relaySetup.start(ctx)
	must(err, "I7 starting the relay")
	f.relay = p
}

func (f *feedbackRun) kill() {
	f.relay.kill()
	f.relay = nil
	f.kills++
}

// recipient is the address of a message.
func (f *feedbackRun) recipient(n int) string { return fmt.Sprintf("r%d@there.test", n) }

// send relays the messages, and waits until they are remembered: a crash may forget those of the last
// seconds.
func (f *feedbackRun) send(ctx context.Context) {
	c, err := smtptest.Greet(ctx, f.listen, "app.test", smtptest.ClientOptions{})
	must(err, "connecting to the relay")
	defer c.Close()
	queued := regexp.MustCompile(`queued as (\S+)`)
	for n := range feedbackEvents {
		for _, line := range []string{
			"MAIL FROM:<app@client.test>", "RCPT TO:<" + f.recipient(n) + ">", "DATA",
		} {
			c.Say("%s", line)
			_, err := c.Reply()
			must(err, "sending")
		}
		c.Say("Subject: %d\r\n\r\nhello\r\n.", n)
		reply, err := c.Reply()
		must(err, "sending")
		m := queued.FindStringSubmatch(reply.Text)
		if m == nil {
			panic(fatal("sending: " + reply.String()))
		}
		f.ids = append(f.ids, m[1])
	}
	if !f.until(ctx, 30*time.Second, func() bool { return len(f.sink.Messages()) >= feedbackEvents }) {
		panic(fatal(fmt.Sprintf("only %d messages were relayed", len(f.sink.Messages()))))
	}
	traffic.Sleep(ctx, 3*time.Second)
}

// until waits until done, or for limit.
func (f *feedbackRun) until(ctx context.Context, limit time.Duration, done func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; {
		if done() {
			return true
		}
		traffic.Sleep(ctx, 10*time.Millisecond)
	}
	return done()
}

// telling tells of every bounce, eight at a time, while harm does its work.
func (f *feedbackRun) telling(ctx context.Context, harm func()) {
	var all sync.WaitGroup
	next := make(chan int)
	for range 8 {
		all.Go(func() {
			for n := range next {
				f.tell(ctx, n)
			}
		})
	}
	all.Go(func() {
		defer close(next)
		for _, n := range rand.Perm(feedbackEvents) {
			next <- n
			traffic.Sleep(ctx, 2*time.Millisecond)
		}
	})
	harm()
	all.Wait()
}

// tell tells of one bounce until that is answered 200.
func (f *feedbackRun) tell(ctx context.Context, n int) {
	event, err := json.Marshal(map[string]any{
		"RecordType": "Bounce", "ID": n + 1, "Type": "HardBounce", "MessageID": fmt.Sprint("pm-", n),
		"Metadata": map[string]string{"mw": f.ids[n]}, "Email": f.recipient(n),
		"Details":   "smtp;550 5.1.1 <" + f.recipient(n) + ">: user unknown",
		"BouncedAt": time.Now().UTC().Format(time.RFC3339),
	})
	must(err, "making an event")
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.hook, bytes.NewReader(event))
		must(err, "making a request")
		req.SetBasicAuth("provider", secret)
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				f.told.Add(1)
				return
			}
			f.refused.Add(1)
		}
		traffic.Sleep(ctx, 50*time.Millisecond)
	}
}

// lateFeedback is how long the last report may take: what a full disk held up is tried again after a while.
const lateFeedback = 150 * time.Second

// judge waits for the reports, and sees that each bounce has one: in the log, and to the sender. The same
// report may arrive twice, if the relay was killed while it was under way.
func (f *feedbackRun) judge(ctx context.Context, how string) {
	f.until(ctx, lateFeedback, func() bool {
		return len(f.sink.Messages()) >= 2*feedbackEvents && len(f.reports()) >= feedbackEvents
	})
	traffic.Sleep(ctx, 2*time.Second)
	if _, err := f.relay.stop(); err != nil {
		f.result.fail("%s: SIGTERM: %v", how, err)
	}
	f.relay = nil
	reports, logged := f.reports(), f.logged()
	var v ledger.Verdict
	v.Acked, v.Crashes = int(f.told.Load()), f.kills
	for n := range feedbackEvents {
		to := f.recipient(n)
		v.Bounced += min(len(reports[to]), 1)
		if len(reports[to]) == 0 {
			v.Lost++
			v.Failf("%s: nobody was told that %s bounced", how, to)
		}
		if len(reports[to]) > 1 {
			v.Failf("%s: %d reports about %s", how, len(reports[to]), to)
		}
		if logged[to] > 1 {
			v.Failf("%s: the log has %d bounces of %s", how, logged[to], to)
		}
	}
	if b := readFile(f.log()); bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte("panic")) {
		v.Failf("%s: the log shows a secret or a panic", how)
	}
	f.result.add(&v)
	f.result.note("%s: %d events told, %d times refused, %d kills; %d reports, %d lines in the log", how,
		f.told.Load(), f.refused.Load(), f.kills, len(reports), len(logged))
}

// reports are the Message-IDs of the reports that the sink got, by the recipient that they are about.
func (f *feedbackRun) reports() map[string]map[string]bool {
	about := map[string]map[string]bool{}
	for _, m := range f.sink.Messages() {
		if m.From != "" {
			continue
		}
		text := string(m.Content)
		_, after, _ := strings.Cut(text, "Message-ID: ")
		id, _, _ := strings.Cut(after, "\r\n")
		for line := range strings.Lines(text) {
			if to, ok := strings.CutPrefix(line, "Final-Recipient: rfc822;"); ok {
				to = strings.TrimSpace(to)
				if about[to] == nil {
					about[to] = map[string]bool{}
				}
				about[to][id] = true
			}
		}
	}
	return about
}

// logged counts the bounces in the delivery log, by recipient.
func (f *feedbackRun) logged() map[string]int {
	n := map[string]int{}
	for line := range bytes.Lines(readFile(f.deliveryLog())) {
		var e event
		if json.Unmarshal(line, &e) == nil && e.Event == "bounced" {
			n[e.To]++
		}
	}
	return n
}

// webhookMessages is how many messages are refused, half of them after a deferral.
const webhookMessages = 600

// testWebhook has the relay tell an application what failed, while both are killed again and again. The
// application must hear of each refusal at least once, under one id, and of a message's events in their
// order.
func testWebhook(ctx context.Context, s *site, r *result) {
	w := newWebhookRun(ctx, s, r)
	var sending sync.WaitGroup
	sending.Go(func() { w.send(ctx) })
	for range s.pick(4, 25) {
		traffic.Sleep(ctx, between(50*time.Millisecond, 500*time.Millisecond))
		w.relay.kill()
		w.start(ctx)
		traffic.Sleep(ctx, between(10*time.Millisecond, 300*time.Millisecond))
		w.app.Kill()
		traffic.Sleep(ctx, between(10*time.Millisecond, 300*time.Millisecond))
		must(w.app.Start(), "starting the application")
		r.ran(2)
		w.kills++
	}
	sending.Wait()
	w.judge(ctx)
}

// webhookRun is a relay whose upstream refuses everything, and an application that hears of it.
type webhookRun struct {
	*relaySetup
	result *result
	relay  *relayProcess
	app    *hook.Receiver
	acked  []string // queue ids
	kills  int
}

// newWebhookRun starts both.
func newWebhookRun(ctx context.Context, s *site, r *result) *webhookRun {
	dir, addr := s.fresh("webhook"), s.freePort()
	deferred := regexp.MustCompile(`^r\d*[02468]@`)
	var seen sync.Map
	sink, err := smtptest.Start(smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if c.Stage != diagnose.StageRcpt {
			return smtptest.Action{}
		}
		if _, again := seen.LoadOrStore(c.Address, true); !again && deferred.MatchString(c.Address) {
			return smtptest.Action{Reply: "452 4.2.2 Mailbox full"}
		}
		return smtptest.Action{Reply: "550 5.1.1 No such user"}
	}})
	must(err, "starting the sink")
	s.later(func() { sink.Close() })
	conf := filepath.Join(dir, "relay.toml")
	text := fmt.Sprintf("[[webhook]]\nname = \"app\"\nurl = \"http://%s/\"\nsecret = %q\n"+
		"events = [\"deferred\", \"failed\"]\n", addr, hook.Secret)
	must(os.WriteFile(conf, []byte(text), 0o600), "writing the configuration")
	w := &webhookRun{result: r, relaySetup: &relaySetup{
		binary: s.binary, dir: dir, spool: filepath.Join(dir, "spool"), listen: s.freePort(),
		upstream: "smtp://" + sink.Addr() + "?tls=none",
		env: []string{
			"MAILWHY_CONFIG=" + conf, "MAILWHY_DSN_ROUTE=off", "MAILWHY_SPOOL_FREE_FLOOR=1MiB",
		},
	}}
	w.app, err = hook.New(addr)
	must(err, "making the application")
	must(w.app.Start(), "starting the application")
	s.later(func() { w.app.Kill(); w.relay.kill() })
	w.start(ctx)
	return w
}

func (w *webhookRun) start(ctx context.Context) {
	p, err := w.relaySetup.start(ctx)
	must(err, "I7 starting the relay")
	w.relay = p
}

// send sends the messages, each until it is acknowledged.
func (w *webhookRun) send(ctx context.Context) {
	for n := 0; n < webhookMessages && ctx.Err() == nil; {
		id, err := w.sendOne(ctx, n)
		if err != nil { // the relay is being killed
			traffic.Sleep(ctx, 20*time.Millisecond)
			continue
		}
		w.acked = append(w.acked, id)
		n++
		traffic.Sleep(ctx, 2*time.Millisecond)
	}
}

// sendOne sends a message and returns its queue id.
func (w *webhookRun) sendOne(ctx context.Context, n int) (id string, err error) {
	c, err := smtptest.Greet(ctx, w.listen, "app.test", smtptest.ClientOptions{})
	if err != nil {
		return "", err
	}
	defer c.Close()
	to := fmt.Sprintf("r%d@there.test", n)
	for _, line := range []string{"MAIL FROM:<app@client.test>", "RCPT TO:<" + to + ">", "DATA"} {
		c.Say("%s", line)
		if _, err := c.Reply(); err != nil {
			return "", err
		}
	}
	c.Say("Subject: %d\r\n\r\nhello\r\n.", n)
	reply, err := c.Reply()
	_, id, _ = strings.Cut(strings.TrimSpace(reply.Text), "queued as ")
	if err == nil && id == "" {
		err = fmt.Errorf("not accepted: %s", reply.Text)
	}
	return id, err
}

// judge waits until the application has heard of each message, and sees how. What waits by its schedule is
// brought forward, as an operator would.
func (w *webhookRun) judge(ctx context.Context) {
	missing := func() (n int) {
		for _, id := range w.acked {
			if w.app.IDs(id, "failed") == 0 {
				n++
			}
		}
		return n
	}
	client := admin.NewClient(filepath.Join(w.spool, "admin.sock"))
	for end := time.Now().Add(2 * time.Minute); missing() > 0 && time.Now().Before(end); {
		client.EnableWebhook(ctx, "app") // a relay that does not answer is found by what is missing
		traffic.Sleep(ctx, time.Second)
	}
	if _, err := w.relay.stop(); err != nil {
		w.result.fail("SIGTERM: %v", err)
	}
	got, broken := w.app.Result()
	v := ledger.Verdict{}
	v.Acked, v.Bounced, v.Lost, v.Crashes = len(w.acked), len(w.acked)-missing(), missing(), w.kills
	for _, b := range broken {
		v.Failf("the application: %s", b)
	}
	distinct := 0
	for _, id := range w.acked {
		switch n := w.app.IDs(id, "failed"); {
		case n == 0:
			v.Failf("the application did not hear that %s failed", id)
		case n > 1:
			v.Failf("the application heard under %d ids that %s failed", n, id)
		}
		distinct += w.app.IDs(id, "failed") + w.app.IDs(id, "deferred")
	}
	w.result.add(&v)
	w.result.note("%d messages refused, %d kills of each; %d events, %d of them different", len(w.acked),
		w.kills, got, distinct)
}

package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/process"
	"mailwhy/scripts/faults/traffic"
)

// testCut cuts the dialogue with the upstream after each of its bytes, in both directions, with FIN and with
// RST. Only an end of data that was not answered may lead to a duplicate, and the relay must have called it
// uncertain.
func testCut(ctx context.Context, s *site, r *result) {
	said := s.listenIn(ctx, r)
	mail := int64(strings.Index(said.toServer, "MAIL FROM"))
	hello := mail // what the upstream says before it hears MAIL ends with the reply to EHLO
	if i := strings.Index(said.toClient, "250 2.1.0"); i >= 0 {
		hello = int64(i)
	}
	if mail <= 0 {
		r.fail("no dialogue was heard: %q", said.toServer)
		return
	}
	step := int64(s.pick(11, 1))
	var before, after []dialogueCut
	for _, how := range []smtptest.End{smtptest.EndClose, smtptest.EndReset} {
		for n := int64(0); n < int64(len(said.toServer)); n += step {
			c := dialogueCut{smtptest.Cut{After: n, End: how}, true}
			if n < mail {
				before = append(before, c)
			} else {
				after = append(after, c)
			}
		}
		for n := int64(0); n < int64(len(said.toClient)); n += step {
			c := dialogueCut{smtptest.Cut{After: n, End: how}, false}
			if n < hello {
				before = append(before, c)
			} else {
				after = append(after, c)
			}
		}
	}
	r.note("the dialogue has %d bytes to the upstream and %d back", len(said.toServer), len(said.toClient))
	s.cutTransactions(ctx, r, after)
	s.cutGreetings(ctx, r, before)
}

// dialogueCut is one cut, and its direction.
type dialogueCut struct {
	smtptest.Cut
	toServer bool
}

// faults are the cut as the proxy takes it.
func (c *dialogueCut) faults() (toServer, toClient smtptest.Faults) {
	if c.toServer {
		toServer.Cut = &c.Cut
	} else {
		toClient.Cut = &c.Cut
	}
	return toServer, toClient
}

// cutMessages are the messages that meet the cuts: small, so that each byte can be cut at.
func cutMessages() traffic.Mix { return traffic.Mix{Plain: true, Size: 320} }

// cutScenario is a scenario with the proxy before its sink, one message a connection, and no AUTH.
func (s *site) cutScenario(r *result) (*scenario, *smtptest.Proxy) {
	t := newScenario(s, r, "")
	p, err := smtptest.StartProxy(t.sink.Addr())
	must(err, "starting the proxy")
	s.later(func() { p.Close() })
	t.through(p.Addr())
	return t, p
}

// through has the relay go through an address, in clear and without AUTH, a connection for each message.
func (t *scenario) through(addr string) {
	t.setup.upstream = "smtp://" + addr + "?tls=none"
	t.setup.env = []string{
		"MAILWHY_UPSTREAM_CONCURRENCY=5", "MAILWHY_DSN_COLLECT=100ms",
		"MAILWHY_UPSTREAM_MAX_MESSAGES_PER_CONNECTION=1",
	}
	t.client.Mix, t.client.Drops, t.sink.Slow = cutMessages(), false, 0
}

// cutTransactions cuts after the greeting: no other message may notice.
func (s *site) cutTransactions(ctx context.Context, r *result, cuts []dialogueCut) {
	t, p := s.cutScenario(r)
	var used atomic.Int64
	p.DamageEach(func(n int) (toServer, toClient smtptest.Faults) {
		if n > len(cuts) {
			return
		}
		used.Store(int64(n))
		return cuts[n-1].faults()
	})
	t.start(ctx)
	for ctx.Err() == nil && int(used.Load()) < len(cuts) && t.client.Made() < len(cuts) {
		t.client.Offer(ctx, t.client.NewMessage())
	}
	t.drain(ctx, 90*time.Second)
	v := t.end(ctx, time.Second)
	uncertain := 0
	for _, n := range t.uncertain() {
		uncertain += n
	}
	r.ran(int(used.Load()))
	r.note("after the greeting: %d cuts met, %d ends of data called uncertain, %d duplicates", used.Load(),
		uncertain, v.Duplicates)
}

// cutGreetings cuts before MAIL: the lane pauses, and probes. So as not to wait for that each time, the relay
// is stopped and started; the last cuts are left to the lane.
func (s *site) cutGreetings(ctx context.Context, r *result, cuts []dialogueCut) {
	t, p := s.cutScenario(r)
	var at, met atomic.Int64
	p.DamageEach(func(int) (toServer, toClient smtptest.Faults) {
		met.Add(1)
		if i := at.Load(); i < int64(len(cuts)) {
			return cuts[i].faults()
		}
		return
	})
	t.start(ctx)
	for i := range cuts {
		before := met.Load()
		t.client.Offer(ctx, t.client.NewMessage())
		if !t.until(ctx, 10*time.Second, func() bool { return met.Load() > before }) {
			r.fail("the relay does not try its upstream after cut %d", i)
		}
		traffic.Sleep(ctx, 10*time.Millisecond)
		at.Add(1)
		if i < len(cuts)-2 && ctx.Err() == nil {
			t.stop()
			t.start(ctx)
		}
	}
	t.drain(ctx, 60*time.Second)
	t.end(ctx, time.Second)
	r.ran(len(cuts))
	r.note("before MAIL: %d cuts", len(cuts))
}

// dialogue is what was said on one connection.
type dialogue struct{ toServer, toClient string }

// listenIn relays one message undisturbed and returns what relay and upstream said.
func (s *site) listenIn(ctx context.Context, r *result) dialogue {
	t := newScenario(s, r, "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err, "listening")
	heard := make(chan dialogue, 1)
	go func() {
		if relay, err := ln.Accept(); err == nil {
			heard <- overhear(relay, t.sink.Addr())
		}
		close(heard)
	}()
	t.through(ln.Addr().String())
	t.start(ctx)
	t.client.Offer(ctx, t.client.NewMessage())
	t.drain(ctx, 10*time.Second)
	t.stop()
	ln.Close()
	t.judge()
	return <-heard
}

// overhear passes one connection on until it ends.
func overhear(client net.Conn, target string) (d dialogue) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return d
	}
	defer server.Close()
	var to, from strings.Builder
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(io.MultiWriter(server, &to), client)
		server.(*net.TCPConn).CloseWrite()
	})
	wg.Go(func() {
		io.Copy(io.MultiWriter(client, &from), server)
		client.(*net.TCPConn).CloseWrite()
	})
	wg.Wait()
	return dialogue{to.String(), from.String()}
}

// oddity is a reply that no upstream should give, and some do.
type oddity struct {
	name  string
	bytes func(code string) string // code is the one that would be right at the stage
	end   smtptest.End
}

// oddities are what the relay must take apart, or take for silence.
func oddities() []oddity {
	return []oddity{
		{"the code alone", func(code string) string { return code + "\r\n" }, ""},
		{
			"another code of the class",
			func(code string) string { return code[:1] + "99 as you like\r\n" },
			"",
		},
		{
			"a line of 2500 bytes",
			func(code string) string { return code + " " + strings.Repeat("x", 2500) + "\r\n" },
			"",
		},
		{"10,000 lines", func(code string) string {
			return strings.Repeat(code+"-more\r\n", 10000) + code + " done\r\n"
		}, ""},
		{"bytes that are not UTF-8", func(code string) string { return code + " \xff\xfe\x00\xe9\r\n" }, ""},
		{"lines ended by LF", func(code string) string { return code + "-a\n" + code + " b\n" }, ""},
		{
			"4xx of 2500 bytes",
			func(string) string { return "451 4.3.0 " + strings.Repeat("y", 2500) + "\r\n" },
			"",
		},
		{"no reply at all", func(string) string { return "what?\r\n" }, smtptest.EndClose},
		{"an empty line", func(string) string { return "\r\n" }, smtptest.EndClose},
		{"half a code", func(code string) string { return code[:2] }, smtptest.EndReset},
		{"421 and the end", func(string) string { return "421 4.3.2 going down\r\n" }, smtptest.EndClose},
		{
			"endless bytes without a line end",
			func(string) string { return strings.Repeat("z", 1<<20) },
			smtptest.EndClose,
		},
	}
}

// testReplies gives each odd reply at each stage, once; then the upstream is as it should be.
func testReplies(ctx context.Context, s *site, r *result) {
	stages := map[diagnose.Stage]string{
		diagnose.StageGreeting: "220", diagnose.StageHello: "250", diagnose.StageMail: "250",
		diagnose.StageRcpt: "250", diagnose.StageData: "354", diagnose.StageEndOfData: "250",
	}
	order := []diagnose.Stage{
		diagnose.StageGreeting, diagnose.StageHello, diagnose.StageMail, diagnose.StageRcpt,
		diagnose.StageData, diagnose.StageEndOfData,
	}
	odd := oddities()
	var outcomes counter
	parallel(4, len(order)*len(odd), func(i int) {
		if ctx.Err() != nil || !s.full && i%4 != 0 {
			return
		}
		stage, o := order[i%len(order)], odd[i/len(order)]
		t := newScenario(s, r, "")
		t.client.Drops = false
		t.through(t.sink.Addr())
		said := o.bytes(stages[stage])
		t.sink.Script = func(c smtptest.Command) smtptest.Action {
			if c.Stage != stage || c.Session != 1 || c.Message > 1 {
				return smtptest.Action{}
			}
			return smtptest.Action{Bytes: []byte(said), End: o.end}
		}
		t.start(ctx)
		must(t.client.Offer(ctx, t.client.NewMessage()), "offering a message")
		v := t.end(ctx, 15*time.Second)
		if v.Arrived == 0 {
			r.fail("%s at %s: it did not arrive: %s", o.name, stage, process.Tail(t.setup.deliveryLog()))
		}
		outcomes.add("relayed", v.Arrived)
		outcomes.add("duplicates", v.Duplicates)
		r.ran(1)
	})
	r.note("%d odd replies at %d stages: %s", len(odd), len(order), &outcomes)
}

package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// TestReuse: which message travels on which connection.
func TestReuse(t *testing.T) {
	say := func(stage diagnose.Stage, session, message int, raw string,
		end smtptest.End) func(smtptest.Command) smtptest.Action {
		return func(c smtptest.Command) smtptest.Action {
			if c.Stage == stage && c.Session == session && c.Message == message {
				return smtptest.Action{Bytes: []byte(raw), End: end}
			}
			return smtptest.Action{}
		}
	}
	tests := []struct {
		name   string
		script func(smtptest.Command) smtptest.Action
		max    int
		extra  string
		want   []int // session of each message
	}{
		{"one connection", nil, 0, "", []int{1, 1, 1, 1}},
		{"messages a connection", nil, 2, "", []int{1, 1, 2, 2}},
		{"MAILMAX", nil, 0, "LIMITS MAILMAX=3", []int{1, 1, 1, 2}},
		{"421 at MAIL on a reused connection",
			say(diagnose.StageMail, 1, 3, "421 4.4.5 enough\r\n", smtptest.EndClose), 0, "",
			[]int{1, 1, 2, 2}},
		{"421 at RCPT on a reused connection",
			say(diagnose.StageRcpt, 1, 2, "421 4.4.5 enough\r\n", smtptest.EndClose), 0, "",
			[]int{1, 2, 2, 2}},
		{"EOF at MAIL on a reused connection", say(diagnose.StageMail, 1, 2, "", smtptest.EndClose), 0, "",
			[]int{1, 2, 2, 2}},
		{"RST at DATA on a reused connection", say(diagnose.StageData, 1, 4, "", smtptest.EndReset), 0, "",
			[]int{1, 1, 1, 2}},
		{"timeout at MAIL, then the end",
			say(diagnose.StageMail, 1, 2, "451 4.4.2 Timeout waiting for data from client.\r\n",
				smtptest.EndClose), 0, "", []int{1, 2, 2, 2}},
		{"timeout at MAIL", say(diagnose.StageMail, 1, 3, "451 4.4.2 Timeout - closing connection\r\n",
			smtptest.EndNot), 0, "", []int{1, 1, 2, 2}},
		{"timeout at MAIL without an enhanced code",
			say(diagnose.StageMail, 1, 2, "451 your session timed out\r\n", smtptest.EndNot), 0, "",
			[]int{1, 2, 2, 2}},
		{"idle at MAIL, for good",
			say(diagnose.StageMail, 1, 2, "554 5.0.0 You were idle for too long\r\n", smtptest.EndNot), 0, "",
			[]int{1, 2, 2, 2}},
		{"X.4.2 at MAIL", say(diagnose.StageMail, 1, 2, "550 5.4.2 no more\r\n", smtptest.EndNot), 0, "",
			[]int{1, 2, 2, 2}},
		{"any 4xx at MAIL, then the end",
			say(diagnose.StageMail, 1, 4, "450 4.3.2 Come again\r\n", smtptest.EndClose), 0, "",
			[]int{1, 1, 1, 2}},
		{"any 5xx at MAIL, then RST",
			say(diagnose.StageMail, 1, 2, "503 5.5.1 Out of sorts\r\n", smtptest.EndReset), 0, "",
			[]int{1, 2, 2, 2}},
		{"421 after the dot", say(diagnose.StageEndOfData, 1, 2, "250 2.0.0 Ok\r\n421 4.4.5 enough\r\n",
			smtptest.EndClose), 0, "", []int{1, 1, 2, 2}},
	}
	for _, without := range []string{"", "PIPELINING"} {
		for _, tt := range tests {
			t.Run(tt.name+" without "+without, func(t *testing.T) {
				o := smtptest.Options{Script: tt.script, Without: []string{without}}
				if tt.extra != "" {
					o.Extra = []string{tt.extra}
				}
				s := smtptest.New(t, o)
				p := newPool(t, s.Addr(), func(o *Options) { o.MaxMessages = tt.max })
				for i, o := range send(t, p, message(content, "1@b.test"), message(content, "2@b.test"),
					message(content, "3@b.test"), message(content, "4@b.test")) {
					if a := attempts(t, o)[0]; !a.Accepted() {
						t.Errorf("message %d: %+v", i+1, a)
					}
				}
				var got []int
				for _, m := range s.Messages() {
					got = append(got, m.Session)
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("sessions %v, want %v", got, tt.want)
				}
			})
		}
	}
}

// TestFreshConnectionLost: on a new connection the same is an attempt.
func TestFreshConnectionLost(t *testing.T) {
	for _, stage := range []diagnose.Stage{diagnose.StageMail, diagnose.StageRcpt, diagnose.StageData,
		diagnose.StageEndOfData} {
		s := smtptest.New(t, smtptest.Options{Script: at(stage, "", smtptest.EndClose)})
		as := attempts(t, send(t, newPool(t, s.Addr(), func(o *Options) { o.RcptMax = 2 }),
			message(content, "a@b.test", "b@b.test", "c@b.test"))[0])
		for i, a := range as {
			if a.Stage != stage || a.NetErr.Kind != diagnose.NetClosed &&
				a.NetErr.Kind != diagnose.NetReset || a.Uncertain != (stage == diagnose.StageEndOfData) {
				t.Errorf("%s, recipient %d: %+v", stage, i, a)
			}
		}
		if n := s.Stats().Sessions; n != 1 && stage != diagnose.StageEndOfData {
			t.Errorf("%s: %d sessions", stage, n)
		}
	}
}

// TestIdleConnectionTold: a 421 or EOF while nobody looks costs nothing.
func TestIdleConnectionTold(t *testing.T) {
	for _, words := range []string{"421 4.4.2 idle for too long", ""} {
		s := smtptest.New(t, smtptest.Options{})
		p := newPool(t, s.Addr(), nil)
		send(t, p, message(content, "a@b.test"))
		s.Interject(words, smtptest.EndClose)
		if a := attempts(t, send(t, p, message(content, "b@b.test"))[0])[0]; !a.Accepted() {
			t.Errorf("%q: %+v", words, a)
		}
		if n := s.Stats().Sessions; n != 2 {
			t.Errorf("%q: %d sessions", words, n)
		}
	}
}

func TestProbe(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), nil)
	if _, ok := p.Capabilities(); ok {
		t.Error("capabilities before the first EHLO")
	}
	if f := p.Probe(t.Context()); f != nil {
		t.Fatal(f)
	}
	send(t, p, message(content, "a@b.test"))
	if n := s.Stats().Sessions; n != 1 {
		t.Errorf("the probe's connection was not used: %d sessions", n)
	}
	p.Close()
	if l := s.Sessions()[0].Commands; l[len(l)-1] != "QUIT" {
		t.Errorf("%q", l)
	}
	s.Close()
	if f := p.Probe(t.Context()); f == nil || f.Stage != diagnose.StageConnect ||
		f.NetErr.Kind != diagnose.NetRefused {
		t.Errorf("%+v", f)
	}
}

// TestCloseIdle: connections are counted until they are closed, and idle ones are closed beyond what may be
// kept.
func TestCloseIdle(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), nil)
	for range 3 {
		if f := p.Probe(t.Context()); f != nil {
			t.Fatal(f)
		}
	}
	closed := func(open int) func() bool {
		return func() bool {
			got, ending := p.Connections()
			return got == open && ending == 0
		}
	}
	smtptest.WaitFor(t, "three connections", closed(3))
	p.CloseIdle(3)
	if open, ending := p.Connections(); open != 3 || ending != 0 {
		t.Errorf("%d connections are open and %d are closed, of 3 that may be kept", open, ending)
	}
	p.CloseIdle(1)
	smtptest.WaitFor(t, "one connection", closed(1))
	send(t, p, message(content, "a@b.test"))
	p.CloseIdle(0)
	smtptest.WaitFor(t, "no connection", closed(0))
	if n := s.Stats().Sessions; n != 3 {
		t.Errorf("%d sessions, want the three", n)
	}
	s.Close()
	if f := p.Probe(t.Context()); f == nil {
		t.Fatal("a server that is gone answers")
	}
	if open, ending := p.Connections(); open != 0 || ending != 0 {
		t.Errorf("after a failure %d connections are open and %d are closed", open, ending)
	}
}

// pipeServer answers on a net.Pipe, in fake time, until it falls silent at the stage that a test wants.
type pipeServer struct {
	mute  string        // the beginning of the command that gets no answer; "greeting", "."
	deaf  bool          // content is not read either
	conns chan net.Conn // each connection that was dialed
}

func (s *pipeServer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if s.mute == "connect" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	if s.conns != nil {
		s.conns <- server
	}
	go s.serve(server)
	return client, nil
}

func (s *pipeServer) serve(nc net.Conn) {
	defer nc.Close()
	p := &peer{Conn: nc, r: bufio.NewReader(nc)}
	say := func(name, answer string) bool {
		if s.mute == name {
			io.Copy(io.Discard, p.r)
			return false
		}
		p.say(answer)
		return true
	}
	if !say("greeting", "220 x\r\n") {
		return
	}
	data := false
	for {
		l, err := p.r.ReadString('\n')
		verb, _, _ := strings.Cut(strings.TrimSpace(l), " ")
		answer := "250 ok\r\n"
		switch {
		case err != nil:
			return
		case data && verb != ".":
			continue
		case verb == ".":
			data = false
		case verb == "EHLO":
			answer = "250-x\r\n250 PIPELINING\r\n"
		case verb == "DATA":
			answer, data = "354 go\r\n", true
		}
		if !say(verb, answer) {
			return
		}
		if data && s.deaf {
			<-make(chan struct{})
		}
	}
}

// TestTimeouts: each step has its own limit, whatever the server does.
func TestTimeouts(t *testing.T) {
	limits := Timeouts{Connect: 1 * time.Second, Greeting: 2 * time.Second, Command: 3 * time.Second,
		Data: 4 * time.Second, Write: 5 * time.Second, EndOfData: 6 * time.Second}
	tests := []struct {
		mute  string
		stage diagnose.Stage
		kind  diagnose.NetKind
		after time.Duration
		fault bool
	}{
		{"connect", diagnose.StageConnect, diagnose.NetConnectTimeout, 1 * time.Second, true},
		{"greeting", diagnose.StageGreeting, diagnose.NetNoGreeting, 2 * time.Second, true},
		{"EHLO", diagnose.StageHello, diagnose.NetTimeout, 3 * time.Second, true},
		{"MAIL", diagnose.StageMail, diagnose.NetTimeout, 3 * time.Second, false},
		{"RCPT", diagnose.StageRcpt, diagnose.NetTimeout, 3 * time.Second, false},
		{"DATA", diagnose.StageData, diagnose.NetTimeout, 4 * time.Second, false},
		{".", diagnose.StageEndOfData, diagnose.NetTimeout, 6 * time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.mute, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &pipeServer{mute: tt.mute}
				p := pipePool(t, server, func(o *Options) { o.Timeouts = limits })
				began := time.Now()
				o := send(t, p, message(content, "a@b.test"))[0]
				a := o.r.Fault
				if !tt.fault {
					a = &attempts(t, o)[0]
				}
				if a == nil || a.Stage != tt.stage || a.NetErr.Kind != tt.kind ||
					a.Uncertain != (tt.mute == ".") {
					t.Errorf("%+v", a)
				}
				if took := time.Since(began); took != tt.after {
					t.Errorf("took %v, want %v", took, tt.after)
				}
				p.Close()
			})
		})
	}
}

// TestWriteTimeout: a server that stops reading does not hold us.
func TestWriteTimeout(t *testing.T) {
	s := newRaw(t, func(c *peer) {
		c.say("220 x\r\n")
		c.until("EHLO", "250 x\r\n")
		c.until("MAIL", "250 x\r\n")
		c.until("RCPT", "250 x\r\n")
		c.until("DATA", "354 x\r\n")
		<-c.over
	})
	p := newPool(t, s.addr, func(o *Options) { o.Timeouts.Write = 100 * time.Millisecond })
	a := attempts(t, send(t, p,
		message(strings.Repeat("0123456789012345678901234567890123456789\r\n", 500_000), "a@b.test"))[0])[0]
	if a.Stage != diagnose.StageEndOfData || a.NetErr.Kind != diagnose.NetTimeout || a.Uncertain {
		t.Errorf("%+v", a)
	}
}

// TestCancel: what is not under way ends at once, a transaction after its grace.
func TestCancel(t *testing.T) {
	tests := []struct {
		name  string
		mute  string
		after time.Duration // from the cancelling to the end of Relay
		check func(*relay.Attempt) bool
	}{
		{"while connecting", "connect", 0, func(a *relay.Attempt) bool {
			return a.Stage == diagnose.StageConnect && a.NetErr.Kind == diagnose.NetCanceled
		}},
		{"before the greeting", "greeting", 0,
			func(a *relay.Attempt) bool { return a.NetErr.Kind == diagnose.NetCanceled }},
		{"in a transaction", "MAIL", 5 * time.Second, func(a *relay.Attempt) bool {
			return a.Stage == diagnose.StageMail && a.NetErr.Kind == diagnose.NetCanceled
		}},
		{"after the dot", ".", 5 * time.Second,
			func(a *relay.Attempt) bool { return a.Uncertain && a.NetErr.Kind == diagnose.NetCanceled }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pipePool(t, &pipeServer{mute: tt.mute}, func(o *Options) { o.Grace = 5 * time.Second })
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				time.AfterFunc(time.Second, cancel)
				o := sendContext(ctx, p, message(content, "a@b.test"))[0]
				a := o.r.Fault
				if a == nil {
					a = &attempts(t, o)[0]
				}
				if !tt.check(a) || time.Since(began) != time.Second+tt.after {
					t.Errorf("after %v: %+v", time.Since(began), a)
				}
				p.Close()
			})
		})
	}
}

// TestCancelledBetween: the transaction under way is finished, and no other begun.
func TestCancelledBetween(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageData {
			cancel()
		}
		return smtptest.Action{}
	}})
	asked := 0
	next := func() *relay.Transaction { asked++; return nil }
	done := func(_ *relay.Transaction, r relay.Result) {
		if r.Attempts == nil || !r.Attempts[0].Accepted() {
			t.Errorf("%+v", r)
		}
	}
	newPool(t, s.Addr(), nil).Relay(ctx, message(content, "a@b.test"), next, done)
	if asked > 0 {
		t.Error("asked for more after the end")
	}
}

// TestIdleAndAge: an unused connection ends with QUIT, and an old one is not used again.
func TestIdleAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &pipeServer{conns: make(chan net.Conn, 10)}
		p := pipePool(t, server, func(o *Options) { o.MaxIdle, o.MaxAge = time.Minute, 90*time.Second })
		send(t, p, message(content, "a@b.test"))
		time.Sleep(59 * time.Second)
		send(t, p, message(content, "a@b.test"))
		if len(server.conns) != 1 {
			t.Error("not reused")
		}
		time.Sleep(59 * time.Second)
		send(t, p, message(content, "a@b.test"))
		if len(server.conns) != 2 {
			t.Error("reused beyond its age")
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if p.mu.Lock(); len(p.idle) != 0 {
			t.Error("kept beyond its idle time")
		}
		p.mu.Unlock()
		p.Close()
	})
}

// TestConnectionLimits: what zero means for the limits that have no default.
func TestConnectionLimits(t *testing.T) {
	tests := []struct {
		name     string
		change   func(*Options)
		messages int
		sessions int
	}{
		{"no limit of messages", func(o *Options) { o.MaxMessages = 0 }, 5, 1},
		{"two messages per connection", func(o *Options) { o.MaxMessages = 2 }, 5, 3},
		{"unused connections are not kept", func(o *Options) { o.MaxIdle = 0 }, 1, 2},
		{"unused connections are kept", func(*Options) {}, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{})
			p := newPool(t, s.Addr(), tt.change)
			var ts []*relay.Transaction
			for range tt.messages {
				ts = append(ts, message(content, "a@b.test"))
			}
			send(t, p, ts...)
			if tt.messages == 1 {
				send(t, p, message(content, "a@b.test"))
			}
			if n := len(s.Sessions()); n != tt.sessions {
				t.Errorf("%d sessions, want %d", n, tt.sessions)
			}
		})
	}
}

func pipePool(t *testing.T, s *pipeServer, change func(*Options)) *Pool {
	return newPool(t, "192.0.2.1:25", func(o *Options) {
		o.Dial = s.dial
		o.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("not used") }
		change(o)
	})
}

// TestPanic: a caller's panic leaves no connection behind in an unknown state.
func TestPanic(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), nil)
	func() {
		defer func() { recover() }()
		p.Relay(t.Context(), message(content, "a@b.test"),
			func() *relay.Transaction { return message(content, "b@b.test") },
			func(*relay.Transaction, relay.Result) { panic("test") })
	}()
	if a := attempts(t, send(t, p, message(content, "c@b.test"))[0])[0]; !a.Accepted() {
		t.Errorf("%+v", a)
	}
	if n := s.Stats().Sessions; n != 2 {
		t.Errorf("%d sessions", n)
	}
}

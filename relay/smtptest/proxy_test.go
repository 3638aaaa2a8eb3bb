package smtptest_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
)

func TestProxyPassesOn(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := smtptest.NewProxy(t, s.Addr())
	big := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 30000)
	greet(t, p.Addr()).put(big + "end")
	if m := s.Messages(); len(m) != 1 || string(m[0].Content) != big+"end\r\n" {
		t.Error("the content was changed")
	}
}

// TestProxyDelayIsLatency shows that the delay does not limit the throughput: 50 round trips' worth of
// pipelined commands cost one.
func TestProxyDelayIsLatency(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := smtptest.NewProxy(t, s.Addr())
	const oneWay = 20 * time.Millisecond
	p.Damage(smtptest.Faults{Delay: oneWay}, smtptest.Faults{Delay: oneWay})
	c := greet(t, p.Addr())
	start := time.Now()
	for range 50 {
		c.write("NOOP\r\n")
		time.Sleep(time.Millisecond / 4)
	}
	for range 50 {
		c.want("250")
	}
	if d := time.Since(start); d < 2*oneWay || d > 20*oneWay {
		t.Errorf("50 pipelined commands took %v over a round trip of %v", d, 2*oneWay)
	}
}

func TestProxyCut(t *testing.T) {
	const greeting = "220 upstream.test ESMTP ready\r\n"
	for _, tt := range []struct {
		name   string
		cut    smtptest.Cut
		want   string
		reason string // of the read error; "" is EOF
	}{
		{"before a byte", smtptest.Cut{After: 0, End: smtptest.EndClose}, "", ""},
		{"close", smtptest.Cut{After: 7, End: smtptest.EndClose}, greeting[:7], ""},
		{"stall", smtptest.Cut{After: 4, End: smtptest.EndStall}, greeting[:4], "timeout"},
		{"just after", smtptest.Cut{After: int64(len(greeting)), End: smtptest.EndClose}, greeting, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{})
			p := smtptest.NewProxy(t, s.Addr())
			p.Damage(smtptest.Faults{}, smtptest.Faults{Cut: &tt.cut})
			c := dial(t, p.Addr())
			if tt.cut.End == smtptest.EndStall {
				c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			}
			got, err := io.ReadAll(c.r)
			reason := ""
			if err != nil {
				reason = err.Error()
			}
			if string(got) != tt.want || !strings.Contains(reason, tt.reason) ||
				(tt.reason == "") != (err == nil) {
				t.Errorf("got %q, %v; want %q, %q", got, err, tt.want, tt.reason)
			}
		})
	}
}

func TestProxyCutByReset(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := smtptest.NewProxy(t, s.Addr())
	p.Damage(smtptest.Faults{Cut: &smtptest.Cut{After: 6, End: smtptest.EndReset}}, smtptest.Faults{})
	c := dial(t, p.Addr())
	c.want("220") // read before the reset, which could overtake it
	c.write("NOOP\r\n")
	for err := error(nil); err == nil; {
		if err = c.eof(); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("got %v, want a reset", err)
		}
	}
}

func TestProxyCutsTheCommandsOfTheClient(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := smtptest.NewProxy(t, s.Addr())
	const said = "EHLO client.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n"
	content := "x\r\n"
	p.Damage(smtptest.Faults{Cut: &smtptest.Cut{After: int64(len(said + content)), End: smtptest.EndClose}},
		smtptest.Faults{})
	c := dial(t, p.Addr())
	c.want("220")
	c.write(said)
	for range 4 {
		c.want("")
	}
	c.write(content + ".\r\n")
	if err := c.eof(); err == nil {
		t.Error("a reply came")
	}
	if n := s.Stats().Messages; n != 0 {
		t.Errorf("%d messages taken from half a content", n)
	}
}

func TestProxyDamagesEachConnectionInItsOwnWay(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := smtptest.NewProxy(t, s.Addr())
	p.DamageEach(func(n int) (toServer, toClient smtptest.Faults) {
		if n < 3 {
			toClient.Cut = &smtptest.Cut{After: int64(n), End: smtptest.EndClose}
		}
		return toServer, toClient
	})
	for _, want := range []string{"2", "22"} {
		if got, err := io.ReadAll(dial(t, p.Addr()).r); string(got) != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	greet(t, p.Addr())
	p.Damage(smtptest.Faults{}, smtptest.Faults{Cut: &smtptest.Cut{After: 5, End: smtptest.EndClose}})
	if got, _ := io.ReadAll(dial(t, p.Addr()).r); len(got) != 5 {
		t.Errorf("got %q after Damage", got)
	}
}

func TestProxyBandwidth(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := smtptest.NewProxy(t, s.Addr())
	p.Damage(smtptest.Faults{Bandwidth: 100_000}, smtptest.Faults{})
	start := time.Now()
	greet(t, p.Addr()).put(strings.Repeat("x", 10_000))
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("10 kB passed in %v at 100 kB/s", d)
	}
}

func TestProxyEnd(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := smtptest.NewProxy(t, s.Addr())
	c := greet(t, p.Addr())
	p.End(smtptest.EndReset)
	if err := c.eof(); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v, want a reset", err)
	}
	greet(t, p.Addr())
}

func TestProxyWithoutATarget(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := dial(t, smtptest.NewProxy(t, ln.Addr().String()).Addr())
	if err := c.eof(); err == nil {
		t.Error("a byte came from nowhere")
	}
}

package upstream

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// fourKiB is a usual message.
var fourKiB = "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 57)

// feed hands out n transactions to any number of callers.
func feed(n int64) func() *relay.Transaction {
	var left atomic.Int64
	left.Store(n)
	return func() *relay.Transaction {
		if left.Add(-1) < 0 {
			return nil
		}
		return message(fourKiB, "a@b.test")
	}
}

// ours relays n messages over the given number of connections and says how long it took.
func ours(tb testing.TB, addr string, connections int, n int64) time.Duration {
	p := newPool(tb, addr, func(o *Options) { o.MaxMessages = 1 << 30 })
	next := feed(n)
	var refused atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range connections {
		wg.Go(func() {
			for first := next(); first != nil; first = next() {
				p.Relay(tb.Context(), first, next, func(_ *relay.Transaction, r relay.Result) {
					if r.Attempts == nil || !r.Attempts[0].Accepted() {
						refused.Add(1)
					}
				})
			}
		})
	}
	wg.Wait()
	if refused.Load() > 0 {
		tb.Errorf("%d of %d not accepted", refused.Load(), n)
	}
	return time.Since(began)
}

// theirs does the same with go-smtp's client, which keeps its connections too.
func theirs(tb testing.TB, addr string, connections int, n int64) time.Duration {
	next := feed(n)
	var wg sync.WaitGroup
	began := time.Now()
	for range connections {
		wg.Go(func() {
			c, err := smtp.Dial(addr)
			if err != nil {
				tb.Error(err)
				return
			}
			defer c.Close()
			for m := next(); m != nil; m = next() {
				r, _ := m.Open()
				if err := c.SendMail(m.From, []string{m.Message.Recipients[0].Address}, r); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// BenchmarkRoundTrips compares us with go-smtp's client over a way with a round trip of 20 ms: each
// iteration is the same number of messages through both, one after the other, and "ratio" is how many times
// as fast we are.
func BenchmarkRoundTrips(b *testing.B) {
	s := smtptest.New(b, smtptest.Options{Forget: true})
	proxy := smtptest.NewProxy(b, s.Addr())
	way := smtptest.Faults{Delay: 10 * time.Millisecond}
	proxy.Damage(way, way)
	for _, bm := range []struct {
		connections int
		n           int64
	}{{1, 40}, {20, 800}} {
		b.Run(strconv.Itoa(bm.connections)+"_connections", func(b *testing.B) {
			var them, us time.Duration
			for range b.N {
				them += theirs(b, proxy.Addr(), bm.connections, bm.n)
				us += ours(b, proxy.Addr(), bm.connections, bm.n)
			}
			b.ReportMetric(them.Seconds()/us.Seconds(), "ratio")
			b.ReportMetric(float64(bm.n)*float64(b.N)/us.Seconds(), "msg/s")
		})
	}
}

// sink is a server that costs next to nothing: it answers without looking at what it is told, all of an
// envelope at its end when it offers PIPELINING.
func sink(tb testing.TB, pipelining bool) *raw {
	ehlo, command, data := "250 x\r\n", "250 2.1.0 Ok\r\n", "354 go\r\n"
	if pipelining {
		ehlo, command, data = "250-x\r\n250-8BITMIME\r\n250 PIPELINING\r\n", "",
			"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go\r\n"
	}
	return newRaw(tb, func(c *peer) {
		c.say("220 x\r\n")
		c.until("EHLO", ehlo)
		content := false
		for {
			line, err := c.r.ReadSlice('\n')
			switch {
			case err != nil:
				return
			case content && len(line) == 3 && line[0] == '.':
				content = false
				c.say("250 2.0.0 Ok: queued as 4f1\r\n")
			case content:
			case string(line) == "DATA\r\n":
				content = true
				c.say(data)
			case command != "":
				c.say(command)
			}
		}
	})
}

// BenchmarkAttempt is a message of 4 KiB on a kept connection, with the cost of a server that does almost
// nothing.
func BenchmarkAttempt(b *testing.B) {
	s := sink(b, true)
	b.ReportAllocs()
	b.SetBytes(int64(len(fourKiB)))
	b.ResetTimer()
	ours(b, s.addr, 1, int64(b.N))
}

// BenchmarkGoSMTP is the same for go-smtp's client.
func BenchmarkGoSMTP(b *testing.B) {
	s := sink(b, false)
	b.ReportAllocs()
	b.SetBytes(int64(len(fourKiB)))
	b.ResetTimer()
	theirs(b, s.addr, 1, int64(b.N))
}

// BenchmarkContent is the dot-stuffing of 1 MiB.
func BenchmarkContent(b *testing.B) {
	content := strings.Repeat(fourKiB, 256)
	buf := newBuffers()
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		var dots dotStuffer
		r := strings.NewReader(content)
		for {
			n, err := r.Read(buf.in)
			buf.out = dots.append(buf.out[:0], buf.in[:n])
			if err == io.EOF {
				break
			}
		}
	}
}

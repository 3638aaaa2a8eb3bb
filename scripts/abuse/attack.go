package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// size is how much of each attack is made.
type size struct {
	loris, stuck, flood, rcpt, noop, guessers, killed int

	line   int           // bytes of a line of content
	last   time.Duration // of the attacks that have no end of their own
	crowd  int           // clients that guess passwords
	logins int           // honest logins beside them
}

func full() size {
	return size{500, 400, 2000, 50_000, 10_000, 50, 200, 100 << 20, 30 * time.Second, 500, 20}
}

func quick() size { return size{50, 20, 600, 5_000, 3_000, 5, 40, 8 << 20, 2 * time.Second, 60, 4} }

// The attackers' addresses.
const (
	attacker = "127.0.0.2"
	flooder  = "127.0.0.3"
)

// attack is all of it.
type attack struct {
	relay *relay
	size  size
	end   time.Time

	turnedAway, guesses atomic.Int64

	mu         sync.Mutex
	complaints []string
}

// complain notes what did not hold.
func (a *attack) complain(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.complaints) < 20 {
		a.complaints = append(a.complaints, fmt.Sprintf(format, args...))
	}
}

// run attacks in every way at once while the honest client sends mail, and returns how long each of its
// messages took, in order of size.
func (a *attack) run() (waits []time.Duration) {
	var ways sync.WaitGroup
	for _, way := range []func(){
		a.loris, a.stuck, a.longCommand, a.longLine, a.recipients, a.noops, a.errors,
		a.guess, a.flood, a.halfClosed, a.kill,
	} {
		ways.Go(way)
	}
	done := make(chan struct{})
	go func() { ways.Wait(); close(done) }()
	for n := 0; ; n++ {
		took, err := honest(a.relay, n)
		if err != nil {
			a.complain("%v", err)
			took = patience
		}
		waits = append(waits, took)
		select {
		case <-done:
			slices.Sort(waits)
			return waits
		default:
		}
	}
}

// times runs do n times at once.
func times(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// transaction is the start of a message; nil when the attacker is not let in.
func (a *attack) transaction(name string) *message {
	c := connect(attacker, a.relay.clear)
	if c == nil {
		return nil
	}
	m := c.begin(a.relay.ledger, name)
	if m == nil {
		c.Close()
	}
	return m
}

// loris are clients that send a byte every half second: every other one of a content, the rest of a command.
func (a *attack) loris() {
	times(a.size.loris, func(i int) {
		var c *client
		if i%2 != 0 {
			c = connect(attacker, a.relay.clear)
		} else if m := a.transaction(fmt.Sprintf("loris-%d", i)); m != nil {
			c = m.client
		}
		if c == nil {
			a.complain("slow client %d was not let in", i)
			return
		}
		defer c.Close()
		c.Conn.SetDeadline(a.end.Add(patience))
		for time.Now().Before(a.end) {
			if err := c.write("x"); err != nil {
				a.complain("slow client %d was cut off: %v", i, err)
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
}

// stuck are clients that send as much of a content as a relay would keep in memory, and then nothing.
func (a *attack) stuck() {
	part := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1200)
	times(a.size.stuck, func(i int) {
		m := a.transaction(fmt.Sprintf("stuck-%d", i))
		if m == nil {
			return
		}
		defer m.Close()
		if i%2 == 0 {
			m.write("\r\n") // the header ends
		}
		m.write(part)
		time.Sleep(time.Until(a.end))
	})
}

// longCommand sends command lines of 1 MB.
func (a *attack) longCommand() {
	for time.Now().Before(a.end) {
		if c := connect(attacker, a.relay.clear); c != nil {
			c.reply()
			c.write(strings.Repeat("x", 1<<20))
			if got := c.reply(); !strings.HasPrefix(got, "500 5.5.6") {
				a.complain("a command line of 1 MB was answered %q", got)
			}
			c.Close()
		}
	}
}

// longLine sends a line of content that is as long as two messages may be.
func (a *attack) longLine() {
	m := a.transaction("long-line")
	if m == nil {
		a.complain("the long line was not let in")
		return
	}
	defer m.Close()
	m.Timeout = 5 * patience
	m.Conn.SetDeadline(time.Now().Add(m.Timeout))
	part := strings.Repeat("x", 64<<10)
	for sent := 0; sent < a.size.line; sent += len(part) {
		if m.write(part) != nil {
			break // the relay has had enough
		}
	}
	m.write("\r\n")
	if got := m.finish(); !strings.HasPrefix(got, "554 5.6.0") {
		a.complain("the long line was answered %q", got)
	}
}

// recipients names very many of them.
func (a *attack) recipients() {
	c := connect(attacker, a.relay.clear)
	if c == nil {
		return
	}
	defer c.Close()
	go func() {
		c.write("EHLO x\r\nMAIL FROM:<a@b.test>\r\n")
		for i := range a.size.rcpt {
			if c.write(fmt.Sprintf("RCPT TO:<u%d@d.test>\r\n", i)) != nil {
				return
			}
		}
	}()
	taken := 0
	for got := c.reply(); got != ""; got = c.reply() {
		if strings.HasPrefix(got, "250 2.1.5") {
			taken++
		}
	}
	if taken != 1000 {
		a.complain("%d recipients were taken", taken)
	}
}

// noops says nothing, very often.
func (a *attack) noops() { a.repeat("NOOP", a.size.noop, 1000) }

// errors says what is not a command, very often.
func (a *attack) errors() { a.repeat(".", a.size.noop, 20) }

// repeat sends a line n times and counts the answers, which are to end soon after limit.
func (a *attack) repeat(line string, n, limit int) {
	c := connect(attacker, a.relay.clear)
	if c == nil {
		return
	}
	defer c.Close()
	go c.write("EHLO x\r\n" + strings.Repeat(line+"\r\n", n))
	answers := 0
	for c.reply() != "" {
		answers++
	}
	if answers > limit+3 { // the greeting, EHLO and the last 421 are among them
		a.complain("%d answers to %q", answers, line)
	}
}

// guess tries passwords.
func (a *attack) guess() {
	times(a.size.guessers, func(int) {
		for time.Now().Before(a.end) {
			c := secure(attacker, a.relay.tls, a.relay.trust)
			if c == nil {
				continue
			}
			c.send("EHLO x")
			c.until("250")
			failed := 0
			for got := "535"; strings.HasPrefix(got, "535"); got = c.reply() {
				if failed++; failed > 5+1 {
					a.complain("%d guesses on one connection", failed)
					break
				}
				a.guesses.Add(1)
				c.send("AUTH PLAIN AGFwcABndWVzcw==")
			}
			c.Close()
		}
	})
}

// flood opens more connections than one client may have, and keeps them.
func (a *attack) flood() {
	var held []*client
	for range a.size.flood {
		c := connect(flooder, a.relay.clear)
		if c == nil {
			continue
		}
		if got := c.reply(); !strings.HasPrefix(got, "220") {
			if !strings.HasPrefix(got, "421 4.7.0") {
				a.complain("a connection too many was answered %q", got)
			}
			a.turnedAway.Add(1)
			c.Close()
			continue
		}
		held = append(held, c)
	}
	time.Sleep(time.Until(a.end))
	for _, c := range held {
		c.Close()
	}
}

// halfClosed are clients that close their side in the middle of a content.
func (a *attack) halfClosed() {
	times(20, func(i int) {
		m := a.transaction(fmt.Sprintf("half-closed-%d", i))
		if m == nil {
			return
		}
		defer m.Close()
		m.write("half\r\n")
		m.tcp().CloseWrite()
		if got := m.reply(); !strings.HasPrefix(got, "421") {
			a.complain("half a content was answered %q", got)
		}
	})
}

// kill are clients that die before the final dot, and right after it.
func (a *attack) kill() {
	for i := range a.size.killed {
		m := a.transaction(fmt.Sprintf("killed-%d", i))
		if m == nil {
			continue
		}
		if i%2 == 0 {
			m.write("\r\nhalf of a message\r\n.")
		} else {
			m.add("\r\nall of it\r\n")
			m.leave()
		}
		m.tcp().SetLinger(0) // a reset, as of a process that was killed
		m.Close()
	}
}

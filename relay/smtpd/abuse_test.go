package smtpd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay"
)

// abuseSize is how much of each attack is made. MAILWHY_ABUSE=1 (scripts/abuse) is the full size.
type abuseSize struct {
	loris, flood, rcpt, noop, guessers, killed int
	line                                       int // bytes of a line of content
	last                                       time.Duration
}

func sizeOfAbuse() abuseSize {
	if os.Getenv("MAILWHY_ABUSE") != "" {
		return abuseSize{500, 1500, 50_000, 10_000, 50, 200, 100 << 20, 20 * time.Second}
	}
	return abuseSize{100, 300, 5_000, 3_000, 5, 50, 8 << 20, 2 * time.Second}
}

// tally is an Accept that keeps counts by the first word of the body, not contents.
type tally struct {
	mu    sync.Mutex
	words map[string]int
}

func (c *tally) accept(_ context.Context, m *relay.Message, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, body := cutField(b)
	word, _, _ := strings.Cut(string(body[:min(20, len(body))]), "\r\n")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.words[word]++
	return nil
}

// abuseServer is the variable that makes TestAbuseServer serve.
const abuseServer = "MAILWHY_TEST_ABUSE_SERVER"

// abuseResult is what the server under attack tells at its end.
type abuseResult struct {
	Words map[string]int
	Peak  int64 // bytes of memory
}

// TestAbuseServer is the front door as a process of its own, so that its memory is not the attackers'. It serves until its input
// ends. TestAbuse runs it; by itself it does nothing.
func TestAbuseServer(t *testing.T) {
	loris, err := strconv.Atoi(os.Getenv(abuseServer))
	if err != nil {
		return
	}
	kept := &tally{words: map[string]int{}}
	o := testOptions(&store{})
	o.Accept = kept.accept
	o.Recorder = relay.Recorders{}
	o.Limits.Connections, o.Limits.ClientConns, o.Limits.AuthFailureWait = 2000, loris+100, 10*time.Millisecond
	hash, err := HashPassword("right")
	if err != nil {
		t.Fatal(err)
	}
	if o.Access.Users, err = ParseUsers(strings.NewReader("app:" + hash)); err != nil {
		t.Fatal(err)
	}
	o.Access.AuthInClear = true
	_, addr := start(t, o, Listen{})
	fmt.Println(addr)
	io.Copy(io.Discard, os.Stdin)
	kept.mu.Lock()
	defer kept.mu.Unlock()
	json.NewEncoder(os.Stdout).Encode(abuseResult{kept.words, peakRSS()})
}

// startAbuseServer runs TestAbuseServer in another process and returns its address and how to end it.
func startAbuseServer(t *testing.T, loris int) (addr string, end func() abuseResult) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestAbuseServer$")
	cmd.Env = append(os.Environ(), abuseServer+"="+strconv.Itoa(loris))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	lines := bufio.NewReader(out)
	addr, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(addr), func() (r abuseResult) {
		in.Close()
		if err := json.NewDecoder(lines).Decode(&r); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, lines)
		return r
	}
}

// TestAbuse attacks the front door in every way at once, from 127.0.0.2 and .3, while a client from 127.0.0.1 sends mail on a new
// connection each time.
func TestAbuse(t *testing.T) {
	size := sizeOfAbuse()
	addr, end := startAbuseServer(t, size.loris)
	a := &attack{t: t, addr: addr, size: size, end: time.Now().Add(size.last)}
	a.run(a.loris, a.longCommand, a.longLine, a.recipients, a.noops, a.guess, a.flood, a.halfClosed, a.kill)
	var waits []time.Duration
	done := make(chan struct{})
	go func() { a.wg.Wait(); close(done) }()
	for running := true; running; {
		waits = append(waits, sendNormal(t, addr))
		select {
		case <-done:
			running = false
		default:
		}
	}
	slices.Sort(waits)
	p99 := waits[len(waits)*99/100]
	got := end()
	t.Logf("%d normal messages, p50 %v, p99 %v; peak RSS %d MiB; stored %v", len(waits), waits[len(waits)/2], p99, got.Peak>>20, got.Words)
	if p99 > time.Second {
		t.Errorf("p99 of a normal client is %v", p99)
	}
	if got.Peak > 150<<20 && !raceEnabled {
		t.Errorf("peak RSS %d MiB", got.Peak>>20)
	}
	if n := got.Words["normal"]; n != len(waits) {
		t.Errorf("%d normal messages stored, %d acknowledged", n, len(waits))
	}
	for word := range got.Words {
		if word != "normal" && word != "after" { // killed after the dot: whole, and the reply was on its way
			t.Errorf("stored %q, which was never whole", word)
		}
	}
	if a.turnedAway.Load() == 0 {
		t.Error("the flood met no limit")
	}
}

// sendNormal sends one message and returns how long that took.
func sendNormal(t *testing.T, addr string) time.Duration {
	began := time.Now()
	c := hello(t, addr)
	c.mail("normal\r\n", "250")
	c.say("QUIT", "221")
	c.Close()
	return time.Since(began)
}

type attack struct {
	t          *testing.T
	addr       string
	size       abuseSize
	end        time.Time
	wg         sync.WaitGroup
	turnedAway atomic.Int64
}

func (a *attack) run(ways ...func()) {
	for _, way := range ways {
		a.wg.Go(way)
	}
}

// conn connects from another loopback address; it does not fail the test, as attackers are turned away.
func (a *attack) conn(from string) *client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", a.addr)
	if err != nil {
		return nil
	}
	return newClient(a.t, c)
}

// transaction gets a connection to where content is awaited, or returns nil.
func (a *attack) transaction() *client {
	c := a.conn("127.0.0.2")
	if c == nil {
		return nil
	}
	io.WriteString(c, "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
	for {
		got := c.reply()
		if strings.HasPrefix(got, "354") {
			return c
		}
		if got == "" {
			c.Close()
			return nil
		}
	}
}

func (a *attack) loris() {
	var wg sync.WaitGroup
	for i := range a.size.loris {
		wg.Go(func() {
			var c *client
			if i%2 == 0 {
				c = a.transaction()
			} else {
				c = a.conn("127.0.0.2")
			}
			if c == nil {
				return
			}
			defer c.Close()
			c.SetDeadline(a.end.Add(10 * time.Second))
			for _, b := range strings.Repeat("loris", 1000) {
				if time.Now().After(a.end) {
					return
				}
				c.Write([]byte{byte(b)})
				time.Sleep(500 * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

func (a *attack) longCommand() {
	for time.Now().Before(a.end) {
		if c := a.conn("127.0.0.2"); c != nil {
			io.WriteString(c, strings.Repeat("x", 1<<20))
			io.Copy(io.Discard, c)
			c.Close()
		}
	}
}

func (a *attack) longLine() {
	c := a.transaction()
	if c == nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	part := []byte("line\r\n" + strings.Repeat("x", 64<<10))
	for sent := 0; sent < a.size.line; sent += len(part) {
		if _, err := c.Write(part); err != nil {
			return
		}
		part = part[len(part)-64<<10:]
	}
	io.WriteString(c, "\r\n.\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "554 5.6.0") {
		a.t.Errorf("long line: %q", got)
	}
}

func (a *attack) recipients() {
	c := a.conn("127.0.0.2")
	if c == nil {
		return
	}
	defer c.Close()
	go io.Copy(io.Discard, c)
	io.WriteString(c, "EHLO x\r\nMAIL FROM:<a@b.test>\r\n")
	for i := range a.size.rcpt {
		if _, err := fmt.Fprintf(c, "RCPT TO:<u%d@d.test>\r\n", i); err != nil {
			return
		}
	}
}

func (a *attack) noops() {
	c := a.conn("127.0.0.2")
	if c == nil {
		return
	}
	defer c.Close()
	go io.WriteString(c, "EHLO x\r\n"+strings.Repeat("NOOP\r\n", a.size.noop))
	n := 0
	for c.reply() != "" {
		n++
	}
	if n > DefaultLimits().OtherCommands+3 {
		a.t.Errorf("%d replies to NOOP", n)
	}
}

func (a *attack) guess() {
	var wg sync.WaitGroup
	for range a.size.guessers {
		wg.Go(func() {
			for i := 0; time.Now().Before(a.end); i++ {
				c := a.conn("127.0.0.2")
				if c == nil {
					continue
				}
				c.send("EHLO x")
				for c.send("AUTH PLAIN " + b64(fmt.Sprintf("\x00app\x00guess%d", i))); ; {
					got := c.reply()
					if got == "" || strings.HasPrefix(got, "421") {
						break
					}
					if strings.HasPrefix(got, "235") {
						a.t.Error("guessed")
					}
					if strings.HasPrefix(got, "535") {
						io.WriteString(c, "AUTH PLAIN AGFwcABn\r\n")
					}
				}
				c.Close()
			}
		})
	}
	wg.Wait()
}

func (a *attack) flood() {
	var held []*client
	for range a.size.flood {
		c := a.conn("127.0.0.3")
		if c == nil {
			continue
		}
		if strings.HasPrefix(c.reply(), "421") {
			a.turnedAway.Add(1)
			c.Close()
			continue
		}
		held = append(held, c)
	}
	for _, c := range held {
		c.Close()
	}
}

func (a *attack) halfClosed() {
	var held []*client
	for range 20 {
		if c := a.transaction(); c != nil {
			io.WriteString(c, "half\r\n")
			c.Conn.(*net.TCPConn).CloseWrite()
			held = append(held, c)
		}
	}
	for _, c := range held {
		io.Copy(io.Discard, c)
		c.Close()
	}
}

// kill leaves before the dot, and right after it.
func (a *attack) kill() {
	for i := range a.size.killed {
		c := a.transaction()
		if c == nil {
			continue
		}
		if i%2 == 0 {
			io.WriteString(c, "half\r\nof a message\r\n.")
		} else {
			io.WriteString(c, "after\r\n.\r\n")
		}
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// peakRSS is the process's largest resident set, where Linux tells it.
func peakRSS() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10
}

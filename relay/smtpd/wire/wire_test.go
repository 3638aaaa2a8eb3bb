package wire

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// backend keeps what sessions receive. With wired set it reads content from the Conn, as the front door does.
type backend struct {
	wired bool
	read  func(io.Reader) ([]byte, error) // io.ReadAll if nil

	mu   sync.Mutex
	got  []string
	errs []error
}

func (b *backend) NewSession(c *smtp.Conn) (smtp.Session, error) { return &session{b, c}, nil }

type session struct {
	b *backend
	c *smtp.Conn
}

func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *session) AuthMechanisms() []string             { return []string{"PLAIN"} }
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, password string) error {
		if password != "right" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Data(r io.Reader) error {
	if s.b.wired {
		r = s.c.Conn().(*Conn).Content()
	}
	read := s.b.read
	if read == nil {
		read = io.ReadAll
	}
	content, err := read(r)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if err != nil {
		s.b.errs = append(s.b.errs, err)
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "refused"}
	}
	s.b.got = append(s.b.got, string(content))
	return nil
}

func (b *backend) contents() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

func (b *backend) failures() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]error(nil), b.errs...)
}

// dialogue passes everything on.
type dialogue struct {
	busy  bool
	tls   bool
	reply func(string) bool // whether the session ends after a reply
	lines []string
}

func (d *dialogue) Command(line string) Action {
	d.lines = append(d.lines, line)
	if d.tls && strings.EqualFold(line, "STARTTLS") {
		return Action{StartTLS: true}
	}
	return Action{Pass: line}
}

func (d *dialogue) Reply(reply []byte) ([]byte, bool) {
	if d.tls {
		reply = bytes.Replace(reply, []byte("CHUNKING"), []byte("STARTTLS"), 1)
	}
	return reply, d.reply != nil && d.reply(string(reply))
}

func (d *dialogue) Busy() bool { return d.busy }

// one is a listener for one connection.
type one struct {
	conn net.Conn
	once sync.Once
	done chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return l.conn.LocalAddr() }

func testLimits() Limits {
	return Limits{
		Line: 1000, Content: 1 << 20, ContentLine: 10000, Idle: 10 * time.Second,
		ContentIdle:  10 * time.Second,
		ContentTotal: 100 * time.Second, Handshake: 5 * time.Second, Write: 10 * time.Second,
	}
}

// serve runs go-smtp on a pipe and returns the client's end, and a function that waits for the session's end.
func serve(t testing.TB, b *backend, cfg *Config) (net.Conn, *Conn, func()) {
	t.Helper()
	client, server := net.Pipe()
	return serveOn(t, b, cfg, client, server)
}

func serveOn(t testing.TB, b *backend, cfg *Config, client, server net.Conn) (net.Conn, *Conn, func()) {
	ended := make(chan struct{})
	hook := sync.OnceFunc(func() { close(ended) })
	var conn net.Conn = &closeHook{Conn: server, closed: hook}
	s := smtp.NewServer(b)
	s.Domain, s.AllowInsecureAuth = "test", true
	s.EnableSMTPUTF8, s.EnableDSN = true, true
	s.ErrorLog = log.New(io.Discard, "", 0)
	var w *Conn
	if cfg != nil {
		b.wired = true
		s.MaxLineLength = 0
		if cfg.Dialogue == nil {
			cfg.Dialogue = &dialogue{}
		}
		if cfg.Limits == (Limits{}) {
			cfg.Limits = testLimits()
		}
		own := *cfg
		own.Closed = func(err error) {
			if cfg.Closed != nil {
				cfg.Closed(err)
			}
			hook()
		}
		w = New(server, own)
		conn = w
	} else {
		s.ReadTimeout = 10 * time.Second
	}
	l := &one{conn: conn, done: make(chan struct{})}
	served := make(chan struct{})
	go func() { s.Serve(l); close(served) }()
	wait := sync.OnceFunc(func() {
		client.Close()
		<-ended
		close(l.done)
		<-served
	})
	t.Cleanup(wait)
	return client, w, wait
}

// closeHook tells when a connection was closed.
type closeHook struct {
	net.Conn
	closed func()
}

func (c *closeHook) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// transcript writes input in the given parts, reads all replies to the end of the connection, and returns
// them.
func transcript(client net.Conn, parts ...string) string {
	out := make(chan string)
	go func() {
		b, _ := io.ReadAll(client)
		out <- string(b)
	}()
	for _, p := range parts {
		if _, err := io.WriteString(client, p); err != nil {
			break
		}
	}
	return <-out
}

const (
	before = "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
	after  = "NOOP\r\nQUIT\r\n"
)

func TestRepliesAreWrittenTogether(t *testing.T) {
	b := &backend{}
	client, _, _ := serve(t, b, &Config{})
	r := bufio.NewReader(client)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(client, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n")
	buf := make([]byte, 4096) // a pipe gives at most one write to one read
	n, err := client.Read(buf)
	if err != nil || bytes.Count(buf[:n], []byte("\n250 ")) != 4 {
		t.Fatalf("one write holds %q, %v", buf[:n], err)
	}
}

// strictBodies are content that must be refused, whatever way it is cut into packets.
var strictBodies = map[string]error{
	"a\nb\r\n.\r\n":                 ErrBareLF,
	"a\n.\r\n":                      ErrBareLF,
	"a\r\n.\nb\r\n.\r\n":            ErrBareLF,
	"\n.\n\r\n.\r\n":                ErrBareLF,
	"a\rb\r\n.\r\n":                 ErrBareCR,
	"a\r\r\n.\r\n":                  ErrBareCR,
	"a\r\n.\rX\r\n.\r\n":            ErrBareCR,
	"a\r\n.\r\r\n.\r\n":             ErrBareCR,
	"a\r.\r\n.\r\n":                 ErrBareCR,
	"a\x00b\r\n.\r\n":               ErrNUL,
	"a\r\n\x00.\r\n.\r\n":           ErrNUL,
	"x\r\n.\rMAIL FROM:<x@y>\r\n.":  ErrBareCR,
	strings.Repeat("x", 70) + "\n.": ErrBareLF,
}

func TestStrictBodiesAreRefusedHoweverTheyAreCut(t *testing.T) {
	for body, want := range strictBodies {
		for i := range len(body) + 1 {
			b := &backend{}
			client, _, wait := serve(t, b, &Config{})
			got := transcript(client, before, body[:i], body[i:]+"MAIL FROM:<smuggled@evil>\r\n")
			wait()
			if strings.Count(got, "\r\n554 5.6.0 refused\r\n") != 1 ||
				!strings.HasSuffix(got, "refused\r\n") {
				t.Fatalf("%q cut at %d: %q", body, i, got)
			}
			if errs := b.failures(); len(errs) != 1 || !errors.Is(errs[0], want) || len(b.contents()) != 0 {
				t.Fatalf("%q cut at %d: errors %v, contents %q", body, i, errs, b.contents())
			}
		}
	}
}

func TestNormalize(t *testing.T) {
	for body, want := range map[string]string{
		"a\nb\r\n.\r\n":              "a\r\nb\r\n",
		"a\rb\r\n.\r\n":              "a\r\nb\r\n",
		"a\r\r\nb\r\n.\r\n":          "a\r\n\r\nb\r\n",
		"a\n.\nb\r\n.\r\n":           "a\r\n.\r\nb\r\n",
		"a\n.\r\nb\r\n.\r\n":         "a\r\n.\r\nb\r\n",
		"a\r.\r\nb\r\n.\r\n":         "a\r\n.\r\nb\r\n",
		"a\r\n..\nb\r\n.\r\n":        "a\r\n.\r\nb\r\n",
		"a\r\n\n\r\r\nb\r\n.\r\n":    "a\r\n\r\n\r\n\r\nb\r\n",
		"plain\r\n..dot\r\n.\r\n":    "plain\r\n.dot\r\n",
		"a\nb\nc\n\r\n\r\n..\n.\r\n": "a\r\nb\r\nc\r\n\r\n\r\n.\r\n.\r\n", // LF.CRLF ends nothing
	} {
		for i := range len(body) + 1 {
			b := &backend{}
			client, _, wait := serve(t, b, &Config{Normalize: true})
			if strings.HasSuffix(body, "\n.\r\n") && !strings.HasSuffix(body, "\r\n.\r\n") {
				transcript(client, before, body[:i], body[i:]+"\r\n.\r\n"+after)
			} else {
				transcript(client, before, body[:i], body[i:]+after)
			}
			wait()
			got := b.contents()
			if len(got) != 1 || !strings.HasPrefix(got[0], want) {
				t.Fatalf("%q cut at %d: %q, errors %v", body, i, got, b.failures())
			}
		}
	}
	b := &backend{}
	client, _, _ := serve(t, b, &Config{Normalize: true})
	transcript(client, before, "a\x00b\r\n.\r\n")
	if errs := b.failures(); len(errs) != 1 || errs[0] != ErrNUL {
		t.Errorf("NUL: %v", errs)
	}
}

// TestLenient: the content of a lenient client may end in LF.LF, as long as it has no CR. Wherever the input
// is cut, the same is read.
func TestLenient(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{"a\nb\n.\n", "a\r\nb\r\n"},
		{"a\nb\n.\r\n", "a\r\nb\r\n"},
		{".\n", ""},
		{"..\n..a\n\n.\n", ".\r\n.a\r\n\r\n"},
		{"a\n.b\n.\n", "a\r\nb\r\n"},
		{"a\nb\r\n.\r\n", "a\r\nb\r\n"},
		{"a\r\nb\r\n.\r\n", "a\r\nb\r\n"},
		// with a CR, only CRLF.CRLF ends it
		{"a\r\nb\n.\nc\r\n.\r\n", "a\r\nb\r\n.\r\nc\r\n"},
		{"a\r\nb\n.\r\nc\r\n.\r\n", "a\r\nb\r\n.\r\nc\r\n"},
		{"a\nb\r\n.\nc\r\n.\r\n", "a\r\nb\r\n\r\nc\r\n"},
		{"a\rb\n.\nc\r\n.\r\n", "a\r\nb\r\n.\r\nc\r\n"},
	} {
		for i := range len(tt.body) + 1 {
			b := &backend{}
			ready := make(chan *Conn, 1)
			client, w, wait := serve(t, b, &Config{Open: func(nc net.Conn) (net.Conn, error) {
				(<-ready).Lenient()
				return nc, nil
			}})
			ready <- w
			replies := transcript(client, before, tt.body[:i], tt.body[i:]+after)
			wait()
			if got := b.contents(); len(got) != 1 || got[0] != tt.want || !strings.Contains(replies,
				"\r\n221 ") {
				t.Fatalf("%q cut at %d: %q, errors %v, replies %q", tt.body, i, got, b.failures(), replies)
			}
		}
	}
}

func TestContentLimits(t *testing.T) {
	limits := testLimits()
	limits.Content, limits.ContentLine = 100, 20
	line := strings.Repeat("x", 18) + "\r\n"
	for _, tt := range []struct {
		name, body string
		err        error
	}{
		{"size exact", strings.Repeat(line, 5), nil},
		{"size exact with dots", strings.Repeat("."+line[1:], 5), nil},
		{"one byte over", strings.Repeat(line, 4) + strings.Repeat("x", 19) + "\r\n", ErrLineTooLong},
		{"one line over", strings.Repeat(line, 5) + "\r\n", ErrTooLarge},
		{"line over, dots after", "a\r\n" + strings.Repeat("x", 30) + "\r\n..\r\n...\r\n", ErrLineTooLong},
		{"mid-line dot before a long line", "abc\r\n" + strings.Repeat("y", 50) + "\r\nb\r\n",
			ErrLineTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := dotStuffed(tt.body) + ".\r\n"
			for i := range len(body) + 1 {
				b := &backend{}
				client, _, wait := serve(t, b, &Config{Limits: limits})
				got := transcript(client, before, body[:i], body[i:]+after)
				wait()
				if !strings.Contains(got, "\r\n250 2.0.0 I have") || !strings.HasSuffix(got, "Bye\r\n") {
					t.Fatalf("cut at %d: the session did not go on: %q", i, got)
				}
				if tt.err == nil {
					if c := b.contents(); len(c) != 1 || c[0] != tt.body {
						t.Fatalf("cut at %d: %q, %v", i, c, b.failures())
					}
				} else if errs := b.failures(); len(errs) != 1 || errs[0] != tt.err {
					t.Fatalf("cut at %d: %v", i, errs)
				}
			}
		})
	}
}

func dotStuffed(s string) string {
	if strings.HasPrefix(s, ".") {
		s = "." + s
	}
	return strings.ReplaceAll(s, "\r\n.", "\r\n..")
}

// TestLongLineThenMidLineDots holds that after a line over the limit what stood in the middle of a line is
// not taken for its beginning.
func TestLongLineThenMidLineDots(t *testing.T) {
	limits := testLimits()
	limits.ContentLine = 20
	b := &backend{}
	client, _, _ := serve(t, b, &Config{Limits: limits})
	// The first part ends in the middle of a line; the second begins with ".\r\n", which ends that line and
	// not the content.
	got := transcript(client, before, "abc",
		".\r\n"+strings.Repeat("x", 40)+"\r\nMAIL FROM:<smuggled@evil>\r\n.\r\n", after)
	if strings.Count(got, "Roger") != 1 {
		t.Errorf("content was run as commands: %q", got)
	}
}

func TestDrainedContentIsCapped(t *testing.T) {
	limits := testLimits()
	limits.Content = 100
	b := &backend{}
	client, _, _ := serve(t, b, &Config{Limits: limits})
	line := strings.Repeat("x", 998) + "\r\n"
	got := transcript(client, before, strings.Repeat(line, 3000), "NOOP\r\n")
	if !strings.HasSuffix(got, "554 5.6.0 refused\r\n") {
		t.Errorf("%q", got[max(0, len(got)-200):])
	}
}

func TestUnreadContentIsDrained(t *testing.T) {
	b := &backend{read: func(io.Reader) ([]byte, error) { return nil, nil }}
	client, _, _ := serve(t, b, &Config{})
	got := transcript(client, before, "MAIL FROM:<x@y>\r\n\r\nbody\r\n.\r\n"+after)
	if strings.Count(got, "Roger") != 1 || !strings.HasSuffix(got, "Bye\r\n") {
		t.Errorf("%q", got)
	}
}

func TestContentCutShort(t *testing.T) {
	b := &backend{}
	client, _, wait := serve(t, b, &Config{})
	go io.Copy(io.Discard, client)
	io.WriteString(client, before)
	io.WriteString(client, "half a mess")
	client.Close()
	wait()
	if errs := b.failures(); len(errs) != 1 || errs[0] != io.ErrUnexpectedEOF {
		t.Errorf("%v", errs)
	}
}

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit func(*Limits)
		send  func(net.Conn)
		after time.Duration // about
		err   error
		last  string
	}{
		{"command", nil, func(c net.Conn) { io.WriteString(c, "EH") }, 10 * time.Second, nil,
			"421 4.4.2 Timeout waiting for a command\r\n"},
		{"content idle", nil, func(c net.Conn) { io.WriteString(c, before+"half") }, 10 * time.Second,
			ErrIdle, "554 5.6.0 refused\r\n"},
		{"content total", nil, dribble, 100 * time.Second, ErrTooSlow, "554 5.6.0 refused\r\n"},
		{"content rate", func(l *Limits) { l.MinRate, l.Grace = 10, 20*time.Second }, dribble,
			22 * time.Second, ErrTooSlow, "554 5.6.0 refused\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := testLimits()
				if tt.limit != nil {
					tt.limit(&limits)
				}
				b := &backend{}
				client, _, wait := serve(t, b, &Config{Limits: limits})
				began := time.Now()
				go tt.send(client)
				got, _ := io.ReadAll(client)
				wait()
				if took := time.Since(began); took < tt.after*8/10 || took > tt.after*11/10 {
					t.Errorf("took %v", took)
				}
				if !strings.HasSuffix(string(got), tt.last) {
					t.Errorf("%q", got)
				}
				if errs := b.failures(); tt.err != nil && (len(errs) != 1 || errs[0] != tt.err) {
					t.Errorf("%v", errs)
				}
				time.Sleep(2 * time.Second) // lets the sender notice
			})
		})
	}
}

// dribble sends content for ever, a byte a second.
func dribble(c net.Conn) {
	io.WriteString(c, before)
	for {
		if _, err := io.WriteString(c, "x"); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// TestSteadySlowContentIsTaken holds that the time between commands does not bound content that keeps coming.
func TestSteadySlowContentIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		client, _, wait := serve(t, b, &Config{})
		go io.Copy(io.Discard, client)
		io.WriteString(client, before)
		for range 10 {
			io.WriteString(client, "line\r\n")
			time.Sleep(6 * time.Second)
		}
		io.WriteString(client, ".\r\n"+after)
		synctest.Wait()
		wait()
		if c := b.contents(); len(c) != 1 || c[0] != strings.Repeat("line\r\n", 10) {
			t.Errorf("%q %v", c, b.failures())
		}
	})
}

// TestMinimumRateIsExact: content that comes as fast as it must is taken for as long as it likes, and a
// tenth slower it is not.
func TestMinimumRateIsExact(t *testing.T) {
	for rate, taken := range map[int64]bool{10: true, 11: false} {
		synctest.Test(t, func(t *testing.T) {
			limits := testLimits()
			limits.MinRate, limits.Grace, limits.ContentTotal = rate, 5*time.Second, time.Hour
			b := &backend{}
			client, _, wait := serve(t, b, &Config{Limits: limits})
			go io.Copy(io.Discard, client)
			io.WriteString(client, before)
			for range 300 { // ten bytes a second
				if _, err := io.WriteString(client, "8 bytes.\r\n"); err != nil {
					break
				}
				time.Sleep(time.Second)
			}
			io.WriteString(client, ".\r\n"+after)
			wait()
			if got := len(b.contents()) == 1; got != taken {
				t.Errorf("at least %d bytes a second: taken %v, %v", rate, got, b.failures())
			}
			client.Close()
		})
	}
}

func TestDrain(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, w, wait := serve(t, &backend{}, &Config{})
			out := make(chan string, 1)
			go func() { b, _ := io.ReadAll(client); out <- string(b) }()
			io.WriteString(client, "EHLO me\r\n")
			synctest.Wait()
			w.Drain()
			if got := <-out; !strings.HasSuffix(got, "421 4.3.2 Shutting down, please try again later\r\n") {
				t.Errorf("%q", got)
			}
			wait()
		})
	})
	t.Run("in content", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, d := &backend{}, &dialogue{busy: true}
			client, w, wait := serve(t, b, &Config{Dialogue: d})
			out := make(chan string, 1)
			go func() { b, _ := io.ReadAll(client); out <- string(b) }()
			io.WriteString(client, before+"first\r\n")
			synctest.Wait()
			w.Drain()
			synctest.Wait()
			io.WriteString(client, "second\r\n")
			d.busy = false
			io.WriteString(client, ".\r\n")
			got := <-out
			wait()
			if !strings.HasSuffix(got,
				"250 2.0.0 OK: queued\r\n421 4.3.2 Shutting down, please try again later\r\n") {
				t.Errorf("%q", got)
			}
			if c := b.contents(); len(c) != 1 || c[0] != "first\r\nsecond\r\n" {
				t.Errorf("%q", c)
			}
		})
	})
}

func TestLongCommandLine(t *testing.T) {
	b := &backend{}
	client, _, _ := serve(t, b, &Config{})
	got := transcript(client, "NOOP "+strings.Repeat("x", 994), "\r\nNOOP "+strings.Repeat("x", 996),
		"\r\nNOOP\r\n")
	if !strings.HasSuffix(got, "done nothing\r\n500 5.5.6 Line too long\r\n") {
		t.Errorf("%q", got)
	}
	huge, _, _ := serve(t, b, &Config{})
	got = transcript(huge, strings.Repeat("x", 1<<20))
	if !strings.HasSuffix(got, "500 5.5.6 Line too long\r\n") {
		t.Errorf("%q", got)
	}
}

// TestSASLLines holds that the lines after 334 are not commands, and may be longer than those.
func TestSASLLines(t *testing.T) {
	d := &dialogue{}
	client, _, _ := serve(t, &backend{}, &Config{Dialogue: d})
	got := transcript(client, "EHLO me\r\nAUTH PLAIN\r\nDATA\r\nAUTH PLAIN\r\n"+strings.Repeat("QUFB", 2000)+
		"\r\nAUTH PLAIN\r\n*\r\nQUIT\r\n")
	if strings.Count(got, "\r\n334 \r\n") != 3 || !strings.HasSuffix(got, "Bye\r\n") {
		t.Errorf("%q", got)
	}
	for _, line := range d.lines {
		if line == "DATA" || line == "*" || strings.HasPrefix(line, "QUFB") {
			t.Errorf("SASL response taken for a command: %.20q", line)
		}
	}
}

func TestNothingRunsAfterTheEnd(t *testing.T) {
	d := &dialogue{reply: func(r string) bool { return strings.HasPrefix(r, "252") }}
	client, _, _ := serve(t, &backend{}, &Config{Dialogue: d})
	got := transcript(client, "EHLO me\r\nVRFY x\r\nNOOP\r\nMAIL FROM:<a@b>\r\n")
	if strings.Contains(got, "nothing") || strings.Contains(got, "Roger") {
		t.Errorf("%q", got)
	}
	quit, _, _ := serve(t, &backend{}, &Config{})
	if got := transcript(quit, "EHLO me\r\nQUIT\r\nMAIL FROM:<a@b>\r\n"); !strings.HasSuffix(got, "Bye\r\n") {
		t.Errorf("%q", got)
	}
}

func testTLS(t testing.TB) (server *tls.Config, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"test"},
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool, ServerName: "test"}
}

// tcpPair is a connection over loopback, which has half-closes and buffers as a pipe has not.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestStartTLS(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	client, server := tcpPair(t)
	b := &backend{}
	_, w, wait := serveOn(t, b,
		&Config{Dialogue: &dialogue{tls: true}, TLS: func() *tls.Config { return serverTLS }}, client, server)
	c, err := smtp.NewClientStartTLS(client, clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail("a@b", []string{"c@d"}, strings.NewReader("over TLS\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	wait()
	if got := b.contents(); len(got) != 1 || got[0] != "over TLS\r\n" || w.TLS() == nil {
		t.Errorf("%q", got)
	}
}

func TestStartTLSForgetsTheTransaction(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	client, server := tcpPair(t)
	serveOn(t, &backend{}, &Config{Dialogue: &dialogue{tls: true},
		TLS: func() *tls.Config { return serverTLS }}, client, server)
	r := bufio.NewReader(client)
	for _, step := range []struct{ send, last string }{
		{"", "220 "}, {"EHLO me\r\n", "250 "}, {"MAIL FROM:<a@b>\r\n", "250 "}, {"STARTTLS\r\n", "220 "},
	} {
		io.WriteString(client, step.send)
		for line := ""; !strings.HasPrefix(line, step.last); {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	tc := tls.Client(client, clientTLS)
	io.WriteString(tc, "RCPT TO:<c@d>\r\nQUIT\r\n")
	got, _ := io.ReadAll(tc)
	if !strings.HasPrefix(string(got), "502 5.5.1 Missing MAIL") {
		t.Errorf("%q", got)
	}
}

func TestStartTLSInjection(t *testing.T) {
	serverTLS, _ := testTLS(t)
	client, _, _ := serve(t, &backend{},
		&Config{Dialogue: &dialogue{tls: true}, TLS: func() *tls.Config { return serverTLS }})
	got := transcript(client, "EHLO me\r\nSTARTTLS\r\nMAIL FROM:<injected@evil>\r\n")
	if !strings.HasSuffix(got, "501 5.5.2 Unexpected input after STARTTLS\r\n") {
		t.Errorf("%q", got)
	}
}

func TestFailedHandshakeEndsTheConnection(t *testing.T) {
	serverTLS, _ := testTLS(t)
	for name, after := range map[string]string{
		"garbage": "EHLO in clear\r\nMAIL FROM:<a@b>\r\n",
		"silence": "",
	} {
		t.Run(name, func(t *testing.T) {
			limits := testLimits()
			limits.Handshake = 200 * time.Millisecond
			client, server := tcpPair(t)
			var failed error
			closed := make(chan struct{})
			_, _, wait := serveOn(t, &backend{}, &Config{
				Dialogue: &dialogue{tls: true}, TLS: func() *tls.Config { return serverTLS }, Limits: limits,
				Closed: func(err error) { failed = err; close(closed) },
			}, client, server)
			r := bufio.NewReader(client)
			r.ReadString('\n')
			io.WriteString(client, "STARTTLS\r\n")
			if line, _ := r.ReadString('\n'); !strings.HasPrefix(line, "220 ") {
				t.Fatalf("%q", line)
			}
			io.WriteString(client, after)
			rest, _ := io.ReadAll(r)
			if bytes.Contains(rest, []byte("250")) {
				t.Errorf("went on in clear: %q", rest)
			}
			<-closed
			wait()
			if failed == nil {
				t.Error("no failure was told")
			}
		})
	}
}

func TestOpenFailureSaysNothing(t *testing.T) {
	client, _, _ := serve(t, &backend{},
		&Config{Open: func(net.Conn) (net.Conn, error) { return nil, errors.New("no") }})
	if got := transcript(client); got != "" {
		t.Errorf("%q", got)
	}
}

func TestWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _, wait := serve(t, &backend{}, &Config{}) // reads nothing
		var failed bool
		began := time.Now()
		if _, err := io.WriteString(client, "EHLO me\r\n"); err != nil {
			failed = true
		}
		if took := time.Since(began); !failed || took > 11*time.Second {
			t.Errorf("took %v, failed %v", took, failed)
		}
		wait()
	})
}

func TestBuffersAreSmallWhileIdle(t *testing.T) {
	b := &backend{}
	client, w, wait := serve(t, b, &Config{Dialogue: &dialogue{}})
	content := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 3000)
	transcript(client, before+content+".\r\n", after)
	wait()
	if got := b.contents(); len(got) != 1 || got[0] != content {
		t.Fatalf("%d contents", len(got))
	}
	if w.in.lent != nil || len(w.in.buf) > smallBuffer {
		t.Errorf("buffer of %d bytes stays", len(w.in.buf))
	}
}

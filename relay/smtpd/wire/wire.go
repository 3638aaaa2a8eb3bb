// Package wire is the connection that stands between go-smtp and the network. The front door wraps every accepted
// connection in a Conn and serves go-smtp on it; go-smtp believes it speaks to a plain net.Conn.
//
// The Conn owns three things that the library does badly or not at all, and owns them without a fork:
//
//   - Command lines. The server is handed one line at a time, and only when it asks, so its replies are known to belong to that
//     line. A Dialogue sees each line before and each reply after, and may answer, alter, or end the session. Replies are
//     gathered and written at once before the Conn waits for input (RFC 2920, 3.2).
//   - Content. When the server answers 354, and for no other cause, the lines that follow are content. Session.Data
//     reads them from Content, which scans in blocks, takes the dots away (RFC 5321, 4.5.2) and is strict: only CRLF
//     ends a line and only CRLF.CRLF ends the content (RFC 5321, 2.3.8, 4.1.1.4). The server itself gets the final dot and nothing else.
//   - STARTTLS. The Conn does the handshake (RFC 3207, 4) and goes on above TLS with the same server, which is told
//     RSET. The Dialogue sees to it that the client says EHLO again. A failed handshake ends the connection.
//
// What always holds: content is never read as commands, and commands never as content: whatever goes wrong between 354 and
// the final dot, the connection ends after the reply. A line that was in the buffer when the session ended is
// never run. Every read has a deadline. The memory of an idle connection is its small buffer; the large one is borrowed while
// content flows.
//
// All methods but Drain and Abort are for the one goroutine that serves the connection.
//
// It relies on how go-smtp v0.25.1 behaves: that it asks for a line only when it has replied to the one before, that it
// flushes whole replies, and that after Session.Data it reads to the final dot before it replies. Tests here hold it to that.
package wire

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Action is what becomes of a command line. The zero Action ends nothing and hands nothing on.
type Action struct {
	Pass     string // the line to hand to the server, without its end
	Reply    string // sent in place of handing anything on: whole lines, CRLF included
	End      bool   // the session ends after Reply
	StartTLS bool   // answer 220 and start TLS
}

// Dialogue decides about what passes between a client and the server.
type Dialogue interface {
	// Command is asked about each command line, given without its end. SASL responses and content are not commands.
	Command(line string) Action
	// Reply is asked about each whole reply, whoever made it, and returns what to send in its place and whether the
	// session ends after it.
	Reply(reply []byte) (send []byte, end bool)
	// Busy reports whether a transaction is open, which a drain lets come to its end.
	Busy() bool
}

// Limits bound what a client may cost. A zero number is no limit, but times must be set.
type Limits struct {
	Line         int           // bytes of a command line, without its end
	Content      int64         // bytes of content, dots taken away
	ContentLine  int           // bytes of a line of content
	Idle         time.Duration // until the next byte of a command
	ContentIdle  time.Duration // until the next byte of content
	ContentTotal time.Duration // from 354 to the final dot
	MinRate      int64         // bytes a second of content, over the time that exceeds Grace
	Grace        time.Duration
	Handshake    time.Duration // from STARTTLS, or from the connection's opening, to the end of the handshake
	Write        time.Duration // of one write
}

// saslLine is the length of a SASL response that must be taken (RFC 4954, 4).
const saslLine = 12288

// Config is what a Conn needs. All but Limits and Dialogue is optional.
type Config struct {
	Dialogue  Dialogue
	Limits    Limits
	Normalize bool // turn bare CR and bare LF in content into CRLF, in place of refusing them
	Buffers   *Buffers
	// Open prepares the connection before anything is said: a PROXY header, implicit TLS. It runs on the serving
	// goroutine, under the Handshake deadline. An error ends the connection without a word.
	Open func(net.Conn) (net.Conn, error)
	// TLS returns the configuration for a STARTTLS that the Dialogue allowed.
	TLS func() *tls.Config
	// Closed is called once, when the Conn is closed. err is the failure that ended it, nil for an ordinary end.
	Closed func(err error)
}

// mode is how the next input is to be read.
type mode int

const (
	modeCommand mode = iota
	modeSASL         // the server said 334
	modeContent      // the server said 354
)

// Conn is one client's connection, as a net.Conn for go-smtp.
type Conn struct {
	cfg Config
	raw net.Conn // as accepted; its deadlines are those of all layers above
	nc  net.Conn // what is spoken on: raw, or a layer above it

	opened   bool
	mode     mode
	content  *Content
	handed   []byte // of the line handed to the server, what it has not read yet
	swallow  bool   // the next reply is to our own RSET
	last     bool   // the session ends after the next reply
	ended    bool   // nothing more is read or said
	linger   bool   // the client may still be sending: let it see the last reply
	failed   error  // why it ended, if not by QUIT
	deadline time.Time

	in    input
	reply []byte // of the server's reply, what is not whole yet
	out   []byte // replies not yet written

	draining atomic.Bool
	closing  sync.Once
}

// New wraps an accepted connection.
func New(raw net.Conn, cfg Config) *Conn {
	if cfg.Buffers == nil {
		cfg.Buffers = NewBuffers()
	}
	return &Conn{cfg: cfg, raw: raw, nc: raw}
}

// TLS is the state of the connection's TLS, or nil in clear.
func (c *Conn) TLS() *tls.ConnectionState {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	return &state
}

// Drain asks the session to end as soon as no transaction is open, with 421 (RFC 5321, 3.8). It is safe to call from any
// goroutine.
func (c *Conn) Drain() {
	c.draining.Store(true)
	c.raw.SetReadDeadline(time.Unix(1, 0)) // wakes a read that waits; see fill
}

// Abort cuts the connection. It is safe to call from any goroutine.
func (c *Conn) Abort() error { return c.raw.Close() }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements net.Conn. It is the peer's address, not the one a PROXY header names.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline does nothing: deadlines are the Conn's own.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: deadlines are the Conn's own.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: deadlines are the Conn's own.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// open runs Config.Open once, before the greeting.
func (c *Conn) open() {
	if c.opened {
		return
	}
	c.opened = true
	if c.cfg.Open == nil {
		return
	}
	c.raw.SetDeadline(time.Now().Add(c.cfg.Limits.Handshake))
	nc, err := c.cfg.Open(c.raw)
	if err != nil {
		c.fail(err)
		return
	}
	c.nc = nc
	c.raw.SetDeadline(time.Time{})
}

// fail ends the session for a failure after which nothing can or may be said.
func (c *Conn) fail(err error) {
	c.ended = true
	if c.failed == nil {
		c.failed = err
	}
}

// Dialogue is the one that New was given.
func (c *Conn) Dialogue() Dialogue { return c.cfg.Dialogue }

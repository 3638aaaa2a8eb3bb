// Package wire is the connection between go-smtp and the network. The front door wraps every accepted
// connection in a Conn and runs go-smtp on it; go-smtp sees a plain net.Conn.
//
// The Conn owns three things that the library does badly or not at all, without forking it:
//
//   - Command lines. The server gets one line at a time, and only when it asks, so a reply always belongs
//     to that line. A Dialogue sees each line before the server and each reply after it, and can answer,
//     change them, or end the session. Replies are collected and written at once before the Conn waits for
//     input (RFC 2920, 3.2).
//   - Content. Only after the server answers 354 are the following lines content. Session.Data reads them
//     from Content, which scans in blocks, removes the dots (RFC 5321, 4.5.2) and is strict: only CRLF ends
//     a line and only CRLF.CRLF ends the content (RFC 5321, 2.3.8, 4.1.1.4). The server itself gets only
//     the final dot.
//   - STARTTLS. The Conn does the handshake (RFC 3207, 4) and continues over TLS with the same server,
//     which gets RSET. The Dialogue makes sure that the client sends EHLO again. A failed handshake ends
//     the connection.
//
// What always holds: content is never read as commands, nor commands as content. If anything goes wrong
// between 354 and the final dot, the connection ends after the reply. A line that is still in the buffer
// when the session ends is never run. Every read has a deadline. An idle connection holds only its small
// buffer; it borrows a large one while content flows.
//
// All methods except Drain and Abort are for the one goroutine that serves the connection.
//
// The package relies on how go-smtp v0.25.1 behaves: it asks for a line only after it has replied to the
// one before, it flushes whole replies, and after Session.Data it reads to the final dot before it replies.
// Tests here check that.
package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Action is what to do with a command line.
type Action struct {
	Pass     string // the line to pass to the server, without its line end
	Reply    string // sent instead of passing anything on: whole lines with CRLF
	End      bool   // the session ends after Reply
	StartTLS bool   // answer 220 and start TLS
}

// Dialogue decides what passes between a client and the server.
type Dialogue interface {
	// Command gets each command line, without its line end. SASL responses and content are not commands. A
	// TLS handshake in the place of a command is TLSHello.
	Command(line string) Action
	// Reply gets each whole reply, whoever made it, and returns what to send instead and whether the
	// session ends after it.
	Reply(reply []byte) (send []byte, end bool)
	// Busy reports whether a transaction is open. A drain waits for its end.
	Busy() bool
}

// ErrAnswered is an error of Config.Open that has answered the client itself.
var ErrAnswered = errors.New("answered")

// TLSHello is the beginning of a TLS handshake (RFC 8446, 5.1), which no command line is.
const TLSHello = "\x16\x03"

// Limits bound what a client may cost. A number of zero means no limit; every time must be set.
type Limits struct {
	Line         int           // bytes of a command line, without its line end
	Content      int64         // bytes of content, without added dots
	ContentLine  int           // bytes of a line of content
	Idle         time.Duration // until the next byte of a command
	ContentIdle  time.Duration // until the next byte of content
	ContentTotal time.Duration // from 354 to the final dot
	MinRate      int64         // bytes of content per second, after Grace
	Grace        time.Duration
	// Handshake runs from STARTTLS, or from the start of the connection, to the end of the handshake.
	Handshake time.Duration
	Write     time.Duration // of one write
}

// saslLine is the length of a SASL response that must be accepted (RFC 4954, 4).
const saslLine = 12288

// Config is what a Conn needs. Only Limits and Dialogue are required.
type Config struct {
	Dialogue  Dialogue
	Limits    Limits
	Normalize bool // turn bare CR and bare LF in content into CRLF instead of refusing them
	Buffers   *Buffers
	// Open prepares the connection before the greeting: a PROXY header, implicit TLS. It runs on the
	// serving goroutine, under the Handshake deadline. An error ends the connection without a reply; one that
	// is ErrAnswered, once the client has had time to read what Open wrote.
	Open func(net.Conn) (net.Conn, error)
	// TLS returns the configuration for a STARTTLS that the Dialogue allowed.
	TLS func() *tls.Config
	// Closed is called once, when the Conn is closed. err is the failure that ended it; nil if there was
	// none.
	Closed func(err error)
}

// mode is how to read the next input.
type mode int

const (
	modeCommand mode = iota
	modeSASL         // the server replied 334
	modeContent      // the server replied 354
)

// Conn is one client's connection, as a net.Conn for go-smtp.
type Conn struct {
	cfg Config
	raw net.Conn // as accepted; its deadlines apply to all layers above it
	nc  net.Conn // to read and write: raw, or a layer above it

	opened   bool
	mode     mode
	content  *Content
	handed   []byte // the part of the current line that the server has not read yet
	swallow  bool   // the next reply is to our own RSET
	last     bool   // the session ends after the next reply
	ended    bool   // nothing more is read or sent
	linger   bool   // the client may still be sending: give it time to read the last reply
	failed   error  // why it ended, if not by QUIT
	deadline time.Time

	in    input
	reply []byte // the incomplete part of the server's reply
	out   []byte // replies not yet written

	lenient bool // see Lenient

	draining atomic.Bool
	leaving  bool // a drain ends the session, and waits for QUIT
	closing  sync.Once
}

// New wraps an accepted connection.
func New(raw net.Conn, cfg Config) *Conn {
	if cfg.Buffers == nil {
		cfg.Buffers = NewBuffers()
	}
	return &Conn{cfg: cfg, raw: raw, nc: raw}
}

// TLS is the state of the connection's TLS; nil if there is none.
func (c *Conn) TLS() *tls.ConnectionState {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	return &state
}

// Lenient has the Conn turn bare CR and LF in content into CRLF whatever Config.Normalize says, and end a
// content that has no CR at LF.LF.
func (c *Conn) Lenient() { c.lenient = true }

// Drain ends the session with 421 as soon as no transaction is open (RFC 5321, 3.8), or with 221 if the
// client says QUIT within a quarter of a second. It is safe to call from any goroutine.
func (c *Conn) Drain() {
	c.draining.Store(true)
	c.raw.SetReadDeadline(time.Unix(1, 0)) // wakes a waiting read; see fill
}

// Abort cuts the connection. It is safe to call from any goroutine.
func (c *Conn) Abort() error { return c.raw.Close() }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements net.Conn. It is the address of the peer, not the one in a PROXY header.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline does nothing: the Conn sets the deadlines.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: the Conn sets the deadlines.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: the Conn sets the deadlines.
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
		c.linger = errors.Is(err, ErrAnswered)
		c.fail(err)
		return
	}
	c.nc = nc
	c.raw.SetDeadline(time.Time{})
}

// fail ends the session after a failure that allows no reply.
func (c *Conn) fail(err error) {
	c.ended = true
	if c.failed == nil {
		c.failed = err
	}
}

// Dialogue returns the one given to New.
func (c *Conn) Dialogue() Dialogue { return c.cfg.Dialogue }

package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// Read gives the server its next command line, or the final dot of the content that it asked for. At the
// end of the session it returns io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	for len(c.handed) == 0 {
		if c.ended {
			return 0, io.EOF
		}
		c.advance()
	}
	n := copy(p, c.handed)
	c.handed = c.handed[n:]
	return n, nil
}

// advance takes the dialogue one step further: it sets handed, replies, or ends the session.
func (c *Conn) advance() {
	if c.mode == modeContent {
		c.endContent()
		return
	}
	if c.drainNow() {
		c.dismiss()
		return
	}
	limit := c.cfg.Limits.Line
	if c.mode == modeSASL {
		limit = max(limit, saslLine)
	}
	line, err := c.readLine(limit)
	if err != nil {
		c.endInput(err)
		return
	}
	if c.mode == modeSASL {
		c.mode = modeCommand
		c.hand(string(line))
		return
	}
	c.act(c.cfg.Dialogue.Command(string(line)))
}

// act does what the Dialogue decided about a line.
func (c *Conn) act(a Action) {
	switch {
	case a.StartTLS:
		c.startTLS()
	case a.Reply != "":
		c.last, c.linger = a.End, a.End
		c.deliver([]byte(a.Reply))
	default:
		c.hand(a.Pass)
	}
}

// hand passes a line to the server.
func (c *Conn) hand(line string) { c.handed = append(append(c.handed[:0], line...), '\r', '\n') }

// endInput ends the session after a line could not be read.
func (c *Conn) endInput(err error) {
	switch {
	case err == io.EOF:
		c.ended = true
	case err == errDrain:
		c.dismiss()
	case err == errLineTooLong:
		c.end("500 5.5.6 Line too long\r\n", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end("421 4.4.2 Timeout waiting for a command\r\n", err)
	default:
		c.fail(err)
	}
}

// quitGrace is how long a session that a drain ends is given to say QUIT.
const quitGrace = 250 * time.Millisecond

// dismiss ends the session for a drain: with 421, or with 221 when the client is about to leave anyway. A
// client whose message was taken says QUIT next, and many a library reports a 421 to that as a failure of the
// message, so that it is sent again.
func (c *Conn) dismiss() {
	c.leaving = true
	line, err := c.readLine(c.cfg.Limits.Line)
	if err == nil && strings.EqualFold(strings.TrimSpace(string(line)), "QUIT") {
		c.end("221 2.0.0 Bye\r\n", nil)
		return
	}
	c.end("421 4.3.2 Shutting down, please try again later\r\n", nil)
}

// end sends reply and ends the session.
func (c *Conn) end(reply string, why error) {
	c.last, c.linger = true, why != nil
	c.failed = why
	c.deliver([]byte(reply))
}

// startTLS answers STARTTLS and continues over TLS (RFC 3207, 4). Input that came with the command was sent
// in the clear, by the client or by an attacker, and must not count as part of the encrypted session (RFC
// 3207, 6). No honest client sends any, so it ends the session.
func (c *Conn) startTLS() {
	if len(c.in.bytes()) > 0 {
		c.end("501 5.5.2 Unexpected input after STARTTLS\r\n", errors.New("input after STARTTLS"))
		return
	}
	c.deliver([]byte("220 2.0.0 Ready to start TLS\r\n"))
	if err := c.flush(); err != nil {
		return
	}
	c.deadline = time.Now().Add(c.cfg.Limits.Handshake)
	c.raw.SetDeadline(c.deadline)
	tc := tls.Server(c.nc, c.cfg.TLS())
	if err := tc.HandshakeContext(context.Background()); err != nil {
		c.fail(fmt.Errorf("TLS handshake: %w", err))
		return
	}
	c.raw.SetDeadline(time.Time{})
	c.deadline = time.Time{}
	c.nc = tc
	c.swallow = true
	c.hand("RSET") // the server forgets what was sent in the clear (RFC 3207, 4.2)
}

// Close writes the pending replies and closes the connection.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		c.flush()
		c.ended = true
		if c.linger {
			c.lingerOn()
		}
		err = c.nc.Close()
		c.content = nil
		c.in.end(c.cfg.Buffers)
		if c.cfg.Closed != nil {
			c.cfg.Closed(c.failed)
		}
	})
	return err
}

// The bounds of lingerOn.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 64 << 20
)

// lingerOn keeps reading for a while after the last reply. Closing with unread input would reset the
// connection, and the reset can overtake the reply that explains it.
func (c *Conn) lingerOn() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok { // a PROXY layer has no CloseWrite
		half, ok = c.raw.(interface{ CloseWrite() error })
	}
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.raw.SetReadDeadline(time.Now().Add(lingerTime))
	c.in.room(c.cfg.Buffers)
	for n := 0; n < lingerBytes; {
		got, err := c.raw.Read(c.in.buf)
		if err != nil {
			return
		}
		n += got
	}
}

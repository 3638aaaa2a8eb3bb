package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
)

// maxLine is the longest command line that is read, line end included, and the size of a session's buffer.
const maxLine = 32 << 10

// lingering is how long a closing session waits for the client's own end, so that unread input does not turn
// the FIN into an RST.
const lingering = 2 * time.Second

// handshakeTime is the least time for a TLS handshake, however short Idle is.
const handshakeTime = 10 * time.Second

// session is one connection, served by one goroutine.
type session struct {
	srv  *Server
	raw  net.Conn
	conn net.Conn // raw, or TLS over it; changed under srv.mu
	r    *bufio.Reader
	w    *bufio.Writer
	info Session  // changed under srv.mu
	tx   *Message // open transaction
	n    int      // transactions so far
	over bool     // the connection is done with
}

func newSession(s *Server, conn net.Conn) *session {
	return &session{
		srv: s, raw: conn, conn: conn,
		r: bufio.NewReaderSize(conn, maxLine), w: bufio.NewWriter(conn),
		info: Session{Remote: conn.RemoteAddr().String()},
	}
}

// run serves the connection to its end.
func (c *session) run() {
	defer c.srv.leave(c)
	defer c.raw.Close()
	if c.srv.opt.ImplicitTLS && !c.handshake() {
		return
	}
	if c.answer(c.command(diagnose.StageGreeting, ""), "220 "+c.srv.opt.Hostname+" ESMTP ready")/100 != 2 {
		c.over = true // RFC 5321, 3.1: after 554 a client may only QUIT; we are stricter
	}
	for !c.over {
		line, ok := c.readLine()
		if !ok {
			break
		}
		c.serve(line)
	}
	c.end(EndClose)
}

// readLine reads a command line without its end. ok is false when the client left or is not to be listened
// to.
func (c *session) readLine() (line string, ok bool) {
	c.beforeRead()
	b, err := c.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		c.say("500 5.5.2 Line too long")
		return "", false
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && c.srv.opt.IdleReply != "" {
			c.say(c.srv.opt.IdleReply)
		}
		return "", false
	}
	line = strings.TrimSuffix(string(b[:len(b)-1]), "\r")
	if !c.srv.opt.Forget {
		c.update(func(i *Session) { i.Commands = append(i.Commands, line) })
	}
	return line, true
}

// beforeRead flushes replies unless a pipelined line is there already (RFC 2920, 3.2), and renews the
// deadline.
func (c *session) beforeRead() {
	if c.w.Buffered() > 0 {
		waiting, _ := c.r.Peek(c.r.Buffered())
		if bytes.IndexByte(waiting, '\n') < 0 {
			c.w.Flush()
		}
	}
	if c.r.Buffered() == 0 {
		c.raw.SetReadDeadline(time.Now().Add(c.srv.opt.Idle))
	}
}

// update changes what others may look at.
func (c *session) update(change func(*Session)) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	change(&c.info)
}

// serve answers one command.
func (c *session) serve(line string) {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		c.hello(line, arg, true)
	case "HELO":
		c.hello(line, arg, false)
	case "STARTTLS":
		c.startTLS(line)
	case "AUTH":
		c.auth(line, arg)
	case "MAIL":
		c.mail(line, arg)
	case "RCPT":
		c.rcpt(line, arg)
	case "DATA":
		c.data(line)
	case "RSET":
		if c.answer(c.command(diagnose.StageReset, line), "250 2.0.0 Ok")/100 == 2 {
			c.tx = nil
		}
	case "QUIT":
		c.answer(c.command(diagnose.StageQuit, line), "221 2.0.0 Bye")
		c.over = true
	case "NOOP":
		c.answer(c.command(diagnose.StageUnknown, line), "250 2.0.0 Ok")
	case "VRFY":
		c.answer(c.command(diagnose.StageUnknown, line), "252 2.1.5 Send some mail, it may arrive")
	default:
		c.answer(c.command(diagnose.StageUnknown, line), "500 5.5.1 Command unknown")
	}
}

// hello answers EHLO and HELO (RFC 5321, 4.1.1.1), which end an open transaction.
func (c *session) hello(line, name string, extended bool) {
	reply := "250 " + c.srv.opt.Hostname
	if extended {
		lines := append([]string{c.srv.opt.Hostname + " greets " + name}, c.srv.offered(c.info.TLS != "")...)
		last := len(lines) - 1
		reply = ""
		for _, l := range lines[:last] {
			reply += "250-" + l + "\n"
		}
		reply += "250 " + lines[last]
	}
	if name == "" {
		reply = "501 5.5.4 A name is missing"
	}
	if c.answer(c.command(diagnose.StageHello, line), reply)/100 == 2 {
		c.tx = nil
		c.update(func(i *Session) { i.Hello = name })
	}
}

// startTLS answers STARTTLS (RFC 3207, 4). What the client sent after the command in clear is thrown away.
func (c *session) startTLS(line string) {
	reply := "220 2.0.0 Ready to start TLS"
	switch {
	case c.srv.opt.TLS == nil || !c.srv.offers("STARTTLS"):
		reply = "502 5.5.1 STARTTLS is not offered"
	case c.info.TLS != "":
		reply = "503 5.5.1 TLS is on already"
	}
	if c.answer(c.command(diagnose.StageTLS, line), reply) == 220 && !c.over {
		c.w.Flush()
		c.over = !c.handshake()
	}
}

// handshake turns the connection into a TLS one and forgets what was said before (RFC 3207, 4.2).
func (c *session) handshake() bool {
	if c.srv.opt.TLS == nil {
		return false
	}
	conn := tls.Server(c.raw, c.srv.opt.TLS)
	c.raw.SetDeadline(time.Now().Add(max(c.srv.opt.Idle, handshakeTime)))
	if err := conn.Handshake(); err != nil {
		return false
	}
	c.raw.SetDeadline(time.Time{})
	c.update(func(i *Session) {
		c.conn = conn
		i.TLS, i.Hello, i.User = tls.VersionName(conn.ConnectionState().Version), "", ""
	})
	c.r.Reset(conn)
	c.w.Reset(conn)
	c.tx = nil
	return true
}

// data answers DATA and takes the content (RFC 5321, 4.1.1.4).
func (c *session) data(line string) {
	reply := "354 End data with <CR><LF>.<CR><LF>"
	switch {
	case c.tx == nil:
		reply = "503 5.5.1 MAIL comes first"
	case len(c.tx.To) == 0:
		reply = "554 5.5.1 No valid recipients" // RFC 2920, 3.1
	}
	code := c.answer(c.command(diagnose.StageData, line), reply)
	if code != 354 || c.over {
		c.countRefusal(code)
		return
	}
	if c.tx == nil { // the script insists
		c.tx = c.begin("", "")
	}
	if err := c.readContent(c.tx); err != nil {
		c.over = true
		return
	}
	c.endOfData()
}

// endOfData answers the content. It is recorded before the reply is written.
func (c *session) endOfData() {
	m := c.tx
	m.Arrived = time.Now()
	cmd := c.command(diagnose.StageEndOfData, ".")
	cmd.Arrived = m
	a := c.ask(cmd)
	reply := "250 2.0.0 Ok: queued as " + strconv.Itoa(c.info.ID) + "-" + strconv.Itoa(c.n)
	if limit := c.srv.opt.SizeLimit; limit > 0 && m.Size > limit {
		reply = "552 5.3.4 Message too big" // RFC 1870, 6.3
	}
	if a.Take || a.code(reply)/100 == 2 {
		if err := c.srv.record(m); err != nil {
			a = Action{Reply: "451 4.3.0 " + err.Error()}
		} else {
			c.update(func(i *Session) { i.Messages++ })
		}
	}
	c.countRefusal(c.perform(a, reply))
	c.tx = nil
}

// begin opens a transaction.
func (c *session) begin(from, params string) *Message {
	c.n++
	return &Message{
		Session: c.info.ID, Hello: c.info.Hello, TLS: c.info.TLS, User: c.info.User,
		From: from, FromParams: params, Started: time.Now(),
	}
}

// countRefusal counts a reply to a part of a transaction that was no success.
func (c *session) countRefusal(code int) {
	if code >= 400 {
		c.srv.refused.Add(1)
	}
}

// end ends the connection in the given way.
func (c *session) end(how End) {
	c.over = true
	switch how {
	case EndReset:
		c.w.Flush()
		if t, ok := c.raw.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		c.raw.Close()
	case EndStall:
		c.w.Flush()
		<-c.srv.stop
	default:
		c.raw.SetDeadline(time.Now().Add(lingering))
		c.w.Flush()
		if t, ok := c.conn.(*tls.Conn); ok {
			t.CloseWrite()
		}
		if t, ok := c.raw.(*net.TCPConn); ok {
			t.CloseWrite()
		}
		io.Copy(io.Discard, c.raw)
	}
}

// interject writes what nobody asked for. Called with srv.mu held.
func (c *session) interject(reply string, how End) {
	if reply != "" {
		c.conn.SetWriteDeadline(time.Now().Add(lingering))
		fmt.Fprint(c.conn, crlf(reply))
	}
	switch how {
	case EndReset:
		if t, ok := c.raw.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		c.raw.Close()
	case EndClose:
		c.raw.Close()
	}
}

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// client is one SMTP connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

// patience is how long a client waits for anything, unless its attack says otherwise.
const patience = 30 * time.Second

// connect connects from an address of the loopback; nil when that fails.
func connect(from, to string) *client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return nil
	}
	c.SetDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(c)}
}

// secure is connect with TLS from the first byte.
func secure(from, to string, trust *tls.Config) *client {
	c := connect(from, to)
	if c == nil {
		return nil
	}
	tc := tls.Client(c.Conn, trust)
	return &client{tc, bufio.NewReader(tc)}
}

// send writes a line.
func (c *client) send(line string) { io.WriteString(c, line+"\r\n") }

// reply reads a reply and returns its last line; "" at the end of the connection.
func (c *client) reply() string {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return ""
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(line, "\r\n")
		}
	}
}

// until reads replies up to one that begins with prefix, and reports whether it came.
func (c *client) until(prefix string) bool {
	for {
		switch got := c.reply(); {
		case strings.HasPrefix(got, prefix):
			return true
		case got == "":
			return false
		}
	}
}

// begin opens a transaction and asks for the content; it reports whether that was granted.
func (c *client) begin() bool {
	c.send("EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA")
	return c.until("354")
}

// finish sends the rest of a content, with the final dot, and notes the answer.
func (c *client) finish(l *ledger, name, rest string) (reply string) {
	l.note(name, whole)
	c.send(rest + "\r\n.")
	reply = c.reply()
	switch {
	case strings.HasPrefix(reply, "250"):
		l.note(name, acked)
	case reply != "":
		l.note(name, refused)
	}
	return reply
}

// honest sends one message as a well-behaved client does, and returns how long that took.
func honest(r *relay, n int) (time.Duration, error) {
	name := fmt.Sprintf("honest-%d", n)
	began := time.Now()
	c := connect(honestAddr, r.clear)
	if c == nil {
		return 0, fmt.Errorf("%s: no connection", name)
	}
	defer c.Close()
	if !c.until("220") || !c.begin() {
		return 0, fmt.Errorf("%s: not let in", name)
	}
	io.WriteString(c, r.ledger.open(name)+"Subject: hello\r\n\r\n"+strings.Repeat(strings.Repeat("x", 76)+"\r\n", 50))
	if reply := c.finish(r.ledger, name, "the end"); !strings.HasPrefix(reply, "250") {
		return 0, fmt.Errorf("%s: answered %q", name, reply)
	}
	c.send("QUIT")
	if !c.until("221") {
		return 0, fmt.Errorf("%s: no answer to QUIT", name)
	}
	return time.Since(began), nil
}

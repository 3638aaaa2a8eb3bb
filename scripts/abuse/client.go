package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
)

// client is one SMTP connection of an attacker or of the honest client, which knows no better than to go on
// at whatever the relay says.
type client struct{ *smtptest.Client }

// patience is how long a client waits for anything, unless its attack says otherwise.
const patience = 30 * time.Second

// connect connects from an address of the loopback; nil when that fails.
func connect(from, to string) *client { return secure(from, to, nil) }

// secure is connect with TLS from the first byte, unless trust is nil.
func secure(from, to string, trust *tls.Config) *client {
	o := smtptest.ClientOptions{From: from, TLS: trust, Timeout: patience}
	c, err := smtptest.Connect(context.Background(), to, o)
	if err != nil {
		return nil
	}
	return &client{c}
}

// write sends bytes at once, in no more time than the connection has left.
func (c *client) write(s string) error {
	_, err := io.WriteString(c.Conn, s)
	return err
}

// send sends a line.
func (c *client) send(line string) { c.write(line + "\r\n") }

// reply reads a reply and returns its last line; "" at the end of the connection.
func (c *client) reply() string {
	r, err := c.Reply()
	if err != nil {
		return ""
	}
	return r.String()
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

// tcp is a connection in clear, for ends that no honest client makes.
func (c *client) tcp() *net.TCPConn { return c.Conn.(*net.TCPConn) }

// message is a message that is being sent, and enters itself into the ledger.
type message struct {
	*client
	ledger  *ledger.Ledger
	offer   smtptest.Offer
	content bytes.Buffer // so far; none of it begins with a dot
}

// begin gets a connection to where content is awaited and sends the first lines of a message, with those that
// the relay would otherwise add in front; nil when it is not let in.
func (c *client) begin(l *ledger.Ledger, name string) *message {
	m := &message{
		client: c,
		ledger: l,
		offer:  smtptest.Offer{ID: name, From: "a@b.test", To: []string{"c@d.test"}},
	}
	if c.Expect(2) != nil || c.Command("EHLO x") != nil || c.Begin(l, &m.offer) != nil {
		return nil
	}
	m.add(ledger.Header(name) + "From: a@b.test\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\n" +
		"Message-ID: <" + name + "@abuse.test>\r\n")
	return m
}

// add sends a piece of the content.
func (m *message) add(s string) error {
	m.content.WriteString(s)
	return m.write(s)
}

// finish sends the final dot and returns the answer; "" when there was none.
func (m *message) finish() string {
	r, err := m.Finish(m.ledger, &m.offer, m.ledger.Sum(m.content.Bytes()))
	if r.Code == 0 && err != nil {
		return ""
	}
	return r.String()
}

// leave sends the final dot and does not read the answer.
func (m *message) leave() {
	m.ledger.Write(ledger.Record{What: ledger.Dotted, ID: m.offer.ID, Sum: m.ledger.Sum(m.content.Bytes())})
	m.send(".")
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
	m := c.begin(r.ledger, name)
	if m == nil {
		return 0, fmt.Errorf("%s: not let in", name)
	}
	m.add("Subject: hello\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 50) + "the end\r\n")
	if reply := m.finish(); !strings.HasPrefix(reply, "250") {
		return 0, fmt.Errorf("%s: answered %q", name, reply)
	}
	if err := c.Command("QUIT"); err != nil {
		return 0, fmt.Errorf("%s: no answer to QUIT: %w", name, err)
	}
	return time.Since(began), nil
}

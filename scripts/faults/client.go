package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client offers messages and keeps the first ledger. What it is not told to be accepted it does not offer again: each
// message is offered once.
type client struct {
	ledger *ledger
	addr   string
	prefix string // of the ids
	next   *atomic.Int64
	mix    mix
	drops  bool // some connections are lost in the middle of a content
}

// Errors of an offer.
var (
	errRefused = errors.New("refused")
	errDropped = errors.New("dropped by the client itself")
)

// session is one connection of the client.
type session struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

// patience is how long the client waits for a reply.
const patience = 20 * time.Second

// load offers messages over n sessions until ctx ends, and returns when the last one has been answered or lost. pause
// is what a session waits between two messages.
func (c *client) load(ctx context.Context, n int, pause time.Duration) (wait func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				s, err := dialSession(ctx, c.addr)
				if err != nil {
					sleep(ctx, 10*time.Millisecond)
					continue
				}
				c.converse(ctx, s, pause)
				s.conn.Close()
			}
		})
	}
	return wg.Wait
}

// converse offers messages until the connection is lost.
func (c *client) converse(ctx context.Context, s *session, pause time.Duration) {
	for ctx.Err() == nil {
		switch err := c.offer(s, c.newMessage()); {
		case errors.Is(err, errRefused):
			sleep(ctx, 20*time.Millisecond)
			if s.say("RSET") != nil {
				return
			}
		case err != nil:
			return
		}
		sleep(ctx, pause)
	}
	s.say("QUIT")
}

// newMessage makes the next message.
func (c *client) newMessage() *message {
	return c.mix.newMessage(fmt.Sprintf("%s%06d", c.prefix, c.next.Add(1)))
}

// offerOne offers a message over a connection of its own.
func (c *client) offerOne(ctx context.Context, m *message) error {
	s, err := dialSession(ctx, c.addr)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	err = c.offer(s, m)
	if err == nil {
		s.say("QUIT")
	}
	return err
}

// offer is one transaction.
func (c *client) offer(s *session, m *message) error {
	err := c.ledger.write(record{What: began, ID: m.id, From: m.from, To: m.to, Sum: m.sum})
	if err != nil {
		return err
	}
	if err := s.envelope(m); err != nil {
		return err
	}
	content := m.stuffed()
	if c.drops && rand.IntN(40) == 0 {
		s.w.Write(content[:rand.IntN(len(content))])
		s.w.Flush()
		return errDropped
	}
	s.conn.SetDeadline(time.Now().Add(patience))
	s.w.Write(content)
	if err := s.w.Flush(); err != nil {
		return err
	}
	if err := c.ledger.write(record{What: dotted, ID: m.id}); err != nil {
		return err
	}
	s.w.WriteString(".\r\n")
	code, text, err := s.reply()
	if err != nil {
		return err
	}
	if code/100 != 2 {
		c.ledger.write(record{What: refused, ID: m.id, Code: code, Note: text})
		return errRefused
	}
	return c.ledger.write(record{What: acked, ID: m.id, To: m.to, Queue: queueID(text)})
}

// queueID is the id in "Ok: queued as ID".
func queueID(text string) string {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

// dialSession opens a connection and greets.
func dialSession(ctx context.Context, addr string) (*session, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, r: bufio.NewReader(conn), w: bufio.NewWriterSize(conn, 32<<10)}
	if err = s.expect(2); err == nil {
		err = s.say("EHLO client.test")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// envelope is everything up to the 354.
func (s *session) envelope(m *message) error {
	body := ""
	if m.eight {
		body = " BODY=8BITMIME"
	}
	if err := s.say(fmt.Sprintf("MAIL FROM:<%s>%s", m.from, body)); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := s.say("RCPT TO:<" + to + ">"); err != nil {
			return err
		}
	}
	s.w.WriteString("DATA\r\n")
	return s.expect(3)
}

// say says a command and wants a 2yz.
func (s *session) say(line string) error {
	s.w.WriteString(line + "\r\n")
	return s.expect(2)
}

// expect reads a reply of a class.
func (s *session) expect(class int) error {
	code, text, err := s.reply()
	if err == nil && code/100 != class {
		err = fmt.Errorf("%w: %d %s", errRefused, code, text)
	}
	return err
}

// reply reads one reply.
func (s *session) reply() (code int, text string, err error) {
	s.conn.SetDeadline(time.Now().Add(patience))
	if err := s.w.Flush(); err != nil {
		return 0, "", err
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return 0, "", err
		}
		if len(line) >= 4 && line[3] == '-' {
			continue
		}
		line = strings.TrimRight(line, "\r\n")
		if _, err := fmt.Sscanf(line, "%3d", &code); err != nil {
			return 0, "", fmt.Errorf("no reply: %q", line)
		}
		return code, line[min(4, len(line)):], nil
	}
}

// sleep waits for d, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

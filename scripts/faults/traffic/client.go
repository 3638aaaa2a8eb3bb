package traffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
)

// Client offers messages and enters them into the ledger. A message that was not accepted it does not
// offer again.
type Client struct {
	Ledger *ledger.Ledger
	Addr   string
	Prefix string // of the ids
	Mix    Mix
	Drops  bool // some connections are lost in the middle of a content

	next atomic.Int64
}

// errDropped is a connection that the client lost on purpose.
var errDropped = errors.New("dropped by the client itself")

// Greet opens a connection to a relay and says EHLO.
func Greet(ctx context.Context, addr string) (*smtptest.Client, error) {
	return smtptest.Greet(ctx, addr, "client.test", smtptest.ClientOptions{Buffer: 32 << 10})
}

// Load offers messages over n sessions until ctx ends. It returns at once; wait returns when the last message
// has been answered or lost. pause is what a session waits between two messages.
func (c *Client) Load(ctx context.Context, n int, pause time.Duration) (wait func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				s, err := Greet(ctx, c.Addr)
				if err != nil {
					Sleep(ctx, 10*time.Millisecond)
					continue
				}
				c.converse(ctx, s, pause)
				s.Close()
			}
		})
	}
	return wg.Wait
}

// converse offers messages until the connection is lost.
func (c *Client) converse(ctx context.Context, s *smtptest.Client, pause time.Duration) {
	for ctx.Err() == nil {
		switch err := c.offer(s, c.NewMessage()); {
		case errors.Is(err, smtptest.ErrRefused):
			Sleep(ctx, 20*time.Millisecond)
			if s.Command("RSET") != nil {
				return
			}
		case err != nil:
			return
		}
		Sleep(ctx, pause)
	}
	s.Command("QUIT")
}

// NewMessage makes the next message.
func (c *Client) NewMessage() *Message {
	return c.Mix.Message(fmt.Sprintf("%s%06d", c.Prefix, c.next.Add(1)))
}

// Made is how many messages were made so far.
func (c *Client) Made() int { return int(c.next.Load()) }

// Offer offers a message over a connection of its own.
func (c *Client) Offer(ctx context.Context, m *Message) error {
	s, err := Greet(ctx, c.Addr)
	if err != nil {
		return err
	}
	defer s.Close()
	err = c.offer(s, m)
	if err == nil {
		s.Command("QUIT")
	}
	return err
}

// offer is one transaction.
func (c *Client) offer(s *smtptest.Client, m *Message) error {
	o := m.Offer(c.Ledger)
	if err := s.Begin(c.Ledger, o); err != nil {
		return err
	}
	content := m.Stuffed()
	if c.Drops && rand.IntN(40) == 0 {
		s.Put(content[:rand.IntN(len(content))])
		s.Flush()
		return errDropped
	}
	s.Put(content)
	if err := s.Flush(); err != nil { // the content before the dot: a fault may come between
		return err
	}
	_, err := s.Finish(c.Ledger, o, "")
	return err
}

// Sleep waits for d, or for the end of ctx.
func Sleep(ctx context.Context, d time.Duration) {
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

package mailbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailwhy/relay/internal/tlsconf"
)

// session is one connection.
type session struct {
	*IMAP
	conn   net.Conn
	client *imapclient.Client
	detach func() bool // ends the watch over the context
	late   atomic.Bool // the connection was cut because the server took too long

	idles  bool
	nudged chan struct{} // the server says that there may be new mail
	warned bool          // that mail cannot be removed
}

// connect opens a connection that is cut when ctx is done.
func (b *IMAP) connect(ctx context.Context) (*session, error) {
	d := net.Dialer{Timeout: b.o.Timeout}
	conn, err := d.DialContext(ctx, "tcp", b.address())
	if err != nil {
		return nil, doing("connecting", err)
	}
	s := &session{IMAP: b, conn: conn, nudged: make(chan struct{}, 1)}
	s.detach = context.AfterFunc(ctx, func() { conn.Close() })
	if err := s.limited(b.o.Timeout, s.greet); err != nil {
		s.close()
		return nil, doing("connecting to "+b.address(), err)
	}
	return s, nil
}

// greet makes the connection secure and waits for the greeting (RFC 9051, 7.1.5). A server that has logged us
// in already, by the address perhaps, is not the one whose mail was meant.
func (s *session) greet() error {
	o := &imapclient.Options{TLSConfig: s.tls, UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(*imapclient.UnilateralDataMailbox) {
			select {
			case s.nudged <- struct{}{}:
			default:
			}
		},
	}}
	switch s.o.TLS.Mode {
	case tlsconf.Implicit:
		secure := tls.Client(s.conn, s.tls)
		if err := secure.Handshake(); err != nil {
			return err
		}
		s.client = imapclient.New(secure, o)
	case tlsconf.StartTLS:
		var err error
		if s.client, err = imapclient.NewStartTLS(s.conn, o); err != nil {
			return err
		}
	default:
		s.client = imapclient.New(s.conn, o)
	}
	if err := s.client.WaitGreeting(); err != nil {
		return err
	}
	if s.client.State() != imap.ConnStateNotAuthenticated {
		return errors.New("the server wants no login (PREAUTH)")
	}
	return nil
}

// limited runs what talks to the server, and cuts the connection when that takes longer than d.
func (s *session) limited(d time.Duration, talk func() error) error {
	t := time.AfterFunc(d, func() {
		s.late.Store(true)
		s.conn.Close()
	})
	defer t.Stop()
	err := talk()
	if err != nil && s.late.Load() {
		return fmt.Errorf("the server did not answer within %v", d)
	}
	return err
}

// close ends the connection.
func (s *session) close() {
	s.detach()
	s.conn.Close()
	if s.client != nil {
		s.client.Close()
	}
}

// wait waits until there may be new mail.
func (s *session) wait(ctx context.Context) error {
	if s.idles {
		return s.idle(ctx)
	}
	if !sleep(ctx, s.o.Poll) {
		return ctx.Err()
	}
	return nil
}

// idle has the server tell of new mail (RFC 2177), for as long as Renew. The search that follows finds what a
// server does not tell.
func (s *session) idle(ctx context.Context) error {
	var idle *imapclient.IdleCommand
	err := s.limited(s.o.Timeout, func() (err error) {
		idle, err = s.client.Idle()
		return err
	})
	if refused := (*imap.Error)(nil); errors.As(err, &refused) {
		s.idles = false // offered, and refused all the same
		return nil
	} else if err != nil {
		return doing("IDLE", err)
	}
	t := time.NewTimer(s.o.Renew)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.nudged:
	case <-s.client.Closed():
	case <-ctx.Done():
	}
	err = s.limited(s.o.Timeout, func() error {
		if err := idle.Close(); err != nil {
			return err
		}
		return idle.Wait()
	})
	if err != nil {
		return doing("IDLE", err)
	}
	return nil
}

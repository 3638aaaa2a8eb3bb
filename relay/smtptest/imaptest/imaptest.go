// Package imaptest is a mail server with one user's mailbox in memory, reached by IMAP: for tests of what
// reads mail. It speaks real IMAP on real sockets, by go-imap's own server, with TLS and OAuth if asked.
//
// What always holds: Mails and Append go around what is tested, by a door of their own; Close returns when no
// connection is open any more.
package imaptest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"sync/atomic"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"github.com/emersion/go-sasl"
)

// Options say how a server behaves.
type Options struct {
	Username string
	Password string // "" takes none
	Token    string // "" takes none
	// Mechanism is the one that takes the token, XOAUTH2 or OAUTHBEARER.
	Mechanism string

	TLS      *tls.Config // offers STARTTLS; nil offers none
	Implicit bool        // TLS from the first byte, with the configuration in TLS

	Without []imap.Cap // of IDLE, MOVE and UIDPLUS
	// Says is what a refused password is answered; "" is a plain text.
	Says func(password string) string
}

// Server is a mail server.
type Server struct {
	o      Options
	user   *imapmemserver.User
	front  *door
	back   *door
	logins atomic.Int64
	idling atomic.Int64
}

// door is a listener and the server behind it.
type door struct {
	ln     net.Listener
	server *imapserver.Server
	done   chan struct{}
}

// TB is what of *testing.T New needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// New starts a server that is closed when the test ends.
func New(tb TB, o Options) *Server {
	tb.Helper()
	s, err := Start(o)
	if err != nil {
		tb.Fatalf("starting the mail server: %v", err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Start starts a server on 127.0.0.1. It has one folder, INBOX.
func Start(o Options) (*Server, error) {
	s := &Server{o: o, user: imapmemserver.NewUser(o.Username, o.Password)}
	if err := s.user.Create("INBOX", nil); err != nil {
		return nil, err
	}
	caps := imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapMove: {}, imap.CapUIDPlus: {}}
	for _, c := range o.Without {
		delete(caps, c)
	}
	front := &imapserver.Options{Caps: caps, InsecureAuth: o.TLS == nil || o.Implicit,
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &session{UserSession: imapmemserver.NewUserSession(s.user), s: s}, nil, nil
		},
	}
	if !o.Implicit {
		front.TLSConfig = o.TLS
	}
	back := &imapserver.Options{InsecureAuth: true,
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return imapmemserver.NewUserSession(s.user), &imapserver.GreetingData{PreAuth: true}, nil
		},
	}
	var err error
	if s.back, err = open(back, nil); err != nil {
		return nil, err
	}
	s.front, err = open(front, func(ln net.Listener) net.Listener {
		if o.Implicit {
			ln = tls.NewListener(ln, o.TLS)
		}
		return &quietListener{ln, s.without(imap.CapIdle)}
	})
	if err != nil {
		s.back.close()
		return nil, err
	}
	return s, nil
}

// open starts to serve.
func open(o *imapserver.Options, wrap func(net.Listener) net.Listener) (*door, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o.Logger = log.New(discard{}, "", 0)
	d := &door{ln: ln, server: imapserver.New(o), done: make(chan struct{})}
	if wrap != nil {
		ln = wrap(ln)
	}
	go func() {
		defer close(d.done)
		d.server.Serve(ln)
	}()
	return d, nil
}

func (d *door) close() {
	d.ln.Close()
	<-d.done
	d.server.Close()
}

// discard drops what the library logs.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// Close ends the server and its connections.
func (s *Server) Close() {
	s.front.close()
	s.back.close()
}

// Addr is the address and port that the server listens on.
func (s *Server) Addr() string { return s.front.ln.Addr().String() }

// Port is the port that the server listens on.
func (s *Server) Port() int { return s.front.ln.Addr().(*net.TCPAddr).Port }

// Logins is how many logins were tried, refused ones too.
func (s *Server) Logins() int { return int(s.logins.Load()) }

// Idling is how many connections wait in IDLE.
func (s *Server) Idling() int { return int(s.idling.Load()) }

func (s *Server) without(c imap.Cap) bool {
	for _, w := range s.o.Without {
		if w == c {
			return true
		}
	}
	return false
}

// Append puts a mail into a folder, as its delivery would.
func (s *Server) Append(folder, mail string, flags ...imap.Flag) error {
	_, err := s.user.Append(folder, bytes.NewReader([]byte(mail)), &imap.AppendOptions{Flags: flags})
	return err
}

// Renumber removes a folder and makes it again with its mail: the UIDs and UIDVALIDITY are new ones.
func (s *Server) Renumber(folder string) error {
	mails, err := s.Mails(folder)
	if err != nil {
		return err
	}
	if err := s.user.Delete(folder); err != nil {
		return err
	}
	if err := s.user.Create(folder, nil); err != nil {
		return err
	}
	for _, m := range mails {
		if err := s.Append(folder, m.Content, m.Flags...); err != nil {
			return err
		}
	}
	return nil
}

// Mail is a mail in a folder.
type Mail struct {
	UID     uint32
	Flags   []imap.Flag // without \Recent
	Content string
}

// Mails are those in a folder, in order.
func (s *Server) Mails(folder string) ([]Mail, error) {
	c, err := imapclient.DialInsecure(s.back.ln.Addr().String(), nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.WaitGreeting(); err != nil {
		return nil, err
	}
	selected, err := c.Select(folder, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	if selected.NumMessages == 0 {
		return nil, nil
	}
	section := &imap.FetchItemBodySection{Peek: true}
	all := imap.SeqSet{{Start: 1, Stop: 0}}
	found, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true,
		BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		return nil, err
	}
	var mails []Mail
	for _, m := range found {
		mails = append(mails, Mail{uint32(m.UID), m.Flags, string(m.FindBodySection(section))})
	}
	return mails, nil
}

// session is one connection of the front door.
type session struct {
	*imapmemserver.UserSession
	s *Server
}

// Login implements imapserver.Session.
func (c *session) Login(username, password string) error {
	c.s.logins.Add(1)
	if c.s.o.Password != "" && c.UserSession.Login(username, password) == nil {
		return nil
	}
	text := "Invalid credentials"
	if c.s.o.Says != nil {
		text = c.s.o.Says(password)
	}
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeAuthenticationFailed,
		Text: text}
}

// Idle implements imapserver.Session.
func (c *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	c.s.idling.Add(1)
	defer c.s.idling.Add(-1)
	return c.UserSession.Idle(w, stop)
}

// AuthenticateMechanisms implements imapserver.SessionSASL.
func (c *session) AuthenticateMechanisms() []string {
	var names []string
	if c.s.o.Password != "" {
		names = append(names, sasl.Plain)
	}
	if c.s.o.Token != "" {
		names = append(names, c.s.o.Mechanism)
	}
	return names
}

// Authenticate implements imapserver.SessionSASL.
func (c *session) Authenticate(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, username, password string) error {
			return c.Login(username, password)
		}), nil
	case sasl.OAuthBearer:
		return &refusing{sasl.NewOAuthBearerServer(func(o sasl.OAuthBearerOptions) *sasl.OAuthBearerError {
			if c.bears(o.Username, o.Token) {
				return nil
			}
			return &sasl.OAuthBearerError{Status: "invalid_token", Schemes: "bearer"}
		})}, nil
	case "XOAUTH2":
		return &xoauth2{bears: c.bears}, nil
	}
	return nil, &imap.Error{Type: imap.StatusResponseTypeNo, Text: "unknown mechanism"}
}

// bears judges an access token.
func (c *session) bears(username, token string) bool {
	c.s.logins.Add(1)
	return username == c.s.o.Username && token == c.s.o.Token
}

// Package smtpd is the front door: it takes mail from applications over SMTP (RFC 5321) and hands it, complete, to whoever
// stores it. cmd/mailwhy makes one Server from the configuration and serves each listener with it.
//
// go-smtp keeps the order of commands and the AUTH exchange. Around it stands relay/smtpd/wire, which owns command lines,
// content and STARTTLS. What is read from a line is read here: the library is handed MAIL and RCPT without parameters,
// because it loses some of what they say and takes some that it should not (docs/front-door.md lists each trap and where it
// is closed). Every reply to the client passes one place (session.Reply), which puts codes and words right, counts
// errors, and records each refusal.
//
// What always holds:
//
//   - 250 after the content is said only when Accept returned nil and the final dot was seen. Content that is cut short, stalls,
//     is too large or malformed makes the reader that Accept got fail, so nothing half-read can be stored.
//   - Nobody but the configured networks and authenticated users may send mail (Access), and a configuration that would relay for
//     anybody does not start (CheckOpen). A setting is read once for each connection: Reload changes new ones only.
//   - An envelope holds only what address.Parse accepted; a HELO name and all other words of the client pass through clean
//     before they reach a Received line or an event. Errors of our own side never reach the client.
//   - A client costs one goroutine and a few KiB until it sends content; connections, commands, errors, time and bytes are
//     limited (Limits).
//
// It obeys RFC 5321, and RFC 1870 (SIZE), 2034 and 3463 (enhanced codes), 2920 (PIPELINING), 3207 (STARTTLS), 3461 and 6533
// (DSN), 3848 (Received with), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8), 8314 (implicit TLS), 9422 (LIMITS).
package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/smtpd/wire"
)

// Options are what a Server needs. Hostname, Accept, Recorder, Postmaster and Limits are required.
type Options struct {
	// Hostname is our name in the greeting, in Received fields and in the Message-IDs that we add.
	Hostname string
	// Accept stores a message durably before it returns nil. relay.ErrFull becomes 452, any other error 451.
	Accept func(context.Context, *relay.Message, io.Reader) error
	// Recorder receives every refusal.
	Recorder relay.Recorder
	// Capabilities are those of the upstream, if they are known: what it cannot take is refused at once. Nil means that
	// they are never known.
	Capabilities func() (relay.Capabilities, bool)
	// TLS returns the configuration for STARTTLS and for implicit TLS, or nil when there is none; so does a nil TLS.
	// It is called for each handshake, so certificates can be replaced.
	TLS func() *tls.Config
	// Access says who may send what to whom.
	Access Access
	// Limits bound what clients may cost.
	Limits Limits
	// Postmaster is the address that <postmaster> without a domain stands for (RFC 5321, 4.5.1).
	Postmaster string
	// NormalizeNewlines turns bare CR and LF in content into CRLF. Without it they are refused.
	NormalizeNewlines bool
	// KeepHeaders leaves a message without Message-ID or Date as it is.
	KeepHeaders bool
	// Gateway is the address that a container engine's port forwarding gives every client; see ContainerGateway.
	Gateway netip.Addr
	Now     func() time.Time       // nil means time.Now
	NewID   func(time.Time) string // nil means relay.NewID
	Log     *slog.Logger           // nil discards
}

// prepared returns the options, checked, with every nil function set.
func (o Options) prepared() (*Options, error) {
	if o.Capabilities == nil {
		o.Capabilities = func() (relay.Capabilities, bool) { return relay.Capabilities{}, false }
	}
	if o.TLS == nil {
		o.TLS = func() *tls.Config { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = relay.NewID
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &o, errors.Join(o.check(), o.Limits.check(), o.Access.check())
}

// check reports required options that are missing or not valid.
func (o *Options) check() error {
	var errs []error
	for _, required := range []struct {
		name string
		set  bool
	}{
		{"Hostname", o.Hostname != ""}, {"Accept", o.Accept != nil},
		{"Recorder", o.Recorder != nil}, {"Postmaster", o.Postmaster != ""},
	} {
		if !required.set {
			errs = append(errs, fmt.Errorf("smtpd: %s must be set", required.name))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if _, err := address.Parse("postmaster@"+o.Hostname, false); err != nil {
		errs = append(errs, fmt.Errorf("smtpd: host name %q: %w", o.Hostname, err))
	}
	if _, err := address.Parse(o.Postmaster, true); err != nil {
		errs = append(errs, fmt.Errorf("smtpd: postmaster address %q: %w", o.Postmaster, err))
	}
	return errors.Join(errs...)
}

// Server is the front door. Its methods are safe for concurrent use.
type Server struct {
	options atomic.Pointer[Options] // of new connections
	smtp    *smtp.Server
	buffers *wire.Buffers
	heads   sync.Pool // of *[]byte, for the beginnings of contents
	memory  memoryBudget
	origins origins
	auth    *authGate

	ctx   context.Context // ends when what is under way must end
	abort context.CancelFunc

	mu        sync.Mutex
	draining  bool
	listeners map[*listener]struct{}
	sessions  map[*session]struct{}
	clients   map[netip.Addr]int // connections of each
	live      sync.WaitGroup     // sessions
}

// New makes a Server. It listens to nothing before Serve.
func New(o Options) (*Server, error) {
	opts, err := o.prepared()
	if err != nil {
		return nil, err
	}
	s := &Server{
		heads:     sync.Pool{New: func() any { return new([]byte) }},
		buffers:   wire.NewBuffers(),
		listeners: map[*listener]struct{}{},
		sessions:  map[*session]struct{}{},
		clients:   map[netip.Addr]int{},
		auth:      newAuthGate(time.Now),
	}
	s.ctx, s.abort = context.WithCancel(context.Background())
	s.options.Store(opts)
	// Limits, deadlines, extensions and TLS are the wire's and the session's, so the library has none.
	s.smtp = smtp.NewServer(smtp.BackendFunc(newSession))
	s.smtp.Domain = opts.Hostname
	s.smtp.MaxLineLength = 0
	s.smtp.AllowInsecureAuth = true // the session decides
	s.smtp.ErrorLog = libraryLog{s}
	return s, nil
}

// Reload replaces the options for connections to come; those there are finish under the old ones. On an error, also
// when a listener in use would become open to anybody, nothing is changed.
func (s *Server) Reload(o Options) error {
	opts, err := o.prepared()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var listens []Listen
	for l := range s.listeners {
		if l.conf.TLS && opts.TLS() == nil {
			return fmt.Errorf("listener %s: TLS without a certificate", l.conf.Addr)
		}
		listens = append(listens, l.conf)
	}
	if err := CheckOpen(listens, opts.Access); err != nil {
		return err
	}
	s.options.Store(opts)
	return nil
}

// Sessions is the number of connections.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// libraryLog is the library's way to our log. It reports accept errors and panics.
type libraryLog struct{ s *Server }

func (l libraryLog) Printf(format string, v ...any) {
	l.s.options.Load().Log.Error("smtp server", "err", fmt.Sprintf(format, v...))
}

func (l libraryLog) Println(v ...any) {
	l.s.options.Load().Log.Error("smtp server", "err", fmt.Sprintln(v...))
}

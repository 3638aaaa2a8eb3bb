// Package smtpd is the front door: it accepts mail from applications over SMTP (RFC 5321) and hands each
// complete message to the function that stores it. The program makes one Server from the configuration and
// serves each listener with it.
//
// go-smtp enforces the order of commands and runs the AUTH exchange. Package wire lies between it and the
// network and owns command lines, content and STARTTLS. This package parses the commands itself: the
// library sees MAIL and RCPT without parameters, because it loses some of them and accepts some that it
// should not (docs/front-door.md lists each trap and how we avoid it). Every reply to the client passes
// session.Reply, which corrects codes and wording, counts errors, and records each refusal.
//
// What always holds:
//
//   - The content gets a 250 only when Accept returned nil and the final dot was seen, or Try did and not
//     all recipients failed (verdict.go has the replies to that). When content is cut short, stalls, is too
//     large or malformed, the reader that they got fails, so half a message is never stored or offered.
//   - Only clients in the configured networks and authenticated users can send mail (Access), and a
//     configuration that would relay for anybody does not start (CheckOpen). Each connection reads its
//     options once: Reload changes only new connections.
//   - A listener for bounce mail takes mail of anybody, to the addresses that Bounces expects, and hands it
//     to Bounces.Take. Nothing of it comes to Accept.
//   - An envelope contains only addresses that address.Parse accepted. A HELO name and all other text of
//     the client passes through package clean before it reaches a Received field or an event. Our own
//     errors never reach the client.
//   - A client costs one goroutine and a few KiB until it sends content. Connections, commands, errors,
//     time and bytes are limited (Limits).
//
// It obeys RFC 5321, and RFC 1870 (SIZE), 2033 (LMTP), 2034 and 3463 (enhanced codes), 2920 (PIPELINING),
// 3207 (STARTTLS), 3461 and 6533 (DSN), 3848 (Received with), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8),
// 8314 (implicit TLS), 9422 (LIMITS).
package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/smtpd/refusal"
	"mailwhy/relay/smtpd/wire"
)

// Options are what a Server needs. Hostname, Accept, Recorder, Postmaster and Limits are required.
type Options struct {
	// Hostname is our name in the greeting, in Received fields and in the Message-IDs that we add.
	Hostname string
	// Accept stores a message durably before it returns nil. relay.ErrFull becomes 452, any other error 451.
	Accept func(context.Context, *relay.Message, io.Reader) error
	// Try is Accept for mail that its upstream is to be offered while the client waits. It returns the
	// recipients as the attempt left them, nil if the message is stored and no more is known of it. Where all
	// failed nothing is stored: the client is told so, for each recipient by itself if each is set. Optional;
	// without it mail is never offered.
	Try func(ctx context.Context, m *relay.Message, content io.Reader, each bool) ([]relay.Recipient, error)
	// Modes are what is done with the mail of listeners, by Listen.Addr. A reload changes them, unlike
	// Listen.Accept.
	Modes map[string]AcceptMode
	// Recorder receives every refusal.
	Recorder relay.Recorder
	// Capabilities are those of the upstream, if they are known: what it cannot take is refused at once, but
	// for 8-bit content, which can be converted. Nil means that they are never known.
	Capabilities func() (relay.Capabilities, bool)
	// TLS returns the configuration for STARTTLS and for implicit TLS, or nil when there is none; so does a
	// nil TLS. It is called for each handshake, so certificates can be replaced.
	TLS func() *tls.Config
	// Access says who may send what to whom.
	Access Access
	// Limits bound what clients may cost.
	Limits Limits
	// Postmaster is the address that <postmaster> without a domain stands for (RFC 5321, 4.5.1).
	Postmaster string
	// NormalizeNewlines turns bare CR and LF in content into CRLF. Without it they are refused, but from
	// lenient networks.
	NormalizeNewlines bool
	// Fields are the header fields, in lower case, whose values the message keeps (relay.Message.Headers).
	Fields []string
	// Domain completes the addresses without a domain of clients in Networks; "" refuses them.
	Domain string
	// Bounces says what listeners for bounce mail do; nil: there are none.
	Bounces *Bounces
	// Mend returns a content as it is to be stored, behind the Received field that we add. known says that
	// the client is in one of Networks. It may set Changed, until its reader returns io.EOF. Nil changes
	// nothing.
	Mend func(m *relay.Message, known bool, content io.Reader) io.Reader
	// Gateway is the address that a container engine's port forwarding gives every client; see
	// ContainerGateway.
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
	if o.Mend == nil {
		o.Mend = func(_ *relay.Message, _ bool, content io.Reader) io.Reader { return content }
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
	return &o, errors.Join(o.check(), o.Limits.check(), o.Access.check(), o.Bounces.check())
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
	options   atomic.Pointer[Options] // of new connections
	smtp      *smtp.Server
	buffers   *wire.Buffers
	heads     sync.Pool // of *[]byte, for the first bytes of contents
	memory    memoryBudget
	origins   origins
	strangers strangers
	auth      *authGate

	refusals *refusal.Table

	ctx   context.Context // ends when work in progress must end
	abort context.CancelFunc

	mu        sync.Mutex
	draining  bool
	listeners map[*listener]struct{}
	sessions  map[*session]struct{}
	clients   map[netip.Addr]int // connections per address
	live      sync.WaitGroup     // sessions
}

// New makes a Server. It does not listen before Serve.
func New(o Options) (*Server, error) {
	opts, err := o.prepared()
	if err != nil {
		return nil, err
	}
	refusals, err := refusal.Load()
	if err != nil {
		return nil, err
	}
	s := &Server{
		refusals:  refusals,
		heads:     sync.Pool{New: func() any { return new([]byte) }},
		buffers:   wire.NewBuffers(),
		listeners: map[*listener]struct{}{},
		sessions:  map[*session]struct{}{},
		clients:   map[netip.Addr]int{},
		auth:      newAuthGate(time.Now),
	}
	s.ctx, s.abort = context.WithCancel(context.Background())
	s.options.Store(opts)
	// The wire and the session handle limits, deadlines, extensions and TLS, so the library gets none.
	s.smtp = smtp.NewServer(smtp.BackendFunc(newSession))
	s.smtp.Domain = opts.Hostname
	s.smtp.MaxLineLength = 0
	s.smtp.AllowInsecureAuth = true // the session decides
	s.smtp.ErrorLog = libraryLog{s}
	return s, nil
}

// Reload replaces the options for new connections; open ones keep the old options. On an error it changes
// nothing. It is an error, too, if a listener in use would become open to anybody.
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
		if err := bouncesReady(&l.conf, opts); err != nil {
			return err
		}
		listens = append(listens, l.conf)
	}
	if err := CheckOpen(listens, opts.Access); err != nil {
		return err
	}
	s.options.Store(opts)
	return nil
}

// Reasons are those that refusals may have, but for the verdicts of upstreams.
func (s *Server) Reasons() (all []diagnose.Reason) {
	all = append(all, diagnose.ReasonSuppressed)
	for _, r := range s.refusals.All() {
		if !slices.Contains(all, r.Reason) {
			all = append(all, r.Reason)
		}
	}
	return all
}

// Sessions is the number of connections.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// libraryLog writes the library's accept errors and panics to our log.
type libraryLog struct{ s *Server }

func (l libraryLog) Printf(format string, v ...any) {
	l.s.options.Load().Log.Error("smtp server", "err", fmt.Sprintf(format, v...))
}

func (l libraryLog) Println(v ...any) {
	l.s.options.Load().Log.Error("smtp server", "err", fmt.Sprintln(v...))
}

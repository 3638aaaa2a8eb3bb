package mailbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"mailwhy/relay/internal/clean"
	"mailwhy/relay/internal/tlsconf"
)

// TLS are the settings of the connection.
type TLS = tlsconf.Client

// IMAPOptions are what an IMAP is made with. All are required but where it says otherwise.
type IMAPOptions struct {
	Host string
	Port int
	TLS  TLS // implicit or STARTTLS; none only to this machine

	Username string
	Password string
	// Token gives an OAuth access token, in place of the password; it is asked at each login. refused is
	// empty, or the token that the server has just refused: the same one again means that there is none
	// better. The error holds no secret.
	Token func(ctx context.Context, refused string) (string, error)

	Folder    string // INBOX
	After     After
	StateFile string // how far the folder was read; no other mailbox may have the same
	// Lookback is how old a mail in a folder that is new to us may be; 0: of any age.
	Lookback time.Duration
	MaxSize  int64 // bytes; more of a mail is not read

	Poll       time.Duration // how often to look for mail where the server has no IDLE
	Renew      time.Duration // how long one IDLE lasts: less than 29 min (RFC 2177, 3)
	Timeout    time.Duration // for an answer of the server; ten times as long for a mail
	Backoff    time.Duration // before the second try; doubled after each further one
	MaxBackoff time.Duration // the longest; the only one after credentials were refused

	Take Take
	Log  *slog.Logger
	Now  func() time.Time
}

// maxRenew is when servers may end a connection that idles (RFC 2177, 3).
const maxRenew = 29 * time.Minute

// IMAP reads one folder.
type IMAP struct {
	o    IMAPOptions
	tls  *tls.Config // nil: without TLS
	name string
	log  *slog.Logger

	at      position
	silent  bool     // credentials were refused, which was logged
	last    string   // the error that was logged
	secrets []string // what was sent to log in, in all its forms
}

// NewIMAP makes an IMAP. It reports all that is wrong with the options; it connects to nothing.
func NewIMAP(o IMAPOptions) (*IMAP, error) {
	b := &IMAP{o: o, name: o.Username + "@" + o.Host + "/" + o.Folder}
	b.log = o.Log.With("mailbox", b.name)
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(o.Host != "" && o.Username != "" && o.Folder != "", "host, username and folder are needed")
	need((o.Password == "") != (o.Token == nil), "either a password or OAuth is needed")
	need(!strings.ContainsFunc(o.Username, unicode.IsControl), "the username has controls in it")
	need(o.TLS.Mode != tlsconf.Opportunistic, "opportunistic TLS would send the password in clear")
	need(o.TLS.Mode == tlsconf.Implicit || o.TLS.Mode == tlsconf.StartTLS || loopback(o.Host),
		"without TLS the password goes in clear: only to a server on this machine")
	need(o.Renew < maxRenew, "an IDLE must be renewed before 29 minutes")
	var err error
	b.tls, err = o.TLS.Config(o.Host, true)
	return b, errors.Join(append(errs, err)...)
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Run reads the folder until ctx is done. It is called once.
func (b *IMAP) Run(ctx context.Context) {
	if err := readState(b.o.StateFile, &b.at); err != nil {
		b.log.Warn("how far the mailbox was read is not known: reading it from its start", "err", err)
		b.at = position{}
	}
	wait := b.o.Backoff
	for {
		before := b.at
		worked, err := b.visit(ctx)
		if ctx.Err() != nil {
			return
		}
		if worked || b.at != before {
			wait = b.o.Backoff
		}
		pause := wait
		if refused := (*refusedError)(nil); errors.As(err, &refused) {
			pause = b.o.MaxBackoff
			b.logRefused(refused, pause)
		} else {
			b.logError(err, pause)
		}
		if !sleep(ctx, pause) {
			return
		}
		wait = min(2*wait, b.o.MaxBackoff)
	}
}

// visit is one connection, from its start to its end. worked reports that the folder was read to its end.
func (b *IMAP) visit(ctx context.Context) (worked bool, err error) {
	s, err := b.connect(ctx)
	if err != nil {
		return false, err
	}
	defer s.close()
	if err := s.login(ctx); err != nil {
		return false, err
	}
	if err := s.open(); err != nil {
		return false, err
	}
	for {
		if err := s.scan(ctx); err != nil {
			return worked, err
		}
		worked = true
		b.well()
		if err := s.wait(ctx); err != nil {
			return worked, err
		}
	}
}

// well notes that the folder was read.
func (b *IMAP) well() {
	if b.silent || b.last != "" {
		b.log.Info("the mailbox is read again")
	}
	b.silent, b.last = false, ""
}

// logRefused tells once that the credentials are refused, and what to do.
func (b *IMAP) logRefused(err *refusedError, next time.Duration) {
	if b.silent {
		return
	}
	b.silent = true
	b.log.Error("the mail server refuses the credentials: no bounce mail is read", "err", b.public(err),
		"fix", err.fix, "next_try", next)
}

// logError tells why the folder is not read, once for each reason in a row.
func (b *IMAP) logError(err error, next time.Duration) {
	text := b.public(err)
	if text == b.last {
		return
	}
	b.last = text
	b.log.Warn("the mailbox cannot be read now", "err", text, "next_try", next)
}

// maxText bounds what of an error goes into the log.
const maxText = 500

// public is an error as it may be shown: it may quote the server, and the server what it was sent.
func (b *IMAP) public(err error) string {
	text := err.Error()
	for _, secret := range b.secrets {
		text = strings.ReplaceAll(text, secret, "[hidden]")
	}
	return clean.Line(text, maxText)
}

// address is where the server listens.
func (b *IMAP) address() string { return net.JoinHostPort(b.o.Host, strconv.Itoa(b.o.Port)) }

// doing says what was being done when an error happened.
func doing(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }

package mailbox

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"
)

// refusedError reports that the server does not take the credentials.
type refusedError struct {
	err error
	fix string
}

// Error implements error.
func (e *refusedError) Error() string { return e.err.Error() }

// Unwrap returns what the server said.
func (e *refusedError) Unwrap() error { return e.err }

// The ways out of a refusal.
const (
	fixPassword = "Check the user name and the password. Gmail, Yahoo, iCloud, Zoho and others want an app " +
		"password, made in the account's security settings; Microsoft 365 takes no password for IMAP at " +
		"all and wants OAuth. IMAP must be switched on for the mailbox."
	fixToken = "Check that the token is for this user and has the scope for IMAP " +
		"(https://outlook.office.com/IMAP.AccessAsUser.All, https://mail.google.com/), that the " +
		"application may read this mailbox, and that IMAP is switched on for it."
	fixMechanism = "Use what the server offers: a password or OAuth."
)

// login logs in, with what the server offers of what we have.
func (s *session) login(ctx context.Context) error {
	try := s.password
	if s.o.Token != nil {
		try = s.token
	}
	if err := try(ctx); err != nil {
		return err
	}
	return s.limited(s.o.Timeout, func() error {
		caps := s.client.Caps()
		s.idles = caps.Has(imap.CapIdle)
		if !caps.Has(imap.CapID) {
			return nil
		}
		return s.identify()
	})
}

// identify says who we are (RFC 2971). NetEase (163.com, 126.com) opens no folder to those who do not:
// "SELECT Unsafe Login".
func (s *session) identify() error {
	_, err := s.client.ID(&imap.IDData{Name: "mailwhy", Version: "1"}).Wait()
	if refused := (*imap.Error)(nil); errors.As(err, &refused) {
		return nil // it only asked for politeness
	}
	return err
}

// password logs in with a password: by SASL, which takes any characters, else by LOGIN (RFC 9051, 6.2.3).
func (s *session) password(context.Context) error {
	s.secrets = []string{encoded("\x00" + s.o.Username + "\x00" + s.o.Password), s.o.Password}
	err := s.limited(s.o.Timeout, func() error {
		switch caps := s.client.Caps(); {
		case caps.Has(imap.AuthCap(sasl.Plain)):
			return s.client.Authenticate(sasl.NewPlainClient("", s.o.Username, s.o.Password))
		case caps.Has(imap.CapLoginDisabled):
			return &refusedError{errors.New("the server takes no password"), fixMechanism}
		}
		return s.client.Login(s.o.Username, s.o.Password).Wait()
	})
	return judge(err, fixPassword)
}

// token logs in with an access token. One that is refused is tried again with a new one, if there is one.
func (s *session) token(ctx context.Context) error {
	refused := ""
	for {
		token, err := s.o.Token(ctx, refused)
		switch {
		case err != nil:
			return doing("getting an access token", err)
		case token == "" || strings.ContainsFunc(token, invisible):
			return errors.New("the access token is empty or has other than visible ASCII in it")
		}
		err = judge(s.limited(s.o.Timeout, func() error { return s.bearer(token) }), fixToken)
		if no := (*refusedError)(nil); !errors.As(err, &no) || token == refused {
			return err
		}
		refused = token
	}
}

// bearer logs in with a token by the mechanism that the server offers.
func (s *session) bearer(token string) error {
	caps := s.client.Caps()
	for _, name := range []string{sasl.OAuthBearer, xoauth2} {
		if caps.Has(imap.AuthCap(name)) {
			b := &bearer{name, s.o.Username, token, s.o.Host, s.o.Port}
			s.secrets = []string{encoded(b.message()), token}
			return s.client.Authenticate(b)
		}
	}
	return &refusedError{errors.New("the server offers no login with OAuth"), fixMechanism}
}

// judge makes a refusal of what the server says to a login. What it says of its own state is none (RFC 5530,
// 3).
func judge(err error, fix string) error {
	said := (*imap.Error)(nil)
	if !errors.As(err, &said) {
		return err
	}
	err = doing("logging in", err)
	switch said.Code {
	case imap.ResponseCodeUnavailable, imap.ResponseCodeInUse, imap.ResponseCodeLimit,
		imap.ResponseCodeServerBug:
		return err
	}
	if said.Type != imap.StatusResponseTypeNo {
		return err
	}
	return &refusedError{err, fix}
}

// encoded is what of an exchange goes over the wire.
func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func invisible(r rune) bool { return r < 0x21 || r > 0x7e }

// xoauth2 is a mechanism of Google and Microsoft.
const xoauth2 = "XOAUTH2"

// bearer is OAUTHBEARER (RFC 7628) or XOAUTH2: one message, which a server refuses with a challenge that
// explains why.
type bearer struct {
	name, user, token, host string
	port                    int
}

// saslName escapes what has a meaning in a GS2 header (RFC 5801, 4).
var saslName = strings.NewReplacer("=", "=3D", ",", "=2C")

// Start implements sasl.Client.
func (b *bearer) Start() (string, []byte, error) { return b.name, []byte(b.message()), nil }

// message is all that the client says.
func (b *bearer) message() string {
	if b.name == xoauth2 {
		return "user=" + b.user + "\x01auth=Bearer " + b.token + "\x01\x01"
	}
	return "n,a=" + saslName.Replace(b.user) + ",\x01host=" + b.host + "\x01port=" + strconv.Itoa(b.port) +
		"\x01auth=Bearer " + b.token + "\x01\x01"
}

// Next implements sasl.Client. What the client answers means nothing; the server then ends the exchange (RFC
// 7628, 3.2.3). XOAUTH2 has an empty line here, which the client library cannot send.
func (b *bearer) Next([]byte) ([]byte, error) { return []byte{1}, nil }

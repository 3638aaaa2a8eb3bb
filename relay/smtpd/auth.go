package smtpd

import (
	"errors"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"mailwhy/relay/internal/clean"
	"mailwhy/relay/smtpd/refusal"
)

func (s *session) hasUsers() bool {
	return !s.listen.Bounces && s.options.Access.Users != nil && s.options.Access.Users.Len() > 0
}

// authOffered reports whether AUTH can be used on this connection as it is now.
func (s *session) authOffered() bool {
	clear := s.options.Access.AuthInClear || s.network != nil && s.network.Auth == AuthClear
	return s.authAny() || s.hasUsers() && (s.wire.TLS() != nil || clear)
}

// authAny reports whether every name and password are accepted.
func (s *session) authAny() bool { return s.network != nil && s.network.Auth == AuthAny }

// mayAuth checks whether AUTH may begin (RFC 4954, 4).
func (s *session) mayAuth(args string) error {
	switch {
	case s.listen.Bounces:
		return refusal.New("auth_bounces")
	case !s.hasUsers() && !s.authAny():
		return refusal.New("auth_unavailable")
	case !s.authOffered(): // RFC 5248
		return refusal.New("auth_needs_tls")
	case s.tx != nil:
		return refusal.New("auth_in_transaction")
	case s.user != "" || s.loggedIn:
		return refusal.New("auth_twice")
	case args == "", len(strings.Fields(args)) > 2:
		return refusal.New("auth_syntax")
	}
	return nil
}

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

// Auth implements smtp.AuthSession.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case sasl.Plain:
		return exchange{sasl.NewPlainServer(s.authPlain), s}, nil
	case sasl.Login:
		return exchange{&loginServer{check: s.authenticate}, s}, nil
	}
	return nil, s.tell(refusal.New("auth_mechanism", mechanism))
}

func (s *session) authPlain(identity, name, password string) error {
	if identity != "" && identity != name { // RFC 4616, 2: acting for somebody else is not allowed
		return s.authFailed(name)
	}
	return s.authenticate(name, password)
}

// authenticate checks a password. All failures get the same answer, after a delay.
func (s *session) authenticate(name, password string) error {
	users := s.options.Access.Users
	switch {
	case s.authAny():
		s.loggedIn = true
		return nil
	case password == "":
		return s.authFailed(name)
	case users.isProven(name, password):
		s.user = name
		return nil
	}
	ok, err := s.verify(users, name, password)
	switch {
	case err != nil:
		return s.authBusy(name)
	case !ok:
		return s.authFailed(name)
	}
	s.user = name
	return nil
}

// verify waits for its turn and checks a password. Whatever happens in the check, the next client gets its
// turn.
func (s *session) verify(users *Users, name, password string) (ok bool, err error) {
	leave, err := s.server.auth.enter(s.server.ctx, authKeyOf(s.addr, name))
	if err != nil {
		return false, err
	}
	defer func() { leave(ok) }()
	return users.verify(name, password), nil
}

func (s *session) authFailed(name string) error {
	s.failures++
	s.options.Log.Warn("authentication failed", "user", clean.Line(name, 64), "addr", s.addrString())
	s.tried = clean.Line(name, 64)
	s.authPause()
	return refusal.New("auth_failed")
}

// authBusy answers a client whose password was not checked.
func (s *session) authBusy(name string) error {
	s.failures++
	s.options.Log.Warn("authentication deferred: too many failed logins", "user", clean.Line(name, 64),
		"addr", s.addrString())
	s.tried = clean.Line(name, 64)
	s.authPause()
	return refusal.New("auth_busy") // RFC 4954, 6
}

// authPause delays the answer to a failure.
func (s *session) authPause() {
	wait := time.NewTimer(s.options.Limits.AuthFailureWait)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-s.server.ctx.Done():
	}
}

// exchange hides a mechanism's errors from the client: go-smtp would send their text.
type exchange struct {
	sasl.Server
	session *session
}

// Next implements sasl.Server.
func (e exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = e.Server.Next(response)
	if err == nil {
		return challenge, done, nil
	}
	if _, own := errors.AsType[*refusal.Error](err); !own {
		err = refusal.New("auth_response")
	}
	return challenge, done, e.session.tell(err)
}

// loginServer is the server side of LOGIN, which go-sasl lacks. There is no standard; clients expect these
// prompts (draft-murchison-sasl-login).
type loginServer struct {
	check func(name, password string) error
	step  int
	name  string
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if l.step == 0 && response == nil {
		l.step = 1
		return []byte("Username:"), false, nil
	}
	if l.step <= 1 {
		l.step, l.name = 2, string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.name, string(response))
}

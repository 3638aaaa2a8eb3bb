package imaptest

import (
	"bytes"
	"net"
	"strings"

	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"
)

// xoauth2 is the server's side of XOAUTH2: a refusal is explained in a challenge, and follows its answer.
type xoauth2 struct {
	bears   func(username, token string) bool
	refused bool
}

// Next implements sasl.Server.
func (x *xoauth2) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return []byte{}, false, nil
	}
	if x.refused {
		return nil, true, imapserver.ErrAuthFailed
	}
	user, rest, _ := strings.Cut(string(response), "\x01")
	token, _, _ := strings.Cut(rest, "\x01")
	if x.bears(strings.TrimPrefix(user, "user="), strings.TrimPrefix(token, "auth=Bearer ")) {
		return nil, true, nil
	}
	x.refused = true
	return []byte(`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`), false, nil
}

// refusing has a mechanism's errors told as a refusal: the library takes them for its own failure.
type refusing struct{ sasl.Server }

// Next implements sasl.Server.
func (r *refusing) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = r.Server.Next(response)
	if err != nil {
		err = imapserver.ErrAuthFailed
	}
	return challenge, done, err
}

// quietListener hides IDLE from clients, if it is told to: the library's server always offers it.
type quietListener struct {
	net.Listener
	hide bool
}

// Accept implements net.Listener.
func (l *quietListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || !l.hide {
		return c, err
	}
	return &quietConn{c}, nil
}

type quietConn struct{ net.Conn }

// Write implements net.Conn.
func (c *quietConn) Write(b []byte) (int, error) {
	return c.Conn.Write(bytes.ReplaceAll(b, []byte(" IDLE "), []byte(" X-ID ")))
}

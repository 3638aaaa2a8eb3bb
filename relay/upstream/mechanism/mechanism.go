// Package mechanism holds the client side of the SASL mechanisms that go-sasl lacks or that need more than it
// does, each a sasl.Client for one exchange of RFC 4954.
//
// The upstream room chooses one and carries its answers. What always holds: no error quotes a secret or what
// the server said of one; a mechanism that ends with a proof of the server's says whether it was given.
package mechanism

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/emersion/go-sasl"
)

// The names, as in the server's reply to EHLO.
const (
	Plain       = "PLAIN"    // RFC 4616
	Login       = "LOGIN"    // never standardised; draft-murchison-sasl-login
	CRAMMD5     = "CRAM-MD5" // RFC 2195
	SCRAMSHA256 = "SCRAM-SHA-256"
	External    = "EXTERNAL" // RFC 4422, appendix A
	XOAUTH2     = "XOAUTH2"  // of Google and Microsoft
	OAuthBearer = "OAUTHBEARER"
)

// Prover is a mechanism in which the server proves something too.
type Prover interface {
	// Proved is nil once the server has proved what it must. A login that it accepts before is not one.
	Proved() error
}

// Explainer is a mechanism in which the server may explain a refusal.
type Explainer interface {
	// Refusal is the explanation in words; "" without one.
	Refusal() string
}

// Secretive is a mechanism that sends something that must appear in no error, even if the server repeats it.
type Secretive interface {
	Secrets() []string
}

// NewLogin is LOGIN. Servers word their prompts in any way and language. If the words do not tell, the order
// does: first the name, then the password.
func NewLogin(username, password string) sasl.Client {
	return &loginClient{username: username, password: password}
}

type loginClient struct {
	username, password string
	step               int
}

// Start implements sasl.Client. It sends no initial response: some servers ignore one and ask again.
func (l *loginClient) Start() (string, []byte, error) { return Login, nil, nil }

// Next implements sasl.Client.
func (l *loginClient) Next(challenge []byte) ([]byte, error) {
	l.step++
	prompt := strings.ToLower(string(challenge))
	switch {
	case l.step > 2:
		return nil, errors.New("LOGIN: the server asks a third time")
	case strings.Contains(prompt, "pass"):
		return []byte(l.password), nil
	case strings.Contains(prompt, "user"), l.step == 1:
		return []byte(l.username), nil
	}
	return []byte(l.password), nil
}

// Secrets implements Secretive.
func (l *loginClient) Secrets() []string { return []string{l.password} }

// NewCRAMMD5 is CRAM-MD5.
func NewCRAMMD5(username, password string) sasl.Client {
	return &cramMD5Client{username: username, password: password}
}

type cramMD5Client struct{ username, password string }

// Start implements sasl.Client.
func (c *cramMD5Client) Start() (string, []byte, error) { return CRAMMD5, nil, nil }

// Next implements sasl.Client.
func (c *cramMD5Client) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(c.password)) // RFC 2195, 2
	mac.Write(challenge)
	return []byte(c.username + " " + hex.EncodeToString(mac.Sum(nil))), nil
}

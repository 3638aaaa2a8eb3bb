package mechanism

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"mailwhy/relay/internal/clean"
)

// Bearer is what a login with an OAuth access token says.
type Bearer struct {
	Username string
	Token    string
	Host     string // of the server, for OAUTHBEARER
	Port     int
}

// check refuses what could forge a field of the message: a user or token with other than visible ASCII. The
// text names neither.
func (b *Bearer) check() error {
	switch {
	case b.Username == "" || strings.ContainsFunc(b.Username, invisible):
		return errors.New("not a valid user name for OAuth: it is empty or has other than visible ASCII " +
			"in it")
	case b.Token == "" || strings.ContainsFunc(b.Token, invisible):
		return errors.New("not a valid access token: it is empty or has other than visible ASCII in it")
	}
	return nil
}

func invisible(r rune) bool { return r < 0x21 || r > 0x7e }

// NewXOAUTH2 is XOAUTH2, as Google and Microsoft document it.
func NewXOAUTH2(b Bearer) (*BearerClient, error) {
	message := "user=" + b.Username + "\x01auth=Bearer " + b.Token + "\x01\x01"
	// the empty line after the refusal lets the server end the exchange with its 535
	return &BearerClient{name: XOAUTH2, message: message, farewell: []byte{}, token: b.Token}, b.check()
}

// NewOAuthBearer is OAUTHBEARER (RFC 7628).
func NewOAuthBearer(b Bearer) (*BearerClient, error) {
	message := "n,a=" + saslName.Replace(b.Username) + ",\x01" // RFC 5801, 4
	if b.Host != "" {
		message += "host=" + strings.TrimSuffix(b.Host, ".") + "\x01"
	}
	if b.Port != 0 {
		message += "port=" + strconv.Itoa(b.Port) + "\x01"
	}
	message += "auth=Bearer " + b.Token + "\x01\x01"
	return &BearerClient{name: OAuthBearer, message: message, farewell: []byte{1}, // RFC 7628, 3.2.3
		token: b.Token}, b.check()
}

// saslName escapes what has a meaning in a GS2 header (RFC 5801, 4).
var saslName = strings.NewReplacer("=", "=3D", ",", "=2C")

// BearerClient is XOAUTH2 or OAUTHBEARER. It sends one message. The server refuses it with a challenge that
// explains why; what the client answers means nothing, and is fixed.
type BearerClient struct {
	name     string
	message  string
	farewell []byte
	token    string
	asked    bool
	refusal  string
}

// Start implements sasl.Client.
func (c *BearerClient) Start() (string, []byte, error) { return c.name, []byte(c.message), nil }

// Next implements sasl.Client.
func (c *BearerClient) Next(challenge []byte) ([]byte, error) {
	if c.asked {
		return nil, errors.New(c.name + ": the server asks again after it was answered")
	}
	c.asked = true
	c.refusal = c.explain(challenge)
	return c.farewell, nil
}

// maxExplained bounds each field of an explanation.
const maxExplained = 200

// explain reads the JSON of a refusal (RFC 7628, 3.2.2; Google's and Microsoft's have schemes too).
func (c *BearerClient) explain(challenge []byte) string {
	var j struct {
		Status  any    `json:"status"` // a string; some servers send a number
		Schemes string `json:"schemes"`
		Scope   string `json:"scope"`
		OpenID  string `json:"openid-configuration"`
	}
	if json.Unmarshal(challenge, &j) != nil {
		return ""
	}
	status, _ := j.Status.(string)
	if n, ok := j.Status.(float64); ok {
		status = strconv.Itoa(int(n))
	}
	var said []string
	for _, field := range [...]struct{ name, value string }{
		{"status", status}, {"schemes", j.Schemes}, {"scope", j.Scope}, {"openid-configuration", j.OpenID},
	} {
		if field.value != "" {
			value := field.value
			if len(c.token) >= 4 {
				value = strings.ReplaceAll(value, c.token, "[hidden]")
			}
			said = append(said, field.name+" "+clean.Line(value, maxExplained))
		}
	}
	return strings.Join(said, ", ")
}

// Refusal implements Explainer.
func (c *BearerClient) Refusal() string { return c.refusal }

// Secrets implements Secretive.
func (c *BearerClient) Secrets() []string { return []string{c.token} }

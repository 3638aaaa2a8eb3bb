// Package sesapi sends through the HTTP API of Amazon SES, version 2: for those who have a role of IAM and no
// SMTP password, since SMTP takes no temporary credentials.
//
// A message is one SendEmail with the whole content (Content.Raw), as it is. The envelope decides who gets
// it: its recipients are in Destination, which takes the place of the header's, so that Bcc and mailing lists
// work. The envelope sender is where SES sends bounces and complaints (FeedbackForwardingEmailAddress).
// FromEmailAddress is left out: it would replace the From field and with it the sender's name
// (laravel/framework#37881). SES uses a return path of its own in any case, and there is no DSN parameter.
//
// What always holds: the content is read twice and never held, because the signature needs the hash of the
// body; what a documented error means stands in one table (refusal.go); GetAccount is asked for the rate at
// the first message and once an hour, and a role that may not ask it can send all the same.
package sesapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/sesapi/awsauth"
)

// The limits of SendEmail with a raw content.
const (
	MaxSize       = 40 << 20
	MaxRecipients = 50
)

// Options are the settings of a Client. All are required.
type Options struct {
	httpapi.Options
	Region      string
	Credentials *awsauth.Cached
}

// Client is the API as one account sees it. It is safe for concurrent use.
type Client struct {
	o     Options
	http  *httpapi.Client
	quota quota
}

var _ httpapi.Provider = (*Client)(nil)

// Upstream is an account as a next hop.
type Upstream struct {
	*httpapi.Upstream
	Client *Client
}

// New makes an Upstream that uses the connections of h. It connects to nothing.
func New(o Options, h *httpapi.Client) (*Upstream, error) {
	c := NewClient(o, h)
	u, err := httpapi.New(o.Options, h, c)
	return &Upstream{u, c}, err
}

// Rate is Client.Rate.
func (u *Upstream) Rate() float64 { return u.Client.Rate() }

// NewClient makes a Client that uses the connections of h. It connects to nothing.
func NewClient(o Options, h *httpapi.Client) *Client { return &Client{o: o, http: h} }

// sendEmail is the body of SendEmail up to the content.
type sendEmail struct {
	Feedback    string `json:"FeedbackForwardingEmailAddress"`
	Destination struct {
		To []string `json:"ToAddresses"`
	}
	Content struct {
		Raw struct{ Data string }
	}
}

// mark stands for the content in the body. JSON leaves it as it is.
const mark = "(content)"

// Request implements httpapi.Provider.
func (c *Client) Request(ctx context.Context, m *httpapi.Mail) (*httpapi.Request, error) {
	keys, err := c.credentials(ctx)
	if err != nil {
		return nil, err
	}
	mail := sendEmail{Feedback: m.From}
	mail.Destination.To = m.To
	mail.Content.Raw.Data = mark
	text, err := json.Marshal(mail)
	if err != nil {
		return nil, err
	}
	at := strings.LastIndex(string(text), mark) // the content is the last field
	before, after := string(text[:at]), string(text[at+len(mark):])
	body := func() (io.ReadCloser, error) { return encoded(before, after, m.Open) }
	sum, length, err := measure(body)
	if err != nil {
		return nil, err
	}
	return &httpapi.Request{Method: http.MethodPost, URL: c.url("/v2/email/outbound-emails"),
		Header: http.Header{"Content-Type": {"application/json"}}, Length: length, Body: body,
		Sign: c.signer(keys, sum)}, nil
}

func (c *Client) url(path string) string {
	return strings.TrimSuffix(c.o.Endpoint.String(), "/") + path
}

// signer signs a request whose body has this hash.
func (c *Client) signer(keys awsauth.Credentials, sum string) func(*http.Request) error {
	return func(r *http.Request) error {
		awsauth.Sign(r, sum, keys, c.o.Region, "ses", c.o.Now())
		return nil
	}
}

// credentials are those in force, or the fault that there are none.
func (c *Client) credentials(ctx context.Context) (awsauth.Credentials, error) {
	keys, err := c.o.Credentials.Credentials(ctx)
	if err != nil {
		return keys, &httpapi.Outcome{Stage: diagnose.StageAuth, Class: 4, Fault: true,
			Reason: "api_credentials_missing", Text: err.Error()}
	}
	return keys, nil
}

// Renew implements httpapi.Provider.
func (c *Client) Renew() bool { return c.o.Credentials.Forget() }

// Probe implements httpapi.Provider: it asks for the account. A role that may not do so has shown that its
// credentials are good.
func (c *Client) Probe(ctx context.Context) error {
	_, err := c.Account(ctx)
	if denied(err) {
		return nil
	}
	return err
}

// measure reads a body for its SHA-256, in hex, and its length.
func measure(body func() (io.ReadCloser, error)) (sum string, length int64, err error) {
	r, err := body()
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	h := sha256.New()
	length, err = io.Copy(h, r)
	return hexSum(h), length, err
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// encoded is a body with a content in base64 between two texts.
func encoded(before, after string, open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	c, err := open()
	if err != nil {
		return nil, err
	}
	return &struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(before), httpapi.Base64(c), strings.NewReader(after)), c}, nil
}

// Read implements httpapi.Provider.
func (c *Client) Read(a *httpapi.Answer) httpapi.Outcome {
	if a.Status == http.StatusOK {
		var taken struct{ MessageId string }
		_ = json.Unmarshal(a.Body, &taken)
		if taken.MessageId == "" && !a.Cut { // of one that is cut the status says enough
			return a.NotReached()
		}
		return httpapi.Outcome{Class: 2, ID: taken.MessageId}
	}
	return c.refusal(a)
}

// call makes a signed GET and reads its answer.
func (c *Client) call(ctx context.Context, path string, into any) error {
	keys, err := c.credentials(ctx)
	if err != nil {
		return err
	}
	a, err := c.http.Call(ctx, &httpapi.Request{Method: http.MethodGet, URL: c.url(path),
		Header: http.Header{}, Sign: c.signer(keys, awsauth.EmptyHash)})
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		o := c.refusal(a)
		o.Way = a.Way
		return &o
	}
	if err := json.NewDecoder(bytes.NewReader(a.Body)).Decode(into); err != nil {
		if !a.Cut {
			o := a.NotReached()
			return &o
		}
		return &httpapi.Failure{Stage: diagnose.StageConnect, Way: a.Way, NetErr: diagnose.NetErr{
			Kind: diagnose.NetProtocol, Text: fmt.Sprintf("the answer is not JSON: %v", err)}}
	}
	return nil
}

// Package graph sends through Microsoft Graph (sendMail with a MIME content), for tenants that have closed
// SMTP AUTH.
//
// Graph knows no envelope. It sends to whom the To, Cc and Bcc fields name, from the mailbox, whose own
// address is the return path; it removes Bcc. So the header is changed on its way (header.go), until it
// names exactly the recipients of the call. What Graph does not do: DSN, another envelope sender, the null
// sender, and leaving no copy in Sent Items, which a MIME content always gets. An answer has no id of the
// message, only one of the request, by which Microsoft's support finds it.
//
// What always holds: the content is read twice and never held, but for its header; who gets the mail is
// decided by the envelope alone; what a documented error code means stands in one table (refusal.go).
package graph

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/oauth"
)

// MaxSize is the largest content: sendMail takes requests of up to 4 MB, and the content is sent in base64.
// An upload session, which takes more, takes no MIME content.
const MaxSize = 4_000_000 / 4 * 3

// MaxRecipients is how many recipients Exchange Online takes for one message.
const MaxRecipients = 500

// Tokens hands out access tokens for Graph. Its implementation is *oauth.Cached.
type Tokens interface {
	Token(ctx context.Context) (oauth.Token, error)
	Refused(t oauth.Token) bool
}

// Options are the settings of a Client. All are required.
type Options struct {
	httpapi.Options
	Mailbox string // that sends: its address or id
	Tokens  Tokens
}

// Client is Graph as one mailbox sees it. It is safe for concurrent use.
type Client struct {
	o    Options
	http *httpapi.Client
}

// New makes an upstream that uses the connections of h. It connects to nothing.
func New(o Options, h *httpapi.Client) (*httpapi.Upstream, error) {
	return httpapi.New(o.Options, h, NewClient(o, h))
}

var _ httpapi.Provider = (*Client)(nil)

// NewClient makes a Client that uses the connections of h.
func NewClient(o Options, h *httpapi.Client) *Client { return &Client{o: o, http: h} }

// token is an access token, or the fault that there is none.
func (c *Client) token(ctx context.Context) (oauth.Token, error) {
	t, err := c.o.Tokens.Token(ctx)
	if fault, ok := errors.AsType[*oauth.Error](err); ok {
		return t, &httpapi.Outcome{Stage: diagnose.StageAuth, Fault: true, Kind: diagnose.NetOAuthToken,
			Reason: fault.Reason, Text: fault.Error()}
	}
	return t, err
}

// Request implements httpapi.Provider.
func (c *Client) Request(ctx context.Context, m *httpapi.Mail) (*httpapi.Request, error) {
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	head, skip, err := rewritten(m)
	if err != nil {
		return nil, err
	}
	body := func() (io.ReadCloser, error) { return content(head, skip, m.Open) }
	length, err := measure(body)
	if err != nil {
		return nil, err
	}
	h := http.Header{"Content-Type": {"text/plain"}, "Authorization": {"Bearer " + token.Access.Reveal()}}
	return &httpapi.Request{Method: http.MethodPost, URL: c.mailbox() + "/sendMail", Header: h,
		Length: length, Body: body}, nil
}

// mailbox is the URL of the mailbox.
func (c *Client) mailbox() string {
	return strings.TrimSuffix(c.o.Endpoint.String(), "/") + "/v1.0/users/" + url.PathEscape(c.o.Mailbox)
}

// content is a content in base64, with head in place of its first skip bytes.
func content(head []byte, skip int64, open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	c, err := open()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, c, skip); err != nil {
		c.Close()
		return nil, err
	}
	return &struct {
		io.Reader
		io.Closer
	}{httpapi.Base64(io.MultiReader(strings.NewReader(string(head)), c)), c}, nil
}

// measure reads a body for its length.
func measure(body func() (io.ReadCloser, error)) (int64, error) {
	r, err := body()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

// Read implements httpapi.Provider.
func (c *Client) Read(a *httpapi.Answer) httpapi.Outcome {
	if a.Status == http.StatusAccepted && !a.Foreign() {
		return httpapi.Outcome{Class: 2, ID: a.Header.Get("request-id")}
	}
	return c.refusal(a)
}

// Renew implements httpapi.Provider: another token is fetched in place of the one that was refused.
func (c *Client) Renew() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	t, err := c.o.Tokens.Token(ctx)
	return err == nil && c.o.Tokens.Refused(t)
}

// Probe implements httpapi.Provider. An application that may send and do nothing else is refused whatever it
// asks for, but with 403: its token is good. So is one that is told that it asks for too much.
func (c *Client) Probe(ctx context.Context) error {
	token, err := c.token(ctx)
	if err != nil {
		return err
	}
	a, err := c.http.Call(ctx, &httpapi.Request{Method: http.MethodGet, URL: c.mailbox() + "?$select=id",
		Header: http.Header{"Authorization": {"Bearer " + token.Access.Reveal()}}})
	if err != nil {
		return err
	}
	if a.Foreign() || a.Status == http.StatusUnauthorized || a.Status >= 500 ||
		a.Status == http.StatusNotFound {
		o := c.refusal(a)
		o.Way = a.Way
		return &o
	}
	return nil
}

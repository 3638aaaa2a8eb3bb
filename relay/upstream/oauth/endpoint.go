package oauth

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// requestLimit bounds one request to a token endpoint.
const requestLimit = 30 * time.Second

// unknownLife is how long a token is used whose life the endpoint does not state (RFC 6749, 5.1 recommends
// that it does).
const unknownLife = 15 * time.Minute

// noticedSkew is how far our clock may be from the endpoint's Date, which has no fractions and is late by the
// way of the reply, before it is mentioned.
const noticedSkew = time.Minute

// Endpoint is a token endpoint as one client sees it.
type Endpoint struct {
	TokenURL string
	ClientID string
	Proof    Proof             // of who the client is; nil for a public client
	HTTP     http.RoundTripper // nil: http.DefaultTransport
}

// Check reports what is wrong with the settings.
func (e *Endpoint) Check() error {
	if e.ClientID == "" {
		return errors.New("a client id is needed")
	}
	err := checkURL(e.TokenURL)
	if c, ok := e.Proof.(*Certificate); ok {
		_, _, unread := readCertificate(c.CertFile, c.KeyFile)
		err = errors.Join(err, unread)
	}
	return err
}

// checkURL allows https, and http to this machine alone: the secret travels in the request.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("not a valid URL of an endpoint: %q", raw)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme != "https" && !(u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost")) {
		return fmt.Errorf("%q is not https, and would show the secret to everybody on the way", raw)
	}
	return nil
}

// grant is what a token endpoint gave.
type grant struct {
	Token
	Refresh Secret
	skew    time.Duration // the endpoint's clock minus ours
}

// request asks for a token with the parameters of form, which name the grant.
func (e *Endpoint) request(ctx context.Context, form url.Values) (grant, error) {
	conf := clientcredentials.Config{
		ClientID: e.ClientID, TokenURL: e.TokenURL, AuthStyle: oauth2.AuthStyleInParams,
		EndpointParams: form, // with a grant_type, which takes the place of client_credentials
	}
	if e.Proof != nil {
		proof, err := e.Proof.Params(e)
		if err != nil {
			return grant{}, err
		}
		form = merged(form, proof)
		conf.EndpointParams = form
	}
	began := time.Now()
	observed := &observer{base: e.HTTP}
	limited, cancel := observed.context(ctx)
	defer cancel()
	t, err := conf.Token(limited)
	if ctx.Err() != nil {
		return grant{}, ctx.Err()
	}
	if err != nil {
		return grant{skew: observed.skew}, e.fault(err, form, observed)
	}
	if !printable(t.AccessToken) {
		return grant{skew: observed.skew}, e.fault(errToken, form, observed)
	}
	g := grant{Token: Token{Access: NewSecret(t.AccessToken), Issued: began}, skew: observed.skew}
	g.Expires = began.Add(unknownLife)
	if !t.Expiry.IsZero() {
		g.Expires = began.Add(time.Until(t.Expiry))
	}
	if t.RefreshToken != form.Get("refresh_token") { // x/oauth2 repeats ours where there is no new one
		g.Refresh = NewSecret(t.RefreshToken)
	}
	return g, nil
}

// errToken is the fault of a token that can stand neither in a header of HTTP nor in SASL.
var errToken = errors.New("the access token has characters that no token has")

// printable reports whether a token has nothing but visible ASCII and blanks (RFC 6749, A.12).
func printable(token string) bool {
	return strings.IndexFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// merged is the union of two forms.
func merged(a, b url.Values) url.Values {
	all := url.Values{}
	for _, form := range []url.Values{a, b} {
		for k, v := range form {
			all[k] = v
		}
	}
	return all
}

// observer is the transport of one request. It notes how far the endpoint's clock is from ours.
type observer struct {
	base http.RoundTripper
	skew time.Duration
}

// context carries the HTTP client to x/oauth2. The client refuses redirects: one would send the secret to
// another address. The 3xx is returned as it is.
func (o *observer) context(ctx context.Context) (context.Context, context.CancelFunc) {
	client := &http.Client{
		Transport:     o,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, client), requestLimit)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// RoundTrip implements http.RoundTripper. It reads the whole answer, because x/oauth2 does not close all of
// them.
func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := cmp.Or(o.base, http.DefaultTransport).RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		o.skew = date.Sub(time.Now().Round(0))
	}
	return resp, nil
}

// secretParams are the parameters of a request that nobody may read.
var secretParams = [...]string{"client_secret", "client_assertion", "assertion", "refresh_token", "code",
	"code_verifier", "device_code"}

// redact removes the secrets of a form from what an endpoint said.
func redact(text string, form url.Values) string {
	for _, name := range secretParams {
		if v := form.Get(name); len(v) >= 4 {
			text = strings.ReplaceAll(text, v, "[hidden]")
		}
	}
	return text
}

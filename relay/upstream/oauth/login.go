package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"mailwhy/relay/internal/clean"
)

// Login is the login of a person, which ends in a refresh token.
type Login struct {
	Endpoint  Endpoint
	AuthURL   string // for Browser and Paste
	DeviceURL string // for Device
	Scope     string
	Offline   bool   // as in Provider
	User      string // address to log in with, as a hint; may be empty
}

// config is what x/oauth2 makes URLs of.
func (l *Login) config(redirect string) oauth2.Config {
	return oauth2.Config{
		ClientID: l.Endpoint.ClientID, Scopes: []string{l.Scope}, RedirectURL: redirect,
		Endpoint: oauth2.Endpoint{AuthURL: l.AuthURL, DeviceAuthURL: l.DeviceURL,
			TokenURL: l.Endpoint.TokenURL, AuthStyle: oauth2.AuthStyleInParams},
	}
}

// Check reports what is wrong with the settings; address is the URL that the way of logging in begins with.
func (l *Login) Check(address string) error {
	if l.Scope == "" {
		return errors.New("a scope is needed")
	}
	if address == "" {
		return errors.New("the provider does not offer this way of logging in for mail, and no URL for it " +
			"is given")
	}
	return errors.Join(l.Endpoint.Check(), checkURL(address))
}

// LoggedIn is the end of a login.
type LoggedIn struct {
	Token   Token
	Refresh Secret
}

// finish is the last step of each way of logging in.
func (l *Login) finish(ctx context.Context, form url.Values) (LoggedIn, error) {
	g, err := l.Endpoint.request(ctx, form)
	if err != nil {
		return LoggedIn{}, l.Endpoint.explain(err)
	}
	if g.Refresh.IsZero() {
		return LoggedIn{}, &Error{Reason: ReasonScope, Who: WhoConfig,
			Description: "the endpoint gave an access token, but no refresh token",
			Fix: "Add offline_access to the scope (Microsoft), or remove the app's access and " +
				"log in again."}
	}
	return LoggedIn{g.Token, g.Refresh}, nil
}

// Prompt is what a person must do to log in by device code.
type Prompt struct {
	URL     string // to open in any browser
	Code    string // to enter there
	Expires time.Time
}

// Device logs in by a code that the person enters on another machine (RFC 8628). show is called once.
func (l *Login) Device(ctx context.Context, show func(Prompt)) (LoggedIn, error) {
	conf := l.config("")
	observed := &observer{base: l.Endpoint.HTTP}
	limited, done := observed.context(ctx)
	defer done()
	d, err := conf.DeviceAuth(limited)
	if ctx.Err() != nil {
		return LoggedIn{}, ctx.Err()
	}
	if err != nil {
		return LoggedIn{}, l.Endpoint.fault(err, nil, observed)
	}
	if d.DeviceCode == "" || d.UserCode == "" {
		return LoggedIn{}, l.Endpoint.fault(errors.New("no code"), nil, observed)
	}
	if !d.Expiry.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, d.Expiry, errCodeExpired)
		defer cancel()
	}
	show(Prompt{URL: clean.Line(d.VerificationURI, 500), Code: clean.Line(d.UserCode, 100),
		Expires: d.Expiry})
	return l.poll(ctx, d)
}

// errCodeExpired ends a login by device code that nobody finished.
var errCodeExpired = errors.New("the code has expired; begin again")

// poll asks for the token until the person has entered the code.
func (l *Login) poll(ctx context.Context, d *oauth2.DeviceAuthResponse) (LoggedIn, error) {
	const slower = 5 * time.Second                                       // RFC 8628, 3.5
	interval := time.Duration(min(max(d.Interval, 0), 60)) * time.Second // RFC 8628, 3.2
	if interval == 0 {
		interval = 5 * time.Second
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
		"device_code": {d.DeviceCode}}
	for {
		select {
		case <-ctx.Done():
			return LoggedIn{}, context.Cause(ctx)
		case <-time.After(interval):
		}
		in, err := l.finish(ctx, form)
		var f *Error
		switch {
		case err == nil:
			return in, nil
		case ctx.Err() != nil:
			return LoggedIn{}, context.Cause(ctx)
		case !errors.As(err, &f) || !f.Temporary:
			return LoggedIn{}, err
		case f.Code == "slow_down" || f.RetryAfter > 0 || f.Status == 0:
			interval = min(max(interval+slower, f.RetryAfter), time.Minute)
		}
	}
}

// refusedBy is the fault of a redirect that brings an error in place of a code (RFC 6749, 4.1.2.1).
func refusedBy(query url.Values) *Error {
	f := &Error{Code: clean.Line(query.Get("error"), 64),
		Description: clean.Line(query.Get("error_description"), maxDescription)}
	f.Numbers = numbersIn(f.Description)
	f.classify()
	return f
}

// readRedirect takes the code out of the address that a browser was sent to.
func readRedirect(query url.Values, state string) (code string, err error) {
	switch {
	case query.Get("state") != state:
		return "", errors.New("the address is not of this login: its state differs")
	case query.Get("error") != "":
		return "", refusedBy(query)
	case query.Get("code") == "":
		return "", fmt.Errorf("the address has no code in it")
	}
	return query.Get("code"), nil
}

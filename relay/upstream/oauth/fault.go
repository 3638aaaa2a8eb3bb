package oauth

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/clean"
)

// Who must act to end a fault.
type Who string

// Those who can act.
const (
	WhoNobody         Who = "nobody"          // it ends by itself
	WhoOperator       Who = "operator"        // who runs this relay
	WhoConfig         Who = "config"          // who wrote its configuration
	WhoHost           Who = "host"            // who runs this machine
	WhoAppAdmin       Who = "app_admin"       // who registered the application
	WhoTenantAdmin    Who = "tenant_admin"    // who runs the directory
	WhoWorkspaceAdmin Who = "workspace_admin" // who runs the Google Workspace
	WhoLogin          Who = "auth_login"      // whoever may log in to the account: mailwhy auth login
	WhoUser           Who = "user"            // who is logging in now
)

// Error is why there is no token. It holds no secret.
type Error struct {
	Code          string // of RFC 6749: invalid_client, ...
	Numbers       []int  // Microsoft's AADSTS numbers
	Description   string // what the endpoint said, one line
	CorrelationID string // with which Microsoft finds the request
	Status        int    // of HTTP; 0: no answer
	RetryAfter    time.Duration
	Skew          time.Duration // the endpoint's clock minus ours, where it matters
	Host          string        // of the endpoint

	Reason    diagnose.Reason // what it means
	Who       Who
	Fix       string // what to do, one sentence
	Temporary bool   // it may end by itself
}

// Error implements error.
func (e *Error) Error() string {
	var what []string
	if e.Code != "" {
		what = append(what, e.Code)
	}
	for _, n := range e.Numbers {
		if name := "AADSTS" + strconv.Itoa(n); !strings.Contains(e.Description, name) {
			what = append(what, name)
		}
	}
	if e.Code == "" && e.Status != 0 {
		what = append(what, "HTTP status "+strconv.Itoa(e.Status))
	}
	if e.Description != "" {
		what = append(what, e.Description)
	}
	text := "no OAuth token"
	if e.Host != "" {
		text += " from " + e.Host
	}
	text += ": " + strings.Join(what, ": ")
	if e.CorrelationID != "" {
		text += " (correlation id " + e.CorrelationID + ")"
	}
	if e.Skew != 0 {
		text += "; " + skewText(e.Skew)
	}
	return text
}

// skewText says how wrong our clock is.
func skewText(skew time.Duration) string {
	direction := "behind"
	if skew < 0 {
		direction, skew = "ahead of", -skew
	}
	return fmt.Sprintf("the clock of this machine is %s %s the endpoint's", skew.Round(time.Second),
		direction)
}

// unreadable is the fault of a secret, key or file on this machine.
func unreadable(format string, args ...any) *Error {
	return &Error{Reason: ReasonUnreadable, Who: WhoConfig, Description: fmt.Sprintf(format, args...),
		Fix: "Correct the path or the content of the file, and let the relay read it."}
}

// maxDescription bounds what is repeated of an endpoint's words.
const maxDescription = 400

// answer is the JSON of a refusal.
type answer struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
	Numbers     []int  `json:"error_codes"`
	Correlation string `json:"correlation_id"`
}

// fault turns the error of a request into an *Error.
func (e *Endpoint) fault(err error, form url.Values, o *observer) *Error {
	f := &Error{}
	if u, bad := url.Parse(e.TokenURL); bad == nil {
		f.Host = u.Hostname()
	}
	var refused *oauth2.RetrieveError
	var lost *url.Error
	switch {
	case errors.As(err, &refused):
		f.refusal(refused, form)
	case errors.As(err, &lost):
		f.lost(lost.Err)
	default: // x/oauth2 quotes the answer in some of its errors, and the answer may hold a token
		f.Description, f.Temporary = "the answer of the token endpoint cannot be read", true
		f.Reason, f.Who = ReasonUnavailable, WhoOperator
		f.Fix = "Check the token URL and whether a proxy answers in the endpoint's place."
	}
	if o.skew.Abs() >= noticedSkew {
		f.Skew = o.skew.Round(time.Second)
	}
	return f
}

// refusal fills f in from an answer of the endpoint.
func (f *Error) refusal(r *oauth2.RetrieveError, form url.Values) {
	var a answer
	if json.Unmarshal(r.Body, &a) != nil {
		a = answer{Code: r.ErrorCode, Description: r.ErrorDescription}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(a.Description), "\r\n")
	first, _, _ = strings.Cut(first, " Trace ID:") // Microsoft's ids and time
	f.Code = clean.Line(redact(a.Code, form), 64)
	f.Description = clean.Line(redact(first, form), maxDescription)
	f.CorrelationID = clean.Line(redact(a.Correlation, form), 64)
	f.Numbers = a.Numbers[:min(len(a.Numbers), 8)]
	if len(f.Numbers) == 0 {
		f.Numbers = numbersIn(first)
	}
	if r.Response != nil {
		f.Status = r.Response.StatusCode
		f.RetryAfter = retryAfter(r.Response.Header.Get("Retry-After"))
		if f.Status/100 == 3 {
			f.redirected(r.Response)
			return
		}
	}
	f.classify()
}

// redirected is the fault of an endpoint that sends us elsewhere.
func (f *Error) redirected(r *http.Response) {
	to := "another address"
	if u, err := r.Location(); err == nil {
		to = clean.Line(u.Hostname(), 255)
	}
	f.Reason, f.Who = ReasonApplication, WhoConfig
	f.Description = "the token endpoint redirects to " + to + ", which would send the secret there"
	f.Fix = "Set the token URL to the endpoint itself."
}

// lost is the fault of a request that got no answer.
func (f *Error) lost(err error) {
	f.Reason, f.Who, f.Temporary = ReasonUnavailable, WhoOperator, true
	f.Fix = "Let the relay connect to the token endpoint: DNS, firewall, proxy."
	f.Description = clean.Line(err.Error(), maxDescription)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		f.Description = "the token endpoint did not answer in time"
		return
	}
	f.uncertified(err)
}

// uncertified gives f the reason of a certificate that is not accepted, if that is what err says.
func (f *Error) uncertified(err error) {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		f.Reason = ReasonAuthority
		f.Fix = "Add the authority of the inspecting proxy to the system's, or let the endpoint pass it by."
	case errors.As(err, &name):
		f.Reason = ReasonName
		f.Fix = "Check the host in the token URL, and whether a proxy answers in the endpoint's place."
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.Reason = ReasonExpired
		f.Fix = "Check the clock of this machine, then tell the provider that its certificate has expired."
	}
}

// numbersIn finds AADSTS numbers in a description.
func numbersIn(text string) (all []int) {
	for {
		_, after, found := strings.Cut(text, "AADSTS")
		if !found || len(all) == 8 {
			return all
		}
		digits := after[:len(after)-len(strings.TrimLeft(after, "0123456789"))]
		if n, err := strconv.Atoi(digits); err == nil && !slices.Contains(all, n) {
			all = append(all, n)
		}
		text = after
	}
}

// longestWait bounds what a Retry-After may ask for.
const longestWait = time.Hour

// retryAfter reads a Retry-After of either form (RFC 9110, 10.2.3).
func retryAfter(value string) time.Duration {
	if n, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(n, 0), int(longestWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), 0), longestWait)
	}
	return 0
}

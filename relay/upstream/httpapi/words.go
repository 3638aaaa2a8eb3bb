package httpapi

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/clean"
)

// The most that is kept of a provider's words, and waited because of a Retry-After.
const (
	maxWords = 1000
	maxWait  = 7 * 24 * time.Hour
)

// Words is what an answer says: the HTTP status, the provider's error code and message, each as it came, and
// how long to wait if the answer asks for that (RFC 9110, 10.2.3).
func (a *Answer) Words(code, message string, now time.Time) string {
	text := fmt.Sprintf("HTTP %d", a.Status)
	if code != "" {
		text += " " + code
	}
	if message != "" {
		text += ": " + message
	}
	if wait := retryAfter(a.Header, now); wait > 0 {
		text = clean.Line(text, maxWords-64) +
			fmt.Sprintf("; retry after %d seconds", int64((wait+time.Second-1)/time.Second))
	}
	return clean.Line(text, maxWords)
}

// retryAfter reads a Retry-After of either form.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if n, err := strconv.ParseFloat(value, 64); err == nil && n > 0 && n < maxWait.Seconds() {
		return time.Duration(n * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxWait)
	}
	return 0
}

// Foreign reports whether an answer is certainly not from an API: a redirect, a proxy that wants a login, or
// a page for people. A page about an error of the server may come from the provider's own gateway.
func (a *Answer) Foreign() bool {
	switch {
	case a.Status/100 == 3, a.Status == http.StatusProxyAuthRequired:
		return true
	case a.Status >= 500, a.Status == http.StatusUnauthorized, a.Status == http.StatusTooManyRequests,
		a.Status == http.StatusRequestEntityTooLarge:
		return false
	}
	begins := strings.ToLower(string(bytes.TrimSpace(a.Body[:min(len(a.Body), 64)])))
	return strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") ||
		strings.HasPrefix(begins, "<!doctype html") || strings.HasPrefix(begins, "<html")
}

// NotReached says that something else answered instead of the API. Nothing was sent then. It need not be the
// same for all mail, since what answers may look into it.
func (a *Answer) NotReached() Outcome {
	text := fmt.Sprintf("HTTP %d, and not from the API", a.Status)
	if to, err := url.Parse(a.Header.Get("Location")); err == nil && to.Host != "" {
		text += ": a redirect to " + to.Hostname()
	}
	if _, title, ok := strings.Cut(string(a.Body), "<title>"); ok {
		title, _, _ = strings.Cut(title, "<")
		text += ": " + clean.Line(strings.TrimSpace(title), 200)
	}
	return Outcome{Stage: diagnose.StageMail, Class: 5, Reason: "api_not_reached",
		Text: clean.Line(text, maxWords), Way: a.Way}
}

// ByStatus is what the status of a refusal means where the error code says no more.
func ByStatus(status int) Outcome {
	o := Outcome{Stage: diagnose.StageEndOfData, Class: 4}
	switch {
	case status == http.StatusUnauthorized:
		o = Outcome{Stage: diagnose.StageAuth, Class: 5, Fault: true, Reason: "api_credentials_refused"}
	case status == http.StatusForbidden:
		o.Stage, o.Class, o.Reason = diagnose.StageMail, 5, "api_permission_missing"
	case status == http.StatusRequestEntityTooLarge:
		o.Class, o.Reason = 5, "message_too_large"
	case status == http.StatusTooManyRequests:
		o.Stage, o.Reason = diagnose.StageMail, "throttled"
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		o.Class, o.Uncertain, o.Reason = 0, true, "api_unavailable" // the mail may be taken
	case status >= 500:
		o.Reason = "api_unavailable"
	}
	return o
}

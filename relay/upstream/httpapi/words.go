package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
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

// ByStatus is what a status means where the error code says no more.
func ByStatus(status int) Outcome {
	o := Outcome{Stage: diagnose.StageEndOfData, Class: 4}
	switch {
	case status/100 == 2:
		o.Class = 2
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

package webhook

import (
	"net/http"
	"time"
)

// waits are those of an event after each failure (Standard Webhooks 1.0.0, Operational considerations). After
// the last it is given up.
func waits() []time.Duration {
	return []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
}

// The pauses of a webhook that fails.
const (
	failingAt      = 3 // failures in a row from which on the webhook itself is taken to fail
	firstPause     = time.Second
	mostPause      = 5 * time.Minute
	mostRetryAfter = 24 * time.Hour
)

// jitter spreads a wait over a quarter more, so that what failed together does not come back together.
func jitter(d time.Duration, spread float64) time.Duration {
	return d + time.Duration(float64(d)*spread/4)
}

// wait is how long an event waits that has been tried so often, and whether it is tried again at all.
func wait(attempts int, spread float64) (time.Duration, bool) {
	all := waits()
	if attempts > len(all) {
		return 0, false
	}
	return jitter(all[attempts-1], spread), true
}

// standing is how a webhook stands: what its answers make of it. It is kept over restarts.
type standing struct {
	Failures int       `json:"failures,omitempty"` // in a row
	Since    time.Time `json:"since,omitzero"`     // of the first of them
	Until    time.Time `json:"until,omitzero"`     // no request before
	Why      string    `json:"why,omitempty"`      // of the last
	Disabled time.Time `json:"disabled,omitzero"`
}

// failing reports whether the webhook itself is taken to fail, and not only what was sent to it.
func (s *standing) failing() bool { return s.Failures >= failingAt || !s.Until.IsZero() }

// succeeded notes a success, and reports whether it ends a failure of the webhook itself: one event that is
// not taken while others are does not make one.
func (s *standing) succeeded() (recovered bool) {
	recovered = s.Failures >= failingAt
	*s = standing{}
	return recovered
}

// failed notes a failure, and reports whether it disables the webhook.
func (s *standing) failed(a *answer, now time.Time, after time.Duration, spread float64) (disabled bool) {
	if s.Failures == 0 {
		s.Since = now
	}
	s.Failures++
	s.Why = a.why
	unwell := a.result != resultRefused && a.result != resultError
	if unwell || a.retryAfter > 0 || s.Failures >= failingAt {
		pause := min(firstPause<<min(s.Failures-1, 20), mostPause)
		s.Until = now.Add(max(jitter(pause, spread), a.retryAfter))
	}
	if a.status == http.StatusGone || s.Failures >= failingAt && now.Sub(s.Since) >= after {
		s.Disabled = now
	}
	return !s.Disabled.IsZero()
}

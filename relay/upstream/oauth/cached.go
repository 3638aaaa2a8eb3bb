package oauth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// The rules of refreshing.
const (
	earliest    = 5 * time.Minute  // a token is replaced this long before its end, or
	earlyPart   = 10               // after nine tenths of a longer life
	firstWait   = 30 * time.Second // after a refusal; doubled after each further one
	longestBack = 15 * time.Minute
	soonAgain   = 5 * time.Second // the same where the endpoint itself fails, which soon ends as a rule
	longestSoon = 5 * time.Minute
	flightLimit = 2 * time.Minute  // of one fetch, waiting for the file's lock included
	forcedPause = 10 * time.Minute // between two refreshes that a refused login forced
)

// Cached keeps the token of a Source for as long as it is good. It is safe for concurrent use.
//
// At most one fetch is under way. A token is replaced before its end, while the old one is still handed out;
// if that fails, the old one is used to its end. After a failure the Source is left alone for a while, and
// whoever has no token gets the same fault.
type Cached struct {
	source  Source
	log     *slog.Logger
	name    string
	stop    context.CancelFunc
	stopped context.Context

	mu       sync.Mutex
	token    Token // zero: none
	flight   chan struct{}
	fault    *Error // of the latest fetch; nil if it succeeded
	retryAt  time.Time
	wait     time.Duration
	success  time.Time // of the latest fetch that succeeded
	forcedAt time.Time

	secret, certificate watch // of the flight
}

// NewCached makes a Cached for the upstream called name. It fetches nothing yet. log may be nil.
func NewCached(name string, source Source, log *slog.Logger) *Cached {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Cached{source: source, log: log, name: name}
	c.stopped, c.stop = context.WithCancel(context.Background())
	secret, _ := c.expiries()
	c.secret.given = given(secret, time.Now()) // who configured the date is told at the start
	return c
}

// Close ends a fetch that is under way. There are no tokens any more.
func (c *Cached) Close() { c.stop() }

// Token returns a token that is good now. Its error is an *Error, or the context's.
func (c *Cached) Token(ctx context.Context) (Token, error) {
	for {
		c.mu.Lock()
		now := time.Now()
		live := c.live(now)
		if live && now.Before(c.token.refreshAt()) {
			defer c.mu.Unlock()
			return c.token, nil
		}
		if c.flight == nil && !now.Before(c.retryAt) && c.stopped.Err() == nil {
			c.begin()
		}
		token, fault, flight := c.token, c.fault, c.flight
		c.mu.Unlock()
		switch {
		case live:
			return token, nil
		case flight == nil && fault == nil:
			return Token{}, context.Canceled // closed
		case flight == nil:
			copied := *fault
			return Token{}, &copied
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	}
}

func (c *Cached) live(now time.Time) bool {
	return !c.token.Access.IsZero() && now.Before(c.token.Expires)
}

// refreshAt is when a token should be replaced. One that lives shorter than that is replaced at half of its
// life.
func (t *Token) refreshAt() time.Time {
	life := t.Expires.Sub(t.Issued)
	early := max(earliest, life/earlyPart)
	return t.Expires.Add(-min(early, life/2))
}

// begin starts a fetch. The caller holds the mutex.
func (c *Cached) begin() {
	c.flight = make(chan struct{})
	go func() {
		ctx, cancel := context.WithTimeout(c.stopped, flightLimit)
		defer cancel()
		token, err := c.source.Fetch(ctx)
		c.warnExpiry()
		c.end(token, err)
	}()
}

// end records what became of a fetch.
func (c *Cached) end(token Token, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.flight)
	c.flight = nil
	now := time.Now()
	if err == nil && !now.Before(token.Expires) {
		err = &Error{Reason: ReasonUnavailable, Who: WhoOperator, Temporary: true,
			Description: "the token endpoint gave a token that has already expired",
			Fix:         "Ask the provider: the endpoint does not work as it should."}
	}
	if err == nil {
		c.token, c.success = token, now
		c.fault, c.wait, c.retryAt = nil, 0, time.Time{}
		return
	}
	c.fault = asError(err)
	first, most := firstWait, longestBack
	if c.fault.Reason == ReasonUnavailable {
		first, most = soonAgain, longestSoon
	}
	c.wait = min(max(2*c.wait, first), most)
	c.retryAt = now.Add(max(c.wait, c.fault.RetryAfter))
	if c.stopped.Err() == nil {
		c.log.Warn("no new access token", "upstream", c.name, "err", c.fault, "who", c.fault.Who, "fix",
			c.fault.Fix, "token_live", c.live(now), "next_try", c.retryAt.Sub(now))
	}
}

// asError is err as an *Error; a context's end means that the fetch took too long.
func asError(err error) *Error {
	var f *Error
	if errors.As(err, &f) {
		return f
	}
	return &Error{Reason: ReasonUnavailable, Who: WhoOperator, Temporary: true,
		Description: "the token endpoint, or the lock of the token file, did not answer in time",
		Fix:         "Let the relay connect to the token endpoint: DNS, firewall, proxy."}
}

// Refused takes note that the upstream refused the token t. It reports whether another one is worth a try:
// one has been fetched since, or will be at the next Token. It says so once in ten minutes, because a fresh
// token that is refused shows that the token is not what is wrong.
func (c *Cached) Refused(t Token) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case c.token.Access != t.Access:
		return c.live(now) || c.flight != nil || !now.Before(c.retryAt)
	case now.Before(c.retryAt),
		!c.forcedAt.IsZero() && now.Sub(c.forcedAt) < forcedPause:
		return false
	}
	c.token, c.forcedAt = Token{}, now
	return true
}

// Status is the state of a Cached, for metrics and commands.
type Status struct {
	Live               bool
	Issued, Expires    time.Time // of the token; zero: none
	LastSuccess        time.Time // of a fetch
	Fault              *Error    // of the latest fetch
	NextTry            time.Time // after a fault
	SecretExpires      time.Time // of the client secret, as configured; zero: none or unknown
	CertificateExpires time.Time // of the client certificate; zero: none
}

// Age is how long ago the token was issued; 0 without one.
func (s *Status) Age(now time.Time) time.Duration {
	if s.Issued.IsZero() {
		return 0
	}
	return now.Sub(s.Issued)
}

// Status is the state now. It may read the certificate's file.
func (c *Cached) Status() Status {
	secret, certificate := c.expiries()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{
		Live: c.live(time.Now()), Issued: c.token.Issued, Expires: c.token.Expires, LastSuccess: c.success,
		Fault: c.fault, NextTry: c.retryAt, SecretExpires: secret, CertificateExpires: certificate,
	}
}

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The bounds of an answer, bytes.
const (
	maxHeader = 64 << 10
	maxAnswer = 64 << 10 // read, so that the connection can be used again
	maxShown  = 300      // of a refusal's body
)

// newClient is the client of a webhook. It follows no redirects and goes through no proxy: that would hide
// the address, which is checked for each connection.
func newClient(s *Settings, conf *tls.Config) http.Client {
	dialer := net.Dialer{Timeout: s.Timeout, Control: control(s.Private)}
	return http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: conf, TLSHandshakeTimeout: s.Timeout,
			MaxIdleConnsPerHost: s.Concurrency, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: maxHeader, DisableCompression: true, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what became of a request.
type answer struct {
	status     int // HTTP; 0 without an answer
	result     int // index into relay.WebhookResults
	why        string
	retryAfter time.Duration
	took       time.Duration
}

// The results, as indexes into relay.WebhookResults.
const (
	resultOK = iota
	resultThrottled
	resultRefused
	resultError
	resultTimeout
	resultUnreachable
	resultForbidden
	results
)

// post sends a body, signed now.
func (e *Endpoint) post(ctx context.Context, id string, body []byte) answer {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, e.s.Timeout)
	defer cancel()
	a := e.exchange(ctx, id, body, began)
	a.took = time.Since(began)
	return a
}

// exchange is post without its time.
func (e *Endpoint) exchange(ctx context.Context, id string, body []byte, now time.Time) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.s.URL, bytes.NewReader(body))
	if err != nil {
		return answer{result: resultUnreachable, why: err.Error()}
	}
	signatures := make([]string, len(e.signers))
	for i, s := range e.signers {
		signatures[i], _ = s.Sign(id, now, body) // it has no error of its own
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mailwhy")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	res, err := e.client.Do(req)
	if err != nil {
		return noAnswer(err)
	}
	defer res.Body.Close()
	head, _ := io.ReadAll(io.LimitReader(res.Body, maxShown))
	io.CopyN(io.Discard, res.Body, maxAnswer) // what is beyond costs the connection
	return answerOf(res, string(head), now)
}

// noAnswer is what became of a request that got none.
func noAnswer(err error) answer {
	var timeout interface{ Timeout() bool }
	switch inner := errors.Unwrap(err); { // without the URL, which may hold a secret
	case errors.Is(err, errForbidden):
		return answer{result: resultForbidden, why: inner.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return answer{result: resultTimeout, why: "no answer in time"}
	case inner != nil:
		return answer{result: resultUnreachable, why: inner.Error()}
	}
	return answer{result: resultUnreachable, why: err.Error()}
}

// answerOf is what an answer says. Only 2xx is success (Standard Webhooks 1.0.0, Operational considerations).
func answerOf(res *http.Response, body string, now time.Time) answer {
	a := answer{status: res.StatusCode, result: resultError, why: "answered " + res.Status}
	switch code := res.StatusCode; {
	case code/100 == 2:
		return answer{status: code}
	case code/100 == 3:
		a.why += "; redirects are not followed: set url to where it leads"
	case code == http.StatusTooManyRequests, code == http.StatusBadGateway,
		code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		a.result = resultThrottled
	case code/100 == 4:
		a.result = resultRefused
	}
	if text := strings.Join(strings.Fields(body), " "); text != "" && a.status/100 != 3 {
		a.why += fmt.Sprintf(": %q", text)
	}
	a.retryAfter = retryAfter(res.Header.Get("Retry-After"), now)
	return a
}

// retryAfter reads the header field (RFC 9110, 10.2.3): seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return min(max(time.Duration(min(seconds, 1<<30))*time.Second, 0), mostRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), mostRetryAfter)
	}
	return 0
}

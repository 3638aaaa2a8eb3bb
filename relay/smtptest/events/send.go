package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// manner is what a provider does about an answer.
type manner struct {
	timeout time.Duration   // for an answer; 10 s where it is zero
	waits   []time.Duration // before the second try, the third ...; after the last the event is lost
	only200 bool            // no other code is success
	final   []int           // codes on which it gives up
	mild    bool            // it tries again on 5xx and 429 only
	harsh   bool            // it tries again on 429 only, and without an answer
}

// The schedules. Those of SNS, Mailgun, Mailjet, Brevo and MailerSend are documented or were read in public
// source, as are the sums of SendGrid's and SparkPost's; how the tries lie within a sum is not known, nor are
// the others.
func snsManner() manner {
	return manner{timeout: 15 * time.Second, mild: true,
		waits: []time.Duration{20 * time.Second, 20 * time.Second, 20 * time.Second}}
}

func mailgunManner() manner {
	return manner{final: []int{http.StatusNotAcceptable}, waits: []time.Duration{
		5 * time.Minute, 10 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}}
}

func mailerSendManner() manner {
	return manner{timeout: 3 * time.Second, waits: []time.Duration{10 * time.Second, 100 * time.Second}}
}

func brevoManner() manner {
	return manner{harsh: true,
		waits: []time.Duration{10 * time.Minute, time.Hour, 2 * time.Hour, 8 * time.Hour}}
}

func postmarkManner() manner {
	return manner{final: []int{http.StatusForbidden}, waits: doubling(10 * time.Hour)}
}

func eventGrid() manner {
	return manner{waits: doubling(24 * time.Hour), final: []int{http.StatusBadRequest,
		http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge}}
}

// every is a schedule of equal waits.
func every(wait, total time.Duration) []time.Duration {
	return slices.Repeat([]time.Duration{wait}, int(total/wait))
}

// doubling is a schedule that begins with a minute and has no wait above four hours.
func doubling(total time.Duration) (waits []time.Duration) {
	wait := time.Minute
	for sum := wait; sum <= total; sum += wait {
		waits = append(waits, wait)
		wait = min(2*wait, 4*time.Hour)
	}
	return waits
}

// taken reports whether an answer is success.
func (m *manner) taken(code int) bool {
	return code == http.StatusOK || !m.only200 && code/100 == 2
}

// again reports whether it tries again after an answer that is not success; 0 is none.
func (m *manner) again(code int) bool {
	switch {
	case code == 0 || code == http.StatusTooManyRequests:
		return true
	case m.harsh:
		return false
	case m.mild:
		return code >= 500
	}
	return !slices.Contains(m.final, code)
}

// Try is one request and what came of it.
type Try struct {
	Number int           // from 1
	Code   int           // of the answer; 0: none
	Err    error         // why there was none
	Taken  bool          // the webhook has it
	Next   time.Duration // until the next try; 0: there is none
}

// Request makes a request with an event about a mail, signed now. Its body can be read again (GetBody).
func (s *Sender) Request(ctx context.Context, m *Mail, e *Event, now time.Time) (*http.Request, error) {
	body, err := s.payload(s, m, e)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", s.name, e.Kind, err)
	}
	return s.request(ctx, body, now)
}

// request makes a request of a payload.
func (s *Sender) request(ctx context.Context, body []byte, now time.Time) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "mailwhy practice as "+s.name)
	r.Header.Set("Content-Type", "application/json")
	if s.content != "" {
		r.Header.Set("Content-Type", s.content)
	}
	if s.credential != "" {
		present(r, s.credential)
	}
	if s.sign == nil {
		return r, nil
	}
	return r, s.sign(s, r, body, now)
}

// Send sends an event until the webhook has it, or the provider would give up; it reports each try. The error
// is for an event that cannot be made, and of ctx.
func (s *Sender) Send(ctx context.Context, m *Mail, e *Event, report func(Try)) error {
	body, err := s.payload(s, m, e)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", s.name, e.Kind, err)
	}
	for n := 1; ; n++ {
		t := Try{Number: n}
		t.Code, t.Err = s.post(ctx, body)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.Taken = t.Err == nil && s.manner.taken(t.Code)
		if !t.Taken && n <= len(s.manner.waits) && s.manner.again(t.Code) {
			t.Next = max(1, time.Duration(float64(s.manner.waits[n-1])/s.speed))
		}
		report(t)
		if t.Next == 0 {
			return nil
		}
		wait := time.NewTimer(t.Next)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}

// post makes one request and returns the code of its answer.
func (s *Sender) post(ctx context.Context, body []byte) (int, error) {
	timeout := s.manner.timeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := s.request(ctx, body, time.Now())
	if err != nil {
		return 0, err
	}
	return s.do(r)
}

// do sends a request. The error does not show the URL, which may have a secret in it.
func (s *Sender) do(r *http.Request) (int, error) {
	resp, err := s.client.Do(r)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}

package sesapi

import (
	"context"
	"net/url"
	"sync"
	"time"
)

// Account is what GetAccount tells.
type Account struct {
	ProductionAccessEnabled bool
	SendingEnabled          bool
	EnforcementStatus       string // HEALTHY, PROBATION, SHUTDOWN
	SendQuota               struct {
		Max24HourSend   float64 // recipients; -1: no limit
		MaxSendRate     float64 // recipients a second
		SentLast24Hours float64
	}
}

// Account asks for the account in this region.
func (c *Client) Account(ctx context.Context) (Account, error) {
	var a Account
	err := c.call(ctx, "/v2/email/account", &a)
	if err == nil {
		c.quota.learn(a.SendQuota.MaxSendRate)
	}
	return a, err
}

// Identity is what GetEmailIdentity tells of a domain or an address.
type Identity struct {
	VerifiedForSendingStatus bool
	VerificationStatus       string
	DkimAttributes           struct {
		SigningEnabled bool
		Status         string
	}
	MailFromAttributes struct {
		MailFromDomain       string
		MailFromDomainStatus string
	}
}

// Identity asks for an identity by its name. found is false if the account has none of that name.
func (c *Client) Identity(ctx context.Context, name string) (i Identity, found bool, err error) {
	err = c.call(ctx, "/v2/email/identities/"+url.PathEscape(name), &i)
	if missing(err) {
		return i, false, nil
	}
	return i, err == nil, err
}

// Denied reports whether an error says that the role may not make the call.
func Denied(err error) bool { return denied(err) }

// How often the rate is asked for, and how soon again after a failure.
const (
	askAgain = time.Hour
	askSoon  = 5 * time.Minute
)

// quota is the rate that the account has, as far as it is known.
type quota struct {
	mu    sync.Mutex
	rate  float64
	asked time.Time
	known bool
}

func (q *quota) learn(rate float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rate, q.known = max(rate, 0), true
}

// due notes that the rate is asked for now, if it is time.
func (q *quota) due(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait := askSoon
	if q.known {
		wait = askAgain
	}
	if since := now.Sub(q.asked); !q.asked.IsZero() && since >= 0 && since < wait {
		return false
	}
	q.asked = now
	return true
}

// Rate is how many recipients a second the account may send to; 0 if that is not known. It does not wait: it
// has the account asked when the answer is an hour old.
func (c *Client) Rate() float64 {
	if c.quota.due(c.o.Now()) {
		go c.Account(context.Background()) // within the limit for a command; a failure leaves what is known
	}
	c.quota.mu.Lock()
	defer c.quota.mu.Unlock()
	return c.quota.rate
}

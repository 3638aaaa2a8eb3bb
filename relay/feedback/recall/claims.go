package recall

import (
	"strconv"
	"sync"
	"time"

	"mailwhy/relay"
)

// claims are who may answer which entries of the outbox. They are in memory and end with the process. All but
// giveBack are called by the writer's goroutine, so that what is due is never read while it is answered. It
// is safe for concurrent use.
type claims struct {
	mu        sync.Mutex
	tokens    uint64
	byMessage map[claimKey]*claim
	byToken   map[relay.Token]claimKey
}

// claimKey is what one consumer has at a time.
type claimKey struct {
	message string
	topic   relay.Topic
}

// claim is somebody's right to a claimKey.
type claim struct {
	token    relay.Token
	deadline time.Time // monotonic
}

// taken reports whether somebody has a message's entries.
func (c *claims) taken(k claimKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holder(k) != nil
}

// holder is the claim of a message's entries, nil if it has ended. c.mu is held.
func (c *claims) holder(k claimKey) *claim {
	cl := c.byMessage[k]
	if cl != nil && !time.Now().Before(cl.deadline) {
		delete(c.byMessage, k)
		delete(c.byToken, cl.token)
		return nil
	}
	return cl
}

// take claims a message's entries, which nobody has, for d.
func (c *claims) take(k claimKey, d time.Duration) relay.Token {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens++
	t := relay.Token("f" + strconv.FormatUint(c.tokens, 36) + "-" + k.message)
	c.byMessage[k] = &claim{t, time.Now().Add(d)}
	c.byToken[t] = k
	return t
}

// stale reports whether another consumer has one of the entries.
func (c *claims) stale(entries []relay.Entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range entries {
		cl := c.holder(claimKey{entries[i].Message, entries[i].Topic})
		if cl != nil && cl.token != entries[i].Claim {
			return true
		}
	}
	return false
}

// giveBack ends claims. Those that have ended are passed over.
func (c *claims) giveBack(tokens []relay.Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range tokens {
		if k, ok := c.byToken[t]; ok {
			delete(c.byToken, t)
			delete(c.byMessage, k)
		}
	}
}

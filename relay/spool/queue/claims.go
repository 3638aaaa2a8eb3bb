package queue

import (
	"strconv"
	"sync"
	"time"

	"mailwhy/relay"
)

// Claims are who may answer which entries of the outbox. They are in memory and end with the process, as
// leases do. Claims is safe for concurrent use.
type Claims struct {
	mu      sync.Mutex
	tokens  uint64
	claimed map[claimKey]*claim
	byToken map[relay.Token]claimKey
	sweepAt time.Time

	reading  int               // reads of what is due that are going on
	answered map[claimKey]bool // what was written meanwhile
}

// claimKey is what one consumer has at a time: the entries of a message under a topic.
type claimKey struct {
	message string
	topic   relay.Topic
}

// claim is somebody's right to a claimKey.
type claim struct {
	token    relay.Token
	deadline time.Time // monotonic
	writing  int       // answers that are being written: it ends no more by itself
}

// NewClaims makes a Claims without any.
func NewClaims() *Claims {
	return &Claims{
		claimed: map[claimKey]*claim{}, byToken: map[relay.Token]claimKey{}, answered: map[claimKey]bool{},
	}
}

// Claimed reports whether somebody has a message's entries.
func (c *Claims) Claimed(topic relay.Topic, message string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lapse(time.Now())
	return c.claimed[claimKey{message, topic}] != nil
}

// BeginRead begins to read what is due. Until end is called, Take refuses what is answered meanwhile: the
// reader may have seen it as it was before.
func (c *Claims) BeginRead() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.reading--; c.reading == 0 {
			clear(c.answered)
		}
	}
}

// Take claims a message's entries for d, if nobody has them. It must be within BeginRead.
func (c *Claims) Take(topic relay.Topic, message string, d time.Duration) (t relay.Token, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.lapse(now)
	key := claimKey{message, topic}
	if c.claimed[key] != nil || c.answered[key] {
		return "", false
	}
	c.tokens++
	t = relay.Token("c" + strconv.FormatUint(c.tokens, 36) + "-" + message)
	c.claimed[key] = &claim{token: t, deadline: now.Add(d)}
	c.byToken[t] = key
	if end := now.Add(d); c.sweepAt.IsZero() || end.Before(c.sweepAt) {
		c.sweepAt = end
	}
	return t, true
}

// GiveBack ends claims. Those that have ended, or were never given, are passed over.
func (c *Claims) GiveBack(tokens ...relay.Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range tokens {
		if key, ok := c.byToken[t]; ok {
			c.end(key)
		}
	}
}

// BeginWrite checks that nobody else has any of the entries, and keeps it so until end is called. It returns
// ErrStaleLease if somebody has.
func (c *Claims) BeginWrite(entries []relay.Entry) (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lapse(time.Now())
	held := make([]claimKey, 0, len(entries))
	for i := range entries {
		key := claimKey{entries[i].Message, entries[i].Topic}
		cl := c.claimed[key]
		if cl != nil && cl.token != entries[i].Claim {
			c.release(held)
			return nil, relay.ErrStaleLease
		}
		if cl == nil {
			cl = &claim{token: entries[i].Claim} // ends with the write
			c.claimed[key] = cl
		}
		cl.writing++
		held = append(held, key)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.release(held)
	}, nil
}

// release ends writes. c.mu is held.
func (c *Claims) release(held []claimKey) {
	for _, key := range held {
		cl := c.claimed[key]
		if c.reading > 0 {
			c.answered[key] = true
		}
		if cl.writing--; cl.writing == 0 && cl.deadline.IsZero() {
			c.end(key)
		}
	}
}

// end ends a claim; while an answer to it is being written, when that is done. c.mu is held.
func (c *Claims) end(key claimKey) {
	cl := c.claimed[key]
	delete(c.byToken, cl.token)
	if cl.writing > 0 {
		cl.deadline = time.Time{}
		return
	}
	delete(c.claimed, key)
}

// lapse ends the claims whose deadline has passed. c.mu is held.
func (c *Claims) lapse(now time.Time) {
	if c.sweepAt.IsZero() || now.Before(c.sweepAt) {
		return
	}
	c.sweepAt = time.Time{}
	for key, cl := range c.claimed {
		switch {
		case cl.deadline.IsZero():
		case !now.Before(cl.deadline):
			c.end(key)
		case c.sweepAt.IsZero() || cl.deadline.Before(c.sweepAt):
			c.sweepAt = cl.deadline
		}
	}
}

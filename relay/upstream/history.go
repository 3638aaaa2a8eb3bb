package upstream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// That a server offers less than before is believed after this many sessions in a row, over this long.
const (
	lessSessions = 3
	lessFor      = time.Hour
)

// leastSize is the content that every server must accept (RFC 5321, 4.5.3.1.7). A smaller SIZE is not
// believed.
const leastSize = 64 << 10

// noLimit is the size limit of a server without one.
const noLimit = math.MaxInt64

// history is what the upstream has offered since the process began, at any of its addresses. More is
// believed at once. Less may come from a server that is starting, a proxy that rewrites the reply, or HELO
// after a failed EHLO: until it has lasted, it is a connection fault, and no message fails because of it.
// history is safe for concurrent use.
type history struct {
	mu                            sync.Mutex
	startTLS, eightBit, utf8, dsn belief // 1: offered, 0: not offered
	size                          belief // the limit

	caps atomic.Pointer[relay.Capabilities] // as believed; nil before an EHLO was answered
}

// belief is what we believe of one extension. The zero belief knows nothing.
type belief struct {
	known bool
	value int64
	less  int       // sessions in a row that offered less, or said nothing of it
	since time.Time // of the first of them
}

// learn records what a session offered. If sure is false, the session said nothing of it, and value is what
// that means if it lasts.
func (b *belief) learn(value int64, sure bool, now time.Time) {
	if sure && (!b.known || value >= b.value) {
		*b = belief{known: true, value: value}
		return
	}
	if b.less == 0 {
		b.since = now
	}
	if b.less++; b.less >= lessSessions && now.Sub(b.since) >= lessFor {
		*b = belief{known: true, value: value}
	}
}

// learnTLS records whether STARTTLS was offered, which only a session without TLS can tell.
func (h *history) learnTLS(e *extensions, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.startTLS.learn(bit(e.startTLS), !e.helo, now)
}

// offeredTLS reports whether STARTTLS is believed to be offered.
func (h *history) offeredTLS() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.startTLS.value == 1
}

// learn records the rest of what a session offered, inside TLS if there is any.
func (h *history) learn(e *extensions, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eightBit.learn(bit(e.EightBit), !e.helo, now)
	h.utf8.learn(bit(e.SMTPUTF8), !e.helo, now)
	h.dsn.learn(bit(e.DSN), !e.helo, now)
	switch {
	case !e.sized: // says nothing of a limit
	case e.Size == 0:
		h.size.learn(noLimit, true, now)
	default:
		h.size.learn(e.Size, e.Size >= leastSize, now)
	}
	if h.eightBit.known {
		h.publish(e)
	}
}

// publish makes the beliefs visible to Capabilities.
func (h *history) publish(e *extensions) {
	c := relay.Capabilities{
		EightBit: h.eightBit.value == 1, SMTPUTF8: h.utf8.value == 1, DSN: h.dsn.value == 1,
		Pipelining: e.Pipelining, RcptMax: e.RcptMax,
	}
	if v := h.size.value; v >= leastSize && v != noLimit {
		c.Size = v
	}
	h.caps.Store(&c)
}

// missing is the error for a message that needs an extension that its connection does not offer: lack if
// the upstream is known not to have it, else that it is missing for now.
func (h *history) missing(b *belief, lack netError) *netError {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !b.known:
		return &netError{diagnose.NetExtensionMissing, lack.text + ": it did not understand EHLO"}
	case b.value > 0:
		return &netError{diagnose.NetExtensionMissing, lack.text + " now, though it did before"}
	}
	return &lack
}

// withoutDSN is the error for a message with DSN parameters that must wait for a connection that can pass
// them on. An upstream that never offered DSN gets the message without them (RFC 3461, 5.2.2).
func (h *history) withoutDSN() *netError {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dsn.value == 0 {
		return nil
	}
	return &netError{diagnose.NetExtensionMissing,
		"the message has DSN parameters, and the server does not offer DSN now, though it did before"}
}

// tooLarge compares a message with the limit that its connection announces. A limit that is too low to
// believe does not count unless there was a higher one before: the server will say what it does not accept.
func (h *history) tooLarge(size int64, e *extensions) *netError {
	if e.Size == 0 || size <= e.Size {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	text := sizeText(size, e.Size)
	switch {
	case h.size.known && e.Size < h.size.value:
		return &netError{diagnose.NetExtensionMissing, text + " now, though it accepted more before"}
	case e.Size < leastSize:
		return nil
	}
	return &netError{diagnose.NetSizeExceeded, text}
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

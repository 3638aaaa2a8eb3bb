package upstream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// What a server offers less than before is believed when this many sessions in a row, over this long, agree.
const (
	lessSessions = 3
	lessFor      = time.Hour
)

// leastSize is the content that every server takes (RFC 5321, 4.5.3.1.7). A smaller SIZE is not believed.
const leastSize = 64 << 10

// noLimit is the size that a server without a limit takes.
const noLimit = math.MaxInt64

// history is what the upstream has offered since the process began, whichever of its addresses spoke. More is
// believed at once. Less may come from a server that is starting, a proxy that rewrites the reply, or HELO
// after an EHLO that failed: until it has lasted, it is a fault of the way, for which no message fails. It is
// safe for concurrent use.
type history struct {
	mu                            sync.Mutex
	startTLS, eightBit, utf8, dsn belief // 1 offered, 0 not
	size                          belief // the limit

	caps atomic.Pointer[relay.Capabilities] // as they are believed; nil before an EHLO was answered
}

// belief is what one extension is taken to offer. The zero belief knows nothing.
type belief struct {
	known bool
	value int64
	less  int       // sessions in a row that offered less, or said nothing
	since time.Time // of the first of them
}

// learn takes in what a session offered. When sure is false it said nothing of it, and value is what that
// comes to if it lasts.
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

// learnTLS takes in whether STARTTLS was offered, which only a session in clear can tell.
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

// learn takes in the rest of what a session offered, within TLS if there is any.
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

// publish makes what is believed visible.
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

// missing is what a message is told that needs an extension which its connection does not offer: lack, if the
// upstream is known to do without it, else that it is missing for now.
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

// withoutDSN is set when a message with DSN parameters is to wait for a connection on which they can be
// passed on. An upstream that never offered DSN gets it without them (RFC 3461, 5.2.2).
func (h *history) withoutDSN() *netError {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dsn.value == 0 {
		return nil
	}
	return &netError{diagnose.NetExtensionMissing,
		"the message has DSN parameters, and the server does not offer DSN now, though it did before"}
}

// tooLarge compares a message with the limit that its connection names. A limit that is not believed, and
// that none came before, does not count: the server will say what it does not take.
func (h *history) tooLarge(size int64, e *extensions) *netError {
	if e.Size == 0 || size <= e.Size {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	text := sizeText(size, e.Size)
	switch {
	case h.size.known && e.Size < h.size.value:
		return &netError{diagnose.NetExtensionMissing, text + " now, and took more before"}
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

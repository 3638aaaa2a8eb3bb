package relay

import (
	"context"
	"io"
	"time"

	"mailwhy/diagnose"
)

// Attempt is what happened when one recipient was offered to an upstream, or, for a fault met before MAIL, when the
// upstream was approached. It is data: an upstream's 550 is no Go error.
type Attempt struct {
	Time       time.Time       `json:"time"`
	Duration   time.Duration   `json:"duration"` // nanoseconds
	Upstream   string          `json:"upstream"` // its name in the configuration
	Host       string          `json:"host,omitempty"`
	Remote     string          `json:"remote,omitempty"` // address and port that were spoken to
	TLS        string          `json:"tls,omitempty"`
	Stage      diagnose.Stage  `json:"stage"`
	Reply      diagnose.Reply  `json:"reply,omitzero"`
	ReplyCut   int64           `json:"reply_cut,omitempty"` // bytes of the reply that were not kept: those beyond 64 KiB
	NetErr     diagnose.NetErr `json:"net_err,omitzero"`
	UpstreamID string          `json:"upstream_id,omitempty"` // the id in the final 250
	Uncertain  bool            `json:"uncertain,omitempty"`   // lost after the final dot: it may have been taken
	DSN        bool            `json:"dsn,omitempty"`         // the DSN parameters were passed on (RFC 3461, 5.2.1)
}

// Accepted reports whether the upstream took the message for this recipient: any 2yz to the final dot.
func (a *Attempt) Accepted() bool {
	return a.Stage == diagnose.StageEndOfData && a.Reply.Class() == 2
}

// Transaction is one message with those of its recipients that are to be offered now.
type Transaction struct {
	Message    *Message // read only for the upstream
	From       string   // reverse-path to use; differs from the envelope's on the DSN fall-back route only
	Recipients []int    // indexes into Message.Recipients
	Open       func() (io.ReadCloser, error)
}

// Result is the end of a Transaction. Exactly one of Attempts, Fault and Err is set. A fault that is met after
// some recipients of a large message were answered stands among the Attempts of the rest, at its own stage: one
// before MAIL, or StageQueue for content that could not be read. It is the lane's trouble there too: a 5yz at such a
// stage is nobody's failure. A message that needs an extension which the upstream offered before and does not
// offer now has Attempts too, with NetExtensionMissing at the stage of EHLO: it waits, and the lane goes on.
type Result struct {
	Attempts []Attempt // one for each of Transaction.Recipients, in their order
	Fault    *Attempt  // the upstream could not be brought to MAIL: nobody's attempt, the lane's own trouble
	Err      error     // the content could not be read: our own trouble; nothing was completed at the upstream
}

// Upstream relays transactions to one next hop. Implementations are safe for concurrent use.
type Upstream interface {
	// Relay runs first, and then whatever next returns, on one connection, and calls done exactly once for each
	// transaction, from the calling goroutine and as soon as its result is known. next never blocks; it returns nil when nothing
	// is waiting, and is asked early, so that a following envelope can travel with the end of data before it. Once a
	// transaction met a Fault, or the connection is unfit for more, next is no longer asked. Cancelling ctx ends
	// the exchange between transactions; the one under way has the grace that the implementation sets.
	Relay(ctx context.Context, first *Transaction, next func() *Transaction, done func(*Transaction, Result))
	// Capabilities are those that the upstream is taken to offer: what one session alone does not offer is not
	// missing. ok is false before the first EHLO was answered.
	Capabilities() (c Capabilities, ok bool)
	// Probe brings a connection up to the point before MAIL and keeps it for reuse; it returns the fault met, or nil.
	// After refused credentials Relay may answer with that Fault, unasked, until a Probe was let in.
	Probe(ctx context.Context) *Attempt
	// Close ends idle connections with QUIT.
	Close() error
}

// Capabilities are what an upstream offers in its reply to EHLO.
type Capabilities struct {
	Size       int64 // RFC 1870, bytes; 0 when no limit was named
	DSN        bool  // RFC 3461
	SMTPUTF8   bool  // RFC 6531
	EightBit   bool  // RFC 6152
	Pipelining bool  // RFC 2920
	RcptMax    int   // RFC 9422, LIMITS RCPTMAX; 0 when not named
}

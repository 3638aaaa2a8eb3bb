package relay

import (
	"cmp"
	"context"
	"io"
	"slices"
	"time"

	"mailwhy/diagnose"
)

// Attempt is what happened when one recipient was offered to an upstream, or, for a fault met before MAIL,
// when the upstream was approached. It is data: an upstream's 550 is not a Go error.
type Attempt struct {
	Time       time.Time       `json:"time"`
	Duration   time.Duration   `json:"duration"` // nanoseconds
	Upstream   string          `json:"upstream"` // its name in the configuration
	Host       string          `json:"host,omitempty"`
	Remote     string          `json:"remote,omitempty"` // address and port that were spoken to
	TLS        string          `json:"tls,omitempty"`
	Stage      diagnose.Stage  `json:"stage"`
	Reply      diagnose.Reply  `json:"reply,omitzero"`
	ReplyCut   int64           `json:"reply_cut,omitempty"` // bytes of the reply that were dropped
	NetErr     diagnose.NetErr `json:"net_err,omitzero"`
	Verdict    int             `json:"verdict,omitempty"`     // of an HTTP API: see Class
	UpstreamID string          `json:"upstream_id,omitempty"` // from the final 250
	Uncertain  bool            `json:"uncertain,omitempty"`   // lost after the final dot; it may be taken
	DSN        bool            `json:"dsn,omitempty"`         // DSN parameters passed on (RFC 3461, 5.2.1)
	Changed    []string        `json:"changed,omitempty"`     // what was done to the content on its way out

	// At diagnose.StageRemote, where Host is the recipient's server and Time when it spoke, as far as told.
	// Where no reply was quoted, the words that stand in its place are the Text of NetErr, without a Kind.
	Status     string `json:"status,omitempty"`      // enhanced status code (RFC 3463) told beside the reply
	ReportedBy string `json:"reported_by,omitempty"` // host that told of it
}

// Class is how the upstream answered, as the first digit of a reply (RFC 5321, 4.2.1): 2 it did, 4 not now, 5
// never, 0 it did not answer. An HTTP API gives no reply. What its answer means stands in Verdict, and the
// words of a refusal in NetErr, of the kind NetAPI; nothing is made to look like a reply.
func (a *Attempt) Class() int {
	if a.Verdict != 0 {
		return a.Verdict
	}
	return a.Reply.Class()
}

// Accepted reports whether the upstream took the message for this recipient: any 2yz to the final dot.
func (a *Attempt) Accepted() bool {
	return a.Stage == diagnose.StageEndOfData && a.Class() == 2
}

// Transaction is one message with those of its recipients that are offered now.
type Transaction struct {
	Message    *Message // read only for the upstream
	From       string   // reverse-path to use: the envelope's, or a report's fallback sender
	Recipients []int    // indexes into Message.Recipients
	Open       func() (io.ReadCloser, error)
	Changed    []string // what was done to the content since it was stored, such as "dkim signed"
	HeaderFrom string   // domain of the From field, where it is rewritten; see FromDomain
}

// FromDomain is the domain of the From field as it is sent.
func (t *Transaction) FromDomain() string { return cmp.Or(t.HeaderFrom, t.Message.HeaderFrom) }

// Note adds to Changed, each thing once.
func (t *Transaction) Note(change string) {
	if !slices.Contains(t.Changed, change) {
		t.Changed = append(t.Changed, change)
	}
}

// Result is the end of a Transaction. Exactly one of Attempts, Fault and Err is set.
//
// When a fault is met after some recipients of a large message were answered, it is the Attempt of the rest,
// at its own stage: one before MAIL, or StageQueue for content that could not be read. There too it concerns
// the lane: a 5yz at such a stage fails no recipient. A message that needs an extension which the upstream
// offered before and does not offer now has Attempts with NetExtensionMissing at the stage of EHLO: it waits,
// and the lane goes on.
//
// An HTTP API has one step. Its answer belongs to the stage that says the same in SMTP: auth for our
// credentials, mail for our account, the sender or a limit, rcpt for a recipient, end of data for the rest. A
// Fault at StageMail says that the account may not send at all: only a message shows when that is over.
type Result struct {
	Attempts []Attempt // one for each of Transaction.Recipients, in their order
	Fault    *Attempt  // met before MAIL: it concerns the lane, and is not an attempt for a recipient
	Err      error     // the content could not be read; nothing was completed at the upstream
}

// Upstream relays transactions to one next hop. Implementations are safe for concurrent use.
type Upstream interface {
	// Relay runs first, and then whatever next returns, on one connection. It calls done exactly once for
	// each transaction, from the calling goroutine and as soon as the result is known. next never blocks and
	// returns nil when nothing waits. It is called early, so that the following envelope can travel with the
	// end of data before it, and no longer once a transaction met a Fault or the connection cannot be used
	// again. Cancelling ctx ends the exchange between transactions; the one under way has the grace that the
	// implementation sets.
	Relay(ctx context.Context, first *Transaction, next func() *Transaction, done func(*Transaction, Result))
	// Capabilities are what the upstream is believed to offer; a single session that lacks an extension does
	// not change that. ok is false before the first EHLO was answered.
	Capabilities() (c Capabilities, ok bool)
	// Probe brings a connection up to the point before MAIL and keeps it for reuse; it returns the fault met,
	// or nil. After refused credentials Relay may return that Fault without trying, until a Probe succeeded.
	Probe(ctx context.Context) *Attempt
	// Close ends idle connections with QUIT.
	Close() error
}

// ConnectionKeeper is the add-on of an Upstream that keeps connections for reuse.
type ConnectionKeeper interface {
	// Connections is how many are open or being opened, busy or not, and how many are about to be closed.
	Connections() (open, ending int)
	// CloseIdle ends idle connections until no more than keep are open, as far as there are idle ones. It
	// does not wait for the farewell.
	CloseIdle(keep int)
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

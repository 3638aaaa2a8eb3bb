package relay

import (
	"errors"
	"time"

	"mailwhy/diagnose"
)

// Message is one accepted mail, or the part of it that goes one way: its envelope, where it came from, and
// the state of each recipient. It belongs to one lane. Where the recipients of a mail go different ways
// there is a message for each way, with a content that they share. The Spool opens it by the message's ID;
// it never changes.
type Message struct {
	ID         string      `json:"id"`             // queue id, see NewID
	Mail       string      `json:"mail,omitempty"` // see MailID
	Lane       string      `json:"lane"`           // name of the upstream that it waits for
	Envelope   Envelope    `json:"envelope"`
	Recipients []Recipient `json:"recipients"`
	Client     Client      `json:"client"`
	MessageID  string      `json:"message_id,omitempty"` // the Message-ID header, angle brackets included
	Subject    string      `json:"subject,omitempty"`    // as received, for the DSN; never logged
	HeaderFrom string      `json:"header_from,omitempty"`
	DKIM       []string    `json:"dkim,omitempty"` // d= of each DKIM-Signature header
	Size       int64       `json:"size"`           // of the content, bytes
	Arrived    time.Time   `json:"arrived"`
	Changed    []string    `json:"changed,omitempty"`  // what was mended at acceptance, such as "bcc removed"
	TraceID    string      `json:"trace_id,omitempty"` // of the header traceparent (W3C Trace Context, 3.2)
	SpanID     string      `json:"span_id,omitempty"`  // the same; both or neither
	Report     bool        `json:"report,omitempty"`   // this is a DSN of our own: it is held, never bounced

	// Headers are the values of the header fields, by their names in lower case, that the routes look at.
	Headers map[string]string `json:"headers,omitempty"`

	// Unsuppressed says that the mail is offered whatever the suppression list says, as its client asked.
	Unsuppressed bool `json:"unsuppressed,omitempty"`

	// StatusReport says that the content claims to be a delivery status notification (RFC 3464), whoever sent
	// it. Only the front door knows it; it is not stored.
	StatusReport bool `json:"-"`
}

// ErrHeaderTooLong says that a content was not taken because of the size of its header.
var ErrHeaderTooLong = errors.New("the header is too long")

// ErrNoRoute says that no upstream may send a mail, as the configuration has it.
var ErrNoRoute = errors.New("no upstream may send this")

// MailID is the queue id under which the mail was acknowledged. It is the ID of one of the mail's messages,
// and all of them have it in common.
func (m *Message) MailID() string {
	if m.Mail == "" {
		return m.ID
	}
	return m.Mail
}

// Envelope is what MAIL FROM said (RFC 5321, 3.3).
type Envelope struct {
	From     string `json:"from"`               // reverse-path without angle brackets; "" is the null sender
	Body     Body   `json:"body,omitempty"`     // RFC 6152
	SMTPUTF8 bool   `json:"smtputf8,omitempty"` // RFC 6531
	Ret      Ret    `json:"ret,omitempty"`      // RFC 3461, 4.3
	EnvID    string `json:"envid,omitempty"`    // RFC 3461, 4.4, decoded from xtext
}

// Body is the BODY parameter of MAIL (RFC 6152).
type Body string

// The bodies that are accepted; BINARYMIME is not.
const (
	BodyUndeclared Body = ""
	Body7Bit       Body = "7BIT"
	Body8BitMIME   Body = "8BITMIME"
)

// Ret is the RET parameter of MAIL (RFC 3461, 4.3): how much of a failed message is returned.
type Ret string

// The values of RET.
const (
	RetUndeclared Ret = ""
	RetFull       Ret = "FULL"
	RetHeaders    Ret = "HDRS"
)

// Notify is the NOTIFY parameter of RCPT (RFC 3461, 4.1) as a set. The zero Notify means that it was not
// given.
type Notify uint8

// The members of a Notify.
const (
	NotifySuccess Notify = 1 << iota
	NotifyFailure
	NotifyDelay
	NotifyNever
)

// OwesFailure reports whether a failure must be reported (RFC 3461, 5.2.6).
func (n Notify) OwesFailure() bool { return n == 0 || n&NotifyFailure != 0 }

// OwesDelay reports whether a delay may be reported (RFC 3461, 5.2.5).
func (n Notify) OwesDelay() bool { return n == 0 || n&NotifyDelay != 0 }

// OwesSuccess reports whether success was asked for (RFC 3461, 5.2.2b).
func (n Notify) OwesSuccess() bool { return n&NotifySuccess != 0 }

// Client is who submitted the message.
type Client struct {
	Name     string `json:"name,omitempty"` // of the configured network or the authenticated user
	User     string `json:"user,omitempty"` // as authenticated
	Addr     string `json:"addr,omitempty"` // IP address, without the port
	Hello    string `json:"hello,omitempty"`
	TLS      string `json:"tls,omitempty"` // "TLS1.3", empty in clear
	Protocol string `json:"protocol,omitempty"`
}

// Label is the client in events: its configured name, or else its address.
func (c *Client) Label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Addr
}

// State is the state of a recipient. There is none for leased: a lease is the spool's, and ends by itself.
type State string

// The states of a recipient.
const (
	Queued     State = "queued"     // never tried
	Deferred   State = "deferred"   // tried, to be tried again
	Relayed    State = "relayed"    // handed to the upstream
	Failed     State = "failed"     // refused for good
	Expired    State = "expired"    // given up after the retry limit
	Suppressed State = "suppressed" // not tried: the address is on the suppression list
	Held       State = "held"       // waits for the operator
)

// Final reports whether nothing more will be tried for a recipient in state s.
func (s State) Final() bool {
	return s == Relayed || s == Failed || s == Expired || s == Suppressed
}

// Recipient is one RCPT TO and what has become of it.
type Recipient struct {
	Address       string              `json:"address"`          // case kept, local part minimally quoted
	ORCPT         string              `json:"orcpt,omitempty"`  // RFC 3461, 4.2: "type;xtext" as received
	Notify        Notify              `json:"notify,omitempty"` // RFC 3461, 4.1
	State         State               `json:"state"`
	Attempts      int                 `json:"attempts,omitempty"` // that used up the schedule
	NextAttempt   time.Time           `json:"next_attempt,omitzero"`
	Last          *Attempt            `json:"last,omitempty"`      // the newest attempt
	Diagnosis     *diagnose.Diagnosis `json:"diagnosis,omitempty"` // of Last
	History       []HistoryEntry      `json:"history,omitempty"`   // oldest first, capped at MaxHistory
	DelayReported bool                `json:"delay_reported,omitempty"`
	HeldFrom      State               `json:"held_from,omitempty"` // the state to go back to at release
	HeldWhy       string              `json:"held_why,omitempty"`
	Policy        string              `json:"policy,omitempty"` // name of the one that decided about Last

	// Given are the addresses that the application gave, where the relay put Address in their place.
	Given []string `json:"given,omitempty"`
	// Sandboxed says that Address gets the mail instead of all of Given.
	Sandboxed bool `json:"sandboxed,omitempty"`
	// Archive says that the relay added the recipient, who gets a copy if the client's recipients get the
	// mail: its client is told nothing of it.
	Archive bool `json:"archive,omitempty"`
}

// Waiting reports whether the recipient will be tried, now or later.
func (r *Recipient) Waiting() bool { return r.State == Queued || r.State == Deferred }

// DueAt reports whether the recipient is due at now.
func (r *Recipient) DueAt(now time.Time) bool { return r.Waiting() && !r.NextAttempt.After(now) }

// HeldReport begins the HeldWhy of a report of our own that the relay holds because no server took it. The
// operator's holds say something else. Stored messages have these words, so they must not change.
const HeldReport = "the report could not be handed over"

// HeldExported begins the HeldWhy of what is held because it was exported to another spool; its batch
// follows. Stored messages have these words.
const HeldExported = "exported in batch "

// ByOperator is the HeldWhy and the event note of what an operator does.
const ByOperator = "by the operator"

// MaxHistory is how many past attempts each recipient keeps.
const MaxHistory = 32

// HistoryEntry is one attempt in a recipient's history.
type HistoryEntry struct {
	Time     time.Time         `json:"time"`
	Event    EventKind         `json:"event"`
	Stage    diagnose.Stage    `json:"stage,omitempty"`
	Reply    string            `json:"reply,omitempty"` // cut at 512 bytes; Last keeps the whole
	Category diagnose.Category `json:"category,omitempty"`
	Reason   diagnose.Reason   `json:"reason,omitempty"`
	Policy   string            `json:"policy,omitempty"` // name of the one that decided
}

// Package feedback is what becomes known of mail after the upstream's 250: providers tell it by webhook,
// other mail systems by bounce mail. This package has the words; the rooms below it are
//
//	webhook    what providers send: one file a provider
//	mail       bounce mail, however it comes
//	mailbox    where bounce mail is fetched: IMAP, maildir
//	recall     remembers what was relayed, and keeps reports until they have had their effect
//	processor  matches reports, diagnoses them and acts
//
// The life of a report:
//
//  1. It is proved: its origin is the provider that was configured. Nothing of it is parsed before, but for
//     what the proof itself needs.
//  2. It is written to the journal as it came, a Raw. Only then is the provider told that it was taken.
//  3. It is read: a Raw becomes one Event for each recipient that it tells of.
//  4. Each Event is matched to a message by its Keys, the strongest first, diagnosed by the same engine as a
//     reply in the session, and has its effect, bounded by how well it is proved and matched.
//
// What always holds: the provider's words are kept byte for byte, and what it does not say is left empty.
// A Raw is enough to prove and to read a report again, so that the journal can be replayed. Provider and
// EventID name an Event: whoever acts on Events remembers both for as long as it acts, since every provider
// may send an Event again and whoever has seen a request may repeat it.
package feedback

import (
	"errors"
	"time"
)

// ErrUndecided reports that it is not known yet whether a report is what it claims to be.
var ErrUndecided = errors.New("the origin cannot be checked now")

// Kind is what became of a message for one recipient.
type Kind string

// The kinds. The states of a recipient go forward only: relayed, retrying, delivered, bounced, complained. A
// message may bounce after it was delivered, since many servers accept first.
const (
	KindRetrying   Kind = "retrying"   // the provider could not deliver it yet and goes on trying
	KindDelivered  Kind = "delivered"  // the recipient's server took it
	KindBounced    Kind = "bounced"    // the recipient's server refused it, or the provider gave up
	KindDropped    Kind = "dropped"    // the provider never tried: its suppression list, its own policy
	KindComplained Kind = "complained" // the recipient calls it spam
)

// Source is the way that an Event came.
type Source string

// The sources.
const (
	SourceWebhook Source = "webhook" // a provider's request
	SourceDSN     Source = "dsn"     // a bounce mail: RFC 3464, or in words
	SourceARF     Source = "arf"     // a complaint by mail (RFC 5965)
)

// Event is what a provider, or the writer of a bounce mail, says of one recipient of one message. A field
// that is not told is empty.
type Event struct {
	Source    Source
	Provider  string // its name in the configuration: "ses"; of a mail, the host that reports
	ID        string // unique for the provider; made from the rest of the event where it gives none
	Kind      Kind
	Time      time.Time // when it happened, by the provider's clock
	Recipient string    // as the provider writes it; empty where it says only which message
	Original  string    // Original-Recipient (RFC 3464, 2.3.1), where it differs
	Keys      []Key     // by which the message can be found, the strongest first

	// Reply is what the recipient's server said, byte for byte. A provider that tells code and text apart has
	// them put together again as a reply; see the provider's file.
	Reply  string
	Status string // the enhanced status code (RFC 3463) that is told beside the reply
	Text   string // the provider's own words for why, where they hold no reply
	Type   string // the provider's name for what happened: "HardBounce", "Permanent"
	Class  string // its finer name or number for why: "General", "10"
	Host   string // the recipient's server, by name or address
	Code   int    // the provider's own number that only looks like a reply code: Mailgun's 605

	// Shared reports that the provider names all recipients of the message and does not say which one is
	// meant. Of a message with several such an Event says nothing certain about any of them.
	Shared bool

	// Evidence is what is known of the writer of a mail, of an event that waits.
	Evidence *Evidence `json:",omitempty"`

	Raw []byte // the event as it came, cut out of a batch
}

// Evidence is what DKIM and SPF say about who wrote a mail.
type Evidence struct {
	Domains []string // whose system it was, in lower case
	Unknown bool     // DNS did not answer, or was not asked any more: there may be others
}

// Key is something in an event by which the message that it is about can be found.
type Key struct {
	Kind  KeyKind
	Value string
	Host  string // who wrote the Received field that a queue id stands in; empty for one from a tag

	// Recipient is the only recipient that a key of KeyReturnPath is good for; empty: any of the message.
	Recipient string
}

// KeyKind is what a key is.
type KeyKind string

// The kinds of keys, the strongest first.
const (
	KeyReturnPath KeyKind = "return_path" // queue id in a return path of ours, whose code was checked
	KeyQueueID    KeyKind = "queue_id"    // ours, from a tag or from our Received field
	KeyEnvelopeID KeyKind = "envelope_id" // ours, as ENVID (RFC 3461, 4.4)
	KeyProviderID KeyKind = "provider_id" // the provider's for the message, as its 250 may have named it
	KeyMessageID  KeyKind = "message_id"  // Message-ID without its angle brackets (RFC 5322, 3.6.4)
)

// Raw is a report as it came: what is journalled before the sender is answered. It is stored as JSON.
type Raw struct {
	Source   string    `json:"source"`   // the configured webhook or mailbox that it came through
	Provider string    `json:"provider"` // the kind of that source
	Time     time.Time `json:"time"`     // when it came, by our clock

	// Unproven reports that its origin could not be checked when it came, because what the check needs was
	// out of reach. It must be proved before it has any effect.
	Unproven bool `json:"unproven,omitempty"`

	Header map[string]string `json:"header,omitempty"` // the fields that reading it needs
	Body   []byte            `json:"body"`
}

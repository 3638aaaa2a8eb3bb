package relay

import (
	"context"
	"io"
	"time"
)

// Topic says which consumer an entry of the outbox is for.
type Topic string

// TopicReport has the notices from which delivery status notifications are made, see Notice.
const TopicReport Topic = "report"

// TopicWebhook has the events that webhooks are owed. The consumer keeps them in a store of its own at once,
// whether their receivers can be reached or not, so that they do not keep their messages.
const TopicWebhook Topic = "webhook"

// Owe makes the entry by which webhooks get an event, and marks the event as Owed. ok is false, and the event
// unchanged, where no webhook wants it. It is safe for concurrent use and does no I/O.
type Owe func(e *Event) (entry Entry, ok bool)

// Entry is something that a change of a message owes to others, such as a report to its sender. It is
// recorded in the transaction of the change and removed in the transaction of what answers it, so that a
// crash neither loses nor doubles it.
type Entry struct {
	Message string // queue id; the message stays as long as it has an entry
	Topic   Topic  // who is to answer it
	// Key is which of the message's entries of the topic it is. Recording it again replaces it; so it is used
	// again only for what may be answered together with what stood there before.
	Key     string
	Due     time.Time // not before; wall clock
	Payload []byte    // the consumer's own; small, since entries are read in numbers
	Claim   Token     // under which it was handed out; not stored
}

// ClaimQuery says which entries are wanted.
type ClaimQuery struct {
	Topic Topic
	Now   time.Time // entries due at Now or before; wall clock
	Max   int       // messages
	For   time.Duration
}

// Claim is the right to answer the entries of one message.
type Claim struct {
	Token   Token
	Message *Message // as it stands; the caller's own copy
	Entries []Entry  // all that it has of the topic, due or not, by key
}

// Answer is what a consumer did about entries.
type Answer struct {
	Entries []Entry // to be removed, of one or several claims
	// Messages, if any, are stored with it, as Put does; Content is then theirs.
	Messages []*Message
	Content  io.Reader
}

// Outbox is the part of a Spool that the consumers of owed entries use. Any number of them, in any number of
// processes, may share a topic.
type Outbox interface {
	// Claim hands out up to q.Max messages that have an entry of the topic due, each to one consumer only
	// until the claim ends: when its deadline has passed, or by GiveBack. Where they are large it hands out
	// fewer, but at least one. next is when the earliest entry of a message that nobody has claimed is due;
	// zero when none is.
	Claim(ctx context.Context, q ClaimQuery) (claims []Claim, next time.Time, err error)
	// Consume removes entries and stores the messages that answer them, as one transaction. Messages that
	// nothing waits for any more are removed with it. Entries that have gone are passed over. If a claim has
	// ended meanwhile and another consumer has claimed the message's entries of the topic, it returns
	// ErrStaleLease and changes nothing. It does not end the claim. The other errors are Put's, but the
	// spool's limits do not hold for what Consume stores, since it lets messages go. An engine that is shared
	// returns ErrStaleLease also where messages answer entries of which some have gone, unless the messages
	// are known: somebody else has answered these in another way. The ids of the messages
	// it stores are known for longer than others (a week at least), so that one derived from its entries is
	// stored once, whatever crashes.
	Consume(ctx context.Context, a Answer) error
	// Postpone gives those of the entries that are still there the Due and Payload that stand in them,
	// durably and as one transaction. It returns ErrStaleLease as Consume does.
	Postpone(ctx context.Context, entries []Entry) error
	// GiveBack ends claims, whatever is left of their entries. Those that have ended are passed over.
	GiveBack(claims ...Token)
	// Content is the Spool's.
	Content(ctx context.Context, id string) (io.ReadCloser, error)
}

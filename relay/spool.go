package relay

import (
	"context"
	"errors"
	"io"
	"time"
)

// The errors of a Spool. An engine wraps them; test with errors.Is.
var (
	// ErrFull is returned by Put when the spool takes no more: its limit, the disk's floor, or the disk
	// itself. Nothing was stored. It ends by itself.
	ErrFull = errors.New("spool full")
	// ErrUnavailable is returned by Put while the spool cannot be written for another cause. Nothing was
	// stored.
	ErrUnavailable = errors.New("spool unavailable")
	// ErrStaleLease is returned when a lease or a claim has ended or was never given.
	ErrStaleLease = errors.New("stale lease")
	// ErrNotFound is returned for a message that the spool does not hold.
	ErrNotFound = errors.New("message not found")
	// ErrCorrupt is returned, by Content itself or by a later Read, when the content is missing or not what
	// was stored.
	ErrCorrupt = errors.New("content corrupt")
)

// Spool keeps messages durably until they are settled. Engines are safe for concurrent use, and pass
// spooltest.
//
// What is due is decided by the times that the caller states, which are a wall clock's. When leases and
// claims end is decided by the engine's own clock, so that several processes may share an engine whatever
// their clocks say. A token is good in the process that got it.
type Spool interface {
	// Put stores the messages of one mail and its content, durably and as one transaction: after nil they
	// survive kill -9 and a power cut. There is at least one message; the content is stored once for all of
	// them, and goes when the last of them does. Put sets Size in each. Strings of a message may hold any
	// bytes, valid UTF-8 or not, and come back as they were (spool.Record encodes them so). A message whose
	// ID is already there, or went not long ago (an engine says how long), is not stored again, which is no
	// error. An error that content.Read returned (other than io.EOF) is returned wrapped, and nothing was
	// stored.
	Put(ctx context.Context, ms []*Message, content io.Reader) error
	// Lease hands out up to q.Max messages that are due, each to one caller only until its deadline. next is
	// when the earliest message that nobody has leased is due; zero when none waits. Leases end with the
	// engine that gave them, when it is closed or its process ends, unless the store is shared: then by
	// their deadlines.
	Lease(ctx context.Context, q LeaseQuery) (leases []Lease, next time.Time, err error)
	// Extend moves the deadline of a lease to d from now.
	Extend(ctx context.Context, t Token, d time.Duration) error
	// Content opens the content of a message. A damaged one ends in ErrCorrupt, at the latest in place of
	// io.EOF.
	Content(ctx context.Context, id string) (io.ReadCloser, error)
	// Settle replaces the state of the message's recipients, records what is owed for it and, if the
	// settlement says so, moves the message to another lane: as one transaction, which ends the lease. A
	// message whose recipients are all final (State.Final; a held one is not), and for which the outbox has
	// no entry, is removed with it. A settlement that has not as many recipients as the message is refused,
	// and the lease goes on.
	//
	// Settle itself tries again until the settlement is durable: while the disk or the database does not
	// let it be written the call does not return, and the message is not leased to anybody else as long as
	// the engine can prevent that. It gives up with ErrStaleLease when the lease has ended, and with the
	// cause of ctx when that ends; an engine may then still write the settlement. The caller never repeats
	// it.
	Settle(ctx context.Context, t Token, s Settlement) error
}

// LeaseQuery says which messages are wanted.
type LeaseQuery struct {
	Lane string
	Now  time.Time // messages due at Now or before; wall clock
	Max  int
	For  time.Duration // how long the leases last unless they are extended
}

// Token identifies a lease or a claim.
type Token string

// Lease is the right to settle one message.
type Lease struct {
	Token   Token
	Message *Message // the caller's own copy
}

// Settlement is the outcome of an attempt.
type Settlement struct {
	Recipients []Recipient // the whole new state, in the message's order
	Owed       []Entry     // entries for the outbox; Message and Claim are the engine's to fill in
	Lane       string      // the lane that the message goes to; "" leaves it where it is
}

// Releaser is the add-on of a Spool that can end a lease without a write.
type Releaser interface {
	// Release ends a lease and leaves the message as it was.
	Release(t Token) error
}

// Stager is the add-on of a Spool that takes a message in two steps: its content comes first, and whether the
// message is to be stored at all is decided later.
type Stager interface {
	// Stage reads the content of m and sets m.Size. Nothing of it is durable, and nothing is left of it when
	// the store was opened again. The limits of the spool hold for a content only where it takes room on the
	// disk. Errors are Put's. Whoever has the result must call its Discard.
	Stage(ctx context.Context, m *Message, content io.Reader) (Staged, error)
}

// Staged is a message at hand that is not stored. Its methods may be called from several goroutines, but Put
// and Discard only by one at a time.
type Staged interface {
	// Content opens the content, any number of times, until Discard.
	Content() (io.ReadCloser, error)
	// Put stores the message durably as Spool.Put does, with the recipients, the lane and what is owed of s,
	// as one transaction; where s.Lane is "" the lane is the message's. If leaseFor is above zero the message
	// is leased to the caller from its first moment on, for so long, and to nobody else. A message for which
	// nothing waits is not stored, which is no error.
	//
	// with are other messages with the same content, which become due with it and in the same transaction:
	// also where the message itself is not stored.
	//
	// The errors are Spool.Put's: nothing was stored then. It may be called again; an engine may return the
	// same error.
	Put(ctx context.Context, s Settlement, leaseFor time.Duration, with ...*Message) (Token, error)
	// Discard drops what was staged, unless it was stored. A second call does nothing.
	Discard()
}

// Watcher is the add-on of a Spool that tells of messages which a lane cannot know of, because somebody else
// brought them.
type Watcher interface {
	// Watch has due called with the name of each lane to which a message comes other than by Put or Consume
	// in this process, whose caller knows: moved there by a settlement, by Edit or by Reroute, or put by
	// another process on the same store. It may be called when nothing is due, from any goroutine, and
	// must not block or call the spool. stop ends that. Without a Watcher, or when it misses one, a lane
	// finds the message when it looks next.
	Watch(due func(lane string)) (stop func())
}

// QueueFilter selects messages. Zero fields select all.
type QueueFilter struct {
	IDs       []string // of messages, or of mails: then of all messages of these
	Sender    string   // envelope sender, "@domain", or "<>" for the null sender; case-insensitive
	Recipient string   // as Sender, any recipient
	Category  string   // of any recipient's diagnosis
	State     State    // of any recipient
	Lane      string
	Waiting   bool // only messages of which a recipient is to be tried, now or later
	OlderThan time.Time
	After     string // id to continue after: pages are in id order
	Limit     int    // 0 is no limit
}

// Lister is the add-on of a Spool that can be looked into.
type Lister interface {
	// List calls each for every message that the filter selects, in id order, until it returns false.
	List(ctx context.Context, f QueueFilter, each func(*Message) bool) error
	// Stat counts what the spool holds.
	Stat(ctx context.Context) (SpoolStat, error)
}

// SpoolStat counts what a spool holds.
type SpoolStat struct {
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`   // of contents; one that several messages share counts once
	Owed     int64     `json:"notices"` // entries of the outbox
	Leased   int64     `json:"leased"`
	Oldest   time.Time `json:"oldest,omitzero"` // arrival of the oldest message
}

// Admitter is the add-on of a Spool that can say beforehand whether it takes mail.
type Admitter interface {
	// Admit returns the error with which Put would refuse a message now, however small; nil when it would
	// not. It does not wait for what is being written.
	Admit() error
}

// LocalSpool is the add-on of a Spool that keeps its messages on a disk of this host.
type LocalSpool interface {
	// Local says how that is. The error is the disk's.
	Local() (LocalStat, error)
}

// LocalStat is what only a spool on this host's disk can say of itself.
type LocalStat struct {
	FreeBytes   int64 `json:"free_bytes"`            // on the spool's file system
	Quarantined int64 `json:"quarantined,omitempty"` // messages that were damaged and set aside
}

// Editor is the add-on of a Spool through which an operator changes what waits.
type Editor interface {
	// Edit lets change look at one message, and stores the settlement that it returns, as Settle does. While
	// the message is leased, by this process or another, Edit waits for the lease to end, or for ctx; nobody
	// can lease it while change runs, which must not call the spool. Claims do not hold it up. Returning
	// drop removes the message and its entries of the outbox; its id stays known, as Put's are.
	Edit(ctx context.Context, id string, change func(*Message) (s Settlement, drop bool, err error)) error
	// Reroute gives every message whose lane is neither to nor among known, leased or not, to the lane
	// to, and returns how many. It need not be one transaction: after an error some have moved.
	Reroute(ctx context.Context, known []string, to string) (int64, error)
}

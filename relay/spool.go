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
	// ErrStaleLease is returned by Extend and Settle when the lease has ended or was never given.
	ErrStaleLease = errors.New("stale lease")
	// ErrNotFound is returned for a message that the spool does not hold.
	ErrNotFound = errors.New("message not found")
	// ErrCorrupt is returned, by Content itself or by a later Read, when the content is missing or not what
	// was stored.
	ErrCorrupt = errors.New("content corrupt")
)

// Spool keeps messages durably until they are settled. Engines are safe for concurrent use, and pass
// spooltest.
type Spool interface {
	// Put stores m and its content, durably: after nil the message survives kill -9 and a power cut. It sets
	// m.Size. A message whose ID is already there, or was there, is not stored again, and nil is returned. An
	// error that content.Read returned (other than io.EOF) is returned wrapped, and nothing was stored.
	Put(ctx context.Context, m *Message, content io.Reader) error
	// Lease hands out up to q.Max messages that are due, each to one caller only until its deadline. next is
	// when the earliest message that was not handed out is due; zero when none waits.
	Lease(ctx context.Context, q LeaseQuery) (leases []Lease, next time.Time, err error)
	// Extend moves the deadline of a lease.
	Extend(ctx context.Context, t Token, until time.Time) error
	// Content opens the content of a message. A damaged one ends in ErrCorrupt, at the latest in place of
	// io.EOF.
	Content(ctx context.Context, id string) (io.ReadCloser, error)
	// Settle replaces the state of the message's recipients and records the notices that are due, as one
	// transaction, and ends the lease. A message that nothing waits for, no recipient and no notice, is
	// removed with it.
	Settle(ctx context.Context, t Token, s Settlement) error
}

// LeaseQuery says which messages are wanted.
type LeaseQuery struct {
	Lane  string
	Now   time.Time // messages due at Now or before; wall clock
	Max   int
	Until time.Time // deadline of the leases
}

// Token identifies a lease.
type Token string

// Lease is the right to settle one message.
type Lease struct {
	Token   Token
	Message *Message // the caller's own copy
}

// Settlement is the outcome of an attempt.
type Settlement struct {
	Recipients []Recipient // the whole new state, in the message's order
	Notices    []Notice
}

// NoticeKind is what a notice reports (RFC 3464, 2.3.3).
type NoticeKind string

// The kinds of notices.
const (
	NoticeFailed  NoticeKind = "failed"  // failed or expired
	NoticeDelayed NoticeKind = "delayed" // still being tried
	NoticeRelayed NoticeKind = "relayed" // NOTIFY=SUCCESS, and the upstream has no DSN extension
)

// Notice is a report that the sender is owed for one recipient. It is recorded with the settlement that
// caused it and consumed with the DSN that reports it.
type Notice struct {
	Message   string     `json:"message"`   // queue id
	Recipient int        `json:"recipient"` // index
	Kind      NoticeKind `json:"kind"`
	Due       time.Time  `json:"due"`              // not before: those of a message are collected for a while
	Digest    bool       `json:"digest,omitempty"` // postponed by storm control, for a digest
}

// Notices are the due notices of one message, with the message as it stands.
type Notices struct {
	Message *Message
	Notices []Notice
}

// NoticeSpool is the part of a Spool that the reporter uses.
type NoticeSpool interface {
	// DueNotices returns, for up to max messages that have a notice due at now, all of the message's notices,
	// and when the earliest one not returned is due; zero when none is. Where they are large it returns
	// fewer, but at least one. Messages for which skip is true are left out, as if they had none; skip may be
	// nil.
	DueNotices(ctx context.Context, now time.Time, max int,
		skip func(id string) bool) (due []Notices, next time.Time, err error)
	// Report stores the DSN (as Put does; nil stores none) and consumes the notices, which may be of several
	// messages, as one transaction. Messages that nothing waits for any more are removed with it. Notices
	// already consumed are passed over.
	Report(ctx context.Context, consumed []Notice, dsn *Message, content io.Reader) error
	// Postpone gives those of the notices that are still there the Due and Digest that stand in them, durably
	// and as one transaction. A notice is known by its message, recipient and kind.
	Postpone(ctx context.Context, notices []Notice) error
	// Content is the Spool's.
	Content(ctx context.Context, id string) (io.ReadCloser, error)
}

// Releaser is the add-on of a Spool that can end a lease without a write.
type Releaser interface {
	// Release ends a lease and leaves the message as it was.
	Release(t Token) error
}

// QueueFilter selects messages. Zero fields select all.
type QueueFilter struct {
	IDs       []string
	Sender    string // envelope sender, "@domain", or "<>" for the null sender; case-insensitive
	Recipient string // as Sender, any recipient
	Category  string // of any recipient's diagnosis
	State     State  // of any recipient
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
	Messages  int64     `json:"messages"`
	Bytes     int64     `json:"bytes"` // of contents
	Notices   int64     `json:"notices"`
	Leased    int64     `json:"leased"`
	Oldest    time.Time `json:"oldest,omitzero"` // arrival of the oldest message
	FreeBytes int64     `json:"free_bytes"`      // on the spool's file system

	Quarantined int64 `json:"quarantined,omitempty"` // messages that were damaged and set aside
}

// Editor is the add-on of a Spool through which an operator changes what waits.
type Editor interface {
	// Edit lets change alter the recipients of one message, and stores them with any notices as one
	// transaction. While the message is leased Edit waits for the lease to end, or for ctx. Returning drop
	// removes the message and its notices.
	Edit(ctx context.Context, id string, change func(*Message) (s Settlement, drop bool, err error)) error
	// Reroute gives every message whose lane is not among known to the lane to, and returns how many.
	Reroute(ctx context.Context, known []string, to string) (int64, error)
}

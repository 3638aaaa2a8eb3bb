package relay

import (
	"context"
	"time"
)

// Coordination is what relays share that send through the same accounts: replicas, each with its own lanes,
// before one limit of a provider. One value belongs to one member, which is a process of a relay, and is safe
// for concurrent use. Without other relays there is none: nil.
//
// A member lives by its beat, which its Coordination sends by itself, every few seconds. When none was
// answered for the time after which a relay is taken for dead (30 s unless configured), the others take over
// what the member had: its shares and its duties. It is a member again with the next beat that is answered.
//
// While the engine is away the methods return an error, after some seconds at most or when ctx ends. What was
// asked for may have been done all the same, but not after a later call of the same method with the same
// account, duty or name has returned.
type Coordination interface {
	Shares
	Duties
	Board
	// Self is the identity of this member. Each start of a relay makes another.
	Self() string
	// Members are the live members, by identity.
	Members(ctx context.Context) ([]Member, error)
	// Leave gives everything back at once: what this member has is free for the others. It is no member after
	// that, and its methods return errors. Every Watch has been stopped before.
	Leave(ctx context.Context) error
}

// Member is a relay that takes part.
type Member struct {
	ID          string         `json:"id"`
	Host        string         `json:"host"`
	Version     string         `json:"version"`
	Since       time.Time      `json:"since"`       // by the engine's clock
	Beat        time.Duration  `json:"beat"`        // since its last beat, nanoseconds
	Connections map[string]int `json:"connections"` // its share of each account
}

// Shares divides what an account allows among the members.
//
// Connections: the shares of all live members, and what they hold, are together never above the limit, unless
// it was lowered or a member was taken for dead while it still had connections. Who wants some while others
// have more than an even part gets them as these give them back. Where more members want some than there are,
// they take turns: one that has had its own for some seconds gives it up.
//
// Messages come out of a token bucket that holds those of a second, or one. They go to members that have a
// connection, in turn. Grants that turn out not to be used come back. An exact rate is also held to the
// letter: within no span of ShareQuery.Per are more than ShareQuery.Messages under way or ended. A message
// counts from its grant until Per after the query that says it has ended, and what a dead member had counts
// as ended at the moment from which it was taken for dead.
//
// The members should be told the same limits. While they are not, during a change, each query is answered
// within its own.
type Shares interface {
	// Take says how an account of this member stands, and returns its share, which replaces the one before.
	// There is one Take at a time for an account. From the call on, and after an error until the next answer,
	// the member opens no connection beyond ShareQuery.Held, for others may have been given them. The
	// messages of an answer that was lost are not granted.
	Take(ctx context.Context, q ShareQuery) (Share, error)
}

// ShareQuery is what a member has of an account, and what it would like to have.
type ShareQuery struct {
	Account     string        // the same for all members: it names host and login, and no secret
	Connections int           // the limit: most connections of all members together, 1 or more
	Messages    int           // the limit: most messages of all members together within Per; 0: none
	Per         time.Duration // of Messages
	Exact       bool          // the rate is held to the letter

	Held   int // connections that are open, or being opened, idle ones too
	Wanted int // connections for which there is work, busy ones too
	Begun  int // granted messages that have not ended: under way, or still to begin
	Ask    int // further messages that would begin within a second
	// Ended is how many messages were offered and have ended, since the member first asked for the account
	// or last took leave of it. It counts on until then, so that an answer that was lost does no harm.
	Ended int64
}

// Leaves reports whether a member takes leave of the account: it has nothing of it and wants nothing. Its
// share is then nothing, and its count of ended messages begins again.
func (q *ShareQuery) Leaves() bool { return q.Held <= 0 && q.Wanted <= 0 && q.Begun <= 0 && q.Ask <= 0 }

// Share is what a member may use.
type Share struct {
	Connections int // most that may be open; those above it are closed, busy ones after their message
	Messages    int // that may begin, beside those of the query; each within a second, or not at all
	// Again is when asking again is worthwhile, if nothing changes before: a second at most. While a member
	// has or wants anything, it asks by then. One that does not is taken not to want more.
	Again time.Duration
	// Until is when the share is over: by this process's clock, two thirds of the time after which a member
	// is taken for dead, counted from when it last sent a beat that was answered. After that nothing begins,
	// and idle connections are closed. What is under way may end.
	Until time.Time
}

// Duties are what one member at a time does for all, such as probing an upstream that is out of reach.
type Duties interface {
	// Hold takes a duty for so long, or keeps it: ok is false while another live member has it. epoch is the
	// number of the term, which is higher for each new holder, and for a holder whose term had lapsed.
	Hold(ctx context.Context, duty string, lasts time.Duration) (epoch int64, ok bool, err error)
	// Drop ends the term with that epoch; that it is over already is no error.
	Drop(ctx context.Context, duty string, epoch int64) error
}

// Board holds what all members know: small entries by name, each with a version, some for a time only. It
// carries the state of lanes as well as news, which are entries that soon lapse.
type Board interface {
	// Read returns the entry in force; one of Version 0 when there is none.
	Read(ctx context.Context, name string) (BoardEntry, error)
	// Write puts an entry in place of the one with the version old, or of none if that is 0, or of any if it
	// is AnyVersion. It returns the entry that is in force then, and whether it is this one: of several
	// members that try at once one succeeds. An empty body removes it. It lapses after lasts; 0 is never.
	// A body has 64 KiB at most, a name 512 bytes.
	Write(ctx context.Context, name string, old int64, body []byte, lasts time.Duration) (
		BoardEntry, bool, error)
	// Watch has tell called with every entry in force whose name begins with prefix, and then with each one
	// that is written or removed, by this member too. One of several quick changes may be left out, the last
	// one is not, and for each name the versions rise. That an entry has lapsed is not told. Changes come
	// within some seconds, or once the engine is back. tell is called by one goroutine at a time, and must
	// not block or call the Board. stop ends that: after it has returned there is no further call.
	Watch(prefix string, tell func(BoardEntry)) (stop func())
}

// AnyVersion is for Board.Write whatever is there.
const AnyVersion = -1

// BoardEntry is an entry of a Board.
type BoardEntry struct {
	Name    string
	Version int64         // rises with every write of the name, across a removal and a lapse too
	Body    []byte        // empty once it is removed; not to be changed
	By      string        // the member that wrote it
	Age     time.Duration // since it was written, by the engine's clock
	Left    time.Duration // until it lapses; 0 is never
}

// Once reports whether this member is the first one to ask within the time. After an error it is not known.
func Once(ctx context.Context, b Board, what string, every time.Duration) (bool, error) {
	_, first, err := b.Write(ctx, "once/"+what, 0, []byte(what), every)
	return first, err
}

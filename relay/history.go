package relay

import (
	"context"
	"time"

	"mailwhy/diagnose"
)

// History is what the relay remembers of the events of the last days, for people to look at. It is bounded,
// and after a crash the last moments may be missing: the queue is the truth, and the delivery log the record.
// Implementations are safe for concurrent use.
type History interface {
	// Tallies are how many events happened since a time, by spans of time, kind and category. A span that
	// since lies in counts whole.
	Tallies(ctx context.Context, since time.Time, span time.Duration) ([]Tally, error)
	// Reasons are the reasons for which mail was refused since a time, in events of these kinds, the most
	// frequent first.
	Reasons(ctx context.Context, since time.Time, kinds []EventKind) ([]ReasonTally, error)
	// Timeline are the events of a message, or of all messages of a mail, in their order.
	Timeline(ctx context.Context, id string) ([]Event, error)
	// Latest are the last events that f selects, the newest first.
	Latest(ctx context.Context, f HistoryFilter) ([]NumberedEvent, error)
	// LastRelayed is when each upstream last took a message, by name, as far as it is remembered.
	LastRelayed(ctx context.Context) (map[string]time.Time, error)
	// Subscribe gives what is recorded from now on. Who reads too slowly misses events. cancel ends it.
	Subscribe() (events <-chan NumberedEvent, cancel func())
	// State says how the history stands.
	State() HistoryState
}

// HistoryFilter selects events. Zero fields select all.
type HistoryFilter struct {
	Recipient string // case-insensitive
	Reason    diagnose.Reason
	Category  diagnose.Category
	Kinds     []EventKind
	After     int64 // number of an event: only later ones
	Limit     int   // always set
}

// NumberedEvent is an event and its number, which grows.
type NumberedEvent struct {
	Number int64
	Event
}

// Tally is how many events of one kind and category happened within a span of time.
type Tally struct {
	Start    time.Time // of the span
	Kind     EventKind
	Category diagnose.Category // "" of events without a diagnosis
	Count    int64
}

// ReasonTally is how many events had a reason, and the newest of them.
type ReasonTally struct {
	Category    diagnose.Category
	Reason      diagnose.Reason
	Count       int64
	First, Last time.Time
	Sample      *Event // nil when it is not known any more
}

// HistoryState is how a history stands.
type HistoryState struct {
	Events int64     // that are kept
	Since  time.Time // of the oldest of them; zero when there is none
	Lost   uint64    // events that were not kept, since the start
	Fault  error     // why nothing is kept at present; nil if it is
}

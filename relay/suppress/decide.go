package suppress

import (
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Mode is what is done with the list.
type Mode string

// The modes.
const (
	Off     Mode = "off"
	Observe Mode = "observe" // it is kept, and what it would do is told
	Enforce Mode = "enforce"
)

// Settings are looked up again each time, so that a reload takes effect at once.
type Settings struct {
	Mode         Mode
	PerSender    bool            // a failure counts for the mail of the sender's domain only
	TTL          []time.Duration // of the first, second ... time in a row; the last one repeats; never empty
	ComplaintTTL time.Duration   // 0: for ever
	Most         int             // entries
	Breaker      Breaker
}

// How long what is not sure is kept.
const (
	notedFor = 30 * 24 * time.Hour // a failure that is not enough to suppress
	trialFor = 7 * 24 * time.Hour  // after a relayed message, for a bounce that may follow
)

// ttl is for how long an address is suppressed the nth time in a row, from 1.
func (s *Settings) ttl(n int) time.Duration { return s.TTL[min(max(n, 1), len(s.TTL))-1] }

// change is what a finding does to an entry.
type change string

// The changes. The first three are told in an event.
const (
	created   change = "created"
	renewed   change = "renewed" // it was tried again after its time and failed again
	removed   change = "removed"
	noted     change = "noted" // it is not suppressed yet, or counts another failure
	unchanged change = ""
)

// decide says what becomes of an entry, nil if there was none, by a finding. It is pure: next is a copy, nil
// if there is no entry any more.
func decide(cur *relay.Suppression, f *finding, set *Settings) (next *relay.Suppression, what change) {
	switch f.kind {
	case failed:
		return fail(cur, f, set)
	case complained:
		return complain(cur, f, set)
	case ordered:
		return order(cur, f)
	case relayed, delivered:
		return succeed(cur, f)
	}
	return cur, unchanged
}

// fail counts a failure. Another one of the same message is none.
func fail(cur *relay.Suppression, f *finding, set *Settings) (*relay.Suppression, change) {
	next := f.entry
	switch {
	case cur == nil:
		next.Step = 1
		if !f.certain {
			next.State, next.Expires = relay.SuppressionNoted, f.time.Add(notedFor)
			return &next, noted
		}
		next.State, next.Expires = relay.SuppressionActive, f.time.Add(set.ttl(1))
		return &next, created
	case cur.Message != "" && cur.Message == f.entry.Message:
		return cur, unchanged
	}
	next.FirstSeen, next.Hits, next.Note = cur.FirstSeen, cur.Hits+1, cur.Note
	next.State, next.Step, next.Expires = cur.State, cur.Step, cur.Expires
	switch {
	case cur.State == relay.SuppressionNoted && !f.certain && sameDay(cur.LastSeen, f.time):
		return cur, unchanged
	case cur.State == relay.SuppressionNoted:
		next.State, next.Step, next.Expires = relay.SuppressionActive, 1, f.time.Add(set.ttl(1))
		return &next, created
	case cur.Suppresses(f.time):
		next.Reason, next.Source = cur.Reason, cur.Source // as it was suppressed
		if cur.Reason == diagnose.ReasonSpamComplaint || next.Reply == "" {
			next.Reply = cur.Reply
		}
		return &next, noted
	}
	next.State, next.Step = relay.SuppressionActive, cur.Step+1
	next.FirstSeen, next.Expires = f.time, f.time.Add(set.ttl(next.Step))
	return &next, renewed
}

// sameDay reports whether two times are of one day of UTC.
func sameDay(a, b time.Time) bool {
	const day = 24 * 60 * 60
	return a.Unix()/day == b.Unix()/day
}

// complain suppresses an address whose owner complained. It stays, unless the settings say for how long.
func complain(cur *relay.Suppression, f *finding, set *Settings) (*relay.Suppression, change) {
	next := f.entry
	next.State, next.Step = relay.SuppressionActive, 1
	if set.ComplaintTTL > 0 {
		next.Expires = f.time.Add(set.ComplaintTTL)
	}
	if cur == nil {
		return &next, created
	}
	next.Hits, next.Note = cur.Hits+1, cur.Note
	if cur.Reason == diagnose.ReasonSpamComplaint && cur.Suppresses(f.time) {
		if cur.Message == f.entry.Message {
			return cur, unchanged
		}
		next.FirstSeen = cur.FirstSeen
		return &next, noted
	}
	return &next, created
}

// order suppresses an address for as long as a policy has it. It shortens nothing.
func order(cur *relay.Suppression, f *finding) (*relay.Suppression, change) {
	next := f.entry
	next.State, next.Step, next.Expires = relay.SuppressionActive, 1, f.time.Add(f.lasts)
	switch {
	case cur == nil:
		return &next, created
	case !cur.Suppresses(f.time):
		next.Hits = cur.Hits + 1
		return &next, created
	case cur.Expires.IsZero(), cur.Expires.After(next.Expires):
		return cur, unchanged
	}
	next.Hits, next.FirstSeen = cur.Hits+1, cur.FirstSeen
	return &next, noted
}

// succeed ends an entry that rests on a failure which the success disproves. A message that was relayed
// disproves only what the upstream itself said in the session: of the rest it may yet send a bounce.
func succeed(cur *relay.Suppression, f *finding) (*relay.Suppression, change) {
	if cur == nil {
		return nil, unchanged
	}
	stays := cur.Reason == diagnose.ReasonSpamComplaint || byPeople(cur.Source)
	switch {
	case stays && cur.Suppresses(f.time):
		return cur, unchanged
	case f.kind == delivered || cur.Source == relay.SuppressedInSession && !stays:
		return nil, removed
	case cur.State == relay.SuppressionActive && !cur.Suppresses(f.time):
		next := *cur
		next.State, next.Expires = relay.SuppressionTrial, f.time.Add(trialFor)
		return &next, noted
	}
	return cur, unchanged
}

// byPeople reports whether an entry of a source is the operator's decision, which no success disproves.
func byPeople(source string) bool {
	return source == relay.SuppressedByOperator || source == relay.SuppressedByImport ||
		source == relay.SuppressedByPolicy
}

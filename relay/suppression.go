package relay

import (
	"context"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
)

// Suppressions is the list of addresses to which no mail is offered, as accept and the lanes see it. What
// becomes of mail it hears as a Recorder. Implementations are safe for concurrent use.
type Suppressions interface {
	// Check says what stands against offering mail from a sender to a recipient now. It returns at once, and
	// when it cannot tell lets the mail pass. Mail of the null sender always passes.
	Check(sender, recipient string, now time.Time) SuppressionCheck
}

// SuppressionCheck is the answer of Suppressions.Check. The zero value lets the mail pass.
type SuppressionCheck struct {
	// Entry is why the recipient is not to be offered; nil if it may be. It is not changed any more.
	Entry *Suppression
	// Single says that one message at a time is to be offered to the address, and others are to wait for
	// what becomes of it: the address has not answered yet, or is tried again after its time.
	Single bool
}

// SuppressionState is how an entry of the list stands.
type SuppressionState string

// The states of an entry. One that is suppressed is tried again once its time is over.
const (
	SuppressionNoted  SuppressionState = "noted"      // failed once, which is not enough to suppress it
	SuppressionActive SuppressionState = "suppressed" // gets no mail until it expires
	SuppressionTrial  SuppressionState = "trial"      // was tried again, and relayed: a bounce may follow

	// SuppressionRemoved is no entry of a list: it tells other replicas that one was removed, at LastSeen.
	SuppressionRemoved SuppressionState = "removed"
)

// SuppressedEverywhere is the scope of an entry that is for the mail of all senders.
const SuppressedEverywhere = "*"

// The sources of entries that come from people. Those of feedback are the sources of its events.
const (
	SuppressedInSession  = "session"  // the upstream refused it
	SuppressedByOperator = "operator" // added by hand
	SuppressedByImport   = "import"   // from a list of another system
	SuppressedByPolicy   = "policy"   // the operator ordered it for refusals like the one it met
)

// Suppression is an entry of the list: an address that failed, and why.
type Suppression struct {
	Address    string              `json:"address"` // as it was met, its domain in lower case and A-labels
	Scope      string              `json:"scope"`   // SuppressedEverywhere, or a sender domain
	State      SuppressionState    `json:"state"`
	Reason     diagnose.Reason     `json:"reason"` // of the diagnosis; manual or imported if there was none
	Source     string              `json:"source"`
	FirstSeen  time.Time           `json:"first_seen"`
	LastSeen   time.Time           `json:"last_seen"`
	Hits       int                 `json:"hits,omitempty"`  // failures of distinct messages
	Reply      string              `json:"reply,omitempty"` // of the last one, byte for byte
	Message    string              `json:"message,omitempty"`
	Upstream   string              `json:"upstream,omitempty"`
	Rule       string              `json:"rule,omitempty"`
	Confidence diagnose.Confidence `json:"confidence,omitempty"`
	Note       string              `json:"note,omitempty"`   // the operator's
	Step       int                 `json:"step,omitempty"`   // how many times it was suppressed in a row
	Expires    time.Time           `json:"expires,omitzero"` // a noted entry or a trial is then forgotten
	Number     int64               `json:"-"`                // of its place in the list; only List tells it
}

// Suppresses reports whether no mail is to be offered at now.
func (s *Suppression) Suppresses(now time.Time) bool {
	return s.State == SuppressionActive && (s.Expires.IsZero() || now.Before(s.Expires))
}

// Why says since when the address is suppressed, and why, on one line.
func (s *Suppression) Why() string {
	text := "suppressed since " + s.FirstSeen.UTC().Format(time.DateOnly)
	switch why := s.Said(); {
	case s.Reason == diagnose.ReasonSpamComplaint:
		text += " because the recipient reported a message as spam"
	case why != "":
		text += " because of: " + why
	case s.Note != "":
		text += " by the operator: " + s.Note
	default:
		text += " (" + strings.ReplaceAll(string(s.Reason), "_", " ") + ")"
	}
	return text
}

// Said is the reply on one line, with its codes once.
func (s *Suppression) Said() string {
	r := diagnose.ParseReply(s.Reply)
	text := r.Text
	if e := r.Enhanced.String(); e != "" {
		text = e + " " + text
	}
	if r.Code != 0 {
		text = strconv.Itoa(r.Code) + " " + text
	} else {
		text = s.Reply
	}
	return strings.Join(strings.Fields(text), " ")
}

// SuppressionList is the add-on of Suppressions through which an operator looks into the list and changes it.
type SuppressionList interface {
	// List calls each for the entries that f selects, in the order in which they came, until it returns
	// false. An entry is valid for longer than the call.
	List(ctx context.Context, f SuppressionFilter, each func(*Suppression) bool) error
	// Put adds entries, durably and as one transaction; there is a result for each. Their Source is
	// SuppressedByOperator unless they say SuppressedByImport. After an error none was added.
	Put(ctx context.Context, entries []Suppression) ([]SuppressionResult, error)
	// Remove removes the entries of an address durably, of one scope or, if that is empty, of all, and
	// returns how many there were.
	Remove(ctx context.Context, address, scope string) (int, error)
	// State says how the list stands.
	State() SuppressionListState
}

// SuppressionChange is what became of an address on a list that many replicas share: its entry as it stands
// now, or its removal. Of the changes of an address the one with the highest version is in force.
type SuppressionChange struct {
	Key     string      // scope and address, as the list compares them
	Entry   Suppression // in state SuppressionRemoved if it was removed
	Version int64       // in the shared list; of one that is offered: what it rests on, 0 if nothing
	Until   time.Time   // when the shared list may forget it; zero: never
	Owed    int64       // number of the list that offers it
}

// SharedPlace says how far a list has followed the shared one.
type SharedPlace struct {
	List    string // which shared list it is; another one has another name
	Version int64  // of the newest change
}

// SuppressionFilter selects entries. Zero fields select all.
type SuppressionFilter struct {
	Address string // in any form that stands for the same mailbox
	Scope   string
	Reason  diagnose.Reason
	State   SuppressionState
	After   int64 // Number of the entry to continue after
}

// SuppressionResult is what became of an entry that an operator put in.
type SuppressionResult struct {
	Change string `json:"change,omitempty"` // created; unchanged where it was suppressed at least as long
	Error  string `json:"error,omitempty"`  // why it is not an entry: nothing was done
}

// SuppressionListState is how a list stands.
type SuppressionListState struct {
	Mode    string                    // off, observe or enforce
	Fault   error                     // why its file cannot be used: mail passes unchecked; nil: it can
	Entries map[diagnose.Reason]int64 // of suppressed addresses
	Noted   int64                     // addresses that are not suppressed yet, or on trial
	Tripped map[string]time.Time      // upstreams that are not believed, and since when
	Dropped int64                     // outcomes of mail that were lost, since the file was out of order
}

// SuppressedError says that a mail was not accepted, because all of its recipients are suppressed. Its
// message has the attempt that was not made, and its diagnosis, as what was last tried for each.
type SuppressedError struct {
	Entries []*Suppression // of the message's recipients, in their order; nil of an archive's
}

// Error implements error.
func (e *SuppressedError) Error() string { return "all recipients are suppressed" }

// Codes are those of the reply to mail for the address: the upstream's if it refused it, with their defaults
// 550 and 5.1.1 (RFC 3463, 3.2).
func (s *Suppression) Codes() (code int, enhanced diagnose.Enhanced) {
	r := diagnose.ParseReply(s.Reply)
	if code = r.Code; r.Class() != 5 || code < 550 {
		code = 550
	}
	if enhanced = r.Enhanced; enhanced.Class != 5 {
		enhanced = diagnose.Enhanced{Class: 5, Subject: 1, Detail: 1}
	}
	return code, enhanced
}

// SuppressedAttempt stands for the attempt that was not made because of an entry.
func SuppressedAttempt(upstream string, s *Suppression, now time.Time) Attempt {
	return Attempt{Time: now, Upstream: upstream, Stage: diagnose.StageQueue,
		NetErr: diagnose.NetErr{Kind: diagnose.NetSuppressed, Text: s.Why()}}
}

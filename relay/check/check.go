// Package check holds what a check of the configuration against the world answers: lines, each ok, a warning
// or a failure, with what to do about it.
//
// Its parts look at one thing each and know nothing of the others:
//
//	spf, dkim, dmarc  what a domain publishes
//	senders           whether mail from a domain passes through an upstream, and which record is missing
//	session           what an upstream answers, from its name in DNS to the end of the message
//	api               the same of an upstream that is an HTTP API
//
// relay/app runs them, mailwhy check prints the lines. What always holds: nothing is changed anywhere, no
// line holds a secret, and where something could not be found out the line says so instead of guessing.
package check

// Level is how a line is to be taken.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // mail flows, but something is weak, or could not be found out
	Failure Level = "failure" // mail is refused, or treated as forged
)

// Line is one answer.
type Line struct {
	Level    Level    `json:"level"`
	Check    string   `json:"check"`              // what was looked at: spf, dkim, outcome, connect ...
	Domain   string   `json:"domain,omitempty"`   // of the sender
	Upstream string   `json:"upstream,omitempty"` // its name in the configuration
	Text     string   `json:"text"`
	Fix      string   `json:"fix,omitempty"` // a sentence
	Records  []Record `json:"records,omitempty"`
	Outcome  Outcome  `json:"outcome,omitempty"` // of lines of the check "outcome"
}

// Record is a DNS record to publish. A part in <angle brackets> is shown by the provider only.
type Record struct {
	Type  string `json:"type"`
	Name  string `json:"name"` // without the final dot
	Value string `json:"value"`
}

// Outcome is what a receiver makes of mail from a domain through an upstream.
type Outcome string

// The outcomes.
const (
	ByDKIM  Outcome = "by DKIM"
	BySPF   Outcome = "by SPF only"
	Fails   Outcome = "fails"
	Unknown Outcome = "unknown"
)

// Failed reports whether a line is a failure.
func Failed(lines []Line) bool {
	for _, l := range lines {
		if l.Level == Failure {
			return true
		}
	}
	return false
}

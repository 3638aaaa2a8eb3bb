package report

import (
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Destination says where reports go. The zero Destination is RFC 3464's: with the null sender to the envelope sender, through the
// lane of the message that is reported on.
type Destination struct {
	Off         bool   // nobody is told; the delivery log has it all
	Maildir     string // directory; reports are written there and relayed nowhere
	Lane        string // another lane than the message's own
	Operator    string // an address that gets a copy of each report
	SkipSenders bool   // Operator is told in place of the envelope sender
}

// addressees are those who are told about m.
func (t Destination) addressees(m *relay.Message) []string {
	var to []string
	if !t.SkipSenders || t.Operator == "" {
		to = append(to, m.Envelope.From)
	}
	if t.Operator != "" && !strings.EqualFold(t.Operator, m.Envelope.From) {
		to = append(to, t.Operator)
	}
	return to
}

// lane is the lane that a report about m waits in.
func (t Destination) lane(m *relay.Message) string {
	if t.Lane != "" {
		return t.Lane
	}
	return m.Lane
}

// refusalHolds is how long an upstream that refused the null sender is not asked again: its operator may have mended
// it, and asking costs one attempt.
const refusalHolds = 24 * time.Hour

// nullRefusals remembers which upstreams refuse the null sender, and since when.
type nullRefusals struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// note remembers a refusal, and reports whether it is news.
func (n *nullRefusals) note(lane string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, known := n.since[lane]
	n.since[lane] = now
	return !known
}

// holds reports whether the lane's upstream refused not long ago.
func (n *nullRefusals) holds(lane string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, known := n.since[lane]
	if known && now.Sub(at) >= refusalHolds {
		delete(n.since, lane)
		known = false
	}
	return known
}

// ReversePath is the reverse-path to use for m at its next attempt: its envelope's, unless m is a report and its upstream is
// known to refuse the null sender that a report has (RFC 3461, 6.1) while another sender is configured.
func (r *Reporter) ReversePath(m *relay.Message) string {
	if !m.Report || m.Envelope.From != "" || !r.null.holds(m.Lane, r.o.Now()) {
		return m.Envelope.From
	}
	return r.o.FallbackSender(m.Lane)
}

// NullSenderRefused takes note of an attempt with the null sender that a lane's upstream refused, and returns whether
// ReversePath now gives another one, so that the report is worth another attempt at once.
func (r *Reporter) NullSenderRefused(lane string, a relay.Attempt) bool {
	if !refusesNullSender(&a) {
		return false
	}
	fallback := r.o.FallbackSender(lane)
	if r.null.note(lane, r.o.Now()) {
		if fallback == "" {
			r.o.Log.Warn("the upstream refuses the null sender, so no bounce can go through it; set dsn.fallback_sender or another dsn.route",
				"upstream", lane, "reply", a.Reply.Raw)
		} else {
			r.o.Log.Warn("the upstream refuses the null sender: bounces go out with the fall-back sender",
				"upstream", lane, "sender", fallback, "reply", a.Reply.Raw)
		}
	}
	return fallback != ""
}

// refusesNullSender reports whether a refusal is about the sender: any at MAIL, and later one that says so, since many
// servers put the answer to MAIL off until RCPT.
func refusesNullSender(a *relay.Attempt) bool {
	if a.Reply.Class() != 5 {
		return false
	}
	text := strings.ToLower(a.Reply.Text)
	switch a.Stage {
	case diagnose.StageMail:
		return true
	case diagnose.StageRcpt, diagnose.StageData, diagnose.StageEndOfData:
		return strings.Contains(text, "<>") || strings.Contains(text, "null sender") || strings.Contains(text, "empty sender") ||
			strings.Contains(text, "null reverse") || strings.Contains(text, "null return path")
	}
	return false
}

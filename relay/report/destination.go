package report

import (
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Destination says where reports go. The zero Destination follows RFC 3464: with the null sender to the
// envelope sender, through the lane of the reported message.
type Destination struct {
	Off         bool   // no report is made; the delivery log has it all
	Maildir     string // directory; reports are written there and not relayed
	Lane        string // lane to use; "" is the message's own
	Operator    string // address that gets a copy of each report
	SkipSenders bool   // the report goes to Operator only, not to the envelope sender
}

// addressees are the addresses that a report about m goes to.
func (d Destination) addressees(m *relay.Message) []string {
	var to []string
	if !d.SkipSenders || d.Operator == "" {
		to = append(to, m.Envelope.From)
	}
	if d.Operator != "" && !strings.EqualFold(d.Operator, m.Envelope.From) {
		to = append(to, d.Operator)
	}
	return to
}

// lane is the lane that a report about m waits in.
func (d Destination) lane(m *relay.Message) string {
	if d.Lane != "" {
		return d.Lane
	}
	return m.Lane
}

// refusalHolds is how long an upstream that refused the null sender is not asked again. Its operator may have
// fixed it by then, and asking costs one attempt.
const refusalHolds = 24 * time.Hour

// nullRefusals remembers which upstreams refuse the null sender, and since when.
type nullRefusals struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// note remembers a refusal, and reports whether it is new.
func (n *nullRefusals) note(lane string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, known := n.since[lane]
	n.since[lane] = now
	return !known
}

// holds reports whether the lane's upstream refused within refusalHolds.
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

// ReversePath is the reverse-path to use for m at its next attempt: the envelope's, unless m is a report,
// which has the null sender (RFC 3461, 6.1), and its upstream is known to refuse that. It is then the
// configured fallback sender.
func (r *Reporter) ReversePath(m *relay.Message) string {
	if !m.Report || m.Envelope.From != "" || !r.null.holds(m.Lane, r.o.Now()) {
		return m.Envelope.From
	}
	return r.o.FallbackSender(m.Lane)
}

// NullSenderRefused notes that a lane's upstream refused an attempt with the null sender. It returns whether
// ReversePath now gives another one, so that another attempt at once is worthwhile.
func (r *Reporter) NullSenderRefused(lane string, a relay.Attempt) bool {
	if !refusesNullSender(&a) {
		return false
	}
	fallback := r.o.FallbackSender(lane)
	if r.null.note(lane, r.o.Now()) {
		if fallback == "" {
			r.o.Log.Warn("the upstream refuses the null sender, so no bounce can go through it; "+
				"set dsn.fallback_sender or another dsn.route",
				"upstream", lane, "reply", a.Reply.Raw+a.NetErr.Text)
		} else {
			r.o.Log.Warn("the upstream refuses the null sender: bounces go out with the fallback sender",
				"upstream", lane, "sender", fallback, "reply", a.Reply.Raw+a.NetErr.Text)
		}
	}
	return fallback != ""
}

// refusesNullSender reports whether a refusal is about the sender: any at MAIL, and a later one if it says
// so, since many servers delay the refusal of MAIL until RCPT.
func refusesNullSender(a *relay.Attempt) bool {
	if a.Class() != 5 {
		return false
	}
	text := strings.ToLower(a.Reply.Text + a.NetErr.Text)
	switch a.Stage {
	case diagnose.StageMail:
		return true
	case diagnose.StageRcpt, diagnose.StageData, diagnose.StageEndOfData:
		for _, words := range []string{
			"<>", "null sender", "empty sender", "null reverse", "null return path",
		} {
			if strings.Contains(text, words) {
				return true
			}
		}
	}
	return false
}

package dsn

import (
	"cmp"
	"mime"
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
)

// View is what a template is filled in with. Every text in it is cleaned: one line, without controls.
type View struct {
	Words      Words
	Rows       string // labelled lines about the message, for the text
	Title      string // the subject, once it is written: not for it itself
	Kind       string // failed, expired, delayed, relayed or digest
	Host       string // this system's name
	To         string // who gets the report
	ReportID   string // queue id of this report
	QueueID    string // queue id of the message; the id to quote to support
	MessageID  string
	Subject    string // of the message, decoded
	Sender     string // its envelope sender
	Arrived    time.Time
	Waited     time.Duration   // from its arrival to the last attempt
	RetryUntil time.Time       // of delayed; zero when not known
	Recipients []RecipientView // one for all who have the same reply and diagnosis
	Total      int             // recipients in all
	Returned   string          // whole, header or none
	TooLarge   bool            // only the header is returned because the message is large
	Reporter   string          // who told later what became of the message; "" where it is known first hand
	Refuser    string          // of what was told: the server that refused, if it is one and the same for all

	// Of a digest:
	Count    int
	First    time.Time
	Last     time.Time
	Samples  []RecipientView // a few of the failures, the first ones
	FileName string          // of the attached list
}

// RecipientView is a recipient in a View, or several of whom the same is to be said.
type RecipientView struct {
	Words      RecipientWords
	Rows       string   // labelled lines about the recipient, for the text
	Address    string   // of the first
	Addresses  []string // all of them
	Many       bool     // too many to begin with; they are listed at the end
	Outcome    string   // failed, expired, suppressed, delayed or relayed
	Reply      []string // what the upstream said, line by line; empty when it said nothing
	NoReply    string   // in its place: what went wrong, in the words of the network; may be empty too
	Server     string   // who said it
	Reporter   string   // who told later that it was said; "" where it was said to us
	Stage      string   // at which point
	Time       time.Time
	Attempts   int
	Uncertain  bool // the last attempt was lost after the whole message was sent: it may have arrived
	Diagnosed  bool
	Category   string
	Reason     string
	Cause      string
	Owner      string // who must act; a word of package diagnose
	Fix        []string
	Evidence   []string
	Links      []string // https and http only
	Confidence string
	QueueID    string // of a digest's sample
}

// Categories are the recipients' categories, each once, for the subject. One that the operator of this
// system or the provider must mend is left out: the guide files a wrong password of ours under Recipient
// Error.
func (v *View) Categories() []string {
	var names []string
	for _, r := range v.Recipients {
		ours := r.Owner == string(diagnose.OwnerOperator) || r.Owner == string(diagnose.OwnerUpstreamProvider)
		if r.Category != "" && !ours && !slices.Contains(names, r.Category) {
			names = append(names, r.Category)
		}
	}
	return names
}

// Caps of what the person is shown of others' words.
const (
	maxSubject = 120
	maxText    = 1000
)

// view gathers what the templates need for a report.
func (c *Composer) view(r *relay.Report, o *original) *View {
	m := r.Message
	v := &View{
		Kind: string(r.Kind), Host: c.o.Hostname, To: clean.Line(r.To, maxAddress),
		ReportID: r.ID, QueueID: m.ID, MessageID: clean.Line(m.MessageID, maxAddress),
		Subject: decodedSubject(m.Subject), Sender: clean.Line(m.Envelope.From, maxAddress),
		Arrived: m.Arrived.UTC(), RetryUntil: utc(r.RetryUntil), Returned: o.returned, TooLarge: o.tooLarge,
	}
	v.Total = len(r.Recipients)
	expired := 0
	groups := group(r)
	for _, g := range groups.all {
		rv := recipientView(r.Kind, &m.Recipients[g.first()])
		rv.Many = g.large()
		rv.Addresses = make([]string, len(g.members))
		for i, member := range g.members {
			rv.Addresses[i] = clean.Line(m.Recipients[member].Address, maxAddress)
		}
		if rv.Outcome == string(relay.Expired) {
			expired++
		}
		v.Waited = max(v.Waited, rv.Time.Sub(m.Arrived))
		v.Recipients = append(v.Recipients, rv)
	}
	if expired == len(groups.all) {
		v.Kind = string(relay.Expired)
	}
	v.told(toldBy(r))
	return v
}

// told notes who told later what became of the message, and who refused it.
func (v *View) told(by string) {
	if by == "" {
		return
	}
	v.Reporter = clean.Line(by, maxAddress)
	for i := range v.Recipients {
		server := v.Recipients[i].Server
		if len(v.Recipients[i].Reply) == 0 || i > 0 && server != v.Refuser {
			v.Refuser = ""
			return
		}
		v.Refuser = server
	}
}

// utc is t in UTC; the zero time stays zero.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// recipientView gathers what the templates need for one recipient.
func recipientView(kind relay.NoticeKind, rc *relay.Recipient) RecipientView {
	v := RecipientView{Address: clean.Line(rc.Address, maxAddress), Outcome: string(kind),
		Attempts: rc.Attempts}
	if kind == relay.NoticeFailed {
		v.Outcome = string(rc.State)
	}
	if a := rc.Last; a != nil {
		v.Time = utc(a.Time)
		v.Reply = replyLines(a.Reply.Raw, clean.Line)
		v.Server = clean.Line(a.Host, maxAddress)
		v.Stage = string(a.Stage)
		v.Uncertain = a.Uncertain
		if toldLater(rc) { // what is tried is the upstream's, and refused is what it has taken
			v.Reporter, v.Attempts, v.Outcome = clean.Line(cmp.Or(a.ReportedBy, a.Upstream), maxAddress), 0,
				string(kind)
		}
		if len(v.Reply) == 0 {
			v.NoReply = clean.Line(a.NetErr.Text, maxText)
		}
	}
	if kind != relay.NoticeRelayed {
		v.diagnosis(rc.Diagnosis)
	}
	return v
}

// diagnosis copies what a diagnosis says.
func (v *RecipientView) diagnosis(d *diagnose.Diagnosis) {
	if d == nil {
		return
	}
	v.Diagnosed = true
	v.Category = clean.Line(string(d.Category), maxText)
	v.Reason = clean.Line(string(d.Reason), maxText)
	v.Cause = clean.Line(d.Cause, maxText)
	v.Owner = string(d.Owner)
	v.Confidence = string(d.Confidence)
	v.Fix = cleaned(d.Fix)
	v.Evidence = cleaned(d.Evidence)
	v.Links = links(d)
}

func cleaned(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = clean.Line(t, maxText)
	}
	return out
}

// links are the pages that help, each once. A reply's text can name some, so nothing but web pages passes.
func links(d *diagnose.Diagnosis) []string {
	all := slices.Clone(d.Links)
	if d.Blocklist != nil {
		all = append(all, d.Blocklist.Lookup, d.Blocklist.Removal)
	}
	var out []string
	for _, l := range all {
		web := strings.HasPrefix(l, "https://") || strings.HasPrefix(l, "http://")
		if web && len(l) <= maxText && clean.ASCII(l, maxText) == l && !strings.Contains(l, " ") &&
			!slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// decodedSubject is a Subject header for people (RFC 2047).
func decodedSubject(raw string) string {
	dec := mime.WordDecoder{}
	s, err := dec.DecodeHeader(raw)
	if err != nil {
		s = raw
	}
	return ellipsis(strings.Join(strings.Fields(clean.Line(s, 4*maxSubject)), " "), maxSubject)
}

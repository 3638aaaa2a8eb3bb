package deliverylog

import (
	"fmt"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
)

// maxShown is the longest piece of foreign text that the form for people shows, bytes.
const maxShown = 1024

// AppendText appends l in the form for people: a line, and, for a refusal, indented lines that say what it means and what to
// do. Each ends in a line end. Foreign text is made safe to show.
func (l *Line) AppendText(b []byte) []byte {
	b = l.Time.UTC().AppendFormat(b, "2006-01-02 15:04:05.000Z")
	b = fmt.Appendf(b, " %-10s", shown(string(l.Event)))
	if l.ID != "" {
		b = append(append(b, ' '), shown(l.ID)...)
	}
	b = l.appendPath(b)
	if said := l.said(); said != "" {
		b = append(append(b, "  "...), said...)
	}
	if about := l.about(); about != "" {
		b = append(append(append(b, " ("...), about...), ')')
	}
	b = append(b, '\n')
	if l.Diagnosis != nil && l.Event != relay.EventDSN {
		b = appendMeaning(b, l.Diagnosis)
	}
	return b
}

// appendPath appends who writes to whom.
func (l *Line) appendPath(b []byte) []byte {
	if l.hasSender() {
		b = fmt.Appendf(b, " <%s>", shown(l.From))
	}
	if l.To != "" {
		b = fmt.Appendf(b, " -> <%s>", shown(l.To))
	}
	return b
}

// said is the outcome in short: the reply, or what was met in its place.
func (l *Line) said() string {
	switch {
	case l.Event == relay.EventLane:
		return strings.TrimSpace(shown(l.Upstream) + " " + shown(l.State) + " " + l.reply())
	case l.Reply != "":
		return l.reply()
	case l.ErrorText != "":
		return shown(l.ErrorText)
	}
	return shown(string(l.Error))
}

// reply is the reply on one line.
func (l *Line) reply() string {
	if l.Reply == "" {
		return ""
	}
	r := diagnose.ParseReply(l.Reply)
	if r.Code == 0 {
		return shown(l.Reply)
	}
	text := fmt.Sprint(r.Code)
	if e := r.Enhanced.String(); e != "" {
		text += " " + e
	}
	return strings.TrimSpace(text + " " + shown(r.Text))
}

// about is what else is known, in a few words each.
func (l *Line) about() string {
	var parts []string
	add := func(holds bool, format string, args ...any) {
		if holds {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	where := shown(l.Host)
	if where == "" {
		where = shown(l.Remote)
	}
	add(l.Event == relay.EventAccepted || l.Event == relay.EventRefused, "client %s", shown(l.Client))
	add(l.User != "", "user %s", shown(l.User))
	add(l.Event == relay.EventAccepted && l.Size > 0, "%d bytes", l.Size)
	add(where != "", "%s", where)
	add(l.Stage != "" && l.Event != relay.EventRelayed, "at %s", shown(string(l.Stage)))
	add(l.Attempt > 1, "attempt %d", l.Attempt)
	add(l.DelayS >= 1, "after %v", time.Duration(l.DelayS)*time.Second)
	add(l.Uncertain, "it may have been taken")
	add(!l.NextAttempt.IsZero(), "next attempt %s", l.NextAttempt.UTC().Format("2006-01-02 15:04:05Z"))
	add(l.DSN != "", "%s %s", l.dsnWords(), shown(l.DSN))
	add(l.Note != "", "%s", shown(l.Note))
	return strings.Join(parts, ", ")
}

// dsnWords say what DSN is the id of: the line of a report names the message that it reports on, that of a recipient
// the report.
func (l *Line) dsnWords() string {
	if l.Diagnosis == nil && l.From == "" && l.Event == relay.EventDSN {
		return "reports on"
	}
	return "told in"
}

// appendMeaning appends what a refusal means. It leads with the reason and who must act; the category is its label.
func appendMeaning(b []byte, d *diagnose.Diagnosis) []byte {
	b = detail(b, "reason", fmt.Sprintf("%s: the %s must act (%s)", words(string(d.Reason)), words(string(d.Owner)), d.Category))
	b = detail(b, "cause", d.Cause)
	for i, step := range d.Fix {
		name := ""
		if i == 0 {
			name = "fix"
		}
		b = detail(b, name, fmt.Sprintf("%d. %s", i+1, step))
	}
	for _, e := range d.Evidence {
		b = detail(b, "evidence", e)
	}
	for _, link := range d.Links {
		b = detail(b, "see", link)
	}
	basis := string(d.Basis) + ", " + string(d.Confidence) + " confidence"
	if d.Rule != "" {
		basis += " (" + d.Rule + ")"
	}
	return detail(b, "basis", basis)
}

// detail appends one indented line.
func detail(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return fmt.Appendf(b, "    %-9s %s\n", name, shown(text))
}

// words are a snake_case name in words.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

// shown is foreign text on one safe line.
func shown(s string) string { return clean.Line(s, maxShown) }

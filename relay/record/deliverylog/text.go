package deliverylog

import (
	"fmt"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/record"
)

// maxShown is the longest piece of foreign text that the form for people shows, bytes.
const maxShown = 1024

// AppendText appends e in the form for people: a line, and, for a refusal, indented lines that say what it
// means and what to do. Each ends in a line end. Foreign text is made safe to show.
func AppendText(b []byte, e *record.Event) []byte {
	b = e.Time.UTC().AppendFormat(b, "2006-01-02 15:04:05.000Z")
	b = fmt.Appendf(b, " %-10s", shown(string(e.Kind)))
	if e.ID != "" {
		b = append(append(b, ' '), shown(e.ID)...)
	}
	b = appendPath(b, e)
	if what := said(e); what != "" {
		b = append(append(b, "  "...), what...)
	}
	if more := about(e); more != "" {
		b = append(append(append(b, " ("...), more...), ')')
	}
	b = append(b, '\n')
	if e.Diagnosis != nil && e.Kind != relay.EventDSN {
		b = appendMeaning(b, e.Diagnosis)
	}
	return b
}

// appendPath appends who writes to whom.
func appendPath(b []byte, e *record.Event) []byte {
	if e.HasSender() {
		b = fmt.Appendf(b, " <%s>", shown(e.From))
	}
	if e.To != "" {
		b = fmt.Appendf(b, " -> <%s>", shown(e.To))
	}
	return b
}

// said is the outcome in short: the reply, or what was met in its place.
func said(e *record.Event) string {
	switch {
	case e.Kind == relay.EventWebhook:
		return shown(e.Webhook) + " " + shown(e.State)
	case e.Kind == relay.EventLane:
		return strings.TrimSpace(shown(e.Upstream) + " " + shown(e.State) + " " + reply(e))
	case e.Kind == relay.EventSuppression && e.Suppression != nil:
		return shown(e.State) + ": " + shown(e.Suppression.Why())
	case e.Reply != "":
		return reply(e)
	case e.ErrorText != "":
		return shown(e.ErrorText)
	}
	return shown(string(e.Error))
}

// reply is the reply on one line.
func reply(e *record.Event) string {
	if e.Reply == "" {
		return ""
	}
	r := diagnose.ParseReply(e.Reply)
	if r.Code == 0 {
		return shown(e.Reply)
	}
	text := fmt.Sprint(r.Code)
	if e := r.Enhanced.String(); e != "" {
		text += " " + e
	}
	return strings.TrimSpace(text + " " + shown(r.Text))
}

// about is what else is known, in a few words each.
func about(e *record.Event) string {
	var parts []string
	add := func(holds bool, format string, args ...any) {
		if holds {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	where := shown(e.Host)
	if where == "" {
		where = shown(e.Remote)
	}
	add(e.Kind == relay.EventAccepted || e.Kind == relay.EventRefused, "client %s", shown(e.Client))
	add(e.User != "", "user %s", shown(e.User))
	add(e.Kind == relay.EventAccepted && e.Size > 0, "%d bytes", e.Size)
	add(len(e.Given) > 0, "in place of %s", shown(strings.Join(e.Given, ", ")))
	add(len(e.Changed) > 0, "changed: %s", shown(strings.Join(e.Changed, ", ")))
	add(where != "", "%s", where)
	add(e.Stage != "" && e.Kind != relay.EventRelayed && e.Source == "", "at %s", shown(string(e.Stage)))
	add(e.Attempt > 1, "attempt %d", e.Attempt)
	add(e.DelayS >= 1, "after %v", time.Duration(e.DelayS)*time.Second)
	add(e.Uncertain, "it may have been taken")
	add(!e.NextAttempt.IsZero(), "next attempt %s", e.NextAttempt.UTC().Format("2006-01-02 15:04:05Z"))
	add(e.Source != "", "%s", reported(e))
	add(e.Trust == relay.TrustWeak, "a weak match by %s", shown(words(e.MatchedBy)))
	add(e.Trust == relay.TrustGuess, "a guess by recipient and time")
	add(e.DSN != "", "%s %s", dsnWords(e), shown(e.DSN))
	add(e.Note != "", "%s", shown(e.Note))
	return strings.Join(parts, ", ")
}

// reported says how it became known what happened after the upstream's 250, and what the provider calls it.
func reported(e *record.Event) string {
	text, by := "told", shown(e.Provider)
	switch e.Source {
	case "dsn":
		text, by = "told in a bounce mail", "from "+by
	case "arf":
		text, by = "told in a complaint", "from "+by
	default:
		by = "by " + by
	}
	if e.Provider != "" {
		text += " " + by
	}
	if e.ProviderType != "" {
		text += " as " + shown(e.ProviderType)
	}
	return text
}

// dsnWords say what DSN is the id of: a report's own event names the message that it is about, a
// recipient's event the report.
func dsnWords(e *record.Event) string {
	if e.Diagnosis == nil && e.From == "" && e.Kind == relay.EventDSN {
		return "report about message"
	}
	return "reported in bounce"
}

// appendMeaning appends what a refusal means. It leads with the reason and who must act; the category is
// its label.
func appendMeaning(b []byte, d *diagnose.Diagnosis) []byte {
	b = detail(b, "reason", fmt.Sprintf("%s: the %s must act (%s)", words(string(d.Reason)),
		words(string(d.Owner)), d.Category))
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

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// listing prints summaries, for people or as JSON lines.
type listing struct {
	w                    io.Writer
	json                 bool
	now                  time.Time
	messages, recipients int64
}

// add prints one message.
func (l *listing) add(s admin.Summary) error {
	if l.json {
		return json.NewEncoder(l.w).Encode(s)
	}
	l.messages++
	l.recipients += int64(len(s.Recipients))
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s ago  %s  from %s", s.ID, ago(s.Arrived, l.now), bytesText(s.Size),
		reversePath(s.From))
	if s.Report {
		b.WriteString("  (a bounce)")
	}
	b.WriteByte('\n')
	for _, r := range s.Recipients {
		fmt.Fprintf(&b, "  %-8s  %s%s\n", r.State, printable(r.Address), recipientText(r, l.now))
	}
	_, err := io.WriteString(l.w, b.String())
	return err
}

// recipientText is what a list says of a recipient after its address.
func recipientText(r admin.RecipientSummary, now time.Time) string {
	text := ""
	if r.Code != 0 {
		text += "  " + strings.TrimSpace(fmt.Sprintf("%d %s", r.Code, r.Enhanced))
	}
	if r.Category != "" {
		text += fmt.Sprintf("  %s (%s)", r.Category, r.Reason)
	}
	if r.WaitsFor != "" {
		text += "  " + waits(r.WaitsFor, r.NextTry, now)
	} else if !r.NextAttempt.IsZero() {
		text += "  " + due(r.NextAttempt, now)
	}
	if r.HeldWhy != "" {
		text += "  " + printable(r.HeldWhy)
	}
	return text
}

// end prints the sum.
func (l *listing) end() error {
	if l.json {
		return nil
	}
	if l.messages == 0 {
		_, err := fmt.Fprintln(l.w, "no message is selected")
		return err
	}
	_, err := fmt.Fprintf(l.w, "%s, %s\n", count(l.messages, "message"), count(l.recipients, "recipient"))
	return err
}

// printSummary prints all that is known of a message.
func printSummary(w io.Writer, m *admin.Shown, now time.Time) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "Message    %s\n", m.ID)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%-10s %s\n", name, printable(value))
		}
	}
	row("From", reversePath(m.Envelope.From))
	row("Message-ID", m.MessageID)
	row("Subject", m.Subject)
	row("Arrived", fmt.Sprintf("%s, %s ago", stamp(m.Arrived), ago(m.Arrived, now)))
	row("Client", clientText(&m.Client))
	row("Size", bytesText(m.Size))
	row("Upstream", m.Lane)
	row("Envelope", envelopeText(&m.Envelope))
	if m.Report {
		row("Kind", "a bounce of mailwhy's own: if it cannot be handed over it is held")
	}
	for i := range m.Recipients {
		printRecipient(b, m, &m.Recipients[i], now)
	}
	return b.Flush()
}

// clientText says who handed a message in.
func clientText(c *relay.Client) string {
	parts := []string{c.Name}
	for _, p := range []struct{ name, value string }{
		{"user", c.User}, {"at", c.Addr}, {"as", c.Hello}, {"over", c.TLS},
	} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

// envelopeText says which parameters the message came with.
func envelopeText(e *relay.Envelope) string {
	var parts []string
	if e.Body != "" {
		parts = append(parts, "BODY="+string(e.Body))
	}
	if e.SMTPUTF8 {
		parts = append(parts, "SMTPUTF8")
	}
	if e.Ret != "" {
		parts = append(parts, "RET="+string(e.Ret))
	}
	if e.EnvID != "" {
		parts = append(parts, "ENVID="+e.EnvID)
	}
	return strings.Join(parts, " ")
}

// printRecipient prints what became of one recipient.
func printRecipient(w io.Writer, m *admin.Shown, r *relay.Recipient, now time.Time) {
	fmt.Fprintf(w, "\n%s: %s", printable(r.Address), r.State)
	if r.Attempts > 0 {
		fmt.Fprintf(w, " after %s", count(int64(r.Attempts), "attempt"))
	}
	if r.Waiting() {
		fmt.Fprint(w, ", "+nextTry(m, r, now))
	}
	if r.HeldWhy != "" {
		fmt.Fprintf(w, ", %s", printable(r.HeldWhy))
	}
	fmt.Fprintln(w)
	if r.Last != nil {
		printAttempt(w, r.Last)
	}
	if r.Diagnosis != nil {
		printExplanation(w, r.Diagnosis)
	}
	if len(r.History) > 0 {
		fmt.Fprintln(w, "  What happened:")
	}
	for _, p := range r.History {
		reply, _, more := strings.Cut(strings.TrimRight(p.Reply, "\r\n"), "\n")
		reply = strings.TrimRight(reply, "\r")
		if more {
			reply += " ..."
		}
		policy := ""
		if p.Policy != "" {
			policy = " (policy " + printable(p.Policy) + ")"
		}
		fmt.Fprintf(w, "    %s  %-8s  %s%s\n", stamp(p.Time), p.Event,
			strings.TrimSpace(string(p.Stage)+"  "+printable(reply)), policy)
	}
}

// printAttempt tells of the newest attempt, with the reply as it came.
func printAttempt(w io.Writer, a *relay.Attempt) {
	if a.NetErr.Kind == diagnose.NetSuppressed {
		fmt.Fprintf(w, "  Not tried, %s\n    %s\n", stamp(a.Time), printable(a.NetErr.Text))
		return
	}
	fmt.Fprintf(w, "  Last tried %s at %s", stamp(a.Time), printable(a.Host))
	if a.Remote != "" {
		fmt.Fprintf(w, " [%s]", printable(a.Remote))
	}
	if a.TLS != "" {
		fmt.Fprintf(w, ", %s", a.TLS)
	}
	if a.Stage != "" {
		fmt.Fprintf(w, ", stage %s", a.Stage)
	}
	if a.Uncertain {
		fmt.Fprint(w, "; the upstream may have taken it")
	}
	fmt.Fprintln(w)
	for line := range strings.Lines(a.Reply.Raw) {
		fmt.Fprintf(w, "    %s\n", printable(strings.TrimRight(line, "\r\n")))
	}
	if a.NetErr.Text != "" {
		fmt.Fprintf(w, "    %s\n", printable(a.NetErr.Text))
	}
}

// printExplanation says what the refusal means and what to do about it.
func printExplanation(w io.Writer, d *diagnose.Diagnosis) {
	fmt.Fprintf(w, "  %s: %s (%s confidence, by %s, rule %s)\n",
		d.Category, d.Reason, d.Confidence, d.Basis, d.Rule)
	fmt.Fprintf(w, "    %s\n", printable(d.Cause))
	for _, e := range d.Evidence {
		fmt.Fprintf(w, "    %s\n", printable(e))
	}
	for i, step := range d.Fix {
		fmt.Fprintf(w, "    %d. %s\n", i+1, printable(step))
	}
	for _, l := range d.Links {
		fmt.Fprintf(w, "    %s\n", printable(l))
	}
}

// reversePath is an envelope sender for people.
func reversePath(s string) string { return "<" + printable(s) + ">" }

// stamp is a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// ago is the time from t to now, in one or two units.
func ago(t, now time.Time) string { return span(now.Sub(t)) }

// due says when t is.
func due(t, now time.Time) string {
	if !t.After(now) {
		return "due now"
	}
	return "due in " + span(t.Sub(now))
}

// span is a duration in one or two units.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// count is a number with its noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

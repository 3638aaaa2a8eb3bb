package feedbackcmd

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"mailwhy/relay/admin"
)

// PrintRemembered prints what is known of messages that have left the queue.
func PrintRemembered(w io.Writer, list []admin.Remembered) error {
	b := bufio.NewWriter(w)
	for i := range list {
		printRemembered(b, &list[i])
	}
	return b.Flush()
}

// printRemembered prints one of them.
func printRemembered(w io.Writer, s *admin.Remembered) {
	m := s.Message
	fmt.Fprintf(w, "Message    %s, which left the queue\n", m.ID)
	for _, row := range [][2]string{
		{"From", "<" + m.Envelope.From + ">"}, {"Message-ID", m.MessageID}, {"Subject", m.Subject},
		{"Arrived", stamp(m.Arrived)}, {"Client", m.Client.Label()}, {"Upstream", m.Lane},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%-10s %s\n", row[0], printable(row[1]))
		}
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if s.States[i] == "" {
			fmt.Fprintf(w, "\n%s: %s\n", printable(r.Address), r.State)
			continue
		}
		fmt.Fprintf(w, "\n%s: %s\n", printable(r.Address), s.States[i])
		if a := r.Last; a != nil {
			fmt.Fprintf(w, "  %s  relayed to %s", stamp(a.Time), printable(a.Host))
			if a.UpstreamID != "" {
				fmt.Fprintf(w, ", which calls it %s", printable(a.UpstreamID))
			}
			fmt.Fprintln(w)
		}
		for j := range s.Told {
			if s.Told[j].Recipient == i {
				printTold(w, &s.Told[j])
			}
		}
	}
}

// printTold prints what came back.
func printTold(w io.Writer, t *admin.Told) {
	f := &t.Feedback
	fmt.Fprintf(w, "  %s  %s, reported by %s (%s", stamp(t.Attempt.Time), t.Kind, printable(f.Provider),
		f.Source)
	if f.ProviderType != "" {
		fmt.Fprintf(w, ", %s", printable(f.ProviderType))
	}
	fmt.Fprintf(w, "), matched by %s, trust %s\n", f.MatchedBy, f.Trust)
	if t.Note != "" {
		fmt.Fprintf(w, "    %s\n", printable(t.Note))
	}
	printMeaning(w, t)
}

// printMeaning prints the reply and what it means.
func printMeaning(w io.Writer, t *admin.Told) {
	for text := range strings.Lines(t.Attempt.Reply.Raw) {
		fmt.Fprintf(w, "    %s\n", printable(strings.TrimRight(text, "\r\n")))
	}
	if d := t.Diagnosis; d != nil {
		fmt.Fprintf(w, "    %s: %s (%s confidence, by %s, rule %s)\n", d.Category, d.Reason, d.Confidence,
			d.Basis, d.Rule)
		fmt.Fprintf(w, "    %s\n", printable(d.Cause))
		for i, step := range d.Fix {
			fmt.Fprintf(w, "    %d. %s\n", i+1, printable(step))
		}
	}
}

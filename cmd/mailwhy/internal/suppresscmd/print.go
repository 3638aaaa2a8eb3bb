package suppresscmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/suppress"
)

// list prints the entries that are selected.
func (f *flags) list(ctx context.Context, w io.Writer) error {
	switch relay.SuppressionState(f.state) {
	case "", relay.SuppressionNoted, relay.SuppressionActive, relay.SuppressionTrial:
	default:
		return f.o.Usage(fmt.Errorf("--state %q: write noted, suppressed or trial", f.state))
	}
	filter := relay.SuppressionFilter{State: relay.SuppressionState(f.state),
		Reason: diagnose.Reason(f.reason), Scope: f.scope}
	return f.with(ctx, func(l list, _ *config.Config) error {
		n, now := 0, time.Now()
		err := l.Suppressed(ctx, filter, func(s relay.Suppression) error {
			n++
			if f.json {
				return json.NewEncoder(w).Encode(&s)
			}
			return say(w, "%s", line(&s, now))
		})
		if err == nil && n == 0 && !f.json {
			err = say(w, "no entry is selected")
		}
		return err
	})
}

// line is an entry in a list.
func line(s *relay.Suppression, now time.Time) string {
	text := printable(s.Address)
	if s.Scope != relay.SuppressedEverywhere {
		text += " (mail of " + printable(s.Scope) + ")"
	}
	return text + "  " + printable(string(s.Reason)) + "  " + standing(s, now) + "  " + printable(s.Why())
}

// standing says for how long an entry holds.
func standing(s *relay.Suppression, now time.Time) string {
	switch {
	case s.State == relay.SuppressionNoted:
		return "not suppressed yet"
	case s.State == relay.SuppressionTrial:
		return "on trial until " + stamp(s.Expires)
	case s.Expires.IsZero():
		return "until it is removed"
	case !s.Suppresses(now):
		return "to be tried again since " + stamp(s.Expires)
	}
	return "until " + stamp(s.Expires)
}

// stamp is a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

// check says whether an address is suppressed.
func (f *flags) check(ctx context.Context, address string, w io.Writer) error {
	return f.with(ctx, func(l list, _ *config.Config) error {
		st, err := l.SuppressionState(ctx)
		if err != nil {
			return err
		}
		suppressed, n, now := false, 0, time.Now()
		filter := relay.SuppressionFilter{Address: address}
		err = l.Suppressed(ctx, filter, func(s relay.Suppression) error {
			if f.sender != "" && !suppress.Concerns(&s, f.sender) {
				return nil
			}
			n++
			suppressed = suppressed || s.Suppresses(now)
			if f.json {
				return json.NewEncoder(w).Encode(&s)
			}
			return f.explain(w, &s, now)
		})
		switch {
		case err != nil:
			return err
		case !f.json && n == 0:
			err = say(w, "%s is not on the list", printable(address))
		case !f.json && suppressed:
			err = advise(w, address, st)
		}
		if err == nil && suppressed {
			err = f.o.Failed
		}
		return err
	})
}

// explain prints all that is known of an entry.
func (f *flags) explain(w io.Writer, s *relay.Suppression, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", printable(s.Address), standing(s, now))
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-10s %s\n", name, printable(value))
		}
	}
	row("reason", string(s.Reason))
	row("reply", s.Said())
	row("source", s.Source)
	if s.Scope != relay.SuppressedEverywhere {
		row("scope", "mail of "+s.Scope)
	}
	row("since", stamp(s.FirstSeen))
	if s.Hits > 1 {
		row("failures", fmt.Sprintf("%d, the last one %s", s.Hits, stamp(s.LastSeen)))
	}
	if s.Step > 1 {
		row("in a row", fmt.Sprintf("suppressed for the %d. time", s.Step))
	}
	row("message", s.Message)
	row("upstream", s.Upstream)
	if s.Rule != "" {
		row("basis", fmt.Sprintf("rule %s, %s confidence", s.Rule, s.Confidence))
	}
	row("note", s.Note)
	_, err := io.WriteString(w, b.String())
	return err
}

// advise says what a suppressed address means, and how to lift it.
func advise(w io.Writer, address string, st admin.SuppressionState) error {
	switch st.Mode {
	case "observe":
		return say(w, "Mail to it is sent all the same, since suppression.mode is observe.")
	case "off":
		return say(w, "Mail to it is sent all the same, since suppression.mode is off.")
	}
	return say(w, "Mail to it is not sent. If the address is valid: mailwhy suppress remove %s",
		printable(address))
}

// printable is text that others wrote, made safe for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) ||
			r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

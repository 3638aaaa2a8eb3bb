package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// This file says how the upstreams stand for which the messages of the queue wait.

// lanes are the states of the running relay's lanes; none when no relay answers.
func lanes(ctx context.Context, cfg *config.Config) []relay.LaneState {
	h, err := client(cfg).Health(ctx)
	if err != nil {
		return nil // whoever asks for the messages next says why
	}
	return h.Lanes
}

// head prints how the upstreams stand that do not run as they may, before the messages; nothing as JSON.
func (q *queueFlags) head(ctx context.Context, cfg *config.Config, w io.Writer, now time.Time) error {
	if q.json {
		return nil
	}
	b := bufio.NewWriter(w)
	for _, l := range lanes(ctx, cfg) {
		printLane(b, &l, now)
	}
	return b.Flush()
}

// printLane says of an upstream that is paused or slowed, and of senders whose mail waits, since when and
// why, who must act, and what comes next.
func printLane(w io.Writer, l *relay.LaneState, now time.Time) {
	name := printable(l.Name)
	switch {
	case l.Paused:
		fmt.Fprintf(w, "Upstream %s is paused since %s, for %s", name, stamp(l.Since), ago(l.Since, now))
		printWhy(w, l.Diagnosis, l.Reply)
		fmt.Fprintf(w, "  Mail waits; %s\n\n", tryWords(l.NextProbe, now))
	case l.Slowed:
		fmt.Fprintf(w, "Upstream %s is slowed since %s, for %s", name, stamp(l.Since), ago(l.Since, now))
		printWhy(w, l.Diagnosis, l.Reply)
		fmt.Fprintf(w, "  At most %s", count(int64(l.Limit), "connection"))
		if l.Rate > 0 {
			fmt.Fprintf(w, " and %v messages a second", relay.RoundRate(l.Rate))
		}
		fmt.Fprint(w, " until more is taken again\n\n")
	}
	for _, s := range l.Senders {
		fmt.Fprintf(w, "Mail of %s waits for upstream %s since %s", printable(s.Sender), name, stamp(s.Since))
		printWhy(w, s.Diagnosis, "")
		fmt.Fprintf(w, "  Other mail goes on; %s\n\n", tryWords(s.NextProbe, now))
	}
}

// printWhy ends a line with the reason, and says what it means, who must act and what the upstream said.
func printWhy(w io.Writer, d *diagnose.Diagnosis, reply string) {
	if d == nil {
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, ": %s\n  %s\n", d.Reason, printable(d.Cause))
	if reply != "" {
		fmt.Fprintf(w, "  It said: %s\n", printable(reply))
	}
	fmt.Fprintf(w, "  Who must act: %s", d.Owner.Words())
	if len(d.Fix) > 0 {
		fmt.Fprintf(w, ". %s", printable(d.Fix[0]))
	}
	fmt.Fprintln(w)
}

// waits says what a recipient waits for, and when it is really tried.
func waits(waitsFor string, next, now time.Time) string {
	what := printable(strings.ReplaceAll(waitsFor, "_", " ")) // "upstream paused"
	return "waits: " + what + ", " + tryWords(next, now)
}

// tryWords say when something is tried next.
func tryWords(next, now time.Time) string {
	if !next.After(now) {
		return "next try now, one message at a time"
	}
	return fmt.Sprintf("next try in %s (%s)", span(next.Sub(now)), stamp(next))
}

// nextTry says when a waiting recipient is really tried, and what it waits for.
func nextTry(m *admin.Shown, r *relay.Recipient, now time.Time) string {
	if m.Upstream != nil {
		if next, waitsFor := m.Upstream.NextTry(m.Envelope.From, r.NextAttempt); waitsFor != "" {
			return waits(waitsFor, next, now)
		}
	}
	return fmt.Sprintf("%s (%s)", due(r.NextAttempt, now), stamp(r.NextAttempt))
}

// The time that a retry gives a paused upstream to take mail again before it says how things stand.
const (
	resumeFor  = 10 * time.Second
	resumeLook = 100 * time.Millisecond
)

// resumed waits for those lanes to be tried that were paused before a retry, and says what became of each;
// due is how many messages are due now.
func resumed(ctx context.Context, cfg *config.Config, w io.Writer, was []relay.LaneState, due int64) error {
	for i := range was {
		before := &was[i]
		if !before.Paused {
			continue
		}
		now := laneAfter(ctx, cfg, before)
		var err error
		switch {
		case now == nil:
			return fmt.Errorf("the relay does not say how upstream %s stands", printable(before.Name))
		case now.Paused:
			_, err = fmt.Fprintf(w, "upstream %s is still paused%s; %s to send, %s\n", printable(now.Name),
				reasonText(now.Diagnosis), count(due, "message"), tryWords(now.NextProbe, time.Now()))
		default:
			_, err = fmt.Fprintf(w, "resumed upstream %s; %s\n", printable(now.Name), dueText(due))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// laneAfter is how a lane that was paused stands once it was tried, or after a while; nil when nothing
// answers.
func laneAfter(ctx context.Context, cfg *config.Config, was *relay.LaneState) (now *relay.LaneState) {
	for end := time.Now().Add(resumeFor); ; {
		now = nil
		for _, l := range lanes(ctx, cfg) {
			if l.Name == was.Name {
				now = &l
			}
		}
		if now == nil || !now.Paused {
			return now
		}
		tried := now.NextProbe.After(time.Now()) && !now.NextProbe.Equal(was.NextProbe)
		if tried || time.Now().After(end) || ctx.Err() != nil {
			return now
		}
		select {
		case <-ctx.Done():
		case <-time.After(resumeLook):
		}
	}
}

// reasonText is a reason in brackets.
func reasonText(d *diagnose.Diagnosis) string {
	if d == nil {
		return ""
	}
	return " (" + printable(string(d.Reason)) + ")"
}

// dueText says how many messages are due.
func dueText(n int64) string {
	if n == 1 {
		return "1 message is due now"
	}
	return fmt.Sprintf("%d messages are due now", n)
}

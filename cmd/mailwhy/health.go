package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/lifecycle"
)

func newHealthCommand() *cobra.Command {
	var l local
	var asJSON, live, ready bool
	timeout := 5 * time.Second
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask a running relay whether it is healthy",
		Long: `Asks the relay that runs on this spool. The exit status is 0 when it takes mail and its spool
answers, and 1 when it does not or no relay runs. An upstream that is paused or slowed is named, but
the relay counts as healthy: it takes mail, and the mail waits.

--live and --ready ask what GET /livez and GET /readyz answer over HTTP (metrics.listen), for probes that
run a command. --live fails when the spool does not answer: the relay should be restarted. --ready fails
while the relay starts or stops, and when its spool takes no mail: it should get none.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			var err error
			switch {
			case live:
				err = probe(ctx, &l, lifecycle.LivePath, "live", c.OutOrStdout())
			case ready:
				err = probe(ctx, &l, lifecycle.ReadyPath, "ready", c.OutOrStdout())
			default:
				err = health(ctx, &l, asJSON, c.OutOrStdout())
			}
			if err != nil {
				return &exitError{code: exitFailure, err: err} // not exitUsage: Docker knows 0 and 1
			}
			return nil
		},
	}
	l.register(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer as one JSON object")
	c.Flags().BoolVar(&live, "live", false, "ask only whether the spool answers")
	c.Flags().BoolVar(&ready, "ready", false, "ask only whether mail would be taken now")
	c.MarkFlagsMutuallyExclusive("live", "ready", "json")
	c.Flags().DurationVar(&timeout, "timeout", timeout, "how `long` the relay may take to answer")
	return c
}

// probe asks the relay one thing, which word says. An error has the reasons why it is not so.
func probe(ctx context.Context, l *local, path, word string, w io.Writer) error {
	cfg, err := l.load()
	if err != nil {
		return err
	}
	reasons, err := client(cfg).Probe(ctx, path)
	if err != nil {
		return err
	}
	if len(reasons) > 0 {
		return fmt.Errorf("not %s: %s", word, printable(strings.Join(reasons, "; ")))
	}
	_, err = fmt.Fprintln(w, word)
	return err
}

// health asks the relay, prints what it says, and returns an error when it is unhealthy.
func health(ctx context.Context, l *local, asJSON bool, w io.Writer) error {
	cfg, err := l.load()
	if err != nil {
		return err
	}
	h, err := client(cfg).Health(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(w).Encode(h); err != nil {
			return err
		}
		return healthError(h)
	}
	return printHealth(w, h, time.Now())
}

// healthWord says in a word how the relay is, with those of its upstreams that do not run as they may.
func healthWord(h admin.Health) string {
	word := "healthy"
	if !h.OK {
		word = "unhealthy"
	}
	for _, l := range h.Lanes {
		switch {
		case l.Paused:
			word += ", upstream " + printable(l.Name) + " paused"
		case l.Slowed:
			word += ", upstream " + printable(l.Name) + " slowed"
		}
	}
	return word
}

// printHealth writes h for people; it returns an error of the reasons when the relay is unhealthy.
func printHealth(w io.Writer, h admin.Health, now time.Time) error {
	fmt.Fprintf(w, "%s: %s in the spool", healthWord(h), count(h.Spool.Messages, "message"))
	if !h.Spool.Oldest.IsZero() {
		fmt.Fprintf(w, ", the oldest of %s ago", ago(h.Spool.Oldest, now))
	}
	if h.Spool.LocalStat != nil {
		fmt.Fprintf(w, ", %s of disk free", bytesText(h.Spool.FreeBytes))
	}
	fmt.Fprintln(w)
	printMembers(w, h.Members)
	if h.Feedback != nil {
		printBacklog(w, h.Feedback, now)
	}
	for _, n := range h.Notes {
		fmt.Fprintln(w, "note:", printable(n))
	}
	return healthError(h)
}

// printMembers writes which relays share what a provider allows.
func printMembers(w io.Writer, members []relay.Member) {
	if len(members) == 0 {
		return
	}
	hosts := make([]string, len(members))
	for i := range members {
		hosts[i] = printable(members[i].Host)
	}
	fmt.Fprintf(w, "cluster: %s: %s\n", count(int64(len(members)), "relay"), strings.Join(hosts, ", "))
}

// printBacklog writes what came back and waits.
func printBacklog(w io.Writer, b *admin.Backlog, now time.Time) {
	fmt.Fprintf(w, "feedback: %s to process", count(b.Due, "report"))
	if !b.Oldest.IsZero() {
		fmt.Fprintf(w, ", the oldest of %s ago", ago(b.Oldest, now))
	}
	fmt.Fprintf(w, "; %d not matched yet, %d kept\n", b.Later, b.Kept)
}

// healthError is an error of the reasons for which the relay is unhealthy; nil when it is.
func healthError(h admin.Health) error {
	if h.OK {
		return nil
	}
	text := ""
	for i, r := range h.Reasons {
		if i > 0 {
			text += "\n"
		}
		text += printable(r)
	}
	return fmt.Errorf("%s", text)
}

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/relay/admin"
)

func newHealthCommand() *cobra.Command {
	var l local
	timeout := 5 * time.Second
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask a running relay whether it is well",
		Long: `Asks the relay that runs on this spool. Exit status 0 when it takes mail and its spool answers, 1 when not or when
none runs. An upstream that is out of reach is told of, and is no ill health: mail is taken and waits.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			if err := health(ctx, &l, c.OutOrStdout()); err != nil {
				return &exitError{code: exitTrouble, err: err} // not exitUsage: Docker knows 0 and 1
			}
			return nil
		},
	}
	l.register(c)
	c.Flags().DurationVar(&timeout, "timeout", timeout, "how `long` the relay may take to answer")
	return c
}

// health asks the relay, prints what it says, and returns an error when it is not well.
func health(ctx context.Context, l *local, w io.Writer) error {
	cfg, err := l.load()
	if err != nil {
		return err
	}
	h, err := client(cfg).Health(ctx)
	if err != nil {
		return err
	}
	return printHealth(w, h, time.Now())
}

// printHealth writes h for people; it returns an error of the reasons when the relay is not well.
func printHealth(w io.Writer, h admin.Health, now time.Time) error {
	word := "well"
	if !h.OK {
		word = "not well"
	}
	fmt.Fprintf(w, "%s: %s in the spool", word, count(h.Spool.Messages, "message"))
	if !h.Spool.Oldest.IsZero() {
		fmt.Fprintf(w, ", the oldest of %s ago", ago(h.Spool.Oldest, now))
	}
	fmt.Fprintf(w, ", %s of disk free\n", bytesText(h.Spool.FreeBytes))
	for _, n := range h.Notes {
		fmt.Fprintln(w, "note:", printable(n))
	}
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

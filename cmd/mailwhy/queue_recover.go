package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/stoppedspool"
	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/spool/journal"
	"mailwhy/relay/spool/sqlite"
)

// recovery is the command queue recover.
type recovery struct {
	*queueFlags
	put bool
}

// newRecoverCommand makes the command below queue.
func newRecoverCommand(q *queueFlags) *cobra.Command {
	r := &recovery{queueFlags: q}
	c := &cobra.Command{
		Use:   "recover FILE [ID...]",
		Short: "Read a journal that was set aside, and put its messages back",
		Long: `Lists the messages in a journal that was set aside, in the spool's directory "damaged",
because it does not belong to the database. The journal may be of this or any earlier release. With
--put the messages go back into the queue under their ids; no relay may run on the spool. A message
that is in the queue, or was put back before, is not put back. One that was relayed since the
journal was set aside is not known any more, and would be sent again. With ids, only those messages
are meant.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return r.run(c.Context(), args[0], args[1:], c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().BoolVar(&r.put, "put", false, "put the messages back into the queue")
	c.Flags().BoolVar(&r.json, "json", false, "print one JSON object a line")
	return c
}

// recoveredLine is what --json prints for a message.
type recoveredLine struct {
	admin.Summary
	Damage string `json:"damage,omitempty"` // why it cannot be put back
	Put    *bool  `json:"put,omitempty"`    // with --put: whether it was put back
	Error  string `json:"error,omitempty"`  // why it was not
}

// run lists the messages of a journal, or puts them back.
func (r *recovery) run(ctx context.Context, file string, ids []string, stdout, stderr io.Writer) error {
	cfg, _, err := r.prepare(ids)
	if err != nil {
		return err
	}
	list, err := journal.ReadMessages(file)
	if err != nil {
		return err
	}
	if err := selectRecovered(&list, ids); err != nil {
		return err
	}
	if r.put {
		return r.putBack(ctx, cfg, list, stdout, stderr)
	}
	out := &listing{w: stdout, json: r.json, now: time.Now()}
	for i := range list {
		if err := r.show(out, &list[i]); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil || r.json || len(list) == 0 {
		return err
	}
	_, err = fmt.Fprintln(stdout,
		"nothing was changed; --put puts them back into the queue, while no relay runs on the spool")
	return err
}

// selectRecovered leaves the messages of ids in the list; no ids leave all.
func selectRecovered(list *[]journal.Recovered, ids []string) error {
	has := func(id string) bool {
		return slices.ContainsFunc(*list, func(m journal.Recovered) bool { return m.Message.ID == id })
	}
	for _, id := range ids {
		if !has(id) {
			return fmt.Errorf("%s is not in the journal", id)
		}
	}
	if len(ids) > 0 {
		*list = slices.DeleteFunc(*list, func(m journal.Recovered) bool {
			return !slices.Contains(ids,
				m.Message.ID)
		})
	}
	return nil
}

// show prints one message.
func (r *recovery) show(out *listing, m *journal.Recovered) error {
	if r.json {
		line := recoveredLine{Summary: admin.Summarize(m.Message, nil), Damage: m.Damage}
		return json.NewEncoder(out.w).Encode(line)
	}
	err := out.add(admin.Summarize(m.Message, nil))
	if err == nil && m.Damage != "" {
		_, err = fmt.Fprintf(out.w, "  damaged: %s\n", printable(m.Damage))
	}
	return err
}

// putBack puts the messages back into the spool, and says what became of each.
func (r *recovery) putBack(ctx context.Context, cfg *config.Config, list []journal.Recovered, stdout,
	stderr io.Writer) error {
	return stoppedspool.Use(cfg, stderr, func(spool *sqlite.Spool) error {
		failed := false
		for i := range list {
			stored, err := spool.Recover(ctx, list[i])
			failed = failed || err != nil
			if err := r.tell(stdout, list[i].Message, stored, err); err != nil {
				return err
			}
		}
		if failed {
			return &exitError{code: exitFailure}
		}
		return nil
	})
}

// tell says what became of a message that was to be put back.
func (r *recovery) tell(w io.Writer, m *relay.Message, stored bool, failed error) error {
	if r.json {
		line := recoveredLine{Summary: admin.Summarize(m, nil), Put: &stored}
		if failed != nil {
			line.Error = failed.Error()
		}
		return json.NewEncoder(w).Encode(line)
	}
	text := "is in the queue, or was put back before"
	switch {
	case failed != nil:
		text = "failed: " + printable(failed.Error())
	case stored:
		text = "put back"
	}
	_, err := fmt.Fprintf(w, "%s  %s\n", m.ID, text)
	return err
}

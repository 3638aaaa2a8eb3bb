package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/complete"
	"mailwhy/cmd/mailwhy/internal/feedbackcmd"
	"mailwhy/cmd/mailwhy/internal/movecmd"
	"mailwhy/cmd/mailwhy/internal/queueview"
	"mailwhy/config"
	"mailwhy/config/value"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/app"
	"mailwhy/relay/app/options"
	"mailwhy/relay/feedback/recall"
	"mailwhy/relay/spool/postgres"
	"mailwhy/relay/spool/sqlite"
)

// queueFlags are the flags of the queue commands.
type queueFlags struct {
	local
	sender, recipient, category, state, olderThan string
	limit                                         int
	json, all                                     bool
}

func newQueueCommand() *cobra.Command {
	q := &queueFlags{}
	c := &cobra.Command{
		Use:   "queue",
		Short: "Look into the queue and change it",
		Long: `Shows and changes the queue of the relay that runs on this spool. When none runs, list, summary
and show read the spool itself.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	q.local.register(c)
	list := &cobra.Command{
		Use: "list [ID...]", Short: "List what is in the queue",
		RunE: func(c *cobra.Command, ids []string) error { return q.list(c.Context(), ids, c.OutOrStdout()) },
	}
	list.Flags().IntVar(&q.limit, "limit", 0, "list at most so many `messages`")
	show := &cobra.Command{
		Use: "show ID", Short: "Show everything about a message", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command,
			ids []string) error {
			return q.show(c.Context(), ids[0], c.OutOrStdout())
		},
	}
	show.Flags().BoolVar(&q.json, "json", false, "print the message as JSON")
	summary := &cobra.Command{
		Use: "summary", Short: "Count what is in the queue by domain, reason and age", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return q.summary(c.Context(), c.OutOrStdout()) },
	}
	move := movecmd.Options{
		Usage: func(err error) error { return &exitError{exitUsage, err} }, Load: q.load, Filters: q.filters,
		Filter: func(ids []string) (relay.QueueFilter, error) { return q.filter(ids, time.Now()) },
	}
	c.AddCommand(list, summary, show, newRecoverCommand(q), movecmd.NewExport(move), movecmd.NewImport(move))
	q.filters(list)
	q.filters(summary)
	complete.IDs(list, q.ids)
	complete.IDs(show, q.ids)
	for action, about := range map[admin.Action]string{
		admin.Retry:   "Try waiting mail now",
		admin.Hold:    "Hold messages until they are released",
		admin.Release: "Release held mail, and try it now",
		admin.Drop:    "Remove messages without a bounce",
	} {
		sub := &cobra.Command{
			Use: string(action) + " [ID...]", Short: about,
			RunE: func(c *cobra.Command,
				ids []string) error {
				return q.act(c.Context(), action, ids, c.OutOrStdout())
			},
		}
		q.filters(sub)
		complete.IDs(sub, q.ids)
		sub.Flags().BoolVar(&q.all, "all", false, "all messages in the queue")
		c.AddCommand(sub)
	}
	return c
}

// filters adds the flags that select messages.
func (q *queueFlags) filters(c *cobra.Command) {
	c.Flags().StringVar(&q.sender, "sender", "",
		"only from this envelope sender: `address`, @domain, or <> for bounces")
	c.Flags().StringVar(&q.recipient, "recipient", "", "only with this recipient: `address` or @domain")
	c.Flags().StringVar(&q.category, "category", "",
		"only with this `category` of the guide: 'Mailbox Full', mailbox_full")
	c.Flags().StringVar(&q.state, "state", "",
		"only with a recipient in this `state`: queued, deferred, held, ...")
	c.Flags().StringVar(&q.olderThan, "older-than", "",
		"only those that arrived this `long` ago or earlier: 30m, 4h, 2d")
	c.Flags().BoolVar(&q.json, "json", false, "print one JSON object a line")
	complete.Flag(c, "state", admin.States()...)
	complete.Flag(c, "category", categories()...)
}

// maxCompleted is how many ids a shell is offered.
const maxCompleted = 200

// ids are the first messages in the queue, for shells.
func (q *queueFlags) ids(c *cobra.Command) (ids, about []string, err error) {
	cfg, err := q.load()
	if err != nil {
		return nil, nil, err
	}
	err = each(c.Context(), cfg, relay.QueueFilter{Limit: maxCompleted}, func(m admin.Summary) error {
		ids, about = append(ids, m.ID), append(about, printable(m.From))
		return nil
	})
	return ids, about, err
}

// filter is the filter that the flags and arguments make.
func (q *queueFlags) filter(ids []string, now time.Time) (f relay.QueueFilter, err error) {
	f = relay.QueueFilter{IDs: ids, Sender: q.sender, Recipient: q.recipient, State: relay.State(q.state),
		Limit: q.limit}
	for _, id := range ids {
		if !relay.ValidID(id) {
			return f, fmt.Errorf("not a queue id: %q", id)
		}
	}
	if f.State != "" && !slices.Contains(admin.States(), f.State) {
		var names []string
		for _, s := range admin.States() {
			names = append(names, string(s))
		}
		return f, fmt.Errorf("--state %q: not a state; use one of %s", q.state, strings.Join(names, ", "))
	}
	if q.category != "" {
		if f.Category, err = category(q.category); err != nil {
			return f, err
		}
	}
	if q.olderThan != "" {
		d, err := value.ParseDuration(q.olderThan)
		if err != nil {
			return f, fmt.Errorf("--older-than: %w", err)
		}
		f.OlderThan = now.Add(-d)
	}
	return f, nil
}

// categories are all categories.
func categories() []diagnose.Category {
	return []diagnose.Category{
		diagnose.Blocked, diagnose.DMARCErrors, diagnose.InvalidAddress, diagnose.MailboxIssues,
		diagnose.MailboxFull, diagnose.RateLimitIssues, diagnose.RecipientError, diagnose.RejectionErrors,
		diagnose.SenderReputation, diagnose.ConnectionFailure,
	}
}

// category finds a category by its name; case, spaces and underscores do not matter.
func category(s string) (string, error) {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", " ", "", "-", "").Replace(s))
	}
	var names []string
	for _, c := range categories() {
		if plain(string(c)) == plain(s) {
			return string(c), nil
		}
		names = append(names, string(c))
	}
	return "", fmt.Errorf("--category %q: not a category; use one of: %s", s, strings.Join(names, ", "))
}

// prepare reads the configuration and the filter.
func (q *queueFlags) prepare(ids []string) (*config.Config, relay.QueueFilter, error) {
	f, err := q.filter(ids, time.Now())
	if err != nil {
		return nil, f, &exitError{code: exitUsage, err: err}
	}
	cfg, err := q.load()
	return cfg, f, err
}

// list prints the messages that are selected.
func (q *queueFlags) list(ctx context.Context, ids []string, w io.Writer) error {
	cfg, f, err := q.prepare(ids)
	if err != nil {
		return err
	}
	out := &listing{w: w, json: q.json, now: time.Now()}
	if err := q.head(ctx, cfg, w, out.now); err != nil {
		return err
	}
	if err := each(ctx, cfg, f, out.add); err != nil {
		return err
	}
	return out.end()
}

// summary counts the messages that are selected.
func (q *queueFlags) summary(ctx context.Context, w io.Writer) error {
	cfg, f, err := q.prepare(nil)
	if err != nil {
		return err
	}
	now := time.Now()
	if err := q.head(ctx, cfg, w, now); err != nil {
		return err
	}
	s := queueview.New(now)
	if err := each(ctx, cfg, f, s.Add); err != nil {
		return err
	}
	return s.Write(w, q.json, printable)
}

// each calls add for every message that f selects, of the relay, or of its spool if it does not run.
func each(ctx context.Context, cfg *config.Config, f relay.QueueFilter, add func(admin.Summary) error) error {
	err := client(cfg).List(ctx, f, add)
	if errors.Is(err, admin.ErrNotRunning) {
		err = withSpool(ctx, cfg, err, func(s relay.Lister) error {
			return admin.Each(ctx, s, f, func(m *relay.Message) error { return add(admin.Summarize(m, nil)) })
		})
	}
	return err
}

// withSpool lets read look into the spool of a relay that does not run. Where there is no spool, notRunning
// is the error.
func withSpool(ctx context.Context, cfg *config.Config, notRunning error,
	read func(relay.Lister) error) error {
	s, err := openReader(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%w, and its spool cannot be read: %w\n"+
			"name the relay with -c FILE or --spool DIR", notRunning, err)
	}
	defer s.Close()
	return read(s)
}

// openReader opens the spool of a configuration for reading.
func openReader(ctx context.Context, cfg *config.Config) (interface {
	relay.Lister
	Close() error
}, error) {
	if cfg.Spool.Shared() {
		return postgres.OpenReader(ctx, options.SharedSpool(cfg, slog.Default()))
	}
	return sqlite.OpenReadOnly(cfg.Spool.Dir)
}

// show prints all that is known of one message.
func (q *queueFlags) show(ctx context.Context, id string, w io.Writer) error {
	cfg, _, err := q.prepare([]string{id})
	if err != nil {
		return err
	}
	m, err := client(cfg).Show(ctx, id)
	if errors.Is(err, admin.ErrNotRunning) {
		err = withSpool(ctx, cfg, err, func(s relay.Lister) (err error) {
			one, err := admin.One(ctx, s, id)
			shown := admin.Show(one, nil)
			m = &shown
			return err
		})
	}
	switch {
	case errors.Is(err, relay.ErrNotFound):
		return q.remembered(ctx, cfg, id, w)
	case err != nil:
		return err
	case q.json:
		return json.NewEncoder(w).Encode(m)
	}
	if err := q.head(ctx, cfg, w, time.Now()); err != nil {
		return err
	}
	return printSummary(w, m, time.Now())
}

// remembered prints what is known of a message that has left the queue: what came back for it, if feedback is
// on.
func (q *queueFlags) remembered(ctx context.Context, cfg *config.Config, id string, w io.Writer) error {
	list, err := remembered(ctx, cfg, id)
	switch {
	case err != nil || len(list) == 0:
		return fmt.Errorf("%s is not in the queue; what became of it is in the delivery log", id)
	case q.json:
		return json.NewEncoder(w).Encode(list)
	}
	return feedbackcmd.PrintRemembered(w, list)
}

// remembered asks the relay, or its store if it does not run, what is known of a message that was relayed.
func remembered(ctx context.Context, cfg *config.Config, id string) ([]admin.Remembered, error) {
	list, err := client(cfg).Remembered(ctx, id)
	if err == nil {
		return list, nil
	}
	// No relay is running, or one whose feedback is off now: the file may be there.
	store, err := recall.OpenReader(app.FeedbackStore(cfg))
	if err != nil {
		return nil, err
	}
	defer store.Close()
	return app.Remembered(ctx, store, id)
}

// act changes the messages that are selected, and prints what became of each.
func (q *queueFlags) act(ctx context.Context, a admin.Action, ids []string, w io.Writer) error {
	cfg, f, err := q.selected(ids)
	if err != nil {
		return err
	}
	out := json.NewEncoder(w)
	seen, failed, due := map[string]bool{}, 0, int64(0)
	var before []relay.LaneState
	if a == admin.Retry && !q.json {
		before = lanes(ctx, cfg)
	}
	err = client(cfg).Act(ctx, a, f, q.all, func(o admin.Outcome) error {
		seen[o.ID] = true
		if o.Due > 0 {
			due++
		}
		if o.Error != "" {
			failed++
		}
		if q.json {
			return out.Encode(o)
		}
		_, err := fmt.Fprintln(w, outcomeText(a, o))
		return err
	})
	if errors.Is(err, admin.ErrNotRunning) {
		return fmt.Errorf("%w; start it to change its queue", err)
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !seen[id] {
			failed++
			fmt.Fprintf(w, "%s  is not in the queue\n", id)
		}
	}
	if len(seen) == 0 && !q.json {
		fmt.Fprintln(w, "no message is selected")
	}
	if err := resumed(ctx, cfg, w, before, due); err != nil {
		return err
	}
	if failed > 0 {
		return &exitError{code: exitFailure}
	}
	return nil
}

// selected is prepare for an action, which wants something that selects its messages.
func (q *queueFlags) selected(ids []string) (*config.Config, relay.QueueFilter, error) {
	cfg, f, err := q.prepare(ids)
	if err == nil && !q.all && !admin.Selects(f) {
		err = &exitError{exitUsage, errors.New("nothing selects the messages; give ids, a filter, or --all")}
	}
	return cfg, f, err
}

// outcomeText says in a line what became of a message.
func outcomeText(a admin.Action, o admin.Outcome) string {
	done := map[admin.Action]string{
		admin.Retry: "to be tried now", admin.Hold: "held", admin.Release: "released", admin.Drop: "dropped",
	}[a]
	switch {
	case o.Error != "":
		return o.ID + "  failed: " + printable(o.Error)
	case o.Recipients == 0 && o.Due > 0:
		return o.ID + "  due already: " + count(int64(o.Due), "recipient")
	case o.Recipients == 0:
		return o.ID + "  nothing to " + string(a)
	}
	return o.ID + "  " + done + ": " + count(int64(o.Recipients), "recipient")
}

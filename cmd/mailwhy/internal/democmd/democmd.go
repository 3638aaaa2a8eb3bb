// Package democmd is `mailwhy demo`: it starts an upstream and a relay, sends a handful of messages through
// them, and shows what became of each and why. The relay is the one that serve runs, the upstream that of
// practice; what is shown is read from the delivery log and from what the upstream received, so that the
// demo can show nothing that did not happen.
package democmd

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/practicecmd"
	"mailwhy/cmd/mailwhy/internal/terminal"
	"mailwhy/config"
	"mailwhy/relay/app"
	"mailwhy/relay/record"
	"mailwhy/relay/smtptest"
)

// patience bounds the demo: a relay that has not finished by then is broken.
const patience = 45 * time.Second

// Options are what the command needs of the others.
type Options struct {
	// Relay makes a relay as serve does.
	Relay func(*config.Config, io.Writer) (*app.Relay, error)
	// UntilSignal is a context that ends at SIGINT or SIGTERM.
	UntilSignal func(context.Context) (context.Context, context.CancelFunc)
}

// New is the command.
func New(o Options) *cobra.Command {
	var keep, full bool
	color := terminal.Auto
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole relay at work, on this machine only",
		Long: `Starts a practice upstream and a relay on free ports with a temporary spool, sends a handful
of messages through the relay, and shows what became of each, why, and who must act; then a line of the
delivery log and one bounce. One message is accepted first and refused later, as with most providers: the
upstream's webhook reports it, and the refusal is explained like the others. It needs no configuration,
and nothing leaves this machine.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := o.UntilSignal(c.Context())
			defer stop()
			out := c.OutOrStdout()
			d := &demo{o: o, out: out, width: textWidth(out), color: color.On(out), full: full}
			return d.run(ctx, keep)
		},
	}
	c.Flags().BoolVar(&keep, "keep", false,
		"go on running until interrupted, for an application to be pointed at")
	c.Flags().BoolVar(&full, "full", false, "show the whole log and a bounce as it is sent")
	c.Flags().Var(&color, "color", "colours: auto, always, never")
	return c
}

// The narrowest and the widest text: wider lines are hard to read.
const minWidth, maxWidth, defaultWidth = 72, 120, 80

// textWidth is how wide the text becomes.
func textWidth(out io.Writer) int {
	if w := terminal.Width(out); w > 0 {
		return max(minWidth, min(w, maxWidth))
	}
	return defaultWidth
}

// demo is a demo under way.
type demo struct {
	o           Options
	out         io.Writer
	width       int
	color, full bool

	dir      string
	upstream *smtptest.Server
	later    *practicecmd.Events // what the upstream reports by webhook
	webhooks string              // the relay's address for it
	relay    *app.Relay
	lines    []record.Event // of the delivery log
	raw      []string       // the same as they stand there
}

// run is the whole demo.
func (d *demo) run(ctx context.Context, keep bool) (err error) {
	if d.dir, err = os.MkdirTemp("", "mailwhy-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.dir)
	if err := d.makeUpstream(); err != nil {
		return err
	}
	defer d.upstream.Close()
	defer d.later.Close()
	if err := d.makeRelay(); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.relay.Run(running) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	if err := d.exchange(ctx); err != nil {
		return err
	}
	if err := d.show(); err != nil {
		return err
	}
	if keep {
		d.explainKeep()
		<-ctx.Done()
	}
	return nil
}

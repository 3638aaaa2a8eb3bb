// Command mailwhy is an SMTP relay sidecar that explains every refusal.
//
// Each subcommand has a file of its own, with its flags, what it prints and its exit status. What the
// commands do is elsewhere: relay/app is the relay that serve and demo run, internal/explain reads bounces
// and logs for diagnose.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/authcmd"
	"mailwhy/cmd/mailwhy/internal/checkcmd"
	"mailwhy/cmd/mailwhy/internal/cpu"
	"mailwhy/cmd/mailwhy/internal/democmd"
	"mailwhy/cmd/mailwhy/internal/dkimcmd"
	"mailwhy/cmd/mailwhy/internal/erasecmd"
	"mailwhy/cmd/mailwhy/internal/feedbackcmd"
	"mailwhy/cmd/mailwhy/internal/hint"
	"mailwhy/cmd/mailwhy/internal/policycmd"
	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/cmd/mailwhy/internal/rewritecmd"
	"mailwhy/cmd/mailwhy/internal/routecmd"
	"mailwhy/cmd/mailwhy/internal/sendmailcmd"
	"mailwhy/cmd/mailwhy/internal/suppresscmd"
	"mailwhy/cmd/mailwhy/internal/tokencmd"
	"mailwhy/cmd/mailwhy/internal/versioncmd"
	"mailwhy/cmd/mailwhy/internal/webhookcmd"
	"mailwhy/config"
	"mailwhy/relay/admin"
	"mailwhy/relay/app"
	"mailwhy/relay/app/build"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		cpu.RelaxTimers()
	}
	os.Exit(run(sendmailcmd.Args(os.Args[0], os.Args[1:]), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command. It returns the exit status: 0, 1 for a failure at run time, 2 for a mistake in
// usage or configuration.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	began := false
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	err := root.ExecuteContext(context.Background())
	status := exitStatus(stderr, err, began)
	if err != nil && !began {
		for _, h := range hint.Of(root, args, err) {
			fmt.Fprintf(stderr, "mailwhy: hint: %s\n", h)
		}
	}
	return status
}

// newRootCommand is mailwhy with all of its subcommands.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mailwhy",
		Short: "An SMTP relay that explains every refusal",
		Long: `mailwhy takes an application's mail and relays it to your provider or smarthost. For every
refusal it says what it means and what to do about it, in the delivery log and in the bounce.

  mailwhy demo                                   see all of it work, on this machine alone
  mailwhy diagnose '550 5.1.1 user unknown'      explain one reply
  mailwhy serve --upstream smtp://mail.example.com:587?tls=starttls`,
		Version:       build.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetVersionTemplate("mailwhy {{.Version}}\n")
	root.AddCommand(
		newServeCommand(),
		newDiagnoseCommand(),
		newGuideCommand(),
		newCheckCommand(),
		routecmd.New(routecmd.Options{
			Usage:  func(err error) error { return &exitError{exitUsage, err} },
			Failed: &exitError{code: exitFailure},
			Load: func(file string) (*config.Config, error) {
				return config.Load(config.Source{File: file, Env: environ()})
			},
		}),
		policycmd.New(policycmd.Options{
			Usage: func(err error) error { return &exitError{exitUsage, err} },
			Load: func(file string) (*config.Config, error) {
				return config.Load(config.Source{File: file, Env: environ()})
			},
		}),
		rewritecmd.New(rewritecmd.Options{
			Usage: func(err error) error { return &exitError{exitUsage, err} },
			Load: func(file string) (*config.Config, error) {
				return config.Load(config.Source{File: file, Env: environ()})
			},
		}),
		newQueueCommand(),
		newLogCommand(),
		newDSNCommand(),
		newHealthCommand(),
		newFeedbackCommand(),
		newWebhookCommand(),
		newSuppressCommand(),
		newEraseCommand(),
		newTokenCommand(),
		authcmd.New(authcmd.Options{
			Usage: func(err error) error { return &exitError{exitUsage, err} },
			Load:  func(file string) (*config.Config, error) { return (&local{file: file}).load() },
		}),
		dkimcmd.New(dkimcmd.Options{
			Usage: func(err error) error { return &exitError{exitUsage, err} }, Now: time.Now,
		}),
		newHashPasswordCommand(),
		versioncmd.New(),
		newSendmailCommand(),
		newPracticeCommand(),
		democmd.New(democmd.Options{UntilSignal: untilFirstSignal,
			Relay: func(cfg *config.Config, out io.Writer) (*app.Relay, error) {
				return newRelay(cfg, out, slog.New(slog.DiscardHandler))
			},
		}),
	)
	return root
}

// newCheckCommand is check, which takes the flags of serve.
func newCheckCommand() *cobra.Command {
	var s settings
	return checkcmd.New(checkcmd.Options{
		Usage:  func(err error) error { return &exitError{exitUsage, err} },
		Failed: &exitError{code: exitFailure},
		Flags:  s.register,
		Load:   func(c *cobra.Command) (*config.Config, error) { return config.Load(s.source(c)) },
	})
}

// newFeedbackCommand is feedback, which speaks to the relay that runs.
func newFeedbackCommand() *cobra.Command {
	var l local
	return feedbackcmd.New(feedbackcmd.Options{Options: l.options(),
		TempFail: func(err error) error { return &exitError{exitTempFail, err} },
		SendBack: func(err error) error { return &exitError{exitDataErr, err} },
	})
}

// newWebhookCommand is webhook, which speaks to the relay that runs.
func newWebhookCommand() *cobra.Command {
	var l local
	return webhookcmd.New(l.options())
}

// newSendmailCommand is sendmail, which takes the place of /usr/sbin/sendmail.
func newSendmailCommand() *cobra.Command {
	return sendmailcmd.New(sendmailcmd.Options{
		Exit:   func(status int, err error) error { return &exitError{status, err} },
		Load:   func(file string) (*config.Config, error) { return (&local{file: file}).load() },
		File:   "/etc/mailwhy/relay.toml",
		Socket: "/run/mailwhy/smtp.sock",
		Syslog: sendmailcmd.Syslog,
		Now:    time.Now,
	})
}

// newSuppressCommand is suppress, which speaks to the relay that runs.
func newSuppressCommand() *cobra.Command {
	var l local
	return suppresscmd.New(suppresscmd.Options{Options: l.options(), Failed: &exitError{code: exitFailure}})
}

// newTokenCommand is token, which changes the tokens file.
func newTokenCommand() *cobra.Command {
	var l local
	return tokencmd.New(tokencmd.Options{Options: l.options(), Now: time.Now})
}

// newEraseCommand is erase, which speaks to the relay that runs.
func newEraseCommand() *cobra.Command {
	var l local
	return erasecmd.New(l.options())
}

// The exit statuses.
const (
	exitFailure = 1 // a failure at run time
	exitUsage   = 2 // a mistake in usage or configuration

	exitTempFail = 75 // EX_TEMPFAIL of sysexits.h: a mail server keeps the mail and tries again
	exitDataErr  = 65 // what came is not for us, and is to be sent back (sysexits.h)
)

// exitError is an error that chooses the exit status. With a nil err nothing is printed: all was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitStatus prints err, a line for each mistake that it joins, and returns the exit status. An error met
// before the subcommand began is a mistake of usage.
func exitStatus(stderr io.Writer, err error, began bool) int {
	if err == nil {
		return 0
	}
	status := exitFailure
	if !began {
		status = exitUsage
	}
	var chosen *exitError
	if errors.As(err, &chosen) {
		status = chosen.code
	}
	if text := err.Error(); text != "" {
		for line := range strings.Lines(text) {
			fmt.Fprintf(stderr, "mailwhy: error: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	return status
}

// untilSignal is a context that ends at SIGINT or SIGTERM, or when stop is called. Only a command with
// something to finish or to remove asks for it: serve, practice and demo. Every other one leaves the signals
// to the system, so that it dies of them at once, whatever it computes or waits for, with the status that a
// shell expects of that.
func untilSignal(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// untilFirstSignal is like untilSignal, but the second signal ends the process at once.
func untilFirstSignal(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	ctx, stop = untilSignal(ctx)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// beforeDeath runs cleanup when SIGINT or SIGTERM comes, before the process dies of it, until stop is called.
func beforeDeath(cleanup func()) (stop func()) {
	signals, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			cleanup()
			signal.Reset(s)
			syscall.Kill(os.Getpid(), s.(syscall.Signal))
		case <-stopped:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(stopped)
	}
}

// local are the flags of the commands that speak to a relay on this machine.
type local struct{ file, spool string }

// register adds the flags to a command and those below it.
func (l *local) register(c *cobra.Command) {
	c.PersistentFlags().StringVarP(&l.file, "config", "c", "", "configuration `file` of the relay")
	c.PersistentFlags().StringVar(&l.spool, "spool", "", "spool `directory` of the relay")
}

// options are what a command needs that finds its relay by these flags.
func (l *local) options() relaycmd.Options {
	return relaycmd.Options{Flags: l.register, Load: l.load,
		Usage: func(err error) error { return &exitError{exitUsage, err} }}
}

// load reads what the configuration says of the relay's spool and control socket.
func (l *local) load() (*config.Config, error) {
	src := config.Source{File: l.file, Env: environ(), Local: true}
	if l.spool != "" {
		src.Flags = []config.Flag{{Name: "--spool", Key: "spool.dir", Value: l.spool}}
	}
	cfg, err := config.Load(src)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return cfg, nil
}

// client is a client of the relay that the configuration describes.
func client(cfg *config.Config) *admin.Client { return admin.NewClient(cfg.Admin.Socket) }

// environ is the environment with the settings in it, without the variables that are none.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == cpu.Switch || name == sendmailcmd.Variable
	})
}

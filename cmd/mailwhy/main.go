// Command mailwhy is an SMTP relay sidecar that explains every refusal.
//
// Each subcommand has a file of its own, with its flags, what it prints and its exit status. What the commands do is
// elsewhere: relay/app is the relay that serve and demo run, internal/explain reads bounces and logs for diagnose.
package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/cpu"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		cpu.RelaxTimers()
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command. It returns the exit status: 0, 1 for trouble at run time, 2 for a mistake in usage or
// configuration.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	began := false
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	return exitStatus(stderr, root.ExecuteContext(context.Background()), began)
}

// newRootCommand is mailwhy with all of its subcommands.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mailwhy",
		Short: "An SMTP relay that explains every refusal",
		Long: `mailwhy takes an application's mail, relays it to your provider or smarthost, and says of every refusal
what it means and what to do about it: in the delivery log and in the bounce.

  mailwhy demo                                   see all of it work, on this machine alone
  mailwhy diagnose '550 5.1.1 user unknown'      explain one reply
  mailwhy serve --upstream smtp://mail.example.com:587?tls=starttls`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newServeCommand(),
		newDiagnoseCommand(),
		newGuideCommand(),
		newCheckCommand(),
		newQueueCommand(),
		newLogCommand(),
		newDSNCommand(),
		newHealthCommand(),
		newHashPasswordCommand(),
		newPracticeCommand(),
		newDemoCommand(),
	)
	return root
}

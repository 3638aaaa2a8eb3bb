// Package rewritecmd is `mailwhy rewrite`: what mail would look like when it leaves, and which rules make it
// so. It reads the file and prints; relay/app knows what is changed.
package rewritecmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/app/outgoing"
	"mailwhy/relay/app/query"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	Usage func(error) error                         // marks a mistake of whoever typed the command
	Load  func(file string) (*config.Config, error) // reads the configuration; "" is the environment's
}

// New is the command.
func New(o Options) *cobra.Command {
	var file string
	var q query.Rewrite
	var asJSON bool
	c := &cobra.Command{
		Use:   "rewrite FILE --from ADDRESS --to ADDRESS",
		Short: "Show a message as it would be sent, and which rules change it",
		Long: `Reads a message from a file, or from standard input if FILE is "-", and prints it as the
relay would send it: repaired, rewritten, redirected and signed, with the envelope, the upstream and the
rules that match. Nothing is sent, and no connection is made, so changes that depend on the upstream's EHLO
are not shown, nor is the Received field.

  mailwhy rewrite -c relay.toml mail.eml --from app@shop.example --to joe@there.example
  mailwhy rewrite -c relay.toml - --from '<>' --to joe@there.example --client crm < mail.eml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return o.Usage(errors.New(`name the file with the mail, or "-" for standard input`))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := o.Load(file)
			if err == nil {
				q.Content, err = read(args[0], c.InOrStdin())
			}
			var list []outgoing.Leaving
			if err == nil {
				list, err = q.Leaving(cfg, slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil)))
			}
			if err != nil {
				return o.Usage(err)
			}
			if notice := cfg.Sandbox.Notice(); notice != "" {
				fmt.Fprintln(c.ErrOrStderr(), "mailwhy: warning:", notice)
			}
			return printAll(c.OutOrStdout(), list, asJSON)
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration `file` (see relay.example.toml)")
	f.StringVar(&q.From, "from", "", "envelope sender; <> is the null sender")
	f.StringArrayVar(&q.To, "to", nil, "recipient; may be given several times")
	f.StringVar(&q.Client, "client", "", "name of the [[client]]")
	f.StringVar(&q.User, "user", "", "user name that the client logged in with")
	f.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

// read reads the mail, with the line ends that it is sent with.
func read(name string, stdin io.Reader) (b []byte, err error) {
	if name == "-" {
		b, err = io.ReadAll(stdin)
	} else {
		b, err = os.ReadFile(name)
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), err
}

// printAll prints what would leave.
func printAll(w io.Writer, list []outgoing.Leaving, asJSON bool) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for i := range list {
		if !asJSON {
			io.WriteString(w, text(&list[i], i == 0))
			continue
		}
		if err := out.Encode(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// text is one message for people.
func text(l *outgoing.Leaving, first bool) string {
	var b strings.Builder
	if !first {
		b.WriteString("\n")
	}
	or := func(list []string) string {
		if len(list) == 0 {
			return "none"
		}
		return strings.Join(list, ", ")
	}
	fmt.Fprintf(&b, "upstream  %s\nrules     %s\nchanged   %s\nfrom      <%s>\n", l.Upstream, or(l.Rules),
		or(l.Changed), l.From)
	for _, to := range l.To {
		fmt.Fprintf(&b, "to        <%s>", to.Address)
		if len(to.Given) > 0 {
			fmt.Fprintf(&b, ", for <%s>", strings.Join(to.Given, ">, <"))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%s", strings.ReplaceAll(l.Content, "\r\n", "\n"))
	return b.String()
}

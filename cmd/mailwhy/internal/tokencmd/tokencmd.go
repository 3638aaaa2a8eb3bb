// Package tokencmd is `mailwhy token`: the tokens with which programs use the HTTP API and people the page.
// It changes the tokens file, which a running relay reads at every request; none need run.
package tokencmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/config/value"
	"mailwhy/relay/admin/access"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	relaycmd.Options
	Now func() time.Time // wall clock
}

// flags are the flags of the command.
type flags struct {
	o       Options
	json    bool
	scopes  []string
	expires string
}

// New is the command.
func New(o Options) *cobra.Command {
	f := &flags{o: o}
	c := &cobra.Command{
		Use:   "token",
		Short: "Make and revoke tokens for the HTTP API and the page",
		Long: `A token lets a program use the HTTP API, and a person the page. It is shown
once, when it is made; the tokens file (admin.tokens_file) has only its hash. A running relay takes every
change up at once.

  mailwhy token create grafana --scope read
  mailwhy token create shop --scope diagnose --expires 90d
  mailwhy token list
  mailwhy token revoke shop

The scopes:
  diagnose   have replies explained and policies tested; nothing of the mail is seen
  events     follow the stream of events
  read       see everything: includes diagnose and events
  write      change things, too: includes all others`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	o.Flags(c)
	c.AddCommand(f.newCreate(), f.newList(), f.newRevoke())
	return c
}

// newCreate is the command create.
func (f *flags) newCreate() *cobra.Command {
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print it", Args: cobra.ExactArgs(1),
		Long: `Makes a token and prints it on standard output. It cannot be shown again. The name appears in
the log beside what the token was used to change.`,
		RunE: func(c *cobra.Command, args []string) error {
			return f.create(args[0], c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringSliceVar(&f.scopes, "scope", []string{"read"}, "`scopes`: diagnose, events, read, write")
	c.Flags().StringVar(&f.expires, "expires", "", "valid for a `duration`, 90d, or until a time; default: "+
		"until it is revoked")
	return c
}

// newList is the command list.
func (f *flags) newList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List the tokens, without their secrets", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.list(c.OutOrStdout()) },
	}
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
	return c
}

// newRevoke is the command revoke.
func (f *flags) newRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME...", Short: "Make tokens useless at once", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.revoke(args, c.OutOrStdout()) },
	}
}

// create makes a token.
func (f *flags) create(name string, w, hints io.Writer) error {
	scopes, err := access.ParseScopes(f.scopes)
	if err != nil {
		return f.o.Usage(fmt.Errorf("--scope: %w", err))
	}
	now := f.o.Now()
	expires, err := f.expiry(now)
	if err != nil {
		return f.o.Usage(err)
	}
	cfg, err := f.o.Load()
	if err != nil {
		return err
	}
	secret, err := access.Create(cfg.Admin.TokensFile, name, scopes, now, expires)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; start the relay first, which makes its spool directory, or make it yourself",
			err)
	} else if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, secret); err != nil {
		return err
	}
	fmt.Fprintf(hints, "This is the token %q, scope %s. It is not shown again. A request sends it as\n"+
		"  Authorization: Bearer TOKEN\n", name, scopeText(scopes))
	if cfg.Admin.Listen == "" {
		fmt.Fprintln(hints, "The API answers over TCP once admin.listen is set: see docs/api.md.")
	}
	return nil
}

// expiry is when --expires says that the token ends; zero: never.
func (f *flags) expiry(now time.Time) (time.Time, error) {
	if f.expires == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, f.expires)
	if err != nil {
		d, errDuration := value.ParseDuration(f.expires)
		if errDuration != nil {
			return at, fmt.Errorf("--expires %q: write a duration, as 90d or 12h, or a time as "+
				"2027-11-29T12:00:00Z", f.expires)
		}
		at = now.Add(d)
	}
	if !at.After(now) {
		return at, fmt.Errorf("--expires %s is not in the future", f.expires)
	}
	return at, nil
}

// listed is a token as list prints it: without its hash.
type listed struct {
	Name    string         `json:"name"`
	Scopes  []access.Scope `json:"scopes"`
	Created time.Time      `json:"created"`
	Expires time.Time      `json:"expires,omitzero"`
	Expired bool           `json:"expired,omitempty"`
}

// list prints the tokens.
func (f *flags) list(w io.Writer) error {
	cfg, err := f.o.Load()
	if err != nil {
		return err
	}
	list, err := access.List(cfg.Admin.TokensFile)
	if err != nil {
		return err
	}
	if f.json {
		for _, t := range list {
			l := listed{t.Name, t.Scopes, t.Created, t.Expires, t.Expired(f.o.Now())}
			if err := json.NewEncoder(w).Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "There are no tokens; mailwhy token create NAME makes one.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSCOPES\tCREATED\tEXPIRES")
	for i := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", list[i].Name, scopeText(list[i].Scopes),
			list[i].Created.Format(time.RFC3339), expiryText(&list[i], f.o.Now()))
	}
	return t.Flush()
}

// expiryText says when a token ends.
func expiryText(t *access.Token, now time.Time) string {
	switch {
	case t.Expires.IsZero():
		return "never"
	case t.Expired(now):
		return t.Expires.Format(time.RFC3339) + " (expired)"
	}
	return t.Expires.Format(time.RFC3339)
}

// revoke removes tokens.
func (f *flags) revoke(names []string, w io.Writer) error {
	cfg, err := f.o.Load()
	if err != nil {
		return err
	}
	if err := access.Revoke(cfg.Admin.TokensFile, names...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "revoked: %s\n", strings.Join(names, ", "))
	return err
}

// scopeText names scopes for people.
func scopeText(scopes []access.Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ",")
}

// Package checkcmd is `mailwhy check`: what is in force, and whether the world agrees with it. It prints;
// relay/app and relay/check do the checking.
package checkcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/app"
	"mailwhy/relay/app/query"
	"mailwhy/relay/check"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	Usage  func(error) error                            // marks a mistake of whoever typed the command
	Failed error                                        // says that there is a failure among the lines
	Flags  func(*cobra.Command)                         // adds the flags that choose a configuration
	Load   func(*cobra.Command) (*config.Config, error) // reads the configuration that they choose
}

// New is the command.
func New(o Options) *cobra.Command {
	var on online
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration, the sender domains and the upstreams",
		Long: `Reads the configuration as serve would, with the files that it names, and prints every setting
in force and where it comes from; secrets are left out. Nothing is started, changed or connected to.

With --dns it goes on to the sender domains: whether SPF, DKIM and DMARC let mail pass through each
upstream, and which record to publish if not. The domains are those that the configuration names (the
domains of upstreams, the senders of clients and routes), and those of --from. It asks DNS and nobody
else.

With --connect it goes on to the upstreams: it connects, starts TLS and logs in as the relay would, and
asks whether each sender, the null sender and the recipient of --to would be taken. A message is sent
only with --send. Of a spool on PostgreSQL it says whether a promotion could lose mail.

Each line is ok, a warning or a failure, with the fix. The exit status is 1 when there is a failure, and
2 when there are mistakes in the configuration; all of them are listed.

  mailwhy check -c relay.toml
  mailwhy check -c relay.toml --dns --connect --from app@shop.example --to me@there.example
  mailwhy check -c relay.toml --dns --dkim-selector ses=abcdef --return-path ses=bounce.shop.example`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := o.Load(c)
			if err == nil {
				err = app.Check(cfg)
			}
			if err == nil {
				err = on.validate(cfg)
			}
			if err != nil {
				return o.Usage(err)
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "mailwhy: warning:", w)
			}
			if !on.wanted() {
				for _, n := range cfg.DropIn {
					fmt.Fprintln(c.OutOrStdout(), "#", n)
				}
				return errors.Join(cfg.Write(c.OutOrStdout()), query.WriteSetUp(c.OutOrStdout(), cfg))
			}
			lines, err := on.run(c.Context(), cfg)
			if err == nil {
				err = printLines(c.OutOrStdout(), lines, on.json)
			}
			if err == nil && check.Failed(lines) {
				err = o.Failed
			}
			return err
		},
	}
	o.Flags(c)
	on.register(c)
	return c
}

// online is the part of check that asks others.
type online struct {
	dns      bool
	connect  bool
	resolver string
	json     bool
	query    query.Upstreams
	selector []string
	include  []string
	path     []string
}

// register adds the flags to the command.
func (o *online) register(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&o.dns, "dns", false, "check the sender domains in DNS")
	f.BoolVar(&o.connect, "connect", false, "check the upstreams by a session with each")
	f.StringVar(&o.query.Recipient, "to", "", "`address` that --connect asks for as the recipient")
	f.BoolVar(&o.query.Send, "send", false, "send a message from the first sender to --to")
	f.StringVar(&o.resolver, "resolver", "", "DNS server to ask, `host[:port]`; the system's when not given")
	f.StringArrayVar(&o.query.Domains, "from", nil, "sender `domain` or address; may be given several times")
	f.StringVar(&o.query.Upstream, "only", "", "check this upstream and no other, by its `name`")
	f.StringArrayVar(&o.selector, "dkim-selector", nil,
		"selector that an upstream signs with, as `[upstream=]selector`; may be given several times")
	f.StringArrayVar(&o.include, "spf-include", nil,
		"domain of an upstream's SPF record, as `[upstream=]domain`")
	f.StringArrayVar(&o.path, "return-path", nil,
		"domain that an upstream puts into MAIL FROM, as `[upstream=]domain`")
	f.BoolVar(&o.json, "json", false, "print one JSON object a line")
}

// wanted reports whether others are asked at all.
func (o *online) wanted() bool { return o.dns || o.connect }

// validate reads the flags that name upstreams.
func (o *online) validate(cfg *config.Config) error {
	switch q := &o.query; {
	case !o.wanted() && (o.json || o.resolver != "" || q.Upstream != "" || len(q.Domains) > 0):
		return errors.New("--json, --resolver, --only and --from need --dns or --connect")
	case !o.dns && len(o.selector)+len(o.include)+len(o.path) > 0:
		return errors.New("--dkim-selector, --spf-include and --return-path need --dns")
	case !o.connect && (q.Recipient != "" || q.Send):
		return errors.New("--to and --send need --connect")
	case q.Send && q.Recipient == "":
		return errors.New("--send needs --to")
	}
	names := []string{o.query.Upstream}
	o.query.Selectors = map[string][]string{}
	for _, v := range o.selector {
		name, selector := cutName(v)
		names = append(names, name)
		o.query.Selectors[name] = append(o.query.Selectors[name], selector)
	}
	o.query.Include, o.query.ReturnPath = map[string]string{}, map[string]string{}
	for _, list := range []struct {
		from []string
		to   map[string]string
	}{{o.include, o.query.Include}, {o.path, o.query.ReturnPath}} {
		for _, v := range list.from {
			name, domain := cutName(v)
			names = append(names, name)
			list.to[name] = strings.ToLower(strings.TrimSuffix(domain, "."))
		}
	}
	for _, name := range names {
		if name != "" && cfg.Upstream[name] == nil {
			return fmt.Errorf("there is no upstream %q", name)
		}
	}
	return nil
}

// cutName parts "upstream=value"; the name is empty without one.
func cutName(s string) (name, value string) {
	if name, value, ok := strings.Cut(s, "="); ok {
		return name, value
	}
	return "", s
}

// run asks others.
func (o *online) run(ctx context.Context, cfg *config.Config) (lines []check.Line, err error) {
	dns, err := query.Resolver(o.resolver)
	if err != nil && o.dns {
		return nil, err
	}
	if o.connect {
		if err == nil {
			o.query.DNS = dns
		}
		if lines, err = query.CheckUpstreams(ctx, cfg, &o.query); err != nil {
			return nil, err
		}
		lines = append(query.CheckSpool(ctx, cfg), lines...)
	}
	if o.dns {
		lines = append(lines, query.CheckSenders(ctx, cfg, dns, &o.query.Senders)...)
		lines = append(lines, query.CheckReturnPath(ctx, cfg, dns)...)
	}
	return lines, nil
}

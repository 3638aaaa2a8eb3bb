package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/accept"
	"mailwhy/relay/app"
)

func newRouteCommand() *cobra.Command {
	var file string
	var q app.RouteQuery
	var asJSON bool
	c := &cobra.Command{
		Use:   "route --from ADDRESS --to ADDRESS",
		Short: "Say which upstreams mail would go to, and why",
		Long: `Says by the configuration which route the mail for a recipient takes, which of its keys fit,
and which upstreams it may go to, in order of preference. A relay passes over one that is paused,
or has had its mail of the day. Nothing is sent or connected to.

The exit status is 1 when no upstream may send the mail.

  mailwhy route -c relay.toml --from app@shop.example --to joe@there.example
  mailwhy route -c relay.toml --from '<>' --to joe@there.example --header 'List-Id: <news>'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Source{File: file, Env: environ()})
			var routes []accept.Route
			if err == nil {
				routes, err = q.Routes(cfg)
			}
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			return printRoutes(c.OutOrStdout(), q.To, routes, asJSON)
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration `file` (see relay.example.toml)")
	f.StringVar(&q.From, "from", "", "envelope sender; <> is the null sender")
	f.StringArrayVar(&q.To, "to", nil, "recipient; may be given several times")
	f.StringVar(&q.Client, "client", "", "name of the client network")
	f.StringVar(&q.User, "user", "", "name that the client authenticated with")
	f.StringArrayVar(&q.Headers, "header", nil, "header field of the mail, as \"Name: value\"")
	f.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

// routeAnswer is the way to one recipient.
type routeAnswer struct {
	To        string   `json:"to"`
	Route     string   `json:"route,omitempty"`
	Reason    string   `json:"reason"`
	Upstreams []string `json:"upstreams,omitempty"` // in order of preference
}

// printRoutes prints the ways to recipients. That there is none is a failure.
func printRoutes(w io.Writer, to []string, routes []accept.Route, asJSON bool) error {
	status := error(nil)
	for i, r := range routes {
		if len(r.Upstreams) == 0 {
			status = &exitError{code: exitFailure}
		}
		a := routeAnswer{To: to[i], Route: r.Rule, Reason: r.Reason, Upstreams: r.Upstreams}
		if a.Reason == "" {
			a.Reason = "the only route"
		}
		if !asJSON {
			fmt.Fprint(w, a.text())
			continue
		}
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\n", b)
	}
	return status
}

// text is the answer for people.
func (a *routeAnswer) text() string {
	upstreams := strings.Join(a.Upstreams, ", then ")
	if upstreams == "" {
		upstreams = "none: the mail is refused"
	}
	why := a.Reason
	if a.Route != "" {
		why = a.Route + ": " + a.Reason
	}
	return fmt.Sprintf("%s\n  route      %s\n  upstreams  %s\n", a.To, why, upstreams)
}

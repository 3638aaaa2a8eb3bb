package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Route says which upstreams mail goes to. Mail takes the first route of which every key that is given fits;
// the last route has none, and takes the rest.
type Route struct {
	Name       string   `toml:"name"`       // for the log; "route N" when empty
	Senders    []string `toml:"senders"`    // of the envelope
	Recipients []string `toml:"recipients"` // each recipient takes its own way
	Clients    []string `toml:"clients"`    // names of client networks or users
	Users      []string `toml:"users"`      // that authenticated
	Headers    []string `toml:"headers"`    // "Name: text in the value", or "Name" for any value
	Upstreams  []string `toml:"upstreams"`  // in order of preference
}

// completeRoutes names the routes, and makes the one that a single upstream needs.
func (c *Config) completeRoutes() {
	if len(c.Route) == 0 && len(c.Upstream) == 1 {
		c.Route = []Route{{Upstreams: sortedKeys(reflect.ValueOf(c.Upstream))}}
	}
	for i := range c.Route {
		if c.Route[i].Name == "" {
			c.Route[i].Name = fmt.Sprintf("route %d", i+1)
		}
	}
}

// conditional reports whether the route has a key.
func (r *Route) conditional() bool {
	return len(r.Senders)+len(r.Recipients)+len(r.Clients)+len(r.Users)+len(r.Headers) > 0
}

// validateRoutes checks that all mail has one way.
func (c *Config) validateRoutes(report reportFunc) {
	names := sortedKeys(reflect.ValueOf(c.Upstream))
	if len(c.Route) == 0 && len(names) > 1 {
		report("route", "is not set, but there are several upstreams: "+strings.Join(names, ", "),
			fmt.Sprintf("add [[route]] with upstreams = [%q, %q] to try them in this order, or a route "+
				"for each; flags and MAILWHY_UPSTREAM_... set %q", names[0], names[1], defaultUpstream))
		return
	}
	seen := map[string]bool{}
	for i := range c.Route {
		r := &c.Route[i]
		path := fmt.Sprintf("route[%d]", i)
		if seen[r.Name] {
			report(path+".name", fmt.Sprintf("%q is listed twice", r.Name), "")
		}
		seen[r.Name] = true
		last := i == len(c.Route)-1
		switch {
		case last && r.conditional():
			report(path, "is the last route and has conditions, so some mail would have no way",
				"add a last [[route]] with upstreams alone")
		case !last && !r.conditional():
			report(path, "has no conditions, so no route after it is ever used", "put it last")
		}
		c.validateRoute(path, r, report)
	}
	c.warnUnused(names)
}

// validateRoute checks one route.
func (c *Config) validateRoute(path string, r *Route, report reportFunc) {
	if len(r.Upstreams) == 0 {
		report(path+".upstreams", "is empty", `name the upstreams, as in ["ses", "smarthost"]`)
	}
	for i, name := range r.Upstreams {
		key := fmt.Sprintf("%s.upstreams[%d]", path, i)
		if c.Upstream[name] == nil {
			report(key, fmt.Sprintf("there is no upstream %q", name),
				fmt.Sprintf("add [upstream.%s], or use one of %s", name,
					strings.Join(sortedKeys(reflect.ValueOf(c.Upstream)), ", ")))
		} else if slices.Contains(r.Upstreams[:i], name) {
			report(key, fmt.Sprintf("%q is listed twice", name), "")
		}
	}
	checkPatterns(path+".senders", r.Senders, report)
	checkPatterns(path+".recipients", r.Recipients, report)
	for i, h := range r.Headers {
		name, _, _ := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); name == "" || strings.ContainsAny(name, " \t") {
			report(fmt.Sprintf("%s.headers[%d]", path, i), fmt.Sprintf("%q does not name a header field", h),
				`write "X-Stream: bulk", or "List-Id" for any value`)
		}
	}
}

// warnUnused warns of upstreams that no route names.
func (c *Config) warnUnused(names []string) {
	for _, name := range names {
		used := slices.ContainsFunc(c.Route, func(r Route) bool { return slices.Contains(r.Upstreams, name) })
		if !used {
			c.Warnings = append(c.Warnings,
				upstreamSection+"."+name+" is named by no route: it gets no mail")
		}
	}
}

// validateDomains checks the sender domains of an upstream.
func (u *Upstream) validateDomains(path string, report reportFunc) {
	for i, d := range u.Domains {
		if !validHost(strings.TrimPrefix(d, ".")) {
			report(fmt.Sprintf("%s.domains[%d]", path, i), fmt.Sprintf("%q is not a domain", d),
				`write "example.com", or ".example.com" for its subdomains`)
		}
	}
}

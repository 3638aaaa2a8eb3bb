package query

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/relay/check"
	"mailwhy/relay/check/senders"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/preset"
)

// dnsTimeout is for each question to each server.
const dnsTimeout = 5 * time.Second

// Resolver asks a DNS server, host or host:port; those of the system when it is empty.
func Resolver(server string) (senders.Resolver, error) {
	if server == "" {
		return dnsclient.System("/etc/resolv.conf", dnsTimeout)
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	return &dnsclient.Client{Servers: []string{server}, Timeout: dnsTimeout}, nil
}

// Senders says what to look at in DNS, beyond what the configuration names.
type Senders struct {
	Domains    []string            // sender domains
	Upstream   string              // only this one; all when empty
	Selectors  map[string][]string // DKIM selectors by the name of the upstream; "" is for all
	Include    map[string]string   // the domain of its SPF record, likewise
	ReturnPath map[string]string   // the domain that it puts into MAIL FROM, likewise
}

// CheckSenders checks each sender domain with each upstream that a route lets its mail go to. The domains are
// those of the query and those that the configuration names.
func CheckSenders(ctx context.Context, cfg *config.Config, dns senders.Resolver,
	q *Senders) []check.Line {
	domains := q.domains(cfg)
	if len(domains) == 0 {
		return []check.Line{{Level: check.Warning, Check: "senders",
			Text: "the configuration names no sender domain, so none was looked up",
			Fix:  "Name them with --from, or as domains of the upstreams."}}
	}
	var lines []check.Line
	c := senders.New(dns)
	for _, domain := range domains {
		var upstreams []senders.Upstream
		for _, name := range slices.Sorted(maps.Keys(cfg.Upstream)) {
			if (q.Upstream == "" || q.Upstream == name) && mayCarry(cfg, name, domain) {
				upstreams = append(upstreams, q.upstream(cfg, name))
			}
		}
		lines = append(lines, c.Check(ctx, domain, upstreams)...)
		if len(upstreams) == 0 && q.Upstream == "" {
			lines = append(lines, check.Line{Level: check.Failure, Check: "route", Domain: domain,
				Text: "no upstream may send mail from this domain",
				Fix:  "Add the domain to the domains of an upstream, or to the senders of a route."})
		}
	}
	return lines
}

// upstream is what is known of an upstream.
func (q *Senders) upstream(cfg *config.Config, name string) senders.Upstream {
	c := cfg.Upstream[name]
	u := senders.Upstream{Name: name, Host: c.Host, Preset: c.Preset, Region: c.Region, User: c.Username,
		Selectors: slices.Concat(q.Selectors[""], q.Selectors[name]),
		Include:   q.Include[name], ReturnPath: q.ReturnPath[name]}
	if p := presetOf(c); p != nil {
		u.Title = p.Title
	}
	if u.Include == "" {
		u.Include = q.Include[""]
	}
	if u.ReturnPath == "" {
		u.ReturnPath = q.ReturnPath[""]
	}
	if u.ReturnPath == "" && slices.Contains(cfg.Feedback.ReturnPath.Upstreams, name) {
		u.ReturnPath = returnDomain(cfg) // its SPF record is the one that counts
	}
	return u
}

// presetOf is the preset of an upstream; nil without.
func presetOf(u *config.Upstream) *preset.Preset {
	set, err := preset.Load()
	if err != nil {
		return nil // the configuration was read with it
	}
	switch u.Type { // an API wants the same records as the provider's SMTP servers
	case "ses-api":
		return set.ByName("ses")
	case "graph":
		return set.ByName("m365")
	}
	return set.ByName(u.Preset)
}

// domains are the sender domains, sorted, each once and in ASCII.
func (q *Senders) domains(cfg *config.Config) (domains []string) {
	named := slices.Concat(q.Domains, cfg.Access.AllowSenders, []string{cfg.DSN.FallbackSender})
	for _, c := range cfg.Client {
		named = append(named, c.Senders...)
	}
	for _, r := range cfg.Route {
		named = append(named, r.Senders...)
	}
	for _, u := range cfg.Upstream {
		named = append(named, u.Domains...)
	}
	for _, n := range named {
		d := n[strings.LastIndexByte(n, '@')+1:]
		if !strings.Contains(strings.TrimPrefix(d, "."), ".") || strings.HasPrefix(d, ".") {
			continue // <>, a list of subdomains, or a name that is not public
		}
		if d, err := address.ToASCII(strings.ToLower(d)); err == nil {
			domains = append(domains, d)
		}
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// mayCarry reports whether mail from a domain can go to an upstream: the upstream may send for it, and a
// route leads there.
func mayCarry(cfg *config.Config, name, domain string) bool {
	if list := cfg.Upstream[name].Domains; len(list) > 0 && !listed(list, domain) {
		return false
	}
	return slices.ContainsFunc(cfg.Route, func(r config.Route) bool {
		return slices.Contains(r.Upstreams, name) && (len(r.Senders) == 0 || listed(r.Senders, domain))
	})
}

// listed reports whether a list of addresses, domains and ".domain" for subdomains has one in this domain.
func listed(list []string, domain string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		d := strings.ToLower(entry[strings.LastIndexByte(entry, '@')+1:])
		if ascii, err := address.ToASCII(d); err == nil {
			d = ascii
		}
		return d == domain || strings.HasPrefix(d, ".") && strings.HasSuffix(domain, d)
	})
}

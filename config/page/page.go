// Package page has the settings of the web page.
package page

import (
	"net/netip"
	"net/textproto"
	"path"
	"regexp"
	"strings"
	"time"
)

// Page is the web page. It is off while Listen is empty, but for the control socket, which always has it.
type Page struct {
	Listen string   `toml:"listen"` // host:port; empty: nowhere
	TLS    string   `toml:"tls" oneof:"none implicit"`
	Hosts  []string `toml:"hosts"` // names by which it is asked for, besides localhost
	Path   string   `toml:"path"`  // prefix of its paths, behind a proxy: "/mail"

	// AuthHeader is the header in which the TrustedProxies name the user; Writers are the users who may
	// change things, "*" all.
	AuthHeader     string         `toml:"auth_header"`
	TrustedProxies []netip.Prefix `toml:"trusted_proxies"`
	Writers        []string       `toml:"writers"`

	SessionIdle time.Duration `toml:"session_idle" min:"1m" max:"24h"`
	SessionMax  time.Duration `toml:"session_max" min:"5m" max:"30d"`

	// History is whether events are remembered for the page; auto: if Listen is set.
	History   string        `toml:"history" oneof:"auto on off"`
	Keep      time.Duration `toml:"keep" min:"1h" max:"365d"`
	MaxEvents int           `toml:"max_events" min:"1000" max:"10000000"`
}

// Default is the page when nothing is set. The history then has at most some 100 MB.
func Default() Page {
	return Page{TLS: "none", SessionIdle: 30 * time.Minute, SessionMax: 12 * time.Hour, History: "auto",
		Keep: 7 * 24 * time.Hour, MaxEvents: 100_000}
}

// Remembers reports whether there is a history.
func (p *Page) Remembers() bool {
	return p.History == "on" || p.History == "auto" && p.Listen != ""
}

// Validate reports what tags cannot say. A key is within the section.
func (p *Page) Validate(report func(key, what, hint string)) {
	if p.Path != "" && (!regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+/?$`).MatchString(p.Path) ||
		path.Clean(p.Path) != strings.TrimSuffix(p.Path, "/")) {
		report("path", `"`+p.Path+`" is not a path`, `write "/mail"`)
	}
	for _, h := range p.Hosts {
		if strings.ContainsAny(h, ":/ ") && !isAddress(h) {
			report("hosts", `"`+h+`" is not a name`,
				`write names alone: "relay.example.com", without port or scheme`)
		}
	}
	switch {
	case p.AuthHeader == "":
	case textproto.TrimString(p.AuthHeader) != p.AuthHeader || strings.ContainsAny(p.AuthHeader, ": \t"):
		report("auth_header", `"`+p.AuthHeader+`" is not the name of a header`, `write "Remote-User"`)
	case len(p.TrustedProxies) == 0:
		report("trusted_proxies", "is not set, but auth_header is: nobody would be believed",
			"write the addresses of the proxies")
	}
	if len(p.Writers) > 0 && p.AuthHeader == "" {
		report("writers", "is set, but auth_header is not", "what a token may do is said when it is made")
	}
	if p.SessionIdle > p.SessionMax {
		report("session_idle", "is longer than session_max", "")
	}
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

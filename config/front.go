package config

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/config/value"
)

// validateFront checks the listeners and who may use them. Together they must not make an open relay.
func (c *Config) validateFront(report reportFunc) {
	exposed := ""
	seen := map[string]bool{}
	for i, l := range c.Listen {
		path := fmt.Sprintf("listen[%d]", i)
		if seen[l.Address] {
			report(path+".address", fmt.Sprintf("%q is listed twice", l.Address), "")
		}
		seen[l.Address] = true
		if l.validate(path, c.TLS.CertFile != "", report); l.exposed() && l.Role != roleBounces {
			exposed = l.Address
		}
	}
	c.validateClients(exposed, report)
	c.warnPatience()
	for name, list := range map[string][]string{
		"allow_senders": c.Access.AllowSenders, "deny_senders": c.Access.DenySenders,
		"allow_recipients": c.Access.AllowRecipients, "deny_recipients": c.Access.DenyRecipients,
	} {
		checkPatterns("access."+name, list, report)
	}
	if c.Access.RequireAuth && !c.Access.hasUsers() {
		report("access.users_file", "is not set, but access.require_auth is",
			"nobody could send; mailwhy hash-password makes the lines of the file")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		report("tls.cert_file", "cert_file and key_file go together", "set both or neither")
	}
	if c.SMTPD.MaxMemory < c.SMTPD.MaxLineLength {
		report("smtpd.max_memory", fmt.Sprintf("is %s, less than smtpd.max_line_length", c.SMTPD.MaxMemory),
			"")
	}
}

// patience is how long the least patient of the known clients wait for the reply to a content: Swift Mailer
// sends it again then.
const patience = 30 * time.Second

// warnPatience warns of a verdict that comes when clients have given up.
func (c *Config) warnPatience() {
	tries := c.Accept.Mode == modeTry ||
		slices.ContainsFunc(c.Listen, func(l Listen) bool { return l.AcceptMode == modeTry }) ||
		slices.ContainsFunc(c.Client, func(cl Client) bool { return cl.AcceptMode == modeTry })
	if tries && c.Accept.TryFor >= patience {
		c.Warnings = append(c.Warnings, fmt.Sprintf("accept.try_for is %s, and some applications give up "+
			"after %s and send their mail again; 10s is a good value", value.FormatDuration(c.Accept.TryFor),
			value.FormatDuration(patience)))
	}
}

// modeTry is the value of accept.mode that offers mail first.
const modeTry = "try"

// CheckUsers returns an error if there are users who can never authenticate, since AUTH is not offered
// without TLS. It is not a mistake to Load, since the rest of the relay works.
func (c *Config) CheckUsers() error {
	inTLS := func(l Listen) bool { return l.TLS != "none" }
	inClear := func(cl Client) bool { return cl.Auth == "clear" }
	if !c.Access.hasUsers() || slices.ContainsFunc(c.Listen, inTLS) ||
		slices.ContainsFunc(c.Client, inClear) {
		return nil
	}
	key := "access.users"
	if c.Access.UsersFile != "" {
		key = "access.users_file"
	}
	return errors.New(key + " is set, but nobody can authenticate: no listener has TLS; " +
		`set tls.cert_file and tls.key_file; or auth = "clear" in a [[client]], for its networks; ` +
		`or leave the users out, and auth = "any" accepts every login of a [[client]]`)
}

// validateAdmin checks where the API is served over TCP.
func (c *Config) validateAdmin(report reportFunc) {
	a := &c.Admin
	if a.Listen != "" && !validListenAddress(a.Listen) {
		report("admin.listen", fmt.Sprintf("%q is not an address to listen on", a.Listen),
			`write "127.0.0.1:8025", "[::1]:8025" or ":8025" for all addresses`)
	}
	if a.TLS == "implicit" && c.TLS.CertFile == "" {
		report("admin.tls", "is implicit, but there is no certificate", "set tls.cert_file and tls.key_file")
	}
	for i, host := range a.Hosts {
		if !validHost(host) {
			report(fmt.Sprintf("admin.hosts[%d]", i), fmt.Sprintf("%q is not a host name", host),
				`write "relay.example.com", without a port`)
		}
	}
	for i, origin := range a.Origins {
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(origin); err != nil {
			report(fmt.Sprintf("admin.origins[%d]", i), fmt.Sprintf("%q is not an origin", origin),
				`write "https://ops.example.com", without a path`)
		}
	}
	if host, _, err := net.SplitHostPort(a.Listen); err == nil && !isLoopback(host) && a.TLS == "none" {
		c.Warnings = append(c.Warnings, fmt.Sprintf("admin.listen = %q: tokens cross the network in clear; "+
			`set admin.tls = "implicit", or let only a proxy with TLS reach it`, a.Listen))
	}
}

// validateContent checks how contents are mended.
func (c *Config) validateContent(report reportFunc) {
	for i, name := range c.Content.DropHeaders {
		path := fmt.Sprintf("content.drop_headers[%d]", i)
		if !regexp.MustCompile(`^[!-9;-~]+$`).MatchString(name) {
			report(path, fmt.Sprintf("%q is not the name of a header field", name),
				`write "Bcc", without a colon`)
		}
		if strings.EqualFold(name, "Received") {
			report(path, "is Received, without which mail in a loop cannot be found", "leave it out")
		}
	}
	if d := c.Content.DefaultDomain; d != "" && (!validHost(d) || strings.HasPrefix(d, "[")) {
		report("content.default_domain", fmt.Sprintf("%q is not a domain", d), `write "example.com"`)
	}
}

// validate checks one listener.
func (l *Listen) validate(path string, certificate bool, report reportFunc) {
	if l.Address == "" {
		report(path+".address", "is not set", `write "127.0.0.1:2525"`)
	} else if socket, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		if !filepath.IsAbs(socket) || len(socket) > maxSocketPath {
			report(path+".address", fmt.Sprintf("%q is not a socket path", l.Address),
				fmt.Sprintf(`write "unix:/run/mailwhy/smtp.sock", at most %d bytes`, maxSocketPath))
		}
	} else if !validListenAddress(l.Address) {
		report(path+".address", fmt.Sprintf("%q is not an address to listen on", l.Address),
			`write "127.0.0.1:2525", "[::1]:2525", ":2525" for all addresses, or "unix:/path"`)
	}
	if _, port, _ := net.SplitHostPort(l.Address); l.Protocol == "lmtp" && port == "25" {
		report(path+".protocol", "is lmtp on port 25, which is that of SMTP",
			"choose another port, such as 24 (RFC 2033, 5)")
	}
	if l.Role == roleBounces && l.AcceptMode == modeTry {
		report(path+".accept_mode", "is try, but role is bounces: that mail goes to no upstream",
			"leave it out")
	}
	if l.TLS != "none" && !certificate {
		report(path+".tls", fmt.Sprintf("is %q, but there is no certificate", l.TLS),
			"set tls.cert_file and tls.key_file")
	}
}

// validListenAddress reports whether s is host:port of a local address.
func validListenAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && validPort(port) && validListenHost(host)
}

// validPort reports whether s is a TCP port; 0 lets the system choose.
func validPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// validListenHost reports whether s names a local address.
func validListenHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return s == "" || err == nil || validHost(s)
}

// exposed reports whether clients of other machines can reach l, or a proxy can speak for them.
func (l *Listen) exposed() bool {
	if len(l.ProxyProtocol) > 0 {
		return true
	}
	host, _, err := net.SplitHostPort(l.Address)
	return err == nil && !strings.HasPrefix(l.Address, "unix:") && !isLoopback(host)
}

// validateClients checks the named networks. One that contains a large part of the Internet would let
// anybody relay through a listener that the Internet can reach.
func (c *Config) validateClients(exposed string, report reportFunc) {
	names := map[string]bool{}
	for i, cl := range c.Client {
		path := fmt.Sprintf("client[%d]", i)
		switch {
		case cl.Name == "":
			report(path+".name", "is not set", "name the client; the name appears in logs")
		case names[cl.Name]:
			report(path+".name", fmt.Sprintf("%q is listed twice", cl.Name), "")
		}
		names[cl.Name] = true
		if len(cl.Networks) == 0 {
			report(path+".networks", "is empty", `list the networks that may relay, as in ["10.0.0.0/8"]`)
		}
		for j, n := range cl.Networks {
			if exposed != "" && anybody(n) && !c.Access.restricted() {
				report(fmt.Sprintf("%s.networks[%d]", path, j),
					fmt.Sprintf("%s would make %s an open relay", n, exposed),
					"list only your own networks; let others authenticate (access.users_file), or set "+
						"access.allow_recipients")
			}
		}
		checkPatterns(path+".senders", cl.Senders, report)
		if cl.Auth == "any" && c.Access.RequireAuth {
			report(path+".auth", `is "any", but access.require_auth is set`,
				`write "tls" or "clear", or leave access.require_auth out`)
		}
	}
}

// hasUsers reports whether there may be users.
func (a *Access) hasUsers() bool { return a.UsersFile != "" || !a.Users.IsZero() }

// restricted reports whether strangers in a client's network could do no harm: they must authenticate, or
// can send only to listed recipients.
func (a *Access) restricted() bool { return a.RequireAuth || len(a.AllowRecipients) > 0 }

// anybody reports whether n is larger than the network of any single organisation.
func anybody(n netip.Prefix) bool {
	if n.Addr().Is4() {
		return n.Bits() < 8
	}
	return n.Bits() < 7 // fc00::/7 is the largest private one (RFC 4193)
}

// checkPatterns checks a list of addresses and domains.
func checkPatterns(path string, list []string, report reportFunc) {
	for i, p := range list {
		if !validPattern(p) {
			report(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%q is not an address or domain", p),
				`write "user@example.com", "@example.com", or "@.example.com" for its subdomains`)
		}
	}
}

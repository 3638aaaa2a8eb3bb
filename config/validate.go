package config

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/config/cluster"
	"mailwhy/config/value"
)

// validate checks every value against the tags of its field, and then what tags cannot express. It reports
// each key once.
func (c *Config) validate(local bool, report reportFunc) {
	for _, k := range keys(c) {
		checkTags(k, report)
		if k.tag.Get("read") == "secret" && k.value.String() != "" {
			c.warnReadable(k.path, k.value.String())
		}
	}
	if !validHost(c.Hostname) {
		report("hostname", fmt.Sprintf("%q is not a host name", c.Hostname),
			`write a name such as "relay.example.com"`)
	}
	c.validateFront(report)
	c.validateContent(report)
	c.validateDKIM(report)
	c.validateStore(report)
	c.validateCluster(report)
	c.validateMetrics(report)
	c.validateAdmin(report)
	c.validatePage(report)
	c.validateDSN(report)
	c.validateUpstreams(local, report)
	c.validateRoutes(report)
	c.validatePolicies(report)
	c.validateRewriting(report)
	c.validateFeedback(report)
	c.validateBounceMail(report)
	c.validateWebhooks(report)
	c.validateSuppression(report)
}

// checkTags checks one value against the tags of its field.
func checkTags(k key, report reportFunc) {
	if words := strings.Fields(k.tag.Get("oneof")); len(words) > 0 {
		if s := k.value.String(); !slices.Contains(words, s) {
			report(k.path, fmt.Sprintf("is %q", s), "write one of "+strings.Join(words, ", "))
		}
	}
	if low, ok := k.tag.Lookup("min"); ok && number(k.value) < bound(low, k.value.Type()) {
		report(k.path, "is "+show(k.value)+", less than "+low, "")
	}
	if high, ok := k.tag.Lookup("max"); ok && number(k.value) > bound(high, k.value.Type()) {
		report(k.path, "is "+show(k.value)+", more than "+high, "")
	}
	if file := k.value; k.tag.Get("read") != "" && file.String() != "" {
		f, err := os.Open(file.String())
		if err != nil {
			report(k.path, file.String()+" "+fileProblem(err), "")
			return
		}
		f.Close()
	}
}

// number is the magnitude of a bounded value.
func number(v reflect.Value) float64 {
	if v.Kind() == reflect.Float64 {
		return v.Float()
	}
	return float64(v.Int())
}

// bound reads the text of a min or max tag as a value of type t. The tags are checked by a test.
func bound(s string, t reflect.Type) float64 {
	parsed, err := parseInto(s, t)
	if err != nil {
		panic("config: tag " + strconv.Quote(s) + ": " + err.Error())
	}
	switch n := parsed.(type) {
	case time.Duration:
		return float64(n)
	case value.Size:
		return float64(n)
	case int64:
		return float64(n)
	}
	return parsed.(float64)
}

// validHost reports whether s can stand for a host in EHLO: a domain name (RFC 5321, 4.1.2) or an address
// literal.
func validHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		_, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(inner, "]"), "IPv6:"))
		return err == nil && strings.HasSuffix(s, "]")
	}
	const label = `[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?`
	return len(s) <= 253 && regexp.MustCompile(`^(`+label+`\.)*`+label+`$`).MatchString(s)
}

// validAddress reports whether s is a bare mail address.
func validAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Name == "" && !strings.ContainsAny(s, "<> \t\r\n")
}

// validPattern reports whether s can stand in a list of addresses: an address, "@domain" or "@.domain".
func validPattern(s string) bool {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		return validHost(strings.TrimPrefix(domain, "."))
	}
	return s == "<>" || validAddress(s)
}

// validateStore checks the spool and the control socket.
func (c *Config) validateStore(report reportFunc) {
	if c.Spool.Dir == "" {
		report("spool.dir", "is not set, and there is no home directory to put it in",
			"set spool.dir, MAILWHY_SPOOL_DIR or --spool")
	}
	if n := len(c.Admin.Socket); n > maxSocketPath {
		report("admin.socket", fmt.Sprintf("the path is %d bytes long, the limit is %d", n, maxSocketPath),
			"set admin.socket to a shorter path")
	}
}

// validateMetrics checks where the metrics are served.
func (c *Config) validateMetrics(report reportFunc) {
	if a := c.Metrics.Listen; a != "" && !validListenAddress(a) {
		report("metrics.listen", fmt.Sprintf("%q is not an address to listen on", a),
			`write "127.0.0.1:9125", "[::1]:9125" or ":9125" for all addresses`)
	}
}

// validatePage checks the web page.
func (c *Config) validatePage(report reportFunc) {
	p := &c.Page
	if p.Listen != "" && !validListenAddress(p.Listen) {
		report("page.listen", fmt.Sprintf("%q is not an address to listen on", p.Listen),
			`write "127.0.0.1:8026", "[::1]:8026" or ":8026" for all addresses`)
	}
	if p.TLS == "implicit" && c.TLS.CertFile == "" {
		report("page.tls", `is "implicit", but tls.cert_file is not set`, "set it, or put a proxy in front")
	}
	p.Validate(func(key, what, hint string) { report("page."+key, what, hint) })
	if host, _, err := net.SplitHostPort(p.Listen); err == nil && p.TLS == "none" && !isLoopback(host) &&
		len(p.TrustedProxies) == 0 {
		c.Warnings = append(c.Warnings, "page.listen is reached from other machines without TLS: tokens can "+
			`be read on the way; set page.tls = "implicit", or put a proxy in front and name it in `+
			"page.trusted_proxies")
	}
}

// maxSocketPath is what fits into sockaddr_un on every system, without the final NUL.
const maxSocketPath = 103

// validateDSN checks that bounces have somewhere to go.
func (c *Config) validateDSN(report reportFunc) {
	d := &c.DSN
	if (d.Route == "operator" || d.Route == "both") && d.Operator == "" {
		report("dsn.operator", fmt.Sprintf("is not set, but dsn.route is %q", d.Route),
			"set the address that the bounces go to")
	}
	if d.Route == "maildir" && d.Maildir == "" {
		report("dsn.maildir", `is not set, but dsn.route is "maildir"`,
			"set the directory that the bounces go to")
	}
	for _, a := range []struct{ key, value string }{
		{"from", d.From}, {"fallback_sender", d.FallbackSender}, {"operator", d.Operator},
	} {
		if a.value != "" && !validAddress(a.value) {
			report("dsn."+a.key, fmt.Sprintf("%q is not a mail address", a.value), `write "name@example.com"`)
		}
	}
}

// validateUpstreams checks the next hops.
func (c *Config) validateUpstreams(local bool, report reportFunc) {
	if len(c.Upstream) == 0 && !local {
		report(upstreamSection, "there is no upstream to relay to",
			`set --upstream smtp://user@host:587, MAILWHY_UPSTREAM, or host in [upstream.default]`)
	}
	for name, u := range c.Upstream {
		path := upstreamSection + "." + name
		if !regexp.MustCompile(`^[a-z][a-z0-9_-]*$`).MatchString(name) {
			report(path, fmt.Sprintf("%q is not a valid upstream name", name),
				"use a letter, then letters, digits, - and _")
		}
		u.validateType(path, report)
		if !u.IsAPI() {
			u.validateHop(path, report)
			u.validateAuth(path, report)
			u.validateProvider(path, c.Hostname, report)
		}
		u.validateSource(path, report)
		u.validateProxy(path, report)
		u.validateDomains(path, report)
		u.validateOAuth(path, report)
		c.validateLoop(path, u, report)
	}
	c.validateAccounts(report)
}

// validateHop checks where an upstream is and how to connect to it.
func (u *Upstream) validateHop(path string, report reportFunc) {
	_, ipErr := netip.ParseAddr(u.Host)
	switch {
	case u.Host == "" && u.Preset != "" && u.Preset != noPreset: // reported of the preset or its region
	case u.Host == "":
		report(path+".host", "is not set", `name the host, or set url = "smtp://user@host:587"`)
	case ipErr != nil && !validHost(u.Host):
		report(path+".host", fmt.Sprintf("%q is not a host name", u.Host),
			"the port goes into port, the scheme into tls")
	}
	if u.Hello != "" && !validHost(u.Hello) {
		report(path+".hello", fmt.Sprintf("%q is not a host name", u.Hello), "")
	}
	if (u.CertFile == "") != (u.KeyFile == "") {
		report(path+".cert_file", "cert_file and key_file go together", "set both or neither")
	}
	for i, f := range u.Fingerprint {
		if b, err := hex.DecodeString(strings.ReplaceAll(f, ":", "")); err != nil || len(b) != 32 {
			report(fmt.Sprintf("%s.fingerprint[%d]", path, i),
				fmt.Sprintf("%q is not a SHA-256 fingerprint", f),
				"openssl x509 -noout -fingerprint -sha256 prints one")
		}
	}
	if u.TLS == "none" && (u.CAFile != "" || len(u.Fingerprint) > 0 || u.CertFile != "") {
		report(path+".tls", `is "none", but certificates are configured`, "write starttls or implicit")
	}
}

// validateSource checks the addresses to connect from: at most one of each family.
func (u *Upstream) validateSource(path string, report reportFunc) {
	families := map[bool]string{}
	for _, a := range u.LocalAddr {
		ip, err := netip.ParseAddr(a)
		four := ip.Unmap().Is4()
		switch other := families[four]; {
		case err != nil:
			report(path+".local_addr", fmt.Sprintf("%q is not an IP address", a), "")
		case other != "":
			report(path+".local_addr", fmt.Sprintf("%s and %s are of one family", other, a),
				"write one IPv4 address, one IPv6 address, or one of each")
		case !four && !u.IPv6 && len(u.LocalAddr) == 1:
			report(path+".local_addr", a+" is an IPv6 address, but ipv6 is false", "write an IPv4 address")
		}
		families[four] = a
	}
}

// validateProxy checks the proxy. No mistake repeats the URL, which may hold a password.
func (u *Upstream) validateProxy(path string, report reportFunc) {
	const hint = `write "socks5://user@host:1080", "http://user@host:3128" or "https://user@host:443"`
	if u.Proxy == "" {
		if !u.ProxyPassword.IsZero() || u.ProxyPasswordFile != "" || u.ProxyCAFile != "" {
			report(path+".proxy", "is not set, but its password or ca_file is", hint)
		}
		return
	}
	at := func(what, hint string) { report(path+".proxy", what, hint) }
	p, err := url.Parse(u.Proxy)
	if err != nil || p.Hostname() == "" {
		at("is not the URL of a proxy", hint)
		return
	}
	port, portErr := strconv.ParseUint(cmp.Or(p.Port(), "1"), 10, 16)
	_, inline := p.User.Password()
	user := p.User.Username()
	switch {
	case p.Scheme == "socks5h":
		at("begins with socks5h://", "write socks5://: the proxy always resolves the names")
	case !slices.Contains([]string{"socks5", "http", "https"}, p.Scheme):
		at(fmt.Sprintf("begins with %q", p.Scheme+"://"), hint)
	case inline:
		at("has a password in it", "set proxy_password_file, or proxy_password")
	case portErr != nil || port == 0:
		at("has a port that is not in 1..65535", hint)
	case strings.Trim(p.Path, "/")+p.RawQuery+p.Fragment != "":
		at("has something after the host and port", hint)
	case p.Scheme != "https" && u.ProxyCAFile != "":
		report(path+".proxy_ca_file", "is set, but the proxy is "+p.Scheme+"://", "leave it out")
	case p.Scheme != "socks5" && strings.Contains(user, ":"): // RFC 7617, 2
		at("has a user with a colon, which HTTP does not allow", "")
	case user == "" && (!u.ProxyPassword.IsZero() || u.ProxyPasswordFile != ""):
		at("names no user, but there is a password", hint)
	}
}

// validateLoop refuses an upstream that is this relay itself.
func (c *Config) validateLoop(path string, u *Upstream, report reportFunc) {
	for _, l := range c.Listen {
		host, port, err := net.SplitHostPort(l.Address)
		if err != nil || port != strconv.Itoa(u.Port) {
			continue
		}
		if u.Host == host || isLoopback(u.Host) && (isLoopback(host) || isWildcard(host)) {
			report(path+".host", "is this relay itself: it listens on "+l.Address,
				"name the server that should receive the mail")
		}
	}
}

// isLoopback reports whether host is a loopback address of this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// isWildcard reports whether host stands for all addresses of the machine.
func isWildcard(host string) bool {
	ip, err := netip.ParseAddr(cmp.Or(host, "::"))
	return err == nil && ip.Unmap().IsUnspecified()
}

// validateCluster checks the shared spool and what relays agree by. A file with a URL that cannot be read was
// reported before.
func (c *Config) validateCluster(report reportFunc) {
	s := &c.Spool
	switch {
	case s.Shared() && s.URL.IsZero() && s.URLFile == "":
		report("spool.url", `is not set, but spool.engine is "postgres"`, "write "+cluster.Example)
	case !s.Shared() && !s.URL.IsZero():
		report("spool.url", `is set, but spool.engine is "`+s.Engine+`"`,
			`set spool.engine = "postgres"; for limits that relays share, and no more, set cluster.url`)
	}
	cluster.CheckURL("spool.url", s.URL, report)
	c.Cluster.Validate(func(key, what, hint string) { report("cluster."+key, what, hint) })
}

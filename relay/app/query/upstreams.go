package query

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/check"
	"mailwhy/relay/check/senders"
	"mailwhy/relay/check/session"
	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/preset"
	"mailwhy/relay/upstream"
	"mailwhy/relay/upstream/oauth"
)

// The longest that a check waits for a connection, and for each reply.
const (
	checkConnect = 10 * time.Second
	checkReply   = 30 * time.Second
)

// Upstreams says what to ask the upstreams for.
type Upstreams struct {
	Senders                    // the senders; a domain stands for its postmaster
	Recipient string           // empty: none
	Send      bool             // send a message to the recipient
	DNS       senders.Resolver // for the names of our own addresses; nil: they are not looked up
}

// CheckUpstreams opens a session with each upstream, with the settings of the relay, and asks what it would
// take. It sends no message unless the query says so. The error is a mistake in the configuration.
func CheckUpstreams(ctx context.Context, cfg *config.Config, q *Upstreams) (lines []check.Line,
	err error) {
	engine, err := options.Engine(cfg)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Upstream)) {
		if q.Upstream != "" && q.Upstream != name {
			continue
		}
		if cfg.Upstream[name].IsAPI() {
			more, err := q.checkAPIUpstream(ctx, cfg, name, engine)
			if err != nil {
				return nil, err
			}
			lines = append(lines, more...)
			continue
		}
		pool, tokens, err := checkPool(cfg, name)
		if err != nil {
			return nil, err
		}
		s := q.session(cfg, name, pool)
		s.Token = readToken(tokens)
		s.Diagnose = engine.Diagnose
		lines = append(lines, session.Check(ctx, s)...)
		pool.Close()
		if tokens != nil {
			tokens.Close()
		}
	}
	return lines, nil
}

// checkPool makes a pool as the relay does, but for the time that a check waits. tokens are those of OAuth,
// nil for none.
func checkPool(cfg *config.Config, name string) (pool *upstream.Pool, tokens *oauth.Cached, err error) {
	o, err := options.Upstream(cfg, name)
	if err != nil {
		return nil, nil, err
	}
	if u := cfg.Upstream[name]; u.HasOAuth() {
		log := slog.New(slog.DiscardHandler)
		source, err := options.TokenSource(name, u, nil, log)
		if err != nil {
			return nil, nil, err
		}
		tokens = oauth.NewCached(name, source, log)
		o.Auth = options.Bearer(u, tokens)
	}
	o.Timeouts.Connect = min(o.Timeouts.Connect, checkConnect)
	o.Timeouts.Greeting = min(o.Timeouts.Greeting, checkReply)
	o.Timeouts.Command = min(o.Timeouts.Command, checkReply)
	pool, err = upstream.New(o)
	return pool, tokens, err
}

// session is the check of one upstream.
func (q *Upstreams) session(cfg *config.Config, name string, pool *upstream.Pool) session.Options {
	u := cfg.Upstream[name]
	o := session.Options{
		Name: name, Host: u.Host, Port: u.Port, Implicit: u.TLS == "implicit",
		Hello: cmp.Or(u.Hello, cfg.Hostname),
		User:  u.Username, Ports: []int{587, 465, 2525, 25},
		Open: func(ctx context.Context) (session.Session, *relay.Attempt) {
			trial, fault := pool.Try(ctx)
			if fault != nil {
				return nil, fault
			}
			return trial, nil
		},
		Dial: dialOf(u), Now: time.Now, Timeout: checkConnect,
		Senders: q.senders(cfg, name), Recipient: q.Recipient,
		Exchange: strings.HasPrefix(u.OAuthProvider, "m365") || u.Preset == "m365",
		Sources:  func() []netip.Addr { return sourcesOf(u) }, Pointers: q.pointers(),
		NullSender: u.NullSender != "refused" && !slices.Contains([]string{"off", "maildir"}, cfg.DSN.Route),
	}
	if o.User == "" && slices.Contains(u.Auth, "external") {
		o.User = "the owner of the client certificate"
	}
	if p := presetOf(u); p != nil {
		o.Ports = nil
		for _, port := range p.Ports.Value {
			o.Ports = append(o.Ports, port.Number)
		}
		o.Others = otherHosts(p, u.Host)
	}
	if q.Send {
		o.Send = func(ctx context.Context, from, to string) *relay.Attempt {
			return sendTest(ctx, pool, cfg.Hostname, from, to)
		}
	}
	return o
}

// otherHosts are the preset's hosts but this one.
func otherHosts(p *preset.Preset, host string) (others []string) {
	for _, h := range p.Hosts.Value {
		if h != host {
			others = append(others, h)
		}
	}
	return others
}

// dialOf connects to a host as the relay does: through the upstream's proxy, if it has one.
func dialOf(u *config.Upstream) func(ctx context.Context, network, address string) (net.Conn, error) {
	if way, err := options.WayOut(u); err == nil && way != nil {
		return way.DialContext
	}
	return new(net.Dialer).DialContext
}

// senders are the addresses to ask an upstream for.
func (q *Upstreams) senders(cfg *config.Config, name string) (addresses []string) {
	named := q.Domains
	if len(named) == 0 {
		named = q.domains(cfg)
	}
	for _, n := range named {
		if !strings.Contains(n, "@") {
			n = "postmaster@" + n
		}
		if mayCarry(cfg, name, strings.ToLower(n[strings.LastIndexByte(n, '@')+1:])) {
			addresses = append(addresses, n)
		}
	}
	return addresses
}

// sendTest sends a message that says what it is.
func sendTest(ctx context.Context, hop relay.Upstream, hostname, from, to string) *relay.Attempt {
	now := time.Now()
	content := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: Test of mailwhy check\r\nDate: %s\r\n"+
		"Message-ID: <check.%d@%s>\r\nAuto-Submitted: auto-generated\r\n\r\n"+
		"This message was sent by mailwhy check --send. Its header shows how it was signed.\r\n",
		from, to, now.Format(time.RFC1123Z), now.UnixNano(), hostname)
	m := &relay.Message{ID: "check", Size: int64(len(content)), Arrived: now,
		Envelope: relay.Envelope{From: from}, Recipients: []relay.Recipient{{Address: to}}}
	t := &relay.Transaction{Message: m, From: from, Recipients: []int{0},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
	var result relay.Result
	hop.Relay(ctx, t, func() *relay.Transaction { return nil },
		func(_ *relay.Transaction, r relay.Result) { result = r })
	if len(result.Attempts) > 0 {
		return &result.Attempts[0]
	}
	return cmp.Or(result.Fault, &relay.Attempt{})
}

// readToken gets the token that a session logs in with, and reads what it says of itself.
func readToken(tokens *oauth.Cached) func(context.Context) *session.Token {
	if tokens == nil {
		return nil
	}
	return func(ctx context.Context) *session.Token {
		t, err := tokens.Token(ctx)
		if err != nil {
			return nil // the login gets the same error, and shows it
		}
		c, ok := oauth.ReadClaims(t.Access)
		if !ok {
			return nil
		}
		return &session.Token{
			Audience: c.Audience, Application: c.Application, Tenant: c.Tenant, User: c.User,
			Rights: slices.Concat(c.Roles, c.Scopes), Expires: c.Expires, Exchange: c.ForExchange(),
			Lacks: c.Lacks(),
		}
	}
}

// sourcesOf are the addresses of this machine that connections to an upstream come from, of each family that
// has a way there; none through a proxy. No packet is sent.
func sourcesOf(u *config.Upstream) (local []netip.Addr) {
	for _, network := range []string{"udp4", "udp6"} {
		if u.Proxy != "" || network == "udp6" && !u.IPv6 {
			continue
		}
		c, err := net.Dial(network, net.JoinHostPort(u.Host, strconv.Itoa(u.Port)))
		if err != nil {
			continue
		}
		ip := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
		c.Close()
		if len(u.LocalAddr) == 0 {
			local = append(local, ip)
		}
		for _, a := range u.LocalAddr {
			if set, err := netip.ParseAddr(a); err == nil && set.Unmap().Is4() == ip.Is4() {
				local = append(local, set)
			}
		}
	}
	return local
}

// pointers looks the names of an address up; nil without DNS.
func (q *Upstreams) pointers() func(context.Context, netip.Addr) ([]string, error) {
	if q.DNS == nil {
		return nil
	}
	return func(ctx context.Context, ip netip.Addr) ([]string, error) {
		a, err := q.DNS.Lookup(ctx, dnsclient.Reverse(ip), dnsclient.PTR)
		if err != nil {
			return nil, err
		}
		return a.Names, nil
	}
}

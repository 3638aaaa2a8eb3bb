package app

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/config/mistake"
	"mailwhy/config/value"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/dsn"
	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/lane"
	"mailwhy/relay/lane/policy"
	"mailwhy/relay/record/deliverylog"
	"mailwhy/relay/record/webhook"
	"mailwhy/relay/report"
	"mailwhy/relay/smtpd"
	spool "mailwhy/relay/spool/sqlite"
	"mailwhy/relay/suppress"
	"mailwhy/relay/upstream"
	"mailwhy/relay/upstream/proxy"
	"mailwhy/relay/upstream/sespassword"
)

// This file turns the configuration into each room's Options, and does nothing else.

// NewRouter makes the router of a configuration.
func NewRouter(cfg *config.Config) (*accept.Router, error) {
	rules := make([]accept.Rule, len(cfg.Route))
	for i, r := range cfg.Route {
		rules[i] = accept.Rule{
			Name: r.Name, Senders: r.Senders, Recipients: r.Recipients, Clients: r.Clients, Users: r.Users,
			Headers: map[string]string{}, Upstreams: r.Upstreams,
		}
		for _, h := range r.Headers {
			name, text, _ := strings.Cut(h, ":")
			rules[i].Headers[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(text)
		}
	}
	var upstreams []accept.Candidate
	for name, u := range cfg.Upstream {
		c := accept.Candidate{Name: name, Weight: u.Weight}
		for _, d := range u.Domains {
			c.Domains = append(c.Domains, "@"+d)
		}
		upstreams = append(upstreams, c)
	}
	return accept.NewRouter(rules, upstreams)
}

// NewPolicies makes what a configuration orders for refusals, as the engine knows them. What is wrong is in
// the error, all of it.
func NewPolicies(cfg *config.Config, engine *diagnose.Engine) (*policy.Set, error) {
	var categories, names []string
	for _, c := range engine.Categories() {
		categories = append(categories, string(c.Name))
	}
	for _, r := range engine.Reasons() {
		names = append(names, string(r.ID))
	}
	rules := make([]policy.Rule, len(cfg.Policy))
	var errs []error
	known := func(i int, key string, names, all []string) {
		for j, name := range names {
			if !slices.Contains(all, name) {
				hint := cmp.Or(mistake.Nearest(name, all), "`mailwhy guide` lists them all")
				errs = append(errs, fmt.Errorf("policy[%d].%s[%d]: there is no %q; %s", i, key, j, name,
					hint))
			}
		}
	}
	for i, p := range cfg.Policy {
		known(i, "categories", p.Categories, categories)
		known(i, "reasons", p.Reasons, names)
		rules[i] = policyRule(cfg, &p)
	}
	set, err := policy.New(rules)
	return set, errors.Join(append(errs, err)...)
}

// policyRule is one policy.
func policyRule(cfg *config.Config, p *config.Policy) policy.Rule {
	rule := policy.Rule{
		Upstreams: p.Upstreams, Recipients: p.Recipients, Clients: p.Clients, Attempts: p.Attempts,
		Ruling: lane.Ruling{
			Policy: p.Name, Action: lane.Action(p.Action), Schedule: p.Schedule, For: p.For,
			Rate: lane.Rate{Messages: p.Rate.Messages, Per: p.Rate.Per}, Upstream: p.Upstream,
			Notify: p.Notify,
		},
	}
	for _, name := range p.Categories {
		rule.Categories = append(rule.Categories, diagnose.Category(name))
	}
	for _, name := range p.Reasons {
		rule.Reasons = append(rule.Reasons, diagnose.Reason(name))
	}
	if u := cfg.Upstream[p.Upstream]; u != nil {
		for _, d := range u.Domains {
			rule.SendersOfUpstream = append(rule.SendersOfUpstream, "@"+d)
		}
	}
	return rule
}

// laneSettings are the part of a lane for the upstream u, which may no longer be configured.
func laneSettings(cfg *config.Config, u *config.Upstream) lane.Settings {
	return lane.Settings{
		Policy: lane.Policy{
			Schedule:   cfg.Retry.Schedule,
			Expiry:     cfg.Retry.ExpireAfter,
			Jitter:     cfg.Retry.Jitter,
			RetryAfter: lane.Bounds{Min: time.Second, Max: cfg.Retry.MaxRetryAfter},
			DelayAfter: cfg.DSN.DelayAfter,
			Collect:    cfg.DSN.Collect,
		},
		Concurrency: u.Concurrency,
		Rate:        lane.Rate{Messages: u.Rate.Messages, Per: u.Rate.Per},
		Probe:       lane.Bounds{Min: time.Second, Max: 5 * time.Minute},
		ProbeAuth:   lane.Bounds{Min: time.Minute, Max: 30 * time.Minute},
		ProbeToken:  lane.Bounds{Min: 5 * time.Second, Max: 5 * time.Minute},
	}
}

// upstreamOptions are the upstream room's part, for one upstream, less the tokens of OAuth.
func upstreamOptions(cfg *config.Config, name string) (upstream.Options, error) {
	u := cfg.Upstream[name]
	o := upstream.Options{
		Name: name, Host: u.Host, Port: u.Port, Hello: u.Hello,
		TLS:                upstreamTLS(u),
		AllowPlaintextAuth: u.AllowPlaintextAuth,
		NoPipelining:       !u.Pipelining,
		NoIPv6:             !u.IPv6,
		MaxMessages:        u.MaxMessagesPerConnection,
		MaxIdle:            u.IdleTimeout,
		MaxAge:             u.MaxConnectionAge,
		RcptMax:            u.MaxRecipients,
		Timeouts: upstream.Timeouts{
			Connect: u.ConnectTimeout, Greeting: u.GreetingTimeout, Command: u.CommandTimeout,
			Data: u.CommandTimeout, Write: u.DataTimeout, EndOfData: u.FinalTimeout,
		},
		Grace: cfg.ShutdownGrace,
	}
	if !u.HasOAuth() {
		o.Auth = credentials(u)
	}
	var err error
	for _, a := range u.LocalAddr {
		local, bad := netip.ParseAddr(a)
		o.LocalAddrs, err = append(o.LocalAddrs, local), errors.Join(err, bad)
	}
	way, bad := wayOut(u)
	o.Proxy, err = way, errors.Join(err, bad)
	if err != nil {
		err = fmt.Errorf("upstream %s: %w", name, err)
	}
	return o, err
}

// wayOut is the proxy that an upstream is reached through; nil for none.
func wayOut(u *config.Upstream) (*proxy.Proxy, error) {
	if u.Proxy == "" {
		return nil, nil
	}
	return proxy.New(proxy.Options{URL: u.Proxy, CAFile: u.ProxyCAFile,
		Password: secretOf(u.ProxyPassword, u.ProxyPasswordFile)})
}

// TokenTransport carries the requests to an upstream's token endpoint: through its proxy if it has one, and
// never through one of the environment. An HTTP API's ca_file holds for it too.
func TokenTransport(u *config.Upstream) (http.RoundTripper, error) {
	t := &http.Transport{DisableKeepAlives: true} // a token lasts longer than a connection is kept
	way, err := wayOut(u)
	if way != nil {
		t.DialContext = way.DialContext
	}
	if u.IsAPI() && u.CAFile != "" {
		var fault error
		t.TLSClientConfig, fault = (&tlsconf.Client{Mode: tlsconf.Implicit, CAFile: u.CAFile,
			MinVersion: tls.VersionTLS12}).Config("", true)
		err = errors.Join(err, fault)
	}
	return t, err
}

// passwordOf is the password, derived where it is not kept.
func passwordOf(u *config.Upstream) func() (string, error) {
	secret := secretOf(u.Password, u.PasswordFile)
	if u.PasswordKind != "aws_secret" {
		return secret
	}
	return func() (string, error) {
		key, err := secret()
		if err != nil {
			return "", err
		}
		return sespassword.Derive(key, u.Region), nil
	}
}

// secretOf reads a secret from its file at each use, so that a changed one needs no restart.
func secretOf(value value.Secret, file string) func() (string, error) {
	if file == "" {
		return func() (string, error) { return value.Reveal(), nil }
	}
	return func() (string, error) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
	}
}

func upper(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ToUpper(w)
	}
	return out
}

// upstreamTLS are the TLS settings of an upstream.
func upstreamTLS(u *config.Upstream) upstream.TLS {
	t := upstream.TLS{
		Mode: upstream.TLSNone, ServerName: u.ServerName, CAFile: u.CAFile, Fingerprint: u.Fingerprint,
		CertFile: u.CertFile, KeyFile: u.KeyFile, MinVersion: tlsVersion(u.TLSMinVersion),
	}
	switch u.TLS {
	case "opportunistic":
		t.Mode = upstream.TLSOpportunistic
	case "starttls":
		t.Mode = upstream.TLSRequired
	case "implicit":
		t.Mode = upstream.TLSImplicit
	}
	return t
}

func tlsVersion(v string) uint16 {
	switch v {
	case "1.0":
		return tls.VersionTLS10
	case "1.1":
		return tls.VersionTLS11
	case "1.3":
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// SpoolOptions are the spool's part, for the relay and for commands that open its spool while it does not
// run.
func SpoolOptions(cfg *config.Config, log *slog.Logger) spool.Options {
	return spool.Options{
		Dir: cfg.Spool.Dir, Log: log,
		Limits: spool.Limits{
			MaxBytes: int64(cfg.Spool.MaxBytes), MaxMessages: cfg.Spool.MaxMessages,
			FreeFloor: int64(cfg.Spool.FreeFloor), InlineLimit: int64(cfg.Spool.InlineLimit),
		},
		MaxDelay: cfg.Retry.ExpireAfter + cfg.Retry.MaxRetryAfter,
	}
}

// SuppressionFile is where the suppression list is, for commands that open it while no relay runs.
func SuppressionFile(cfg *config.Config) string {
	return filepath.Join(cfg.Spool.Dir, "suppressions.db")
}

// SuppressOptions are the suppression list's part, for the relay and for commands while it does not run.
func SuppressOptions(cfg func() *config.Config, log *slog.Logger) suppress.Options {
	return suppress.Options{
		Path: SuppressionFile(cfg()), FoldCase: cfg().Suppression.FoldCase, Log: log, Now: time.Now,
		Settings: func() suppress.Settings { return suppressSettings(&cfg().Suppression) },
	}
}

// suppressOptions are the relay's own.
func (r *Relay) suppressOptions() suppress.Options {
	o := SuppressOptions(r.cfg.Load, r.log)
	o.Record = func(e relay.Event) { r.record.Record(e) }
	o.Counted = func(m suppress.Mode, c suppress.Counted) {
		r.metrics.Suppressed(m == suppress.Observe, c.Taken)
	}
	return o
}

// suppressSettings are what a reload may change.
func suppressSettings(c *config.Suppression) suppress.Settings {
	return suppress.Settings{
		Mode: suppress.Mode(c.Mode), PerSender: c.Scope == "sender_domain", TTL: c.TTLs(),
		ComplaintTTL: c.ComplaintTTL, Most: c.MaxEntries,
		Breaker: suppress.Breaker{Share: c.BreakerShare, Least: c.BreakerRecipients},
	}
}

// mayOverride reports whether the mail of a client may override the suppression list.
func mayOverride(c *config.Suppression, client *relay.Client) bool {
	return slices.ContainsFunc(c.OverrideClients, func(name string) bool {
		return name == client.Name || name == client.User
	})
}

// accessOf is who may send what, with the users file read.
func accessOf(cfg *config.Config) (smtpd.Access, error) {
	a := smtpd.Access{
		AuthRequired: cfg.Access.RequireAuth,
		AllowSenders: cfg.Access.AllowSenders, DenySenders: cfg.Access.DenySenders,
		AllowRecipients: cfg.Access.AllowRecipients,
		DenyRecipients:  cfg.Access.DenyRecipients,
	}
	for _, c := range cfg.Client {
		a.Networks = append(a.Networks,
			smtpd.Network{Name: c.Name, Prefixes: c.Networks, Senders: c.Senders,
				Lenient: c.Lenient,
				Auth:    networkAuth(c.Auth), Accept: acceptMode(c.AcceptMode)})
	}
	if cfg.Access.UsersFile == "" {
		return a, nil
	}
	f, err := os.Open(cfg.Access.UsersFile)
	if err != nil {
		return a, err
	}
	defer f.Close()
	if a.Users, err = smtpd.ParseUsers(f); err != nil {
		return a, fmt.Errorf("access.users_file %s: %w", cfg.Access.UsersFile, err)
	}
	return a, nil
}

// networkAuth is how a client can authenticate.
func networkAuth(word string) smtpd.NetworkAuth {
	switch word {
	case "clear":
		return smtpd.AuthClear
	case "any":
		return smtpd.AuthAny
	}
	return smtpd.AuthTLS
}

// acceptMode is what happens to mail before its client is answered.
func acceptMode(word string) smtpd.AcceptMode {
	switch word {
	case "queue":
		return smtpd.AcceptQueue
	case "try":
		return smtpd.AcceptTry
	}
	return smtpd.AcceptAsListener
}

// frontLimits are the limits of the front door.
func frontLimits(cfg *config.Config) smtpd.Limits {
	c := &cfg.SMTPD
	return smtpd.Limits{
		Connections:     c.MaxConnections,
		ClientConns:     c.MaxConnectionsPerClient,
		Messages:        c.MaxMessagesPerConnection,
		Errors:          c.MaxErrors,
		AuthFailures:    c.MaxAuthFailures,
		OtherCommands:   config.SMTPDOtherCommands,
		Recipients:      c.MaxRecipients,
		MessageSize:     int64(c.MaxMessageSize),
		CommandLine:     int(c.MaxCommandLength),
		ContentLine:     int(c.MaxLineLength),
		HeaderPeek:      int(config.SMTPDHeaderPeek),
		Memory:          int64(c.MaxMemory),
		InlineLimit:     int64(cfg.Spool.InlineLimit),
		Received:        c.MaxHops,
		OwnReceived:     config.SMTPDOwnReceived,
		DataRate:        int64(c.MinDataRate),
		CommandTimeout:  c.IdleTimeout,
		DataTimeout:     min(c.IdleTimeout, config.SMTPDContentIdle),
		DataTotal:       c.DataTimeout,
		DataGrace:       config.SMTPDDataGrace,
		HandshakeTime:   config.SMTPDHandshake,
		WriteTimeout:    config.SMTPDWriteTimeout,
		AuthFailureWait: config.SMTPDAuthFailureWait,
	}
}

// acceptModes are those of the listeners, by address.
func acceptModes(cfg *config.Config) map[string]smtpd.AcceptMode {
	modes := map[string]smtpd.AcceptMode{}
	for _, l := range listens(cfg) {
		modes[l.Addr] = l.Accept
	}
	return modes
}

// listens are the listeners of a configuration.
func listens(cfg *config.Config) []smtpd.Listen {
	var ls []smtpd.Listen
	for _, l := range cfg.Listen {
		network, addr := "tcp", l.Address
		if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
			network, addr = "unix", path
		}
		ls = append(ls, smtpd.Listen{Network: network, Addr: addr, TLS: l.TLS == "implicit",
			Clear: l.TLS == "none", MinTLS: tlsVersion(l.TLSMinVersion), Proxy: l.ProxyProtocol,
			Bounces: l.Role == "bounces", LMTP: l.Protocol == "lmtp", Accept: acceptMode(l.AcceptMode)})
	}
	return ls
}

// deliveryLogOptions are the delivery log's part.
func deliveryLogOptions(cfg *config.Config, stdout io.Writer, log *slog.Logger) deliverylog.Options {
	c := &cfg.DeliveryLog
	return deliverylog.Options{File: c.File, Out: stdout, Text: c.Format == "text", Log: log}
}

// webhookOptions are the part of the webhooks, to which events are sent.
func (r *Relay) webhookOptions(cfg *config.Config) webhook.Options {
	return webhook.Options{
		Dir: filepath.Join(cfg.Spool.Dir, "webhook"), Log: r.log, Now: time.Now, Busy: r.Busy,
		Tell: func(e relay.Event) { r.record.Record(e) },
		Limits: func() webhook.Limits {
			s := &r.cfg.Load().WebhookStore
			return webhook.Limits{Keep: s.Keep, MaxBytes: int64(s.MaxSize)}
		},
	}
}

// newEndpoints makes the webhooks to which events are sent, or says all that is wrong with them.
func newEndpoints(cfg *config.Config) (list []*webhook.Endpoint, err error) {
	for i := range cfg.Webhook {
		w := &cfg.Webhook[i]
		e, bad := webhook.NewEndpoint(webhook.Settings{
			Name: w.Name, URL: w.URL, Secrets: reveal(w.Secret), Events: w.Events, Categories: w.Categories,
			Clients: w.Clients, Batch: w.Batch, Concurrency: w.Concurrency, Timeout: w.Timeout,
			DisableAfter: w.DisableAfter, Private: w.PrivateAddresses == "allowed", CAFile: w.CAFile,
		})
		list, err = append(list, e), errors.Join(err, bad)
	}
	return list, err
}

// newEngine makes the diagnosis engine with the user's rules.
func newEngine(cfg *config.Config) (*diagnose.Engine, error) {
	o := diagnose.Options{}
	if file := cfg.Diagnose.RulesFile; file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("diagnose.rules_file: %w", err)
		}
		o.RulesName, o.Rules = file, b
	}
	return diagnose.New(o)
}

// composerOptions are the part of the bounces.
func composerOptions(cfg *config.Config, key []byte) (dsn.Options, error) {
	o := dsn.Options{Hostname: cfg.Hostname, From: cfg.DSN.From, Key: key,
		ReturnLimit: int64(cfg.DSN.ReturnLimit)}
	file := cfg.DSN.TemplateFile
	if file == "" {
		return o, nil
	}
	b, err := os.ReadFile(file)
	if err == nil {
		o.Templates, err = dsn.ParseTemplates(dsn.English, file, string(b))
	}
	if err != nil {
		return o, fmt.Errorf("dsn.template_file: %w", err)
	}
	return o, nil
}

// stormPolicy is the storm control of bounces.
func stormPolicy(cfg *config.Config) report.StormPolicy {
	return report.StormPolicy{Threshold: cfg.DSN.StormThreshold, Window: cfg.DSN.StormWindow}
}

// destination is where bounces about m go. In a sandbox that redirects, only senders that it allows get them.
func destination(cfg *config.Config, allows func(string) bool, m *relay.Message) report.Destination {
	to := cfg.Sandbox.Redirect
	if relayed := cfg.DSN.Route != "off" && cfg.DSN.Route != "maildir"; to != "" && relayed &&
		!allows(m.Envelope.From) {
		return report.Destination{Operator: to, SkipSenders: true}
	}
	switch cfg.DSN.Route {
	case "off":
		return report.Destination{Off: true}
	case "maildir":
		return report.Destination{Maildir: cfg.DSN.Maildir}
	case "operator":
		return report.Destination{Operator: cfg.DSN.Operator, SkipSenders: true}
	case "both":
		return report.Destination{Operator: cfg.DSN.Operator}
	}
	return report.Destination{}
}

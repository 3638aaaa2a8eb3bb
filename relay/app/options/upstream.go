package options

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"mailwhy/config"
	"mailwhy/relay/upstream"
	"mailwhy/relay/upstream/proxy"
)

// Upstream are the upstream room's part, for one upstream, less the tokens of OAuth.
func Upstream(cfg *config.Config, name string) (upstream.Options, error) {
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
	way, bad := WayOut(u)
	o.Proxy, err = way, errors.Join(err, bad)
	if err != nil {
		err = fmt.Errorf("upstream %s: %w", name, err)
	}
	return o, err
}

// WayOut is the proxy that an upstream is reached through; nil for none.
func WayOut(u *config.Upstream) (*proxy.Proxy, error) {
	if u.Proxy == "" {
		return nil, nil
	}
	return proxy.New(proxy.Options{URL: u.Proxy, CAFile: u.ProxyCAFile,
		Password: secretOf(u.ProxyPassword, u.ProxyPasswordFile)})
}

// upstreamTLS are the TLS settings of an upstream.
func upstreamTLS(u *config.Upstream) upstream.TLS {
	t := upstream.TLS{
		Mode: upstream.TLSNone, ServerName: u.ServerName, CAFile: u.CAFile, Fingerprint: u.Fingerprint,
		CertFile: u.CertFile, KeyFile: u.KeyFile, MinVersion: TLSVersion(u.TLSMinVersion),
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

func TLSVersion(v string) uint16 {
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

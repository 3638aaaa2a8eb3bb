package session

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/check"
)

// hints adds what else may explain a refusal: the address that we come from, to those who know their clients
// by address, and the region or the token to those who refuse a login.
func (r *run) hints(ctx context.Context, a *relay.Attempt, d *diagnose.Diagnosis) {
	byAddress := []diagnose.Reason{"ip_banned", "relay_denied", "blocklisted", "no_reverse_dns"}
	switch {
	case a.Reply.Code == 0:
	case a.Stage == diagnose.StageAuth && a.Reply.Class() == 5 && a.Reply.Code != 525:
		r.regions()
		r.token(ctx)
	case a.Stage == diagnose.StageGreeting || slices.Contains(byAddress, d.Reason):
		r.source(ctx)
	}
}

// regions names the other hosts of the provider: the login of one region is refused by the others.
func (r *run) regions() {
	if len(r.Others) == 0 {
		return
	}
	l := r.add(check.Warning, "region", "the provider has other hosts, for other regions or uses: %s",
		strings.Join(r.Others, ", "))
	l.Fix = "Use the host that belongs to the account: the login of one region is refused by the others."
}

// token says what the access token says of itself.
func (r *run) token(ctx context.Context) {
	if r.Token == nil {
		return
	}
	if text, fix := r.Token(ctx); text != "" {
		r.add(check.Warning, "token", "%s", text).Fix = fix
	}
}

// source names the addresses of this host that connections to the upstream come from, with their names in
// DNS. It does so once.
func (r *run) source(ctx context.Context) {
	if r.LookupAddr == nil || r.sourced {
		return
	}
	r.sourced = true
	var from []string
	private := false
	for _, network := range []string{"tcp4", "tcp6"} {
		addr, ok := r.local(ctx, network)
		if !ok {
			continue
		}
		private = private || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()
		name := "no name in DNS"
		if names, err := r.LookupAddr(ctx, addr.String()); err == nil && len(names) > 0 {
			name = strings.TrimSuffix(names[0], ".")
		}
		from = append(from, fmt.Sprintf("%s (%s)", addr, name))
	}
	if len(from) == 0 {
		return
	}
	l := r.add(check.Warning, "source", "connections come from %s", strings.Join(from, " and "))
	l.Fix = "If the provider keeps a list of addresses that may send, put these on it."
	if private {
		l.Fix = "That is not a public address, so the provider sees the address of a gateway. If it " +
			"keeps a list of addresses that may send, put that one on it."
	}
}

// local is the address of this host towards the upstream.
func (r *run) local(ctx context.Context, network string) (netip.Addr, bool) {
	c, err := r.dialNetwork(ctx, network, r.Port)
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	at, err := netip.ParseAddrPort(c.LocalAddr().String())
	return at.Addr().Unmap(), err == nil
}

package spf

import (
	"net/netip"
	"strings"
)

// Pass is whether mail from a provider passes.
type Pass int

// The answers.
const (
	No     Pass = iota
	Yes         // within what receivers look up
	Broken      // its networks are there, but receivers meet a mistake or a limit before: permerror
	Maybe       // not seen, but a term depends on the message
)

// Passes says whether mail from a provider passes: its record is included, at any depth, or each of its
// networks is listed. include is the domain of the provider's record, provider its tree or nil.
func (t *Tree) Passes(include string, provider *Tree) Pass {
	if t.Record == nil {
		return No
	}
	c, ok := t.included(include)
	if !ok && provider != nil {
		c, ok = t.covers(provider.Networks)
	}
	switch {
	case ok && (c.Wrong > 0 || c.Lookups > MaxLookups || c.Voids > MaxVoids):
		return Broken
	case ok:
		return Yes
	case t.Unknown:
		return Maybe
	}
	return No
}

// included is the cost of an include or redirect of a domain.
func (t *Tree) included(domain string) (Cost, bool) {
	for _, i := range t.Includes {
		if i.Passes && strings.EqualFold(i.Domain, domain) {
			return i.Costs, true
		}
	}
	return Cost{}, false
}

// covers reports whether all networks of a provider pass, and the cost of the most expensive.
func (t *Tree) covers(provider []Network) (most Cost, ok bool) {
	for _, p := range provider {
		c, ok := t.covering(p.Prefix)
		if !ok {
			return Cost{}, false
		}
		most = Cost{max(most.Lookups, c.Lookups), max(most.Voids, c.Voids), max(most.Wrong, c.Wrong)}
	}
	return most, len(provider) > 0
}

// covering is the cost of the first network that has all of p.
func (t *Tree) covering(p netip.Prefix) (Cost, bool) {
	for _, n := range t.Networks {
		if n.Prefix.Bits() <= p.Bits() && n.Prefix.Contains(p.Addr()) {
			return n.Costs, true
		}
	}
	return Cost{}, false
}

// Allows says whether mail from an address passes. It is the answer of a receiver but for an address that one
// term matches and another one matches without passing: that is No here, whichever stands first.
func (t *Tree) Allows(address netip.Addr) Pass {
	address = address.Unmap().WithZone("")
	if t.Record == nil || !address.IsValid() {
		return No
	}
	for _, other := range t.Others {
		if other.Contains(address) {
			return No
		}
	}
	c, ok := t.covering(netip.PrefixFrom(address, address.BitLen()))
	switch {
	case ok && (c.Wrong > 0 || c.Lookups > MaxLookups || c.Voids > MaxVoids):
		return Broken
	case ok:
		return Yes
	case t.Unknown:
		return Maybe
	}
	return No
}

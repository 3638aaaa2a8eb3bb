package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mailwhy/relay/internal/dnsclient"
)

// The limits of RFC 7208, 4.6.4.
const (
	MaxLookups = 10 // terms that cause a query
	MaxVoids   = 2  // queries without an answer
)

// walkLimit ends a walk: far over the limit, a record is wrong anyway, and includes may run in a circle.
const walkLimit = 40

// Resolver asks DNS.
type Resolver interface {
	// Lookup returns what DNS has, also that it has nothing. An error means that nothing is known.
	Lookup(ctx context.Context, name string, t dnsclient.Type) (*dnsclient.Answer, error)
}

// Tree is the record of a domain with all that it refers to.
type Tree struct {
	Domain  string
	Records []string // SPF records at the domain: none, one, or a mistake
	Record  *Record  // nil if there is not exactly one valid
	Wrong   []string // what makes receivers give permerror, a sentence each
	Unwise  []string // what works today, a sentence each
	Lookups int      // terms that cause a query, in the whole tree (RFC 7208, 4.6.4)
	Voids   int      // queries without an answer
	Unknown bool     // a term depends on the message, so that more may pass than is seen here
	All     byte     // qualifier of the final all; 0 without one

	Includes []Include
	Networks []Network      // that pass, in the order in which they are looked at
	Others   []netip.Prefix // that match without passing, in any place
}

// Include is one include or redirect that was followed.
type Include struct {
	Domain string
	Passes bool // all on the way to it have the qualifier +
	Costs  Cost // when all of it was looked at
}

// Network is a network whose mail passes.
type Network struct {
	Prefix netip.Prefix
	Costs  Cost // when it was reached
}

// Cost is what a receiver has met when it reaches a term. It stops at the first match, so what stands behind
// does not count.
type Cost struct {
	Lookups int
	Voids   int
	Wrong   int
}

// walk is the state of following one tree.
type walk struct {
	ctx   context.Context
	dns   Resolver
	tree  *Tree
	stack []string // domains from the root to the current one
}

// errStop ends a walk that found too much.
var errStop = errors.New("too many lookups")

// Follow reads and follows the record of a domain. An error means that DNS did not answer, so that nothing
// is known.
func Follow(ctx context.Context, dns Resolver, domain string) (*Tree, error) {
	w := &walk{ctx: ctx, dns: dns, tree: &Tree{Domain: domain}}
	records, err := w.records(domain)
	if err != nil {
		return nil, err
	}
	t := w.tree
	t.Records = records
	if len(records) != 1 {
		if len(records) > 1 { // RFC 7208, 4.5
			t.Wrong = append(t.Wrong, fmt.Sprintf("%s has %d SPF records", domain, len(records)))
		}
		return t, nil
	}
	if t.Record, err = Parse(records[0]); err != nil {
		t.Wrong = append(t.Wrong, domain+": "+err.Error())
		return t, nil
	}
	if err := w.record(domain, t.Record, true); err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	t.All = lastAll(t.Record)
	t.limits()
	return t, nil
}

// limits compares the counts with what receivers allow.
func (t *Tree) limits() {
	if t.Lookups > MaxLookups {
		t.Wrong = append(t.Wrong,
			fmt.Sprintf("%d DNS lookups, at most %d are allowed", t.Lookups, MaxLookups))
	}
	if t.Voids > MaxVoids {
		t.Wrong = append(t.Wrong, fmt.Sprintf("%d lookups find nothing, at most %d may", t.Voids, MaxVoids))
	}
}

// lastAll is the qualifier of the record's own all.
func lastAll(r *Record) byte {
	for _, t := range r.Terms {
		if t.Name == "all" {
			return t.Qualifier
		}
	}
	return 0
}

// records are the SPF records at a name.
func (w *walk) records(domain string) ([]string, error) {
	a, err := w.dns.Lookup(w.ctx, domain, dnsclient.TXT)
	if err != nil {
		return nil, err
	}
	w.void(a, len(w.stack) > 0)
	var found []string
	for _, txt := range a.TXT {
		if IsRecord(txt) {
			found = append(found, txt)
		}
	}
	return found, nil
}

// void counts an answer without records; the first query for the record itself does not count.
func (w *walk) void(a *dnsclient.Answer, counts bool) {
	if counts && a.Empty() {
		w.tree.Voids++
	}
}

// record follows a record's terms and its redirect. passes is false where a match does not make mail pass.
func (w *walk) record(domain string, r *Record, passes bool) error {
	w.stack = append(w.stack, domain)
	defer func() { w.stack = w.stack[:len(w.stack)-1] }()
	for i, t := range r.Terms {
		if t.Name == "all" {
			if i+1 < len(r.Terms) {
				w.unwise("%s: what stands behind %q is never looked at", domain, t.Text)
			}
			if t.Qualifier == '+' && passes {
				w.unwise("%s: %q lets everybody send as the domain", domain, t.Text)
			}
			return nil // RFC 7208, 5.1: redirect is ignored too
		}
		if err := w.term(domain, t, passes && t.Qualifier == '+'); err != nil {
			return err
		}
	}
	if r.Redirect == "" {
		return nil
	}
	return w.follow(domain, "redirect="+r.Redirect, r.Redirect, passes)
}

// term follows one mechanism.
func (w *walk) term(domain string, t Term, passes bool) error {
	switch t.Name {
	case "ip4", "ip6":
		w.network(t.Network, passes)
		return nil
	case "include":
		return w.follow(domain, t.Text, t.Domain, passes)
	}
	if err := w.count(); err != nil {
		return err
	}
	spec := t.Domain
	if spec == "" {
		spec = domain
	}
	name, err := expand(spec, domain, w.tree.Domain)
	switch {
	case t.Name == "ptr":
		w.unwise("%s: %q is slow and unreliable, and many receivers ignore it", domain, t.Text) // 5.5
		w.tree.Unknown = true
		return nil
	case err != nil:
		w.tree.Unknown = true
		return nil
	case t.Name == "a":
		return w.addresses(name, t, passes)
	case t.Name == "mx":
		return w.exchangers(name, t, passes)
	}
	return w.exists(name, passes)
}

// exists follows an exists without macros of the message: it matches always or never (RFC 7208, 5.7).
func (w *walk) exists(name string, passes bool) error {
	a, err := w.dns.Lookup(w.ctx, name, dnsclient.A)
	if err != nil {
		return err
	}
	w.void(a, true)
	if !a.Empty() {
		w.network(netip.MustParsePrefix("0.0.0.0/0"), passes)
		w.network(netip.MustParsePrefix("::/0"), passes)
	}
	return nil
}

// count counts a term that causes a query.
func (w *walk) count() error {
	w.tree.Lookups++
	if w.tree.Lookups > walkLimit {
		return errStop
	}
	return nil
}

// follow follows an include or a redirect.
func (w *walk) follow(domain, text, spec string, passes bool) error {
	if err := w.count(); err != nil {
		return err
	}
	target, err := expand(spec, domain, w.tree.Domain)
	if err != nil {
		w.tree.Unknown = true
		return nil
	}
	target = strings.ToLower(strings.TrimSuffix(target, "."))
	if slices.Contains(w.stack, target) {
		w.wrong("%s: %q leads back to %s", domain, text, target)
		return nil
	}
	records, err := w.records(target)
	switch {
	case err != nil:
		return err
	case len(records) == 0: // RFC 7208, 5.2 and 6.1
		w.wrong("%s: %q leads to a domain without an SPF record", domain, text)
		return nil
	case len(records) > 1:
		w.wrong("%s: %q leads to a domain with %d SPF records", domain, text, len(records))
		return nil
	}
	r, err := Parse(records[0])
	if err != nil {
		w.wrong("%s: %v", target, err)
		return nil
	}
	err = w.record(target, r, passes)
	w.tree.Includes = append(w.tree.Includes, Include{target, passes, w.cost()})
	return err
}

// addresses follows an a mechanism, or one host of an mx. It is a void lookup if there is no address of
// either family.
func (w *walk) addresses(name string, t Term, passes bool) error {
	v4, err := w.dns.Lookup(w.ctx, name, dnsclient.A)
	if err != nil {
		return err
	}
	v6, err := w.dns.Lookup(w.ctx, name, dnsclient.AAAA)
	if err != nil {
		return err
	}
	w.void(v4, v6.Empty())
	for _, a := range slices.Concat(v4.Addrs, v6.Addrs) {
		bits := t.Bits6
		if a.Is4() {
			bits = t.Bits4
		}
		w.network(netip.PrefixFrom(a, bits).Masked(), passes)
	}
	return nil
}

// exchangers follows an mx mechanism (RFC 7208, 5.4).
func (w *walk) exchangers(name string, t Term, passes bool) error {
	a, err := w.dns.Lookup(w.ctx, name, dnsclient.MX)
	if err != nil {
		return err
	}
	w.void(a, true)
	if len(a.MX) > MaxLookups { // RFC 7208, 4.6.4
		w.wrong("%s has %d MX records, at most %d may be looked up", name, len(a.MX), MaxLookups)
		return nil
	}
	for _, mx := range a.MX {
		if mx.Host == "" {
			continue // RFC 7505, null MX
		}
		if err := w.addresses(mx.Host, t, passes); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) cost() Cost { return Cost{w.tree.Lookups, w.tree.Voids, len(w.tree.Wrong)} }

func (w *walk) network(p netip.Prefix, passes bool) {
	if !passes {
		w.tree.Others = append(w.tree.Others, p)
		return
	}
	w.tree.Networks = append(w.tree.Networks, Network{p, w.cost()})
}

func (w *walk) wrong(format string, args ...any) {
	w.tree.Wrong = append(w.tree.Wrong, fmt.Sprintf(format, args...))
}

func (w *walk) unwise(format string, args ...any) {
	w.tree.Unwise = append(w.tree.Unwise, fmt.Sprintf(format, args...))
}

package dmarc

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"

	"mailwhy/relay/internal/dnsclient"
)

// Resolver asks DNS.
type Resolver interface {
	// Lookup returns what DNS has, also that it has nothing. An error means that nothing is known.
	Lookup(ctx context.Context, name string, t dnsclient.Type) (*dnsclient.Answer, error)
}

// Result is what applies to an author domain.
type Result struct {
	Domain string
	Record *Record  // nil without one
	Org    string   // organizational domain
	Wrong  []string // mistakes that hide a record, a sentence each
}

// Discover finds the record of a domain and its organizational domain.
func Discover(ctx context.Context, dns Resolver, domain string) (*Result, error) {
	w := &walk{ctx: ctx, dns: dns}
	if err := w.up(domain); err != nil {
		return nil, err
	}
	res := &Result{Domain: domain, Org: w.org(domain), Wrong: w.wrong}
	res.Record = w.applies(domain, res.Org)
	if res.Record == nil {
		if err := w.apex(domain); err != nil {
			return nil, err
		}
		res.Wrong = w.wrong
	}
	return res, nil
}

// walk is one tree walk (RFC 9989, 4.10).
type walk struct {
	ctx   context.Context
	dns   Resolver
	found []*Record // from the longest name to the shortest
	wrong []string
}

// maxLabels is how many labels the second name of a walk has at most, so that a walk is at most 8 queries.
const maxLabels = 7

// up asks at the domain and then above it, up to a record that says where the organization ends.
func (w *walk) up(domain string) error {
	labels := strings.Split(domain, ".")
	for n := len(labels); n > 0; n = min(n-1, maxLabels) {
		r, err := w.at(strings.Join(labels[len(labels)-n:], "."))
		if err != nil {
			return err
		}
		if r != nil {
			w.found = append(w.found, r)
			if r.PSD != "u" {
				return nil
			}
		}
	}
	return nil
}

// at is the record at a domain, or nil: several count as none (RFC 9989, 4.10).
func (w *walk) at(domain string) (*Record, error) {
	name := "_dmarc." + domain
	a, err := w.dns.Lookup(w.ctx, name, dnsclient.TXT)
	if err != nil {
		return nil, err
	}
	var records []string
	for _, txt := range a.TXT {
		switch trimmed := strings.ToLower(strings.TrimSpace(txt)); {
		case isRecord(txt):
			records = append(records, txt)
		case strings.HasPrefix(trimmed, "v=dmarc1"):
			w.wrongf("%s: %q does not begin with exactly v=DMARC1 and is ignored", name, clip(txt))
		}
	}
	if len(records) > 1 {
		w.wrongf("%s has %d DMARC records, so all are ignored", name, len(records))
	}
	if len(records) != 1 {
		return nil, nil
	}
	return parse(domain, records[0]), nil
}

// org is the organizational domain (RFC 9989, 4.10.2), by the public suffix list if no record was found.
func (w *walk) org(domain string) string {
	if len(w.found) == 0 {
		return Registered(domain)
	}
	last := w.found[len(w.found)-1]
	if last.PSD == "y" && last.Domain != domain {
		below := strings.TrimSuffix(domain, "."+last.Domain)
		return below[strings.LastIndexByte(below, '.')+1:] + "." + last.Domain
	}
	return last.Domain
}

// applies is the record for the author domain: its own, that of the organizational domain, or that of the
// public suffix above (RFC 9989, 4.10.1).
func (w *walk) applies(domain, org string) *Record {
	var suffix *Record
	for _, r := range w.found {
		if r.P == "" {
			continue
		}
		if r.Domain == domain || r.Domain == org {
			return r
		}
		if r.PSD == "y" {
			suffix = r
		}
	}
	return suffix
}

// apex looks for a record that was published at the domain instead of below _dmarc.
func (w *walk) apex(domain string) error {
	a, err := w.dns.Lookup(w.ctx, domain, dnsclient.TXT)
	if err != nil {
		return err
	}
	for _, txt := range a.TXT {
		if isRecord(txt) {
			w.wrongf("the record is at %s, where receivers do not look, instead of _dmarc.%s", domain, domain)
		}
	}
	return nil
}

func (w *walk) wrongf(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// Registered is the organizational domain by the public suffix list (RFC 7489, 3.2). A suffix stands for
// itself.
func Registered(domain string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return org
	}
	return domain
}

// Alignment is whether an identifier aligns with the author domain.
type Alignment struct {
	Aligned bool // by RFC 9989
	Listed  bool // by the public suffix list, for receivers that follow RFC 7489
}

// Align says whether an authenticated domain, that of a signature or of MAIL FROM, aligns with the author
// domain (RFC 9989, 4.4). strict is adkim=s or aspf=s.
func (r *Result) Align(ctx context.Context, dns Resolver, other string, strict bool) (Alignment, error) {
	if strings.EqualFold(other, r.Domain) {
		return Alignment{true, true}, nil
	}
	if strict {
		return Alignment{}, nil
	}
	w := &walk{ctx: ctx, dns: dns}
	if err := w.up(other); err != nil {
		return Alignment{}, err
	}
	return Alignment{w.org(other) == r.Org, Registered(other) == Registered(r.Domain)}, nil
}

// Unauthorized are the domains of the report addresses that have not agreed to get reports about the record's
// domain: they need a TXT record v=DMARC1 at DOMAIN._report._dmarc.THEIRS (RFC 9990, 4). The names of the
// missing records are returned.
func (r *Record) Unauthorized(ctx context.Context, dns Resolver) (names []string, err error) {
	for _, address := range r.RUA {
		to := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
		if Registered(to) == Registered(r.Domain) {
			continue
		}
		name := r.Domain + "._report._dmarc." + to
		a, err := dns.Lookup(ctx, name, dnsclient.TXT)
		if err != nil {
			return nil, err
		}
		ok := false
		for _, txt := range a.TXT {
			ok = ok || strings.HasPrefix(txt, version)
		}
		if !ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// clip shortens what is quoted.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

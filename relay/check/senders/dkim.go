package senders

import (
	"fmt"
	"strings"

	"mailwhy/relay/check"
	"mailwhy/relay/check/dkim"
)

// signature is the search for keys of one upstream.
type signature struct {
	*pair
	domain  string // where keys are looked for
	lines   []check.Line
	missing []check.Record // of selectors at which there is nothing
	valid   bool
	broken  bool
}

// dkim looks for the upstream's keys at the domain, and then at its organization.
func (p *pair) dkim() (state, []check.Line) {
	selectors := p.selectors()
	if len(selectors) == 0 {
		return unknown, []check.Line{p.randomSelectors()}
	}
	s := &signature{pair: p, domain: p.name}
	if err := s.search(selectors); err != nil {
		return unknown, []check.Line{p.unanswered("dkim", err)}
	}
	if s.valid || s.broken || p.dmarc.Org == p.name {
		return s.result()
	}
	above := &signature{pair: p, domain: p.dmarc.Org}
	if err := above.search(selectors); err != nil {
		return unknown, []check.Line{p.unanswered("dkim", err)}
	}
	if !above.valid {
		return s.result()
	}
	return above.aligned()
}

// selectors are those that the user names, else the provider's.
func (p *pair) selectors() (all []selector) {
	for _, name := range p.up.Selectors {
		all = append(all, selector{name: name})
	}
	if len(all) > 0 || p.provider == nil {
		return all
	}
	for _, s := range p.provider.dkim {
		s.name = strings.ReplaceAll(s.name, "{user}", p.up.User)
		if s.name != "" {
			all = append(all, s)
		}
	}
	return all
}

// complete reports whether the upstream signs with no other selectors than those that are looked at.
func (p *pair) complete() bool {
	return len(p.up.Selectors) > 0 || p.provider != nil && p.provider.complete
}

// randomSelectors is the line for an upstream whose selectors nobody can guess.
func (p *pair) randomSelectors() check.Line {
	l := p.line(check.Warning, "dkim", "the selectors of %s are not known", p.title())
	l.Fix = "Take s= from the DKIM-Signature of a message that it sent, and name it with --dkim-selector."
	return l
}

// search looks all selectors up.
func (s *signature) search(selectors []selector) error {
	for _, sel := range selectors {
		f, err := dkim.Lookup(s.ctx, s.dns, sel.name, s.domain)
		if err != nil {
			return err
		}
		s.take(sel, f)
	}
	return nil
}

// take judges what was found for one selector.
func (s *signature) take(sel selector, f *dkim.Found) {
	switch {
	case len(f.Aliases) > 0 && s.foreign(sel, f.Aliases[0]):
		s.bad(sel, "%s leads to %s, which is not a name of %s", f.Name, f.Aliases[0], s.title())
	case f.Valid():
		s.good(sel, f)
	case f.Doubled:
		s.bad(sel, "the record for %s is at %s.%s: the domain was added twice", f.Name, f.Name, s.domain)
	case f.Web:
		s.bad(sel,
			"%s has addresses in place of a key: a web proxy hides the record, so switch the proxy off",
			f.Name)
	case f.Records > 1:
		s.bad(sel, "%s has %d keys, and receivers take any or none", f.Name, f.Records)
	case f.Key != nil:
		s.bad(sel, "%s: %s", f.Name, strings.Join(f.Key.Wrong, "; "))
	case f.Dangling:
		s.bad(sel, "%s leads to %s, where there is no key", f.Name, f.Aliases[len(f.Aliases)-1])
	case f.Texts > 0:
		s.bad(sel, "%s has a TXT record, but not a key", f.Name)
	case !sel.other:
		s.missing = append(s.missing, s.record(sel))
	}
}

// foreign reports whether a CNAME's target is not the provider's. Providers share names such as s1: where one
// publishes TXT records, a CNAME may be that of another.
func (s *signature) foreign(sel selector, target string) bool {
	if len(sel.targets) > 0 {
		return !s.matches(target, s.domain, sel.targets)
	}
	for i := range providers {
		for _, other := range providers[i].dkim {
			if &providers[i] != s.provider && s.matches(target, s.domain, other.targets) {
				return true
			}
		}
	}
	return false
}

// good takes a valid key.
func (s *signature) good(sel selector, f *dkim.Found) {
	s.valid = true
	text := fmt.Sprintf("%s has a valid key", f.Name)
	if f.Key.Bits > 0 {
		text += fmt.Sprintf(" of %d bits", f.Key.Bits)
	}
	s.lines = append(s.lines, s.line(check.OK, "dkim", "%s", text))
	for _, unwise := range f.Key.Unwise {
		s.lines = append(s.lines, s.line(check.Warning, "dkim", "%s: %s", f.Name, unwise))
	}
	if len(sel.targets) > 0 && len(f.Aliases) == 0 {
		l := s.line(check.Warning, "dkim", "%s is a TXT record: %s cannot change the key", f.Name, s.title())
		l.Fix = "Replace it by the CNAME."
		l.Records = []check.Record{s.record(sel)}
		s.lines = append(s.lines, l)
	}
}

// bad takes a mistake.
func (s *signature) bad(sel selector, format string, args ...any) {
	s.broken = true
	l := s.line(check.Failure, "dkim", format, args...)
	l.Fix = "Publish the record below in its place."
	l.Records = []check.Record{s.record(sel)}
	s.lines = append(s.lines, l)
}

// record is what to publish for a selector.
func (s *signature) record(sel selector) check.Record {
	r := check.Record{Type: "TXT", Name: sel.name + "._domainkey." + s.domain,
		Value: fmt.Sprintf("v=DKIM1; k=rsa; p=<shown by %s>", s.title())}
	if len(sel.targets) > 0 {
		r.Type, r.Value = "CNAME", s.value(sel.targets[0], s.domain)
	}
	return r
}

// result joins what was found at all selectors.
func (s *signature) result() (state, []check.Line) {
	switch {
	case s.valid:
		soften(s.lines)
		if len(s.missing) > 0 && s.complete() {
			l := s.line(check.Warning, "dkim", "%s is missing: mail is unsigned once %s changes to that key",
				names(s.missing), s.title())
			l.Fix, l.Records = "Publish it too.", s.missing
			s.lines = append(s.lines, l)
		}
		return passes, s.lines
	case s.complete():
		if len(s.missing) > 0 {
			l := s.line(check.Failure, "dkim", "%s is missing: nobody can verify a signature",
				names(s.missing))
			l.Fix, l.Records = "Switch DKIM on for the domain at "+s.title()+" and publish:", s.missing
			s.lines = append(s.lines, l)
		}
		return fails, s.lines
	}
	l := s.line(check.Warning, "dkim",
		"no valid key is at the usual selectors of %s, but it may use others", s.title())
	l.Fix = "Take s= from the DKIM-Signature of a message that it sent, and name it with --dkim-selector."
	soften(s.lines) // what is wrong there may be another provider's
	return unknown, append(s.lines, l)
}

// aligned is the result of keys at the organization: they sign for it, which may or may not align.
func (s *signature) aligned() (state, []check.Line) {
	ok, lines, err := s.align("dkim", s.domain, strictDKIM(s.dmarc))
	if err != nil {
		return unknown, []check.Line{s.unanswered("dkim", err)}
	}
	if ok {
		st, found := s.result()
		return st, append(found, lines...)
	}
	own := &signature{pair: s.pair, domain: s.name}
	l := s.line(check.Failure, "dkim",
		"the keys are at %s, and adkim=s does not let its signature count for %s",
		s.domain, s.name)
	l.Fix = "Set up " + s.name + " itself at " + s.title() + " and publish:"
	for _, sel := range s.selectors() {
		if !sel.other {
			l.Records = append(l.Records, own.record(sel))
		}
	}
	return fails, append(lines, l)
}

// names are the names of records.
func names(records []check.Record) string {
	list := make([]string, len(records))
	for i, r := range records {
		list[i] = r.Name
	}
	return strings.Join(list, ", ")
}

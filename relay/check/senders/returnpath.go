package senders

import (
	"fmt"
	"strings"

	"mailwhy/relay/check"
	"mailwhy/relay/check/spf"
	"mailwhy/relay/internal/dnsclient"
)

// pathCheck is the name of the lines about SPF through an upstream: SPF is about the return path (RFC 7208,
// 2.4).
const pathCheck = "return path"

// returnPath finds the domain of the return path, and says whether SPF passes for it and aligns.
func (p *pair) returnPath() (state, []check.Line) {
	kind, include := ownDomain, p.up.Include
	if p.provider != nil {
		kind = p.provider.path
		if include == "" {
			include = p.provider.spf
		}
	}
	at := p.up.ReturnPath
	switch {
	case kind == providersPath && at == "":
		return fails, []check.Line{p.line(check.OK, pathCheck,
			"%s uses a domain of its own, so SPF passes but never aligns: DKIM must", p.title())}
	case kind == aliasPath || kind == exchangePath:
		if at == "" && p.provider.label == "" {
			return unknown, []check.Line{p.chosenPath(kind)}
		}
		if at == "" {
			at = p.provider.label + "." + p.name
		}
	case include == "":
		l := p.line(check.Warning, pathCheck, "the SPF record of %s is not known", p.title())
		l.Fix = "Ask its operator which domain to include, and name it with --spf-include."
		return unknown, []check.Line{l}
	case at == "":
		at = p.name
	}
	st, lines, err := p.path(kind, at, include)
	if err != nil {
		return unknown, []check.Line{p.unanswered(pathCheck, err)}
	}
	if st != passes {
		return st, lines
	}
	ok, more, err := p.align(pathCheck, at, strictSPF(p.dmarc))
	if err != nil {
		return unknown, []check.Line{p.unanswered(pathCheck, err)}
	}
	lines = append(lines, more...)
	if !ok {
		l := p.line(check.Failure, pathCheck, "SPF passes for %s, which does not align with %s", at, p.name)
		l.Fix = "Use a return path of " + p.name + ", or relaxed alignment (aspf=r) in the DMARC record."
		return fails, append(lines, l)
	}
	return passes, lines
}

// chosenPath is the line for a return path that is different for each account.
func (p *pair) chosenPath(kind path) check.Line {
	l := p.line(check.Warning, pathCheck, "the return path at %s is not known", p.title())
	l.Fix = "Without one of your own SPF never aligns. Name yours with --return-path, or set one up:"
	l.Records = p.pathRecords(kind, "<shown by "+p.title()+">."+p.name, "")
	return l
}

// pathRecords are the records of a return path below the domain. record is the SPF record that is there.
func (p *pair) pathRecords(kind path, at, record string) []check.Record {
	if kind == aliasPath {
		return []check.Record{{Type: "CNAME", Name: at, Value: p.value(p.provider.targets[0], p.name)}}
	}
	return []check.Record{
		{Type: "MX", Name: at, Value: "10 " + p.value(p.provider.targets[0], p.name)},
		{Type: "TXT", Name: at, Value: including(record, p.provider.spf)},
	}
}

// path says whether SPF passes for the domain of the return path.
func (p *pair) path(kind path, at, include string) (state, []check.Line, error) {
	switch kind {
	case aliasPath:
		return p.alias(at)
	case exchangePath:
		return p.exchange(at, include)
	}
	return p.included(at, include)
}

// absent is the state of a return path that is not set up at a name. Another name may be, unless the user
// said that it is this one.
func (p *pair) absent(l check.Line) (state, []check.Line, error) {
	if p.up.ReturnPath != "" {
		return fails, []check.Line{l}, nil
	}
	l.Level = check.Warning
	l.Fix += " If another name is set up, say so with --return-path."
	return unknown, []check.Line{l}, nil
}

// alias checks a return path that is a CNAME to the provider.
func (p *pair) alias(at string) (state, []check.Line, error) {
	a, err := p.dns.Lookup(p.ctx, at, dnsclient.TXT)
	if err != nil {
		return unknown, nil, err
	}
	bad := p.line(check.Failure, pathCheck, "%s is not a CNAME to %s, so SPF does not align", at, p.title())
	bad.Fix = "Publish the record below."
	bad.Records = p.pathRecords(aliasPath, at, "")
	if len(a.Aliases) == 0 {
		return p.absent(bad)
	}
	if !p.matches(a.Aliases[0], p.name, p.provider.targets) {
		bad.Text = fmt.Sprintf("%s leads to %s, which is not a name of %s", at, a.Aliases[0], p.title())
		return p.absent(bad)
	}
	t, err := spf.Follow(p.ctx, p.dns, at)
	if err != nil {
		return unknown, nil, err
	}
	if t.Record == nil || len(t.Wrong) > 0 {
		l := p.line(check.Failure, pathCheck, "%s leads to %s, but there is no valid SPF record", at,
			a.Aliases[0])
		l.Fix = "Compare the name with what " + p.title() + " shows."
		return fails, []check.Line{l}, nil
	}
	return passes, []check.Line{p.line(check.OK, pathCheck, "%s leads to %s, whose SPF record counts", at,
		a.Aliases[0])}, nil
}

// exchange checks a return path with an MX of the provider: exactly one, or the provider uses its own domain.
func (p *pair) exchange(at, include string) (state, []check.Line, error) {
	a, err := p.dns.Lookup(p.ctx, at, dnsclient.MX)
	if err != nil {
		return unknown, nil, err
	}
	t, err := spf.Follow(p.ctx, p.dns, at)
	if err != nil {
		return unknown, nil, err
	}
	record := ""
	if t.Record != nil {
		record = t.Record.Text
	}
	bad := p.line(check.Failure, pathCheck, "%s has no MX of %s, so SPF does not align", at, p.title())
	bad.Fix = "Publish the records below."
	bad.Records = p.pathRecords(exchangePath, at, record)
	switch {
	case len(a.MX) == 0:
		return p.absent(bad)
	case len(a.MX) > 1:
		bad.Text = fmt.Sprintf("%s has %d MX records, and %s takes exactly one", at, len(a.MX), p.title())
		return fails, []check.Line{bad}, nil
	case !p.matches(a.MX[0].Host, p.name, p.provider.targets):
		bad.Text = fmt.Sprintf("the MX of %s is %s, which is not that of %s here", at, a.MX[0].Host,
			p.title())
		return fails, []check.Line{bad}, nil
	}
	return p.included(at, include)
}

// included checks whether the SPF record of a domain lets the upstream's mail pass.
func (p *pair) included(at, include string) (state, []check.Line, error) {
	tree, err := spf.Follow(p.ctx, p.dns, at)
	if err != nil {
		return unknown, nil, err
	}
	theirs, err := spf.Follow(p.ctx, p.dns, include)
	if err != nil {
		return unknown, nil, err
	}
	l := p.line(check.Failure, pathCheck, "the SPF record of %s does not let %s pass", at, p.title())
	l.Fix = "Replace it by the record below."
	switch tree.Passes(include, theirs) {
	case spf.Yes:
		return passes, []check.Line{p.line(check.OK, pathCheck, "the SPF record of %s lets %s pass", at,
			p.title())}, nil
	case spf.Broken:
		l.Text = fmt.Sprintf("the SPF record of %s has %s, but receivers meet a mistake before it", at,
			p.title())
		l.Fix = "Put it right, with include:" + include + " in front."
	case spf.Maybe:
		l.Level = check.Warning
		l.Text = fmt.Sprintf("whether the SPF record of %s lets %s pass depends on the message", at,
			p.title())
		l.Fix = "Ask who maintains its macros, or add the include as below."
		l.Records = spfRecord(at, tree, include)
		return unknown, []check.Line{l}, nil
	}
	switch {
	case len(tree.Records) == 0:
		l.Text = fmt.Sprintf("%s has no SPF record", at)
		l.Fix = "Publish the record below."
	case tree.Record == nil:
		l.Text = fmt.Sprintf("SPF for %s is broken: %s", at, strings.Join(tree.Wrong, "; "))
	}
	l.Records = spfRecord(at, tree, include)
	return fails, []check.Line{l}, nil
}

// spfRecord is the record to publish, with all that is there.
func spfRecord(at string, t *spf.Tree, include string) []check.Record {
	record := ""
	if len(t.Records) > 0 {
		record = t.Records[0]
	}
	if len(t.Records) > 1 {
		record = merged(t.Records)
	}
	return []check.Record{{Type: "TXT", Name: at, Value: including(record, include)}}
}

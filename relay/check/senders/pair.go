package senders

import (
	"fmt"
	"strings"

	"mailwhy/relay/check"
	"mailwhy/relay/check/dmarc"
)

// state is what is known of one of the two ways to pass.
type state int

const (
	unknown state = iota
	passes
	fails
)

// pair is the check of mail from a domain through an upstream.
type pair struct {
	*domainCheck
	up       *Upstream
	provider *provider // nil if it is not known
}

// check looks at both ways and joins them.
func (p *pair) check() []check.Line {
	dkim, dkimLines := p.dkim()
	spf, spfLines := p.returnPath()
	switch {
	case dkim == passes:
		soften(spfLines)
	case spf == passes:
		soften(dkimLines)
	}
	return append(append(dkimLines, spfLines...), p.outcome(dkim, spf))
}

// soften makes warnings of failures of a way that is not needed.
func soften(lines []check.Line) {
	for i := range lines {
		if lines[i].Level == check.Failure {
			lines[i].Level = check.Warning
		}
	}
}

// outcome is the line that joins both ways.
func (p *pair) outcome(dkim, spf state) check.Line {
	l := p.line(check.OK, "outcome", "mail passes DMARC by DKIM and by SPF")
	l.Outcome = check.ByDKIM
	switch {
	case dkim == passes && spf != passes:
		l.Text = "mail passes DMARC by DKIM"
	case dkim == passes:
	case spf == passes:
		l.Level, l.Outcome = check.Warning, check.BySPF
		l.Text = "mail passes DMARC by SPF only, which forwarding breaks"
		if dkim == unknown {
			l.Text = "mail passes DMARC by SPF; whether also by DKIM is not known"
		}
		l.Fix = "Have it signed by DKIM too, as the dkim lines say."
	case dkim == fails && spf == fails:
		l.Level, l.Outcome = check.Failure, check.Fails
		l.Text = "mail fails DMARC" + p.consequence()
		l.Fix = "Publish the records above, DKIM first."
	default:
		l.Level, l.Outcome = check.Warning, check.Unknown
		l.Text = "whether mail passes DMARC cannot be seen in DNS"
		l.Fix = "Name the selector of a message that it sent with --dkim-selector, " +
			"and its return path with --return-path."
	}
	return l
}

// consequence is what the policy asks receivers to do.
func (p *pair) consequence() string {
	r := p.dmarc.Record
	if r == nil {
		return ", once the domain has a policy"
	}
	switch r.For(p.name) {
	case "reject":
		return ": its policy asks receivers to reject it"
	case "quarantine":
		return ": its policy asks receivers to put it into the spam folder"
	}
	return ": its policy asks for nothing yet, but large receivers refuse such bulk mail"
}

// line is a line about the pair.
func (p *pair) line(level check.Level, name, format string, args ...any) check.Line {
	l := p.domainCheck.line(level, name, format, args...)
	l.Upstream = p.up.Name
	return l
}

// unanswered is the line for a lookup that failed.
func (p *pair) unanswered(name string, err error) check.Line {
	l := p.domainCheck.unanswered(name, err)
	l.Upstream = p.up.Name
	return l
}

// align says whether a domain aligns with that of the sender. The line is about receivers that disagree.
func (p *pair) align(name, other string, strict bool) (bool, []check.Line, error) {
	a, err := p.dmarc.Align(p.ctx, p.dns, other, strict)
	if err != nil || a.Aligned == a.Listed {
		return a.Aligned, nil, err
	}
	l := p.line(check.Warning, name, "%s and %s belong to one organization by %s only", other, p.name,
		map[bool]string{true: "RFC 9989", false: "the public suffix list"}[a.Aligned])
	l.Fix = "Receivers that follow the other rule decide otherwise: use " + p.name + " itself."
	return a.Aligned, []check.Line{l}, nil
}

// strictDKIM and strictSPF are adkim=s and aspf=s.
func strictDKIM(r *dmarc.Result) bool { return r.Record != nil && r.Record.StrictDKIM }

func strictSPF(r *dmarc.Result) bool { return r.Record != nil && r.Record.StrictSPF }

// title is the provider's name for people.
func (p *pair) title() string {
	if p.up.Title == "" {
		return p.up.Host
	}
	return p.up.Title
}

// matches reports whether a name is one of the provider's, and which pattern it is compared with.
func (p *pair) matches(name, domain string, patterns []string) bool {
	for _, pattern := range patterns {
		pattern = strings.ReplaceAll(pattern, "{dashed}", "*") // dashes of its own may be written otherwise
		if p.up.Region != "" {
			pattern = strings.ReplaceAll(pattern, "{region}", p.up.Region)
		}
		pattern = strings.ReplaceAll(pattern, "{region}", "*")
		if compile(strings.ReplaceAll(pattern, "{domain}", domain)).MatchString(name) {
			return true
		}
	}
	return false
}

// value is a pattern as the value of a record: with all that is known, and the rest in angle brackets.
func (p *pair) value(pattern, domain string) string {
	region := p.up.Region
	if region == "" {
		region = "<region>"
	}
	return strings.NewReplacer("{domain}", domain, "{dashed}", strings.ReplaceAll(domain, ".", "-"),
		"{region}", region, "*", fmt.Sprintf("<shown by %s>", p.title())).Replace(pattern)
}

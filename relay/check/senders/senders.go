// Package senders says whether receivers will take mail from a domain for genuine when it goes through an
// upstream, and which DNS record is missing if they will not.
//
// Mail passes DMARC (RFC 9989) if a valid DKIM signature or an SPF pass belongs to a domain that aligns with
// that of the From header. Which keys an upstream signs with and which domain it puts into MAIL FROM differs
// by provider; the table of providers knows it where anybody has said so. From that, and from what DNS has,
// follows one outcome for each pair of a domain and an upstream: by DKIM, by SPF only (which forwarding
// breaks), fails, or unknown.
//
// What always holds: a missing key counts as proof only where the provider signs with no other selector;
// everything else is unknown, and the line says how to find out. Records to publish are complete but for what
// only the provider knows. Where nothing else is said, the envelope sender's domain is that of From.
//
// RFC 6376 (DKIM), 7208 (SPF), 9989 (DMARC), 9990 (its reports), 7489 (DMARC before).
package senders

import (
	"context"
	"fmt"
	"strings"

	"mailwhy/relay/check"
	"mailwhy/relay/check/dmarc"
	"mailwhy/relay/check/spf"
	"mailwhy/relay/internal/dnsclient"
)

// Resolver asks DNS.
type Resolver interface {
	// Lookup returns what DNS has, also that it has nothing. An error means that nothing is known.
	Lookup(ctx context.Context, name string, t dnsclient.Type) (*dnsclient.Answer, error)
}

// Upstream is what must be known of an upstream. What the user says goes before what is known of the
// provider.
type Upstream struct {
	Name       string // in the configuration
	Host       string
	Preset     string   // name of the provider's preset; "" without
	Title      string   // name of the provider for people; the host when empty
	Region     string   // of the provider, where it has several
	User       string   // that it authenticates with
	Selectors  []string // DKIM selectors that it signs with
	Include    string   // domain of its SPF record
	ReturnPath string   // domain that it puts into MAIL FROM
}

// Checker checks domains. It asks each question once and is not safe for concurrent use.
type Checker struct {
	dns *memory
}

// New is a checker that has asked nothing yet.
func New(dns Resolver) *Checker {
	return &Checker{dns: &memory{dns: dns, known: map[question]reply{}}}
}

// Check checks the domain by itself, and then mail from it through each upstream.
func (c *Checker) Check(ctx context.Context, domain string, upstreams []Upstream) []check.Line {
	d := &domainCheck{ctx: ctx, dns: c.dns, name: strings.ToLower(strings.TrimSuffix(domain, "."))}
	if !d.look() {
		return d.lines
	}
	for i := range upstreams {
		p := &pair{domainCheck: d, up: &upstreams[i], provider: ofUpstream(&upstreams[i])}
		d.lines = append(d.lines, p.check()...)
	}
	return d.lines
}

// domainCheck is the check of one domain.
type domainCheck struct {
	ctx   context.Context
	dns   Resolver
	name  string
	spf   *spf.Tree
	dmarc *dmarc.Result
	lines []check.Line
}

// look finds the domain's own records. It returns false if DNS does not answer.
func (d *domainCheck) look() bool {
	var err error
	if d.spf, err = spf.Follow(d.ctx, d.dns, d.name); err != nil {
		d.lines = append(d.lines, d.unanswered("spf", err))
		return false
	}
	if d.dmarc, err = dmarc.Discover(d.ctx, d.dns, d.name); err != nil {
		d.lines = append(d.lines, d.unanswered("dmarc", err))
		return false
	}
	d.lines = append(d.lines, d.spfLines()...)
	d.lines = append(d.lines, d.dmarcLines()...)
	return true
}

// line is a line about the domain.
func (d *domainCheck) line(level check.Level, name, format string, args ...any) check.Line {
	return check.Line{Level: level, Check: name, Domain: d.name, Text: fmt.Sprintf(format, args...)}
}

// unanswered is the line for a lookup that failed. It is a failure: nothing is known.
func (d *domainCheck) unanswered(name string, err error) check.Line {
	l := d.line(check.Failure, name, "DNS does not answer: %v", err)
	l.Fix = "Run the check again, or ask another server with --resolver."
	return l
}

// spfLines are the lines about the domain's own SPF record. That there is none matters only where an upstream
// needs it.
func (d *domainCheck) spfLines() (lines []check.Line) {
	t := d.spf
	for _, wrong := range t.Wrong {
		l := d.line(check.Failure, "spf", "%s", wrong)
		switch {
		case len(t.Records) > 1:
			l.Fix = "Keep one record with the terms of all, and delete the others."
			l.Records = []check.Record{{Type: "TXT", Name: d.name, Value: merged(t.Records)}}
		case strings.Contains(wrong, "lookups"):
			l.Fix = "Remove what no longer sends, or send from a subdomain with a record of its own."
		default:
			l.Fix = "Correct or remove that term: receivers treat the whole record as broken."
		}
		lines = append(lines, l)
	}
	for _, unwise := range t.Unwise {
		l := d.line(check.Warning, "spf", "%s", unwise)
		l.Fix = "Remove that term."
		lines = append(lines, l)
	}
	if t.Record != nil && len(lines) == 0 {
		lines = append(lines, d.line(check.OK, "spf", "one valid record with %d of %d DNS lookups",
			t.Lookups, spf.MaxLookups))
	}
	return lines
}

// dmarcLines are the lines about the DMARC record that applies to the domain.
func (d *domainCheck) dmarcLines() (lines []check.Line) {
	for _, wrong := range d.dmarc.Wrong {
		l := d.line(check.Failure, "dmarc", "%s", wrong)
		l.Fix = "Keep exactly one TXT record that begins with v=DMARC1, at the name below."
		l.Records = []check.Record{d.dmarcRecord()}
		lines = append(lines, l)
	}
	r := d.dmarc.Record
	if r == nil {
		if len(lines) > 0 {
			return lines
		}
		l := d.line(check.Warning, "dmarc",
			"there is no DMARC record, which large receivers demand of bulk mail")
		l.Fix = "Publish one; p=none changes nothing yet, and the reports show who sends as the domain."
		l.Records = []check.Record{d.dmarcRecord()}
		return append(lines, l)
	}
	for _, wrong := range r.Wrong {
		l := d.line(check.Warning, "dmarc", "_dmarc.%s: %s", r.Domain, wrong)
		l.Fix = "Correct that tag."
		lines = append(lines, l)
	}
	for _, unwise := range r.Unwise {
		lines = append(lines, d.line(check.Warning, "dmarc", "_dmarc.%s: %s", r.Domain, unwise))
	}
	if lines = append(lines, d.reports()...); len(lines) == 0 {
		lines = append(lines, d.line(check.OK, "dmarc", "the policy is %s (_dmarc.%s)", r.For(d.name),
			r.Domain))
	}
	return lines
}

// reports are the lines about addresses for reports that do not agree to get them.
func (d *domainCheck) reports() (lines []check.Line) {
	names, err := d.dmarc.Record.Unauthorized(d.ctx, d.dns)
	if err != nil {
		return []check.Line{d.unanswered("dmarc", err)}
	}
	for _, name := range names {
		l := d.line(check.Warning, "dmarc",
			"reports are not sent to another domain that does not agree to get them")
		l.Fix = "Have that domain publish the record, or use an address of your own in rua=."
		l.Records = []check.Record{{Type: "TXT", Name: name, Value: "v=DMARC1"}}
		lines = append(lines, l)
	}
	return lines
}

// dmarcRecord is a first record. It belongs to the organization, so that it covers all of it.
func (d *domainCheck) dmarcRecord() check.Record {
	return check.Record{Type: "TXT", Name: "_dmarc." + d.dmarc.Org,
		Value: "v=DMARC1; p=none; rua=mailto:dmarc@" + d.dmarc.Org}
}

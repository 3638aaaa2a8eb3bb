package senders

import (
	"regexp"
	"slices"
	"strings"
)

// path says which domain a provider puts into MAIL FROM, and so which one SPF is about.
type path int

const (
	ownDomain     path = iota // that of the sender: its record includes the provider's
	aliasPath                 // a subdomain that is a CNAME to the provider, who publishes the record
	exchangePath              // a subdomain with one MX of the provider; its record includes the provider's
	providersPath             // the provider's own: SPF never aligns
)

// selector is where a provider has its keys published.
type selector struct {
	name    string   // {user} is the user name at the upstream
	targets []string // patterns of the CNAME's target; none where the key is a TXT record
	other   bool     // an alternative to the selectors before it: nothing is missing without it
}

// provider is what must be known of a provider. In patterns * stands for what the provider chooses, {domain}
// for the sender's domain, {dashed} for it with dashes, {region} for that of the upstream.
type provider struct {
	preset   string // its name
	spf      string // the domain of its SPF record; "" if senders do not include it
	path     path
	label    string   // usual subdomain of the return path; "" if each account has another
	targets  []string // of the CNAME or the MX
	dkim     []selector
	complete bool // it signs with no other selectors, so that a missing key is proof
}

// providers are those whose records are known: from their own documents, or as public threads and
// configurations show them (November 2026). What was found nowhere is left out.
var providers = [...]provider{
	{preset: "ses", spf: "amazonses.com", path: exchangePath,
		targets: []string{"feedback-smtp.{region}.amazonses.com"}},
	{preset: "m365", spf: "spf.protection.outlook.com",
		complete: true, dkim: []selector{
			{name: "selector1", targets: []string{"selector1-{dashed}._domainkey.*.onmicrosoft.com",
				"selector1-{dashed}._domainkey.*.dkim.mail.microsoft"}},
			{name: "selector2", targets: []string{"selector2-{dashed}._domainkey.*.onmicrosoft.com",
				"selector2-{dashed}._domainkey.*.dkim.mail.microsoft"}}}},
	{preset: "gmail", spf: "_spf.google.com", dkim: []selector{{name: "google"}}},
	{preset: "gmail-relay", spf: "_spf.google.com", dkim: []selector{{name: "google"}}},
	{preset: "sendgrid", path: aliasPath,
		targets: []string{"*.sendgrid.net"}, dkim: []selector{
			{name: "s1", targets: []string{"s1.domainkey.*.sendgrid.net"}},
			{name: "s2", targets: []string{"s2.domainkey.*.sendgrid.net"}}}},
	{preset: "mailgun", spf: "mailgun.org",
		dkim: []selector{{name: "k1"}, {name: "s1"}, {name: "mx"}, {name: "pic"}, {name: "pdk1"},
			{name: "pdk2"}}},
	{preset: "postmark",
		path: aliasPath, label: "pm-bounces", targets: []string{"pm.mtasv.net"}},
	{preset: "sparkpost",
		path: aliasPath, targets: []string{"sparkpostmail.com", "eu.sparkpostmail.com"}},
	{preset: "mailjet", path: providersPath,
		dkim: []selector{{name: "mailjet"}}, complete: true},
	{preset: "brevo", path: providersPath, complete: true,
		dkim: []selector{{name: "brevo1", targets: []string{"b1.{dashed}.dkim.brevo.com"}},
			{name: "brevo2", targets: []string{"b2.{dashed}.dkim.brevo.com"}}, {name: "mail", other: true}}},
	{preset: "smtp2go", path: aliasPath,
		targets: []string{"return.smtp2go.net"}},
	{preset: "resend", spf: "amazonses.com", path: exchangePath,
		label: "send", targets: []string{"feedback-smtp.*.amazonses.com"},
		dkim: []selector{{name: "resend"}}},
	{preset: "mailersend", path: aliasPath, label: "mta",
		targets: []string{"mailersend.net"},
		dkim:    []selector{{name: "mlsend2", targets: []string{"mlsend2._domainkey.mailersend.net"}}}},
	{preset: "mailtrap", path: aliasPath,
		targets: []string{"smtp.mailtrap.live"}, complete: true, dkim: []selector{
			{name: "rwmt1", targets: []string{"rwmt1.dkim.smtp.mailtrap.live"}},
			{name: "rwmt2", targets: []string{"rwmt2.dkim.smtp.mailtrap.live"}}}},
	{preset: "fastmail", spf: "spf.messagingengine.com", complete: true,
		dkim: []selector{{name: "fm1", targets: []string{"fm1.{domain}.dkim.fmhosted.com"}},
			{name: "fm2", targets: []string{"fm2.{domain}.dkim.fmhosted.com"}},
			{name: "fm3", targets: []string{"fm3.{domain}.dkim.fmhosted.com"}}}},
	{preset: "scaleway", spf: "_spf.tem.scaleway.com",
		dkim: []selector{{name: "{user}"}}, complete: true},
	{preset: "azure",
		spf: "spf.protection.outlook.com", complete: true, dkim: []selector{
			{name: "selector1-azurecomm-prod-net",
				targets: []string{"selector1-azurecomm-prod-net._domainkey.azurecomm.net"}},
			{name: "selector2-azurecomm-prod-net",
				targets: []string{"selector2-azurecomm-prod-net._domainkey.azurecomm.net"}}}},
	{preset: "yandex", spf: "_spf.yandex.net",
		dkim: []selector{{name: "mail"}}},
	{preset: "ovh", spf: "mx.ovh.com"},
	// The domain of its SPF record depends on where the contract is.
	{preset: "ionos", dkim: []selector{
		{name: "s1-ionos", targets: []string{"s1.dkim.ionos.com", "s1-*.ionos.com"}},
		{name: "s2-ionos", targets: []string{"s2.dkim.ionos.com", "s2-*.ionos.com"}}}},
	{preset: "elastic", spf: "_spf.elasticemail.com",
		dkim: []selector{{name: "api"}}},
}

// governmentSPF is what Microsoft's clouds for the government include, where the hosts end in us.
const governmentSPF = "spf.protection.office365.us"

// ofUpstream is what is known of an upstream's provider; nil without.
func ofUpstream(u *Upstream) *provider {
	i := slices.IndexFunc(providers[:], func(p provider) bool { return p.preset == u.Preset })
	switch {
	case u.Preset == "" || i < 0:
		return nil
	case u.Preset == "m365" && strings.HasSuffix(u.Host, ".us"):
		return &provider{spf: governmentSPF, dkim: []selector{{name: "selector1"}, {name: "selector2"}}}
	}
	return &providers[i]
}

// Presets are the names of those presets whose records are known.
func Presets() []string {
	names := make([]string, len(providers))
	for i := range providers {
		names[i] = providers[i].preset
	}
	return names
}

// compile makes an expression of a pattern.
func compile(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[a-z0-9._-]+`) + `$`)
}

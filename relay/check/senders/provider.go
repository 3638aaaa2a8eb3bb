package senders

import (
	"regexp"
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
// for the sender's domain, {dashed} for it with dashes, {region} for a part of the host.
type provider struct {
	title    string
	hosts    []string
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
	{title: "Amazon SES", hosts: []string{"email-smtp.{region}.amazonaws.com",
		"email-smtp-fips.{region}.amazonaws.com"}, spf: "amazonses.com", path: exchangePath,
		targets: []string{"feedback-smtp.{region}.amazonses.com"}},
	{title: "Microsoft 365", hosts: []string{"smtp.office365.com"}, spf: "spf.protection.outlook.com",
		complete: true, dkim: []selector{
			{name: "selector1", targets: []string{"selector1-{dashed}._domainkey.*.onmicrosoft.com",
				"selector1-{dashed}._domainkey.*.dkim.mail.microsoft"}},
			{name: "selector2", targets: []string{"selector2-{dashed}._domainkey.*.onmicrosoft.com",
				"selector2-{dashed}._domainkey.*.dkim.mail.microsoft"}}}},
	{title: "Gmail", hosts: []string{"smtp.gmail.com", "smtp-relay.gmail.com"}, spf: "_spf.google.com",
		dkim: []selector{{name: "google"}}},
	{title: "SendGrid", hosts: []string{"smtp.sendgrid.net"}, path: aliasPath,
		targets: []string{"*.sendgrid.net"}, dkim: []selector{
			{name: "s1", targets: []string{"s1.domainkey.*.sendgrid.net"}},
			{name: "s2", targets: []string{"s2.domainkey.*.sendgrid.net"}}}},
	{title: "Mailgun", hosts: []string{"smtp.mailgun.org", "smtp.eu.mailgun.org"}, spf: "mailgun.org",
		dkim: []selector{{name: "k1"}, {name: "s1"}, {name: "mx"}, {name: "pic"}, {name: "pdk1"},
			{name: "pdk2"}}},
	{title: "Postmark", hosts: []string{"smtp.postmarkapp.com", "smtp-broadcasts.postmarkapp.com"},
		path: aliasPath, label: "pm-bounces", targets: []string{"pm.mtasv.net"}},
	{title: "SparkPost", hosts: []string{"smtp.sparkpostmail.com", "smtp.eu.sparkpostmail.com"},
		path: aliasPath, targets: []string{"sparkpostmail.com", "eu.sparkpostmail.com"}},
	{title: "Mailjet", hosts: []string{"in-v3.mailjet.com"}, path: providersPath,
		dkim: []selector{{name: "mailjet"}}, complete: true},
	{title: "Brevo", hosts: []string{"smtp-relay.brevo.com"}, path: providersPath, complete: true,
		dkim: []selector{{name: "brevo1", targets: []string{"b1.{dashed}.dkim.brevo.com"}},
			{name: "brevo2", targets: []string{"b2.{dashed}.dkim.brevo.com"}}, {name: "mail", other: true}}},
	{title: "SMTP2GO", hosts: []string{"mail.smtp2go.com", "mail-*.smtp2go.com"}, path: aliasPath,
		targets: []string{"return.smtp2go.net"}},
	{title: "Resend", hosts: []string{"smtp.resend.com"}, spf: "amazonses.com", path: exchangePath,
		label: "send", targets: []string{"feedback-smtp.*.amazonses.com"},
		dkim: []selector{{name: "resend"}}},
	{title: "MailerSend", hosts: []string{"smtp.mailersend.net"}, path: aliasPath, label: "mta",
		targets: []string{"mailersend.net"},
		dkim:    []selector{{name: "mlsend2", targets: []string{"mlsend2._domainkey.mailersend.net"}}}},
	{title: "Mailtrap", hosts: []string{"live.smtp.mailtrap.io", "bulk.smtp.mailtrap.io"}, path: aliasPath,
		targets: []string{"smtp.mailtrap.live"}, complete: true, dkim: []selector{
			{name: "rwmt1", targets: []string{"rwmt1.dkim.smtp.mailtrap.live"}},
			{name: "rwmt2", targets: []string{"rwmt2.dkim.smtp.mailtrap.live"}}}},
	{title: "Fastmail", hosts: []string{"smtp.fastmail.com"}, spf: "spf.messagingengine.com", complete: true,
		dkim: []selector{{name: "fm1", targets: []string{"fm1.{domain}.dkim.fmhosted.com"}},
			{name: "fm2", targets: []string{"fm2.{domain}.dkim.fmhosted.com"}},
			{name: "fm3", targets: []string{"fm3.{domain}.dkim.fmhosted.com"}}}},
	{title: "Scaleway", hosts: []string{"smtp.tem.scaleway.com"}, spf: "_spf.tem.scaleway.com",
		dkim: []selector{{name: "{user}"}}, complete: true},
	{title: "Azure Communication Services", hosts: []string{"smtp.azurecomm.net"},
		spf: "spf.protection.outlook.com", complete: true, dkim: []selector{
			{name: "selector1-azurecomm-prod-net",
				targets: []string{"selector1-azurecomm-prod-net._domainkey.azurecomm.net"}},
			{name: "selector2-azurecomm-prod-net",
				targets: []string{"selector2-azurecomm-prod-net._domainkey.azurecomm.net"}}}},
	{title: "Yandex", hosts: []string{"smtp.yandex.com", "smtp.yandex.ru"}, spf: "_spf.yandex.net",
		dkim: []selector{{name: "mail"}}},
	{title: "OVH", hosts: []string{"ssl0.ovh.net"}, spf: "mx.ovh.com"},
	// The domain of its SPF record depends on where the contract is.
	{title: "IONOS", hosts: []string{"smtp.ionos.*"}, dkim: []selector{
		{name: "s1-ionos", targets: []string{"s1.dkim.ionos.com", "s1-*.ionos.com"}},
		{name: "s2-ionos", targets: []string{"s2.dkim.ionos.com", "s2-*.ionos.com"}}}},
	{title: "Elastic Email", hosts: []string{"smtp.elasticemail.com"}, spf: "_spf.elasticemail.com",
		dkim: []selector{{name: "api"}}},
}

// byHost is the provider of a host, or nil, and the region in the host's name.
func byHost(host string) (p *provider, region string) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for i := range providers {
		for _, pattern := range providers[i].hosts {
			if m := compile(pattern).FindStringSubmatch(host); m != nil {
				if len(m) > 1 {
					region = m[1]
				}
				return &providers[i], region
			}
		}
	}
	return nil, ""
}

// compile makes an expression of a pattern. {region} becomes a group.
func compile(pattern string) *regexp.Regexp {
	e := regexp.QuoteMeta(pattern)
	e = strings.ReplaceAll(e, `\*`, `[a-z0-9._-]+`)
	e = strings.ReplaceAll(e, `\{region\}`, `([a-z0-9-]+)`)
	return regexp.MustCompile(`^` + e + `$`)
}

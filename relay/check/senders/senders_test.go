package senders

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay/check"
	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/smtptest/dnstest"
)

// key is a TXT record with a valid key of 2048 bits.
var key = sync.OnceValue(func() string {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	b, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		panic(err)
	}
	p := base64.StdEncoding.EncodeToString(b)
	return fmt.Sprintf("TXT \"v=DKIM1; k=rsa; p=\" %q %q", p[:200], p[200:])
})

// providers' own records, as they answer for themselves.
const theirs = `
amazonses.com TXT "v=spf1 ip4:199.255.192.0/22 -all"
spf.protection.outlook.com TXT "v=spf1 ip4:40.92.0.0/15 -all"
_spf.google.com TXT "v=spf1 ip4:74.125.0.0/16 ~all"
mailgun.org TXT "v=spf1 include:_spf.mailgun.org ~all"
_spf.mailgun.org TXT "v=spf1 ip4:69.72.32.0/20 ~all"
pm.mtasv.net TXT "v=spf1 ip4:50.31.156.96/27 ~all"
u1.wl1.sendgrid.net TXT "v=spf1 ip4:167.89.0.0/17 -all"
return.smtp2go.net TXT "v=spf1 ip4:203.31.36.0/22 ~all"
eu.sparkpostmail.com TXT "v=spf1 ip4:192.0.2.0/24 ~all"
mailersend.net TXT "v=spf1 ip4:192.0.2.0/24 ~all"
smtp.mailtrap.live TXT "v=spf1 ip4:192.0.2.0/24 ~all"
spf.messagingengine.com TXT "v=spf1 ip4:103.168.172.128/27 -all"
_spf.tem.scaleway.com TXT "v=spf1 ip4:192.0.2.0/24 -all"
_spf.yandex.net TXT "v=spf1 ip4:192.0.2.0/24 ~all"
mx.ovh.com TXT "v=spf1 ip4:192.0.2.0/24 ~all"
_spf.elasticemail.com TXT "v=spf1 ip4:192.0.2.0/24 ~all"
spf.smarthost.example TXT "v=spf1 ip4:198.51.100.7 -all"
`

const (
	policy = `_dmarc.example.com TXT "v=DMARC1; p=reject"` + "\n"
	strict = `_dmarc.example.com TXT "v=DMARC1; p=quarantine; adkim=s; aspf=s"` + "\n"

	gmailSPF  = `example.com TXT "v=spf1 include:_spf.google.com ~all"` + "\n"
	gmailKey  = "google._domainkey.example.com KEY\n"
	m365SPF   = `example.com TXT "v=spf1 include:spf.protection.outlook.com -all"` + "\n"
	m365First = "selector1._domainkey.example.com CNAME " +
		"selector1-example-com._domainkey.t.onmicrosoft.com.\n" +
		"selector1-example-com._domainkey.t.onmicrosoft.com KEY\n"
	m365Second = "selector2._domainkey.example.com CNAME " +
		"selector2-example-com._domainkey.t.f-v1.dkim.mail.microsoft.\n" +
		"selector2-example-com._domainkey.t.f-v1.dkim.mail.microsoft KEY\n"
	sesPath = `bounce.example.com MX 10 feedback-smtp.eu-west-1.amazonses.com.
		bounce.example.com TXT "v=spf1 include:amazonses.com ~all"` + "\n"
)

// titles are the providers' names that the texts below have.
var titles = map[string]string{"ses": "Amazon SES", "m365": "Microsoft 365", "gmail": "Gmail",
	"postmark": "Postmark", "mailjet": "Mailjet"}

// row is a zone and what is said about it. lines are "LEVEL CHECK TEXT", with the first word of the check and
// any part of the text; records are "TYPE NAME VALUE". All that are given must be there. bad is how many
// failures there are.
type row struct {
	name    string
	up      Upstream // of the host; the name is "up"
	domain  string   // example.com when empty
	zone    string
	outcome check.Outcome
	bad     int
	lines   []string
	records []string
}

func (r *row) run(t *testing.T) {
	t.Helper()
	zone := strings.ReplaceAll(theirs+r.zone, "KEY", key())
	server := dnstest.Start(t, zone)
	c := New(&dnsclient.Client{Servers: []string{server.Addr}, Timeout: 5 * time.Second})
	if r.domain == "" {
		r.domain = "example.com"
	}
	r.up.Name = "up"
	if r.up.Host == "" {
		r.up.Host, r.up.Title = "smtp.test", titles[r.up.Preset]
	}
	lines := c.Check(t.Context(), r.domain, []Upstream{r.up})
	var said, records []string
	bad := 0
	for _, l := range lines {
		said = append(said, fmt.Sprintf("%s %s %s", l.Level, strings.Fields(l.Check)[0], l.Text))
		for _, rec := range l.Records {
			records = append(records, rec.Type+" "+rec.Name+" "+rec.Value)
		}
		if l.Level == check.Failure {
			bad++
		}
		if l.Level == check.Failure && l.Fix == "" || l.Text == "" || l.Domain != r.domain {
			t.Errorf("incomplete: %+v", l)
		}
	}
	last := lines[len(lines)-1]
	if last.Outcome != r.outcome || bad != r.bad || check.Failed(lines) != (bad > 0) {
		t.Errorf("outcome %q and %d failures, want %q and %d", last.Outcome, bad, r.outcome, r.bad)
	}
	contain(t, said, r.lines)
	contain(t, records, r.records)
	if t.Failed() {
		t.Logf("%s\n%s", strings.Join(said, "\n"), strings.Join(records, "\n"))
	}
}

// contain checks that each wanted text begins one of the lines and, after its second word, is anywhere in it.
func contain(t *testing.T, lines, wanted []string) {
	t.Helper()
	for _, want := range wanted {
		found := false
		for _, l := range lines {
			w, p := strings.SplitN(want, " ", 3), strings.SplitN(l, " ", 3)
			found = found || w[0] == p[0] && w[1] == p[1] && strings.Contains(p[2], w[2])
		}
		if !found {
			t.Errorf("nothing says %q", want)
		}
	}
}

func TestCheckMistakes(t *testing.T) {
	eleven, zone := "", ""
	for i := range 10 {
		eleven += fmt.Sprintf(" include:i%d.example", i)
		zone += fmt.Sprintf("i%d.example TXT \"v=spf1 -all\"\n", i)
	}
	for _, r := range []row{
		{name: "right", up: Upstream{Preset: "m365"}, zone: policy + m365SPF + m365First + m365Second,
			outcome: check.ByDKIM, lines: []string{
				"ok spf one valid record with 1 of 10 DNS lookups", "ok dmarc the policy is reject",
				"ok dkim selector1._domainkey.example.com has a valid key of 2048 bits",
				"ok return the SPF record of example.com lets Microsoft 365 pass",
				"ok outcome mail passes DMARC by DKIM and by SPF"}},
		{name: "all missing", up: Upstream{Preset: "m365"}, outcome: check.Fails, bad: 3, lines: []string{
			"warning dmarc there is no DMARC record",
			"failure dkim selector1._domainkey.example.com, selector2._domainkey.example.com is missing",
			"failure return example.com has no SPF record",
			"failure outcome mail fails DMARC, once the domain has a policy"},
			records: []string{
				"TXT _dmarc.example.com v=DMARC1; p=none; rua=mailto:dmarc@example.com",
				"CNAME selector1._domainkey.example.com selector1-example-com._domainkey." +
					"<shown by Microsoft 365>.onmicrosoft.com",
				"TXT example.com v=spf1 include:spf.protection.outlook.com ~all"}},
		{name: "key missing", up: Upstream{Preset: "m365"}, zone: policy + m365SPF, outcome: check.BySPF,
			lines: []string{"warning dkim selector1", "warning outcome mail passes DMARC by SPF only"}},
		{name: "second key missing", up: Upstream{Preset: "m365"}, zone: policy + m365SPF + m365First,
			outcome: check.ByDKIM,
			lines: []string{"warning dkim selector2._domainkey.example.com is missing: " +
				"mail is unsigned once Microsoft 365 changes to that key"}},
		{name: "SPF missing", up: Upstream{Preset: "m365"}, outcome: check.ByDKIM,
			zone:    policy + `example.com TXT "v=spf1 mx -all"` + "\n" + m365First + m365Second,
			lines:   []string{"warning return the SPF record of example.com does not let Microsoft 365 pass"},
			records: []string{"TXT example.com v=spf1 include:spf.protection.outlook.com mx -all"}},
		{name: "two SPF records", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM, bad: 1,
			zone: policy + gmailKey + gmailSPF + `example.com TXT "v=spf1 mx -all"`,
			lines: []string{"failure spf example.com has 2 SPF records",
				"warning return SPF for example.com is broken"},
			records: []string{"TXT example.com v=spf1 include:_spf.google.com mx ~all",
				"TXT example.com v=spf1 include:_spf.google.com mx ~all"}},
		{name: "over ten lookups", up: Upstream{Preset: "gmail"}, outcome: check.Unknown, bad: 2,
			zone: policy + `example.com TXT "v=spf1` + eleven + ` include:_spf.google.com ~all"` + "\n" +
				zone,
			lines: []string{"failure spf 11 DNS lookups, at most 10",
				"failure return but receivers meet a mistake",
				"warning dkim no valid key is at the usual selectors of Gmail"},
			records: []string{"TXT example.com v=spf1 include:_spf.google.com" + eleven + " ~all"}},
		{name: "over ten lookups behind the provider", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM,
			bad: 1,
			zone: policy + gmailKey + `example.com TXT "v=spf1 include:_spf.google.com` + eleven + ` ~all"` +
				"\n" + zone,
			lines: []string{"failure spf 11 DNS lookups",
				"ok return the SPF record of example.com lets Gmail pass"}},
		{name: "wrong selector", up: Upstream{Preset: "gmail"}, outcome: check.Unknown, bad: 1,
			zone:  policy + "default._domainkey.example.com KEY\n",
			lines: []string{"warning dkim no valid key", "warning outcome cannot be seen in DNS"}},
		{name: "named selector", up: Upstream{Preset: "gmail", Selectors: []string{"default"}},
			zone:    policy + "default._domainkey.example.com KEY\n" + gmailSPF,
			outcome: check.ByDKIM, lines: []string{"ok dkim default._domainkey.example.com has a valid key"}},
		{name: "named selector missing", up: Upstream{Preset: "gmail", Selectors: []string{"s9"}},
			zone:    policy,
			outcome: check.Fails, bad: 3, lines: []string{
				"failure dkim s9._domainkey.example.com is missing",
				"failure outcome mail fails DMARC: its policy asks receivers to reject it"},
			records: []string{"TXT s9._domainkey.example.com v=DKIM1; k=rsa; p=<shown by Gmail>"}},
		{name: "foreign CNAME", up: Upstream{Preset: "m365"}, outcome: check.BySPF, zone: policy + m365SPF +
			"selector1._domainkey.example.com CNAME keys.other.example.\nkeys.other.example KEY\n",
			lines: []string{"warning dkim leads to keys.other.example, which is not a name of"}},
		{name: "dangling CNAME", up: Upstream{Preset: "m365"}, outcome: check.BySPF, zone: policy + m365SPF +
			"selector1._domainkey.example.com CNAME selector1-example-com._domainkey.t.onmicrosoft.com.\n",
			lines: []string{"warning dkim where there is no key"}},
		{name: "key copied", up: Upstream{Preset: "m365"}, outcome: check.ByDKIM, zone: policy + m365SPF +
			"selector1._domainkey.example.com KEY\n" + m365Second,
			lines: []string{"warning dkim Microsoft 365 cannot change the key"}},
		{name: "doubled name", up: Upstream{Preset: "gmail"}, outcome: check.BySPF, zone: policy + gmailSPF +
			"google._domainkey.example.com.example.com KEY\n",
			lines: []string{"warning dkim the domain was added twice"}},
		{name: "web proxy", up: Upstream{Preset: "gmail"}, outcome: check.BySPF, zone: policy + gmailSPF +
			"google._domainkey.example.com A 192.0.2.1\n",
			lines: []string{"warning dkim a web proxy hides the record"}},
		{name: "two keys", up: Upstream{Preset: "gmail"}, outcome: check.BySPF,
			zone:  policy + gmailSPF + gmailKey + "google._domainkey.example.com TXT \"v=DKIM1; p=\"\n",
			lines: []string{"warning dkim has 2 keys"}},
		{name: "revoked", up: Upstream{Preset: "gmail"}, outcome: check.BySPF, zone: policy + gmailSPF +
			"google._domainkey.example.com TXT \"v=DKIM1; p=\"\n",
			lines: []string{"warning dkim the key is revoked"}},
		{name: "not a key", up: Upstream{Preset: "gmail"}, outcome: check.BySPF, zone: policy + gmailSPF +
			"google._domainkey.example.com TXT \"hello\"\n",
			lines: []string{"warning dkim a TXT record, but not a key"}},
		{name: "test mode", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM, zone: policy + gmailSPF +
			strings.Replace(gmailKey, "KEY", strings.Replace(key(), "k=rsa", "t=y", 1), 1),
			lines: []string{"warning dkim t=y marks a test"}},
		{name: "keys of the organization", up: Upstream{Preset: "gmail"}, domain: "news.example.com",
			zone: policy + gmailKey, outcome: check.ByDKIM, lines: []string{
				"ok dkim google._domainkey.example.com has",
				"ok dmarc the policy is reject (_dmarc.example.com)"}},
		{name: "keys of the organization, adkim=s", up: Upstream{Preset: "gmail"}, domain: "news.example.com",
			zone: strict + gmailKey, outcome: check.Fails, bad: 3,
			lines: []string{"failure dkim adkim=s does not let its signature count for news.example.com",
				"failure outcome into the spam folder"},
			records: []string{"TXT google._domainkey.news.example.com v=DKIM1; k=rsa; p=<shown by Gmail>"}},
		{name: "tree walk", up: Upstream{Preset: "gmail"}, domain: "a.unit.example.com",
			outcome: check.Unknown,
			bad:     1,
			zone:    policy + gmailKey + `_dmarc.unit.example.com TXT "v=DMARC1; p=none; psd=n"`,
			lines: []string{"warning dmarc _dmarc.unit.example.com: p=none", "warning dkim no valid key",
				"failure return a.unit.example.com has no SPF record"}},
		{name: "two DMARC records", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM, bad: 1,
			zone:    policy + gmailSPF + gmailKey + `_dmarc.example.com TXT "v=DMARC1; p=none"`,
			lines:   []string{"failure dmarc _dmarc.example.com has 2 DMARC records"},
			records: []string{"TXT _dmarc.example.com v=DMARC1; p=none; rua=mailto:dmarc@example.com"}},
		{name: "reports abroad", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM,
			zone: gmailSPF + gmailKey +
				`_dmarc.example.com TXT "v=DMARC1; p=reject; rua=mailto:d@r.example"`,
			lines:   []string{"warning dmarc reports are not sent"},
			records: []string{"TXT example.com._report._dmarc.r.example v=DMARC1"}},
		{name: "obsolete and wrong tags", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM,
			zone:  gmailSPF + gmailKey + `_dmarc.example.com TXT "v=DMARC1; p=reject; pct=5; sp=maybe"`,
			lines: []string{"warning dmarc pct= is obsolete", "warning dmarc sp=maybe is not one of"}},
		{name: "everybody may send", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM,
			zone:  policy + gmailKey + `example.com TXT "v=spf1 include:_spf.google.com +all"`,
			lines: []string{"warning spf lets everybody send"}},
		{name: "macros", up: Upstream{Preset: "gmail"}, outcome: check.ByDKIM,
			zone:  policy + gmailKey + `example.com TXT "v=spf1 include:%{ir}._spf.example.com -all"`,
			lines: []string{"warning return depends on the message"},
			records: []string{
				"TXT example.com v=spf1 include:_spf.google.com include:%{ir}._spf.example.com -all"}},
		{name: "DNS silent for the domain", up: Upstream{Preset: "gmail"}, zone: "example.com SERVFAIL",
			bad:   1,
			lines: []string{"failure spf DNS does not answer"}},
		{name: "DNS silent for a key", up: Upstream{Preset: "gmail"}, outcome: check.BySPF,
			zone: policy + gmailSPF + "google._domainkey.example.com SERVFAIL",
			lines: []string{"warning dkim DNS does not answer",
				"warning outcome whether also by DKIM is not known"}},
	} {
		t.Run(r.name, r.run)
	}
}

func TestCheckReturnPath(t *testing.T) {
	for _, r := range []row{
		{name: "SES unknown", up: Upstream{Preset: "ses", Region: "eu-west-1"}, zone: policy,
			outcome: check.Unknown, lines: []string{
				"warning dkim the selectors of Amazon SES are not known",
				"warning return the return path at Amazon SES is not known"}, records: []string{
				"MX <shown by Amazon SES>.example.com 10 feedback-smtp.eu-west-1.amazonses.com",
				"TXT <shown by Amazon SES>.example.com v=spf1 include:amazonses.com ~all"}},
		{name: "SES", up: Upstream{Preset: "ses", Region: "eu-west-1", ReturnPath: "bounce.example.com"},
			zone:    policy + sesPath,
			outcome: check.BySPF,
			lines:   []string{"ok return the SPF record of bounce.example.com lets Amazon SES"}},
		{name: "SES, aspf=s", up: Upstream{Preset: "ses", Region: "eu-west-1",
			ReturnPath: "bounce.example.com"}, zone: strict +
			sesPath,
			outcome: check.Unknown, bad: 1, lines: []string{
				"failure return SPF passes for bounce.example.com, which does not align with example.com"}},
		{name: "SES, missing", up: Upstream{Preset: "ses", Region: "eu-west-1",
			ReturnPath: "bounce.example.com",
			Selectors:  []string{"x"}},
			zone: policy, outcome: check.Fails, bad: 3,
			lines: []string{"failure return bounce.example.com has no MX of Amazon SES"},
			records: []string{"MX bounce.example.com 10 feedback-smtp.eu-west-1.amazonses.com",
				"TXT bounce.example.com v=spf1 include:amazonses.com ~all"}},
		{name: "SES, other region", up: Upstream{Preset: "ses", Region: "eu-west-1",
			ReturnPath: "bounce.example.com"}, bad: 1,
			zone:    policy + strings.ReplaceAll(sesPath, "eu-west-1", "us-east-1"),
			outcome: check.Unknown, lines: []string{"failure return which is not that of Amazon SES here"}},
		{name: "SES, two MX", up: Upstream{Preset: "ses", Region: "eu-west-1",
			ReturnPath: "bounce.example.com"}, bad: 1,
			zone:    policy + sesPath + "bounce.example.com MX 20 mx.example.com.",
			outcome: check.Unknown, lines: []string{"failure return takes exactly one"}},
		{name: "SES, no SPF", up: Upstream{Preset: "ses", Region: "eu-west-1",
			ReturnPath: "bounce.example.com"}, bad: 1,
			zone:    policy + "bounce.example.com MX 10 feedback-smtp.eu-west-1.amazonses.com.",
			outcome: check.Unknown, lines: []string{"failure return bounce.example.com has no SPF record"}},
		{name: "SES, keys named", up: Upstream{Preset: "ses", Region: "eu-west-1",
			Selectors: []string{"tok1"}}, outcome: check.ByDKIM,
			zone: policy + "tok1._domainkey.example.com CNAME tok1.dkim.amazonses.com.\n" +
				"tok1.dkim.amazonses.com KEY"},
		{name: "Postmark", up: Upstream{Preset: "postmark"}, outcome: check.BySPF,
			zone:  policy + "pm-bounces.example.com CNAME pm.mtasv.net.",
			lines: []string{"ok return pm-bounces.example.com leads to pm.mtasv.net"}},
		{name: "Postmark, missing", up: Upstream{Preset: "postmark"}, outcome: check.Unknown,
			zone: policy, lines: []string{"warning return pm-bounces.example.com is not a CNAME to Postmark"},
			records: []string{"CNAME pm-bounces.example.com pm.mtasv.net"}},
		{name: "Postmark, foreign", up: Upstream{Preset: "postmark"}, outcome: check.Unknown,
			zone:  policy + "pm-bounces.example.com CNAME www.example.net.",
			lines: []string{"warning return leads to www.example.net, which is not a name of Postmark"}},
		{name: "SendGrid", up: Upstream{Preset: "sendgrid", ReturnPath: "em1.example.com"},
			outcome: check.ByDKIM, lines: []string{"ok return em1.example.com leads to u1.wl1.sendgrid.net"},
			zone: policy + "em1.example.com CNAME u1.wl1.sendgrid.net.\n" +
				"s1._domainkey.example.com CNAME s1.domainkey.u1.wl1.sendgrid.net.\n" +
				"s1.domainkey.u1.wl1.sendgrid.net KEY"},
		{name: "SendGrid, dangling", up: Upstream{Preset: "sendgrid", ReturnPath: "em1.example.com"},
			outcome: check.Unknown, bad: 1, zone: policy + "em1.example.com CNAME u2.wl1.sendgrid.net.",
			lines: []string{"failure return but there is no valid SPF record"}},
		{name: "SparkPost", up: Upstream{Preset: "sparkpost", ReturnPath: "sp.example.com"},
			outcome: check.BySPF, zone: policy + "sp.example.com CNAME eu.sparkpostmail.com."},
		{name: "SMTP2GO", up: Upstream{Preset: "smtp2go", ReturnPath: "em2.example.com"},
			outcome: check.BySPF, zone: policy + "em2.example.com CNAME return.smtp2go.net."},
		{name: "Resend", up: Upstream{Preset: "resend"}, outcome: check.ByDKIM,
			zone: policy + "resend._domainkey.example.com KEY\n" + strings.ReplaceAll(sesPath, "bounce",
				"send")},
		{name: "MailerSend", up: Upstream{Preset: "mailersend"}, outcome: check.ByDKIM,
			zone: policy + "mta.example.com CNAME mailersend.net.\nmlsend2._domainkey.mailersend.net KEY\n" +
				"mlsend2._domainkey.example.com CNAME mlsend2._domainkey.mailersend.net."},
		{name: "Mailtrap", up: Upstream{Preset: "mailtrap", ReturnPath: "mt1.example.com"},
			outcome: check.BySPF, zone: policy + "mt1.example.com CNAME smtp.mailtrap.live.",
			records: []string{"CNAME rwmt1._domainkey.example.com rwmt1.dkim.smtp.mailtrap.live"}},
		{name: "Mailjet", up: Upstream{Preset: "mailjet"}, outcome: check.ByDKIM,
			zone:  policy + "mailjet._domainkey.example.com KEY",
			lines: []string{"ok return SPF passes but never aligns", "ok outcome mail passes DMARC by DKIM"}},
		{name: "Mailjet, missing", up: Upstream{Preset: "mailjet"}, outcome: check.Fails, bad: 2,
			zone:    policy,
			records: []string{"TXT mailjet._domainkey.example.com v=DKIM1; k=rsa; p=<shown by Mailjet>"}},
		{name: "Brevo", up: Upstream{Preset: "brevo"}, outcome: check.Fails, bad: 2,
			zone:    policy,
			records: []string{"CNAME brevo1._domainkey.example.com b1.example-com.dkim.brevo.com"}},
		{name: "Brevo, TXT", up: Upstream{Preset: "brevo"}, outcome: check.ByDKIM,
			zone: policy + "mail._domainkey.example.com KEY"},
		{name: "Fastmail", up: Upstream{Preset: "fastmail"}, outcome: check.BySPF,
			zone:    policy + `example.com TXT "v=spf1 include:spf.messagingengine.com ~all"`,
			records: []string{"CNAME fm3._domainkey.example.com fm3.example.com.dkim.fmhosted.com"}},
		{name: "Mailgun", up: Upstream{Preset: "mailgun"}, outcome: check.ByDKIM,
			zone: policy + "pic._domainkey.example.com KEY\n" +
				`example.com TXT "v=spf1 include:mailgun.org ~all"`},
		{name: "Mailgun, but the key is of SendGrid", up: Upstream{Preset: "mailgun"}, outcome: check.BySPF,
			zone: policy + `example.com TXT "v=spf1 include:mailgun.org ~all"` + "\n" +
				"s1._domainkey.example.com CNAME s1.domainkey.u1.wl1.sendgrid.net.\n" +
				"s1.domainkey.u1.wl1.sendgrid.net KEY",
			lines: []string{"warning dkim leads to s1.domainkey.u1.wl1.sendgrid.net, which is not"}},
		{name: "Scaleway", up: Upstream{Preset: "scaleway", User: "project-1"},
			outcome: check.ByDKIM,
			zone: policy + "project-1._domainkey.example.com KEY\n" +
				`example.com TXT "v=spf1 include:_spf.tem.scaleway.com -all"`},
		{name: "Azure", up: Upstream{Preset: "azure"}, outcome: check.BySPF, zone: policy +
			m365SPF,
			records: []string{"CNAME selector1-azurecomm-prod-net._domainkey.example.com " +
				"selector1-azurecomm-prod-net._domainkey.azurecomm.net"}},
		{name: "Yandex", up: Upstream{Preset: "yandex"}, outcome: check.ByDKIM, zone: policy +
			"mail._domainkey.example.com KEY\n" + `example.com TXT "v=spf1 redirect=_spf.yandex.net"`},
		{name: "OVH", up: Upstream{Preset: "ovh"}, outcome: check.BySPF,
			zone: policy + `example.com TXT "v=spf1 include:mx.ovh.com -all"`},
		{name: "IONOS", up: Upstream{Preset: "ionos"}, outcome: check.ByDKIM,
			zone: policy + "s1-ionos._domainkey.example.com CNAME s1.dkim.ionos.com.\ns1.dkim.ionos.com KEY"},
		{name: "Elastic Email", up: Upstream{Preset: "elastic"}, outcome: check.ByDKIM,
			zone: policy + "api._domainkey.example.com KEY"},
		{name: "Microsoft 365 for the government", outcome: check.BySPF,
			up: Upstream{Preset: "m365", Host: "smtp.office365.us"}, zone: policy +
				"spf.protection.office365.us TXT \"v=spf1 ip4:192.0.2.0/24 -all\"\n" +
				`example.com TXT "v=spf1 include:spf.protection.office365.us -all"`},
		{name: "a smarthost", up: Upstream{Host: "mail.smarthost.example"}, outcome: check.Unknown,
			zone:  policy,
			lines: []string{"warning return the SPF record of mail.smarthost.example is not known"}},
		{name: "a smarthost, include named", outcome: check.BySPF,
			up:   Upstream{Host: "mail.smarthost.example", Include: "spf.smarthost.example"},
			zone: policy + `example.com TXT "v=spf1 ip4:198.51.100.0/24 -all"`},
		{name: "a smarthost, its own return path", outcome: check.Fails, bad: 3,
			up: Upstream{Host: "mail.smarthost.example", Include: "spf.smarthost.example",
				ReturnPath: "spf.smarthost.example", Selectors: []string{"k"}},
			zone: policy, lines: []string{"failure return does not align with example.com"}},
	} {
		t.Run(r.name, r.run)
	}
}

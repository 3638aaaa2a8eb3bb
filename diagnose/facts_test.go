package diagnose

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBlocklists(t *testing.T) {
	e := newEngine(t)
	for _, c := range []struct{ reply, name string }{
		{"554 5.7.1 Service unavailable; Client host [192.0.2.25] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.25", "Spamhaus ZEN"},
		{"550 5.7.1 The IP address was rejected by the sbl.spamhaus.org RBL: 192.0.2.25", "Spamhaus SBL"},
		{"550 192.0.2.25 is listed by Spamhaus CSS", "Spamhaus CSS"},
		{"554 5.7.1 Client host [192.0.2.25] blocked using cbl.abuseat.org", "Spamhaus XBL"},
		{"554 5.7.1 Client host [192.0.2.25] blocked using pbl.spamhaus.org", "Spamhaus PBL"},
		{"554 5.7.1 Sender address [a@x.example] blocked using dbl.spamhaus.org", "Spamhaus DBL"},
		{"554 5.7.1 [192.0.2.25] blocked using bl.spamcop.net", "SpamCop"},
		{"554-Service unavailable; Client host [192.0.2.25] blocked using Barracuda Reputation", "Barracuda Reputation"},
		{"550 Rejected 192.0.2.25 found in dnsbl.sorbs.net", "SORBS"},
		{"554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.25", "Proofpoint Dynamic Reputation"},
		{"554 5.7.1 Client host [192.0.2.25] blocked using cm-csi-v11; see http://csi.cloudmark.com/reset-request/?ip=192.0.2.25", "Cloudmark Sender Intelligence"},
		{"550 Your IP 192.0.2.25 is listed by Invaluement", "Invaluement"},
		{"554 5.7.1 [192.0.2.25] blocked using dnsbl-1.uceprotect.net", "UCEPROTECT"},
		{"550 5.7.1 Client host blocked using Trend Micro RBL+. Please see http://www.mail-abuse.com/cgi-bin/lookup?ip_address=192.0.2.25", "Trend Micro Email Reputation"},
		{"550 5.7.1 Unfortunately, messages from [192.0.2.25] weren't sent since part of their network is on our block list (S3140).", "Microsoft (Outlook.com and Exchange Online)"},
		{"421 4.7.0 [TSS04] Messages from 192.0.2.25 temporarily deferred due to user complaints", "Yahoo"},
		{"553 5.3.0 flph825 DNSBL:ATTRBL 521< 192.0.2.25 >_is_blocked.", "AT&T"},
		{"554 comcast 192.0.2.25 Comcast block for spam. Please see http://postmaster.comcast.net/smtp-error-codes.php#BL000000", "Comcast"},
		{"550 Client host blocked for spamming issues. OFR006_102 Ref http://csi.cloudmark.com/reset-request/?ip=192.0.2.25", "Cloudmark Sender Intelligence"},
		{"554-gmx.net Nemesis ESMTP Service not available 554-IP address is block listed. 554 For explanation visit https://postmaster.gmx.net/en/case?v=192.0.2.25", "GMX, WEB.DE, 1&1, IONOS"},
		{"550 5.7.1 Messages from [192.0.2.25] weren't sent. Part of their network is on our block list (S3150).", "Microsoft (Outlook.com and Exchange Online)"},
		{"550 5.7.606 Access denied, banned sending IP [192.0.2.25]. To request removal from this list please visit https://sender.office.com", "Microsoft (Outlook.com and Exchange Online)"},
		{"421 4.7.0 [192.0.2.25 15] This message is suspicious due to the very low reputation of the sending IP address. - gsmtp", "Google (Gmail)"},
		{"554 5.7.9 [PH01] Message from 192.0.2.25 not accepted for policy reasons", "Yahoo"},
		{"550 192.0.2.25 blacklisted - https://community.mimecast.com/docs/DOC-1369#550", "Mimecast"},
		{"550 Service refuse. 192.0.2.25 blacklist. OFR006_102", "Orange"},
		{"554 IP=192.0.2.25 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.)", "T-Online"},
		{"550 5.7.1 192.0.2.25 is listed by Abusix Mail Intelligence", "Abusix Mail Intelligence"},
		{"554 5.7.1 [HM08] Message from 192.0.2.25 rejected due to local policy", "Apple iCloud"},
		{"554 5.7.1 [CS01] Message rejected due to local policy: spam from 192.0.2.25", "Apple iCloud"},
	} {
		d := e.Diagnose(Symptom{Reply: ParseReply(c.reply)})
		switch {
		case d.Category != SenderReputation:
			t.Errorf("%q is %s by %s", c.reply, d.Category, d.Rule)
		case d.Blocklist == nil || d.Blocklist.Name != c.name:
			t.Errorf("%q: blocklist %+v, want %s", c.reply, d.Blocklist, c.name)
		case !strings.HasPrefix(d.Blocklist.Lookup, "https://") || strings.ContainsAny(d.Blocklist.Lookup+d.Blocklist.Removal, "{}"):
			t.Errorf("%q: look-up %q, removal %q", c.reply, d.Blocklist.Lookup, d.Blocklist.Removal)
		case d.IP != "192.0.2.25" && c.name != "Spamhaus DBL":
			t.Errorf("%q: address %q", c.reply, d.IP)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	e := newEngine(t)
	for reply, want := range map[string]time.Duration{
		"450 4.2.0 Greylisted, please try again in 300 seconds":            300 * time.Second,
		"451 4.7.1 Greylisting in action, please come back in 00:05:00":    5 * time.Minute,
		"421 Too many messages, retry after 10 minutes":                    10 * time.Minute,
		"450 try again in 1 hour":                                          time.Hour,
		"451 Greylisted for 5 min, retry after 300s":                       300 * time.Second,
		"421 timed out after 300 seconds":                                  0,
		"550 5.1.1 User unknown":                                           0,
		"450 try again in 99999999999999999999 seconds":                    0,
		"451 please wait 4 minutes and then retry; see https://x.test/60s": 4 * time.Minute,
	} {
		if d := e.Diagnose(Symptom{Reply: ParseReply(reply)}); time.Duration(d.RetryAfter) != want {
			t.Errorf("%q: %s, want %s", reply, time.Duration(d.RetryAfter), want)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	e := newEngine(t)
	for reply, want := range map[string]int64{
		"552 5.3.4 Message size exceeds fixed maximum message size (10485760)":                  10485760,
		"552 Message too large: limit 25 MB":                                                    25 << 20,
		"message size 18876259 exceeds size limit 10485760 of server mx.example.com[192.0.2.1]": 10485760,
		"552 5.3.4 Message too large":                                                           0,
		"552 5.2.3 Message exceeds maximum of 20480 KB":                                         20480 << 10,
		"550 5.2.2 mailbox over quota of 100 MB":                                                0,
	} {
		if d := e.Diagnose(symptomOf(reply)); d.SizeLimit != want {
			t.Errorf("%q: %d, want %d (%s)", reply, d.SizeLimit, want, d.Reason)
		}
	}
	d := e.Diagnose(Symptom{Reply: ParseReply("552 5.3.4 Message too large"), Facts: Facts{Size: 30, UpstreamSize: 20}})
	if d.SizeLimit != 20 || len(d.Evidence) != 1 || !strings.Contains(d.Evidence[0], "30 bytes") {
		t.Errorf("limit %d, evidence %q, want the upstream's own limit", d.SizeLimit, d.Evidence)
	}
	d = e.Diagnose(Symptom{Reply: ParseReply("552 5.3.4 Message too large"), Facts: Facts{Size: 20, UpstreamSize: 30}})
	if d.SizeLimit != 0 || len(d.Evidence) != 1 || !strings.Contains(d.Evidence[0], "keeps to the limit of 30") {
		t.Errorf("limit %d, evidence %q, want no limit that the message keeps to", d.SizeLimit, d.Evidence)
	}
}

func TestProviderAdvice(t *testing.T) {
	e := newEngine(t)
	for _, c := range []struct{ reply, upstream, provider, link string }{
		{"550-5.7.26 Unauthenticated email from x.example is not accepted due to domain's DMARC policy. - gsmtp", "", "gmail", "support.google.com"},
		{"550 5.7.606 Access denied, banned sending IP [192.0.2.1]. (AS16012609) [x.prod.protection.outlook.com]", "", "microsoft", "office.com"},
		{"554 Message rejected: Email address is not verified. The following identities failed the check in region US-EAST-1: a@x.example", "email-smtp.us-east-1.amazonaws.com", "ses", "aws.amazon.com"},
		{"535 Authentication failed: Bad username / password", "smtp.sendgrid.net", "sendgrid", "sendgrid"},
		{"421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", "", "yahoo", "yahooinc"},
		{"554 5.7.1 [CS01] Message rejected due to local policy. https://support.apple.com/en-us/HT204137", "", "apple", "apple.com"},
		{"550 Administrative prohibition - envelope blocked - https://community.mimecast.com/docs/DOC-1369#550", "", "mimecast", "mimecast"},
	} {
		d := e.Diagnose(Symptom{Reply: ParseReply(c.reply), Upstream: c.upstream})
		if d.Provider != c.provider || !slices.ContainsFunc(d.Links, func(l string) bool { return strings.Contains(l, c.link) }) {
			t.Errorf("%q: provider %q, links %q, want %s and a link to %s", c.reply, d.Provider, d.Links, c.provider, c.link)
		}
	}
}

// TestOurAccount holds what the upstream says about us: the category is the guide's, the scope says that no recipient is
// to blame.
func TestOurAccount(t *testing.T) {
	e := newEngine(t)
	for _, c := range []struct {
		stage  Stage
		reply  string
		reason Reason
		scope  Scope
	}{
		{StageAuth, "535 5.7.8 Error: authentication failed", "auth_failed", ScopeUpstream},
		{StageAuth, "535", "auth_failed", ScopeUpstream},
		{StageAuth, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", "basic_auth_disabled", ScopeUpstream},
		{StageEndOfData, "550 5.7.30 Basic authentication is not supported for Client Submission.", "basic_auth_disabled", ScopeUpstream},
		{StageMail, "530 5.7.0 Authentication Required.", "auth_required", ScopeUpstream},
		{StageMail, "530 5.7.57 Client not authenticated to send mail.", "auth_required", ScopeUpstream},
		{StageEndOfData, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "send_as_denied", ScopeSender},
		{StageEndOfData, "554 5.2.252 SendAsDenied; a@x.example not allowed to send as b@x.example; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied", "send_as_denied", ScopeSender},
		{StageEndOfData, "554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: a@x.example", "sender_not_verified", ScopeSender},
		{StageEndOfData, "454 Throttling failure: Maximum sending rate exceeded.", "throttled", ScopeUpstream},
		{StageEndOfData, "454 Throttling failure: Daily message quota exceeded.", "quota_exceeded", ScopeUpstream},
		{StageMail, "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.", "too_many_connections", ScopeUpstream},
		{StageEndOfData, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message", "quota_exceeded", ScopeUpstream},
		{StageAuth, "454 4.7.0 Temporary authentication failure", "auth_temporary", ScopeUpstream},
		{StageMail, "538 5.7.11 Encryption required for requested authentication mechanism", "tls_required", ScopeUpstream},
		{StageMail, "530 5.7.0 Must issue a STARTTLS command first", "tls_required", ScopeUpstream},
		{StageGreeting, "421 4.7.0 Try again later", "session_deferred", ScopeUpstream},
		{StageRcpt, "554 5.2.122 The recipient has exceeded their limit for the number of messages they can receive per hour.", "recipient_rate_limited", ScopeRecipient},
		{StageRcpt, "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed because the sender was not authenticated when sending to this group", "restricted_recipient", ScopeRecipient},
		{StageRcpt, "550 5.1.1 User unknown", "user_unknown", ScopeRecipient},
		{StageEndOfData, "550 5.7.1 Unfortunately: host mx.y.example said: 550 5.7.1 relaying denied", "relay_denied", ScopeRecipient},
	} {
		d := e.Diagnose(Symptom{Stage: c.stage, Reply: ParseReply(c.reply)})
		if d.Reason != c.reason || d.Scope != c.scope || !d.Category.InGuide() {
			t.Errorf("%s %q: %s, scope %s, %s (by %s), want %s, scope %s", c.stage, c.reply, d.Reason, d.Scope, d.Category, d.Rule, c.reason, c.scope)
		}
	}
}

func TestEvidence(t *testing.T) {
	e := newEngine(t)
	dmarc := ParseReply("550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.")
	for _, c := range []struct {
		name  string
		reply Reply
		facts Facts
		want  string
	}{
		{"no alignment", dmarc, Facts{HeaderFrom: "example.com", EnvelopeFrom: "bounce.other.net", Examined: true}, "From is example.com but the envelope sender is bounce.other.net"},
		{"no signature", dmarc, Facts{HeaderFrom: "example.com", EnvelopeFrom: "bounce.other.net", Examined: true}, "no DKIM signature for example.com"},
		{"foreign signature", dmarc, Facts{HeaderFrom: "example.com", EnvelopeFrom: "example.com", DKIMDomains: []string{"esp.example.net"}}, "none is for example.com"},
		{"typo", ParseReply("550 5.1.1 User unknown"), Facts{Recipient: "bob@gmial.com"}, "gmail.com may be meant"},
		{"rate", ParseReply("421 4.7.0 Too many messages"), Facts{RecentRate: 12.5}, "12.5 messages a second"},
	} {
		d := e.Diagnose(Symptom{Reply: c.reply, Facts: c.facts})
		if !strings.Contains(strings.Join(d.Evidence, " "), c.want) {
			t.Errorf("%s: %q, want %q", c.name, d.Evidence, c.want)
		}
	}
}

func TestTypo(t *testing.T) {
	for domain, want := range map[string]string{"gmial.com": "gmail.com", "gmail.con": "gmail.com", "hotmial.com": "hotmail.com", "yaho.com": "yahoo.com",
		"outlok.com": "outlook.com", "GMAIL.COM": "", "gmail.com": "", "mail.com": "", "example.com": "", "": "", "web.com": ""} {
		if got := Typo(domain); got != want {
			t.Errorf("%q: %q, want %q", domain, got, want)
		}
	}
}

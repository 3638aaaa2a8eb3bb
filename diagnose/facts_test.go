package diagnose

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBlocklists runs replies that name a list: the answer names it, its pages and the address.
func TestBlocklists(t *testing.T) {
	e := newEngine(t)
	for _, row := range jsonRows[struct{ Reply, Name string }](t, "blocklists", 30) {
		d := e.answer(row.Reply)
		if d.Category != SenderReputation || d.Blocklist == nil || d.Blocklist.Name != row.Name {
			t.Errorf("%q is %s by %s, blocklist %+v, want %s",
				row.Reply, d.Category, d.Rule, d.Blocklist, row.Name)
			continue
		}
		lookup, removal := d.Blocklist.Lookup, d.Blocklist.Removal
		if !strings.HasPrefix(lookup, "https://") || strings.ContainsAny(lookup+removal, "{}") {
			t.Errorf("%q: look-up %q, removal %q", row.Reply, lookup, removal)
		}
		if d.IP != "192.0.2.25" && row.Name != "Spamhaus DBL" {
			t.Errorf("%q: address %q", row.Reply, d.IP)
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
		if d := e.answer(reply); time.Duration(d.RetryAfter) != want {
			t.Errorf("%q: %s, want %s", reply, time.Duration(d.RetryAfter), want)
		}
	}
}

func TestRetryAtANamedTime(t *testing.T) {
	e := newEngine(t)
	now := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
	const refused = "421 Domain mg.example.com is not allowed to send: recipient limit exceeded, "
	for reply, want := range map[string]time.Duration{
		refused + "try again after Sun, 29 Nov 2026 10:04:01 UTC": 4*time.Minute + time.Second,
		refused + "try again after 2026-11-29 11:00:00 UTC":       time.Hour,
		refused + "try again after 2026-11-29 11:00:00 +0000 UTC": time.Hour,
		refused + "try again after 2026-11-29T10:00:30 GMT.":      30 * time.Second,
		refused + "try again after Wed, 22 Feb 2023 10:04:01 UTC": 0, // over
		refused + "try again after Wed, 22 Feb 2034 10:04:01 UTC": 0, // farther off than is credible
		"421 Blocked since Mon, 30 Nov 2026 10:04:01 UTC":         0, // it asks for no retry
		"421 Try again later; UTC":                                0,
	} {
		d := e.Diagnose(Symptom{Reply: ParseReply(reply), Facts: Facts{Now: now}})
		if time.Duration(d.RetryAfter) != want {
			t.Errorf("%q: %s, want %s", reply, time.Duration(d.RetryAfter), want)
		}
	}
	if d := e.answer(refused + "try again after 2026-11-29 11:00:00 UTC"); d.RetryAfter != 0 {
		t.Errorf("without the time of the reply: %s", time.Duration(d.RetryAfter))
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
	large := Symptom{Reply: ParseReply("552 5.3.4 Message too large")}
	large.Facts = Facts{Size: 30, UpstreamSize: 20}
	d := e.Diagnose(large)
	if d.SizeLimit != 20 || len(d.Evidence) != 1 || !strings.Contains(d.Evidence[0], "30 bytes") {
		t.Errorf("limit %d, evidence %q, want the upstream's own limit", d.SizeLimit, d.Evidence)
	}
	large.Facts = Facts{Size: 20, UpstreamSize: 30}
	d = e.Diagnose(large)
	if d.SizeLimit != 0 || len(d.Evidence) != 1 || !strings.Contains(d.Evidence[0], "known limit of 30") {
		t.Errorf("limit %d, evidence %q, want no limit: the message is within it", d.SizeLimit, d.Evidence)
	}
}

// TestProviderAdvice holds that the provider is recognised, by its words or its host, and that its own page
// is among the links.
func TestProviderAdvice(t *testing.T) {
	e := newEngine(t)
	type row struct{ Reply, Upstream, Provider, Link string }
	for _, row := range jsonRows[row](t, "provider-advice", 7) {
		d := e.Diagnose(Symptom{Reply: ParseReply(row.Reply), Upstream: row.Upstream})
		links := func(l string) bool { return strings.Contains(l, row.Link) }
		if d.Provider != row.Provider || !slices.ContainsFunc(d.Links, links) {
			t.Errorf("%q: provider %q, links %q, want %s and a link to %s",
				row.Reply, d.Provider, d.Links, row.Provider, row.Link)
		}
	}
}

// TestProviderPages holds that a provider's page about a reason is shown only with that provider's replies.
func TestProviderPages(t *testing.T) {
	e := newEngine(t)
	pages := map[string]bool{
		"x.mail.protection.outlook.com": true, "smtp.gmail.com": false, "mx.example": false,
	}
	for host, want := range pages {
		d := e.Diagnose(Symptom{Reply: ParseReply("550 5.1.1 User unknown"), Upstream: host})
		has := slices.ContainsFunc(d.Links, func(link string) bool {
			return strings.Contains(link, "learn.microsoft.com")
		})
		if d.Reason != "user_unknown" || has != want {
			t.Errorf("%s: %s, links %q, want a page of Microsoft: %t", host, d.Reason, d.Links, want)
		}
	}
}

// TestOurAccount holds what the upstream says about us: the category is the guide's, the scope says that no
// recipient is to blame.
func TestOurAccount(t *testing.T) {
	e := newEngine(t)
	type row struct {
		Stage  Stage
		Reply  string
		Reason Reason
		Scope  Scope
	}
	for _, row := range jsonRows[row](t, "our-account", 20) {
		d := e.Diagnose(Symptom{Stage: row.Stage, Reply: ParseReply(row.Reply)})
		if d.Reason != row.Reason || d.Scope != row.Scope || !d.Category.InGuide() {
			t.Errorf("%s %q: %s, scope %s, %s (by %s), want %s, scope %s",
				row.Stage, row.Reply, d.Reason, d.Scope, d.Category, d.Rule, row.Reason, row.Scope)
		}
	}
}

func TestEvidence(t *testing.T) {
	e := newEngine(t)
	dmarc := "550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy."
	for _, c := range []struct {
		name  string
		reply string
		facts Facts
		want  string
	}{
		{
			name:  "no alignment",
			reply: dmarc,
			facts: Facts{HeaderFrom: "example.com", EnvelopeFrom: "bounce.other.net", Examined: true},
			want:  "From is example.com but the envelope sender is bounce.other.net",
		}, {
			name:  "no signature",
			reply: dmarc,
			facts: Facts{HeaderFrom: "example.com", EnvelopeFrom: "bounce.other.net", Examined: true},
			want:  "no DKIM signature for example.com",
		}, {
			name:  "foreign signature",
			reply: dmarc,
			facts: Facts{HeaderFrom: "example.com", EnvelopeFrom: "example.com",
				DKIMDomains: []string{"esp.example.net"}},
			want: "none is for example.com",
		}, {
			name:  "typo",
			reply: "550 5.1.1 User unknown",
			facts: Facts{Recipient: "bob@gmial.com"},
			want:  "gmial.com may be a typo for gmail.com",
		}, {
			name:  "rate",
			reply: "421 4.7.0 Too many messages",
			facts: Facts{RecentRate: 12.5},
			want:  "12.5 messages a second",
		},
	} {
		d := e.Diagnose(Symptom{Reply: ParseReply(c.reply), Facts: c.facts})
		if !strings.Contains(strings.Join(d.Evidence, " "), c.want) {
			t.Errorf("%s: %q, want %q", c.name, d.Evidence, c.want)
		}
	}
}

func TestTypo(t *testing.T) {
	for domain, want := range map[string]string{
		"gmial.com": "gmail.com", "gmail.con": "gmail.com", "hotmial.com": "hotmail.com",
		"yaho.com": "yahoo.com", "outlok.com": "outlook.com", "GMAIL.COM": "", "gmail.com": "",
		"mail.com":    "",
		"example.com": "", "": "", "web.com": "",
	} {
		if got := Typo(domain); got != want {
			t.Errorf("%q: %q, want %q", domain, got, want)
		}
	}
}

package diagnose

import (
	"slices"
	"strings"
	"testing"
)

// plainPhrases gives the phrases of all rules that are made of letters and spaces alone.
func plainPhrases(e *Engine) []string {
	var out []string
	for i := range e.rules {
		for _, p := range slices.Concat(e.rules[i].Any, e.rules[i].All, e.rules[i].None) {
			if strings.Trim(p, "abcdefghijklmnopqrstuvwxyz ") == "" {
				out = append(out, p)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestWordingIsNeverFoundInsideANameOrAddress puts the words of every phrase into things that a reply names:
// the answer must be the one that a word without meaning gets there.
func TestWordingIsNeverFoundInsideANameOrAddress(t *testing.T) {
	e := newEngine(t)
	for _, form := range []string{
		"550 5.7.1 Zork nargle. See https://help.example.com/WORDS.html for more",
		"550 5.7.1 Zork nargle. See https://help.example.com/?p=WORDS,a;b=WORDS&c=(1)",
		"550 5.7.1 Zork nargle, see help.example.com/WORDS.",
		"550 5.7.1 Zork nargle <WORDS@example.com> zork",
		"550 5.7.1 Zork nargle <bounce-12-WORDS=example.org@example.com>",
		"550 5.7.1 Zork nargle 'ABC-WORDS-12' zork",
		"550 5.7.1 Zork nargle (ref 4f7a.WORDS-1) zork",
		"550 5.7.1 Zork nargle id=WORDS_2026-11",
		"550 5.7.1 Zork nargle (ticket #4711-WORDS) zork",
		"550 5.7.1 Zork nargle WORDS.eml zork",
		"550 5.7.1 Zork nargle /var/spool/WORDS/ zork",
		"550 5.7.1 Zork nargle ('/WORDS/x.msg') zork",
		"550 5.7.1 Zork nargle 'X-WORDS' zork",
		"550 5.7.1 Zork nargle host WORDS.mx.example.net zork",
	} {
		want := e.answer(strings.ReplaceAll(form, "WORDS", "quux"))
		for _, p := range plainPhrases(e) {
			if strings.Contains(form, "//") || strings.Contains(form, "com/") {
				if slices.ContainsFunc(strings.Fields(p), func(w string) bool { return e.x.links[w] != 0 }) {
					continue // a link that has a meaning of its own
				}
			}
			if _, known := e.x.ids[p+".*"]; known {
				continue // the name of malware
			}
			reply := strings.ReplaceAll(form, "WORDS", strings.ReplaceAll(p, " ", "-"))
			if d := e.answer(reply); d.Reason != want.Reason || d.Rule != want.Rule {
				t.Errorf("%q is %s by %s, want %s by %s", reply, d.Reason, d.Rule, want.Reason, want.Rule)
			}
		}
	}
}

// TestNamesAreNotACause holds for replies as servers give them that what they name decides nothing.
func TestNamesAreNotACause(t *testing.T) {
	e := newEngine(t)
	checkReasons(t, e, map[string]Reason{
		"421 4.7.66 TLS 1.0 and 1.1 are not supported. See https://aka.ms/smtp_auth_tls.": "tls_problem",

		"554 Transaction failed: Duplicate header 'DKIM-Signature'.": "malformed_message",
		`554 5.6.0 Duplicate header "Received-SPF"`:                  "malformed_message",

		"550 5.1.1 <jdoe@example.com>: user unknown (quarantined as /virusmails/spam-4.gz)": userUnknown,
		"552 5.2.2 Mailbox full. Reference: spam-virus-0012":                                "mailbox_full",
		"550 5.1.1 User unknown, Message-ID <blocked.spam.77@quota.example.com>":            userUnknown,
		"550 5.1.1 user unknown, log in C:\\mail\\spam\\virus.log":                          userUnknown,
	})
	bare := e.answer("550 Access denied")
	for _, reply := range []string{
		"550 Access denied...7d39d529b4c0e1f2...", "550 Access denied (7d39d529)",
		"550 Access denied [AB-12-quota]", "550 Access denied: 7d39d529",
	} {
		d := e.answer(reply)
		if d.Reason != bare.Reason || d.Confidence != bare.Confidence {
			t.Errorf("%q is %s (%s), but without the number it is %s (%s)",
				reply, d.Reason, d.Confidence, bare.Reason, bare.Confidence)
		}
	}
}

// TestLinksAndCodesKeepTheirMeaning holds that rules may still name a link or a code.
func TestLinksAndCodesKeepTheirMeaning(t *testing.T) {
	checkReasons(t, newEngine(t), map[string]Reason{
		"550 5.1.1 https://support.google.com/mail/answer/6596 a1si12 - gsmtp":                  userUnknown,
		"550 5.1.1 http://support.google.com/mail/bin/answer.py?answer=6596 ad1si1997204pbd.83": userUnknown,
		"452 4.2.2 For more information, go to " +
			"https://support.google.com/mail/?p=OverQuotaTemp x-12": "mailbox_full",

		"550 5.1.10 RESOLVER.ADR.RecipientNotFound": userUnknown,
		"550 OU-002 zork": "poor_reputation",
		"554 Zork http://www.spamhaus.org/query/bl?ip=192.0.2.1": "blocklisted",
		"550 No valid DKIM-Signature present":                    "dkim_fail",
	})
}

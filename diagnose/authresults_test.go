package diagnose

import "testing"

// TestCheckThatPassedIsNotACause holds for the forms in which replies name a check and its result: one that
// passed leaves the answer as it is without it.
func TestCheckThatPassedIsNotACause(t *testing.T) {
	e := newEngine(t)
	for _, text := range []string{
		"550 5.1.1 user unknown", "550 5.7.1 rejected by content filter", "552 5.2.2 mailbox full",
		"550 5.7.1 message contains a virus",
	} {
		want := e.answer(text)
		for _, result := range []string{
			" (dmarc=pass)", " (SPF: pass, DKIM: pass, DMARC: pass)", " (spf=pass)", "; SPF (pass)",
			"; passed SPF",
			"; DMARC passed", " (dkim=pass (2048-bit key) header.d=example.com)",
			"; SPF and DKIM checks passed",
			"; SPF check passed", "; SPF [example.com]: pass", "; SPF check for example.com passed",
			"; Authentication-Results: mx.example.net; spf=pass", "; passed the SPF, DKIM and DMARC checks",
			" (dkim=pass, dmarc=none)", " spf=pass dkim=none", "; DKIM signature: OK", "; SPF result is pass",
			" arc=pass",
			" (spf=pass smtp.mailfrom=example.com; dkim=pass header.i=@example.com; " +
				"dmarc=pass header.from=example.com)",
		} {
			d := e.answer(text + result)
			if d.Reason != want.Reason || d.Confidence != want.Confidence {
				t.Errorf("%q is %s (%s) by %s, want %s (%s)",
					text+result, d.Reason, d.Confidence, d.Rule, want.Reason, want.Confidence)
			}
		}
	}
}

// TestCheckThatFailedIsTheCause holds that a failed check is the cause, beside others that passed and in
// sentences that deny or demand a pass.
func TestCheckThatFailedIsTheCause(t *testing.T) {
	checkReasons(t, newEngine(t), map[string]Reason{
		"550 5.7.1 rejected: spf=pass dkim=fail":                    "dkim_fail",
		"550 5.7.1 rejected: spf=fail dkim=pass":                    "spf_fail",
		"550 5.7.1 SPF: pass, DKIM: pass, DMARC: fail":              "dmarc_fail",
		"550 5.7.1 SPF: fail, DKIM: pass":                           "spf_fail",
		"550 5.7.23 SPF softfail":                                   "spf_fail",
		"550 5.7.1 message from example.com does not pass DMARC":    "dmarc_fail",
		"550 5.7.1 DKIM did not pass":                               "dkim_fail",
		"550 5.7.1 must pass SPF":                                   "spf_fail",
		"550 5.7.1 mail from your domain is required to pass DMARC": "dmarc_fail",
		"550 5.7.1 DMARC: failed, SPF: passed":                      "dmarc_fail",
		"550 5.7.1 spf=permerror dkim=pass":                         "spf_fail",
		"550 5.7.1 Your message failed DKIM but passed SPF":         "dkim_fail",
		"550 5.7.1 Your message passed SPF but failed DKIM":         "dkim_fail",
		"550 5.7.23 spf=none":                                       "spf_fail",
		"550-5.7.26 SPF [example.com] with ip: [192.0.2.1] = did not pass\r\n" +
			"550 5.7.26 DKIM = did not pass": "spf_fail",
	})
}

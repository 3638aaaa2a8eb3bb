package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestTemplates runs wordings of known providers and servers, written down from their pages and from
// practice: the answer must be one of those that the row accepts.
func TestTemplates(t *testing.T) {
	e := newEngine(t)
	for _, row := range labelledReplies(t, "templates") {
		if d := e.Diagnose(symptomOf(row.Reply)); !row.accepts(d.Category) {
			t.Errorf("%q is %s (%s by %s), want %s or %v",
				row.Reply, d.Category, d.Reason, d.Rule, *row.Category, row.Alt)
		}
	}
}

// TestNoReply runs failures without a reply: of the network, of names and of TLS, and foreign mailers'
// words without a code.
func TestNoReply(t *testing.T) {
	e := newEngine(t)
	type row struct {
		Text     string
		Category Category
		Reason   Reason
	}
	for _, row := range jsonRows[row](t, "no-reply", 70) {
		if d := e.Diagnose(Symptom{Text: row.Text}); d.Category != row.Category || d.Reason != row.Reason {
			t.Errorf("%q is %s, %s (by %s), want %s, %s",
				row.Text, d.Category, d.Reason, d.Rule, row.Category, row.Reason)
		}
	}
}

// TestNetworkKinds holds that each kind of failure without a reply has a reason of its own.
func TestNetworkKinds(t *testing.T) {
	e := newEngine(t)
	for kind, reason := range e.Networks() {
		d := e.Diagnose(Symptom{NetErr: NetErr{Kind: kind, Text: "words of no importance"}})
		if d.Reason != reason || d.Basis != BasisNetwork || d.Cause == "" || len(d.Fix) == 0 {
			t.Errorf("%s: %+v, want reason %s on the basis network", kind, d, reason)
		}
	}
	for text, want := range map[string]Reason{
		"AADSTS7000215: Invalid client secret provided.":             "oauth_secret_invalid",
		"oauth2: \"invalid_grant\" \"Token has been revoked.\"":      "oauth_sign_in_required",
		"AADSTS65001: The user has not consented":                    "oauth_consent_missing",
		"AADSTS700016: Application was not found in the directory":   "oauth_application_unknown",
		"AADSTS53003: Access has been blocked":                       "oauth_sign_in_blocked",
		"the token end point answered with something unintelligible": "oauth_token_failed",
	} {
		d := e.Diagnose(Symptom{NetErr: NetErr{Kind: NetOAuthToken, Text: text}})
		if d.Reason != want || d.Scope != ScopeUpstream {
			t.Errorf("%q: %s, scope %s, want %s, scope upstream", text, d.Reason, d.Scope, want)
		}
	}
}

// TestKinds runs several wordings of each kind of refusal that was once taken for another: each must get its
// reason, and what looks like it must not.
func TestKinds(t *testing.T) {
	e := newEngine(t)
	type row struct {
		Kind, Reply, Text string
		Stage             Stage
		Reason            Reason
	}
	for _, row := range jsonRows[row](t, "kinds", 100) {
		s := Symptom{Stage: row.Stage, Text: row.Text}
		if row.Reply != "" {
			s.Reply = ParseReply(row.Reply)
		}
		if d := e.Diagnose(s); d.Reason != row.Reason {
			t.Errorf("%s: %q is %s (by %s), want %s",
				row.Kind, row.Reply+row.Text, d.Reason, d.Rule, row.Reason)
		}
	}
}

// TestConstructions runs sentences that say usual things in unusual words. A few may be read wrongly, but
// none may make an address be given up where the row has no reason that does.
func TestConstructions(t *testing.T) {
	e := newEngine(t)
	right, rows := 0, jsonRows[public](t, "constructions", 250)
	for _, row := range rows {
		d := e.Diagnose(Symptom{Stage: row.Stage, Reply: ParseReply(row.Reply)})
		right += one(slices.Contains(row.Reason, d.Reason))
		if d.Action == ActionRemoveAddress && !slices.ContainsFunc(row.Reason, e.removes) {
			t.Errorf("%q gives up the address: %s by %s", row.Reply, d.Reason, d.Rule)
		}
	}
	atLeast(t, "reason", right, len(rows), 98)
}

// TestBoilerplateSaysNothingBesideACause puts the usual texts of RFC 5321 in front of the example of every
// rule that names a cause, on a line of their own and on the same one: the reason must stay.
func TestBoilerplateSaysNothingBesideACause(t *testing.T) {
	e := newEngine(t)
	forms := []string{"%[1]d-%[2]s\r\n%[1]d %[3]s%[4]s", "%[1]d %[3]s%[2]s: %[4]s", "%[1]d %[3]s%[2]s; %[4]s"}
	tried := 0
	for i := range e.rules {
		r := &e.rules[i]
		for _, example := range r.Example {
			reply := ParseReply(example)
			stage := StageUnknown
			if len(r.Stage) > 0 {
				stage = r.Stage[0]
			}
			want := e.Diagnose(Symptom{Stage: stage, Reply: reply})
			unavailable := strings.Contains(strings.ToLower(example), "unavailable")
			if r.weight < normalWeight || reply.Class() != 5 || unavailable {
				continue
			}
			for _, boilerplate := range []string{
				"Requested action not taken: mailbox unavailable", "Requested mail action aborted",
				"Transaction failed",
				"Message rejected",
			} {
				for _, form := range forms {
					enhanced := reply.Enhanced.String()
					if enhanced != "" {
						enhanced += " "
					}
					said := fmt.Sprintf(form, reply.Code, boilerplate, enhanced, reply.Text)
					tried++
					d := e.Diagnose(Symptom{Stage: stage, Reply: ParseReply(said)})
					if d.Reason != want.Reason {
						t.Errorf("%q is %s by %s, without %q it is %s by %s",
							said, d.Reason, d.Rule, boilerplate, want.Reason, want.Rule)
					}
				}
			}
		}
	}
	if tried < 3000 {
		t.Errorf("only %d replies", tried)
	}
}

// TestOfSeveralLinesTheSpecificOneSpeaks holds for replies as servers give them.
func TestOfSeveralLinesTheSpecificOneSpeaks(t *testing.T) {
	e := newEngine(t)
	const text = "Requested action not taken: mailbox unavailable"
	const line = "550-" + text + "\r\n550 "
	const pointer = ". For more information, please check the inbox of the email address " +
		"associated with your account."
	checkReasons(t, e, map[string]Reason{
		line + "invalid DNS MX or A/AAAA resource record":   "sender_domain_dns",
		"550 " + text + "; invalid DNS MX or A/AAAA record": "sender_domain_dns",
		line + "Failure sending mail. Try again later":      "server_unavailable",
		line + "Sender address is not allowed.":             "send_as_denied",
		"550 " + text + " - Sender address is not allowed.": "send_as_denied",
		line + "Zork nargle frobnicated":                    refusedUnexplained,
		"550 5.1.1 " + text:                                 userUnknown,
		"554 Message rejected: zork nargle" + pointer:       refusedUnexplained,
	})
}

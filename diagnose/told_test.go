package diagnose

import (
	"slices"
	"strings"
	"testing"
)

// remote is what a provider tells of a refusal, its wording as a reply where it holds one.
func remote(provider, typ, class, said string) Symptom {
	s := symptomOf(said)
	s.Stage, s.Final = StageRemote, true
	s.Facts = Facts{Provider: provider, ProviderType: typ, ProviderClass: class, Recipient: "b@x.example"}
	return s
}

// TestTold asks about the example of every row, and about everything else that a row lists: each has the
// row's reason, without a reply and whatever else could be read into it.
func TestTold(t *testing.T) {
	e := newEngine(t)
	if len(e.told) < 80 {
		t.Fatalf("only %d rows", len(e.told))
	}
	for i := range e.told {
		row := &e.told[i]
		parts := strings.Split(row.Example, " | ")
		ask(t, e, row, remote(row.Provider, parts[0], parts[1], parts[2]))
		for _, typ := range orNone(row.Type) {
			for _, class := range orNone(row.Class) {
				for _, words := range orNone(row.Words) {
					ask(t, e, row, remote(row.Provider, typ, class, words))
				}
			}
		}
	}
}

func ask(t *testing.T, e *Engine, row *told, s Symptom) {
	t.Helper()
	d := e.Diagnose(s)
	if first := e.toldOf(&s.Facts, s.Text); d.Reason != first.Reason || first.Reason != row.Reason {
		t.Errorf("%s, %q %q %q: %s by %s, want %s", row.id(), s.Facts.ProviderType,
			s.Facts.ProviderClass, s.Text, d.Reason, d.Rule, row.Reason)
	}
	if d.Basis != BasisProvider || d.Scope == ScopeUpstream || d.Category == ConnectionFailure {
		t.Errorf("%s: basis %s, scope %s, category %s", row.id(), d.Basis, d.Scope, d.Category)
	}
}

// orNone is a list, or one empty entry for none.
func orNone(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

// TestToldBesideReply: the reply decides, the provider's type only where that leaves the cause open, and its
// own list always.
func TestToldBesideReply(t *testing.T) {
	e := newEngine(t)
	for _, tt := range []struct {
		provider, typ, class, said string
		reason                     Reason
		basis                      Basis
		owner                      Owner
	}{
		{"ses", "Transient", "General", "550 5.1.1 user unknown", "user_unknown", BasisText,
			OwnerApplication},
		{"ses", "Transient", "ContentRejected", "550 5.1.1 user unknown", "user_unknown", BasisText,
			OwnerApplication},
		{"ses", "Permanent", "OnAccountSuppressionList", "550 5.1.1 user unknown", "on_suppression_list",
			BasisProvider, OwnerApplication},
		{"sparkpost", "bounce", "51", "550 rejected", "poor_reputation", BasisProvider, OwnerOperator},
		{"sparkpost", "bounce", "52", "554 zork the wumpus", "spam_content", BasisProvider, OwnerApplication},
		{"sparkpost", "bounce", "10", "552 5.2.2 mailbox full", "mailbox_full", BasisText, OwnerRecipient},
		{"sparkpost", "policy_rejection", "25",
			"554 5.7.1 recipient address suppressed due to customer policy",
			"on_suppression_list", BasisProvider, OwnerApplication},
		{"sendgrid", "blocked", "Reputation", "550 zork", "poor_reputation", BasisProvider, OwnerOperator},
		{"sendgrid", "bounce", "Unclassified", "550 5.1.1 user unknown", "user_unknown", BasisText,
			OwnerApplication},
		{"nobody", "Permanent", "General", "550 5.1.1 user unknown", "user_unknown", BasisText,
			OwnerApplication},
		// what was read wrongly without the provider's type
		{"brevo", "blocked", "", "blocked : due to blacklist user", "on_suppression_list", BasisProvider,
			OwnerApplication},
		{"sendgrid", "bounce", "Technical Failure", "unable to get mx info: " +
			"failed to get IPs from PTR record: lookup <nil>: unrecognized address",
			"domain_unknown", BasisProvider, OwnerApplication},
		{"resend", "Permanent", "General", "The recipient's email provider sent a hard bounce message, " +
			"but didn't specify the reason for the hard bounce.", "refused_unexplained", BasisProvider,
			OwnerRecipientAdmin},
	} {
		d := e.Diagnose(remote(tt.provider, tt.typ, tt.class, tt.said))
		said := slices.ContainsFunc(d.Evidence, func(s string) bool {
			return strings.HasPrefix(s, "The provider reports it as "+tt.typ)
		})
		if said != (tt.basis == BasisProvider) {
			t.Errorf("%s %s %q: evidence %q", tt.provider, tt.typ, tt.said, d.Evidence)
		}
		if d.Reason != tt.reason || d.Basis != tt.basis || d.Owner != tt.owner {
			t.Errorf("%s %s %s %q: %s (%s), %s by %s; want %s (%s), %s", tt.provider, tt.typ, tt.class,
				tt.said, d.Reason, d.Basis, d.Owner, d.Rule, tt.reason, tt.basis, tt.owner)
		}
	}
}

// TestRemoteScope: whatever is said at the stage remote, it concerns no lane, and it is not our connection
// that failed. Where a reply is quoted the category is the one that the same reply has anywhere else.
func TestRemoteScope(t *testing.T) {
	e := newEngine(t)
	for _, file := range []string{"replies", "templates", "blind", "public", "public-aside", "fresh"} {
		for _, row := range labelledReplies(t, file) {
			s := symptomOf(row.Reply)
			plain := e.Diagnose(s)
			s.Stage = StageRemote
			d := e.Diagnose(s)
			if d.Scope == ScopeUpstream || d.Category == ConnectionFailure {
				t.Errorf("%q: scope %s, category %s by %s", row.Reply, d.Scope, d.Category, d.Rule)
			}
			if s.Reply.Code != 0 && d.Category != plain.Category {
				t.Errorf("%q: %s, but %s elsewhere", row.Reply, d.Category, plain.Category)
			}
		}
	}
	for _, tt := range []struct {
		said   string
		reason Reason
		scope  Scope
		owner  Owner
	}{
		{"550 5.7.1 Relaying denied", "relay_denied", ScopeRecipient, OwnerRecipientAdmin},
		{"535 5.7.8 authentication failed", "auth_failed", ScopeRecipient, OwnerRecipientAdmin},
		{"554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
			"blocklisted", ScopeSender, OwnerOperator},
		{"421 4.7.0 Too many messages, try again later", "throttled", ScopeSender, OwnerOperator},
		{"550 5.7.26 unauthenticated mail is prohibited, DMARC policy", "dmarc_fail", ScopeSender,
			OwnerSenderDomain},
		{"Connection timed out", "remote_unreachable", ScopeRecipient, OwnerRecipientAdmin},
		{"Host or domain name not found", "domain_unknown", ScopeRecipient, OwnerApplication},
		{"", "unexplained", ScopeRecipient, OwnerOperator},
	} {
		d := e.Diagnose(remote("", "", "", tt.said))
		if d.Reason != tt.reason || d.Scope != tt.scope || d.Owner != tt.owner {
			t.Errorf("%q: %s, %s, %s by %s; want %s, %s, %s", tt.said, d.Reason, d.Scope, d.Owner, d.Rule,
				tt.reason, tt.scope, tt.owner)
		}
	}
}

// TestToldAccount: where the provider itself says that our account is the cause, the operator must act, and
// still no lane is concerned.
func TestToldAccount(t *testing.T) {
	e := newEngine(t)
	for _, s := range []Symptom{
		remote("resend", "email.failed", "", "reached_daily_quota"),
		remote("mailgun", "rejected", "", "Sandbox subdomains are for test purposes only."),
		remote("", "", "", "Daily sending quota exceeded for this account"),
	} {
		if d := e.Diagnose(s); d.Owner != OwnerOperator || d.Scope != ScopeSender {
			t.Errorf("%q: %s, scope %s, owner %s", s.Text, d.Reason, d.Scope, d.Owner)
		}
	}
}

// TestSuppressionListFix: whoever must take an address off a provider's list is told first where to look, at
// each of the providers.
func TestSuppressionListFix(t *testing.T) {
	e := newEngine(t)
	seen := map[string]bool{}
	for i := range e.told {
		row := &e.told[i]
		if row.Reason != "on_suppression_list" && row.Reason != "on_bounce_list" {
			continue
		}
		parts := strings.Split(row.Example, " | ")
		d := e.Diagnose(remote(row.Provider, parts[0], parts[1], parts[2]))
		if general, _ := e.Explain(row.Reason); d.Fix[0] == general.Fix[0] || d.Confidence != High {
			t.Errorf("%s: %s confidence, first step %q", row.id(), d.Confidence, d.Fix[0])
		}
		seen[row.Provider] = true
	}
	if len(seen) < 11 {
		t.Errorf("only %d providers have a list", len(seen))
	}
}

// TestComplaint: a complaint is explained as one, whatever stands beside it.
func TestComplaint(t *testing.T) {
	e := newEngine(t)
	for _, s := range []Symptom{
		remote("ses", "Complaint", "abuse", ""), remote("", "", "", ""),
		remote("postmark", "SpamComplaint", "", "550 5.1.1 user unknown"),
	} {
		s.Facts.Complaint = true
		d := e.Diagnose(s)
		if d.Reason != "spam_complaint" || d.Category != SenderReputation || d.Owner != OwnerApplication ||
			d.Action != ActionRemoveAddress || d.Scope != ScopeRecipient || d.Confidence != High {
			t.Errorf("%+v", d)
		}
	}
	if d := e.Diagnose(remote("ses", "Complaint", "abuse", "")); d.Reason == "spam_complaint" {
		t.Error("an event that is none is explained as a complaint")
	}
}

// TestRetriedAddressIsKept: as long as the upstream goes on trying, no address is given up.
func TestRetriedAddressIsKept(t *testing.T) {
	e := newEngine(t)
	s := remote("mailgun", "temporary", "generic", "No MX for x.example")
	if d := e.Diagnose(s); d.Action != ActionRemoveAddress {
		t.Errorf("given up by the provider: %s", d.Action)
	}
	if s.Final = false; e.Diagnose(s).Action != ActionWait {
		t.Errorf("still tried: %s", e.Diagnose(s).Action)
	}
}

// TestToldOfAUser: a user's file may hold rows of its own, which come first, and a rule of a user's is not
// overruled by a row.
func TestToldOfAUser(t *testing.T) {
	e, err := New(Options{Rules: []byte(`
[[rule]]
id = "zork"
reason = "virus_found"
any = ["zork of frob"]
stage = ["remote"]

[[told]]
provider = "ses"
type = ["Permanent"]
class = ["General"]
reason = "mailbox_moved"
example = "Permanent | General | "
`)})
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Diagnose(remote("ses", "Permanent", "General", "")); d.Reason != "mailbox_moved" {
		t.Errorf("the row is not heeded: %s by %s", d.Reason, d.Rule)
	}
	if d := e.Diagnose(remote("brevo", "blocked", "", "zork of frob")); d.Reason != "virus_found" {
		t.Errorf("the rule is not heeded: %s by %s", d.Reason, d.Rule)
	}
}

// TestToldMistakes: what is wrong with a row is said.
func TestToldMistakes(t *testing.T) {
	const good = "provider = \"x\"\ntype = [\"t\"]\nreason = \"virus_found\"\nexample = \"t | | \"\n"
	for _, tt := range []struct{ rows, want string }{
		{"[[told]]\n" + strings.Replace(good, "virus_found", "zork", 1), `there is no reason "zork"`},
		{"[[told]]\n" + strings.Replace(good, "provider = \"x\"\n", "", 1), "provider and reason must be"},
		{"[[told]]\n" + strings.Replace(good, "type = [\"t\"]\n", "", 1), "asks for no type, class or words"},
		{"[[told]]\n" + strings.Replace(good, "t | | ", "u | | ", 1), `example "u | | " is not an event`},
		{"[[told]]\n" + strings.Replace(good, "t | | ", "t", 1), "write \"type | class | wording\""},
		{"[[told]]\n" + good + "confidence = \"sure\"\n", `confidence "sure"`},
		{"[[told]]\n" + good + "zork = 1\n", "unknown key told.zork"},
		{"[remote]\ndns_failure = \"virus_found\"\n", "cannot be changed"},
	} {
		_, err := New(Options{Rules: []byte(tt.rows)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.rows, err, tt.want)
		}
	}
	if _, err := New(Options{Rules: []byte("[[told]]\n" + good)}); err != nil {
		t.Error(err)
	}
}

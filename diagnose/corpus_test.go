package diagnose

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// TestTemplates runs wordings of known providers and servers, written down from their pages and from practice: the answer must be
// one of those that the row accepts.
func TestTemplates(t *testing.T) {
	e := newEngine(t)
	for _, row := range labelledReplies(t, "testdata/templates.jsonl") {
		if d := e.Diagnose(symptomOf(row.Reply)); !row.accepts(d.Category) {
			t.Errorf("%q is %s (%s by %s), want %s or %v", row.Reply, d.Category, d.Reason, d.Rule, *row.Category, row.Alt)
		}
	}
}

// TestNoReply runs failures that are no reply: of the network, of names and of TLS, and foreign mailers' words without a
// code.
func TestNoReply(t *testing.T) {
	e := newEngine(t)
	f, err := os.Open("testdata/no-reply.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := 0
	for lines := bufio.NewScanner(f); lines.Scan(); rows++ {
		var row struct {
			Text     string
			Category Category
			Reason   Reason
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		if d := e.Diagnose(Symptom{Text: row.Text}); d.Category != row.Category || d.Reason != row.Reason {
			t.Errorf("%q is %s, %s (by %s), want %s, %s", row.Text, d.Category, d.Reason, d.Rule, row.Category, row.Reason)
		}
	}
	if rows < 70 {
		t.Errorf("only %d rows", rows)
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
		if d := e.Diagnose(Symptom{NetErr: NetErr{Kind: NetOAuthToken, Text: text}}); d.Reason != want || d.Scope != ScopeUpstream {
			t.Errorf("%q: %s, scope %s, want %s, scope upstream", text, d.Reason, d.Scope, want)
		}
	}
}

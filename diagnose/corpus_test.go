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
	type row struct {
		Text     string
		Category Category
		Reason   Reason
	}
	for _, row := range jsonRows[row](t, "testdata/no-reply.jsonl", 70) {
		if d := e.Diagnose(Symptom{Text: row.Text}); d.Category != row.Category || d.Reason != row.Reason {
			t.Errorf("%q is %s, %s (by %s), want %s, %s", row.Text, d.Category, d.Reason, d.Rule, row.Category, row.Reason)
		}
	}
}

// jsonRows are the rows of a file, a JSON object a line; there must be so many at least.
func jsonRows[T any](t *testing.T, file string, least int) (rows []T) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) < least {
		t.Fatalf("%s has only %d rows", file, len(rows))
	}
	return rows
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

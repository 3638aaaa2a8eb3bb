package diagnose

import (
	"os"
	"strings"
	"testing"
)

// TestUserRules holds that a user's rules add to ours, replace them by id, and can switch them off.
func TestUserRules(t *testing.T) {
	reply := Symptom{Reply: ParseReply("550 5.1.1 User unknown")}
	for _, c := range []struct {
		name, rules string
		category    Category
		reason      Reason
		rule        string
	}{
		{"added", "[[rule]]\nid = \"ours\"\nreason = \"restricted_recipient\"\nweight = 12\nany = [\"user unknown\"]\nexample = [\"550 user unknown\"]", RecipientError, "restricted_recipient", "ours"},
		{"replaced", "[[rule]]\nid = \"user-unknown\"\nreason = \"account_inactive\"\nany = [\"user unknown\"]", InvalidAddress, "account_inactive", "user-unknown"},
		{"category", "[[rule]]\nid = \"ours\"\nreason = \"user_unknown\"\ncategory = \"Mailbox Issues\"\nweight = 12\nany = [\"user unknown\"]", MailboxIssues, "user_unknown", "ours"},
		{"switched off", "[[rule]]\nid = \"user-unknown\"\ndisabled = true\nreason = \"user_unknown\"\nany = [\"x\"]\n[[rule]]\nid = \"hint-unknown\"\ndisabled = true\nreason = \"user_unknown\"\nany = [\"x\"]", InvalidAddress, "user_unknown", "pair 550 5.1.1"},
		{"own reason", "[[reason]]\nid = \"house_rule\"\ncategory = \"Blocked\"\ndefinition = \"d\"\ncause = \"c\"\nfix = [\"f\"]\nscope = \"message\"\nowner = \"operator\"\naction = \"wait\"\n[[rule]]\nid = \"ours\"\nreason = \"house_rule\"\nweight = 12\nany = [\"user unknown\"]", Blocked, "house_rule", "ours"},
	} {
		e, err := New(Options{Rules: []byte(c.rules)})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := e.Diagnose(reply); d.Category != c.category || d.Reason != c.reason || d.Rule != c.rule {
			t.Errorf("%s: %s, %s by %s, want %s, %s by %s", c.name, d.Category, d.Reason, d.Rule, c.category, c.reason, c.rule)
		}
	}
}

// TestUserRulesErrors holds that a mistake in a user's file is told with its file, line and rule.
func TestUserRulesErrors(t *testing.T) {
	for _, c := range []struct{ name, rules, want string }{
		{"unknown key", "[[rule]]\nid = \"a\"\nreson = \"user_unknown\"\nany = [\"x y\"]", "my.toml:3: unknown key rule.reson"},
		{"a key that would be ignored", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\nany = [\"x y\"]\nprovider = [\"gmail\"]", "my.toml:5: unknown key rule.provider"},
		{"no TOML", "[[rule]\n", "my.toml:1:"},
		{"wrong type", "[[rule]]\nid = \"a\"\nweight = \"much\"", "my.toml:3:"},
		{"no such reason", "# mine\n[[rule]]\nid = \"a\"\nreason = \"nonsense\"\nany = [\"x y\"]", "my.toml:3: rule \"a\": there is no reason \"nonsense\""},
		{"no such category", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\ncategory = \"Bounced\"\nany = [\"x y\"]", "there is no category \"Bounced\""},
		{"no phrase", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"", "my.toml:2: rule \"a\": it has no phrase"},
		{"no such class", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\nany = [\"{nobody} here\"]", "rule \"a\": phrase \"{nobody} here\": there is no class \"nobody\""},
		{"gap at the end", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\nany = [\"x ..\"]", "no words beside a gap"},
		{"bad code", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\nany = [\"x y\"]\ncode = [\"55\"]", "rule \"a\": code \"55\" is not three digits or x"},
		{"bad enhanced code", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\nany = [\"x y\"]\nenhanced = [\"5.1\"]", "rule \"a\": enhanced \"5.1\" is not like 5.1.1"},
		{"bad weight", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\nany = [\"x y\"]\nweight = 99", "weight 99 is not in 0 to 20"},
		{"the guide's tables", "[pairs]\n\"550\" = [\"Blocked\"]", "cannot be changed"},
		{"two of one id", "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\nany = [\"x y\"]\n[[rule]]\nid = \"a\"\nreason = \"mailbox_full\"\nany = [\"z\"]", "there are two of this id"},
	} {
		_, err := New(Options{Rules: []byte(c.rules), RulesName: "my.toml"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestDocumentedRules holds that the file shown in docs/diagnosis.md loads and does what it says.
func TestDocumentedRules(t *testing.T) {
	doc, err := os.ReadFile("../docs/diagnosis.md")
	if err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	for line := range strings.Lines(string(doc)) {
		if code, ok := strings.CutPrefix(line, "    "); ok && (rules.Len() > 0 || strings.HasPrefix(code, "[[rule]]")) {
			rules.WriteString(code)
		} else if strings.HasPrefix(line, "|") && rules.Len() > 0 {
			break
		}
	}
	e, err := New(Options{Rules: []byte(rules.String())})
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Diagnose(Symptom{Reply: ParseReply("550 5.7.1 Message held by ACME gateway")}); d.Rule != "acme-gateway-quarantine" {
		t.Errorf("decided by %s", d.Rule)
	}
	if d := e.Diagnose(Symptom{Reply: ParseReply("451 SPAM not accepted")}); d.Rule == "spam-word" {
		t.Error("spam-word is still there")
	}
}

package diagnose

import (
	"cmp"
	"strings"
	"testing"
)

// TestRuleExamples runs the examples of all rules: the rule must hold there, and no other may contradict it.
func TestRuleExamples(t *testing.T) {
	e := newEngine(t)
	for i := range e.rules {
		r := &e.rules[i]
		if len(r.Example) == 0 {
			t.Errorf("rule %q has no example", r.ID)
		}
		for _, example := range r.Example {
			s := symptomOf(example)
			if len(r.Stage) > 0 {
				s.Stage = r.Stage[0]
			}
			f, _ := e.look(&s)
			holds := false
			for _, g := range f.signals {
				holds = holds || g.rule == r
			}
			if !holds {
				t.Errorf("rule %q does not hold on its example %q", r.ID, example)
				continue
			}
			d := e.Diagnose(s)
			if want := e.categoryFor(r, &s); d.Category != want {
				t.Errorf("rule %q says %s, but %q is %s (%s) by %q",
					r.ID, want, example, d.Category, d.Reason, d.Rule)
			} else if d.Reason != r.Reason {
				t.Errorf("rule %q says %s, but %q is %s by %q", r.ID, r.Reason, example, d.Reason, d.Rule)
			}
		}
	}
}

// categoryFor is the category that a rule gives: a Connection Failure that was told in a reply is filed
// under the guide's.
func (e *Engine) categoryFor(r *compiled, s *Symptom) Category {
	if r.category == ConnectionFailure && s.Reply.Code != 0 {
		return RecipientError
	}
	return r.category
}

// look gives the signals in a symptom's wording.
func (e *Engine) look(s *Symptom) (finding, *row) {
	r := new(row)
	text := s.Reply.Text
	if s.Reply.Code == 0 {
		text = s.Text
	}
	return e.read(r, text, s), r
}

// ownRule is the head of a user's rule about unknown users.
const ownRule = `[[rule]]
id = "ours"
reason = "restricted_recipient"
any = ["user unknown"]
`

// userCase is a user's file and the answer that it leads to.
type userCase struct {
	name, rules string
	reply       string // "550 5.1.1 User unknown" when empty
	category    Category
	reason      Reason
	rule        string
}

func (c *userCase) check(t *testing.T) {
	t.Helper()
	e, err := New(Options{Rules: []byte(c.rules)})
	if err != nil {
		t.Errorf("%s: %v", c.name, err)
		return
	}
	d := e.answer(cmp.Or(c.reply, "550 5.1.1 User unknown"))
	if d.Category != c.category || d.Reason != c.reason || d.Rule != c.rule {
		t.Errorf("%s: %s, %s by %s, want %s, %s by %s",
			c.name, d.Category, d.Reason, d.Rule, c.category, c.reason, c.rule)
	}
}

// TestUserRulesAdd holds that a user's rules add to ours, by band and by beats.
func TestUserRulesAdd(t *testing.T) {
	for _, c := range []userCase{
		{
			name:     "added, and it wins in the band of the built-in rule",
			rules:    ownRule,
			category: RecipientError, reason: "restricted_recipient", rule: "ours",
		}, {
			name:     "added in a higher band",
			rules:    ownRule + `weight = "certain"`,
			category: RecipientError, reason: "restricted_recipient", rule: "ours",
		}, {
			name:     "added in a lower band",
			rules:    ownRule + `weight = "hint"`,
			category: InvalidAddress, reason: "user_unknown", rule: "user-unknown",
		}, {
			name: "added in a lower band, and it beats the built-in rule",
			rules: `[[rule]]
id = "ours"
reason = "server_full"
weight = "normal"
beats = ["mailbox-full"]
any = ["mailbox full"]`,
			reply:    "552 Mailbox full",
			category: RecipientError, reason: "server_full", rule: "ours",
		}, {
			name: "with a category that is not its reason's",
			rules: `[[rule]]
id = "ours"
reason = "user_unknown"
category = "Mailbox Issues"
weight = "certain"
any = ["user unknown"]`,
			category: MailboxIssues, reason: "user_unknown", rule: "ours",
		},
	} {
		c.check(t)
	}
}

// TestUserRulesReplace holds that a user's file replaces rules of ours by id, switches them off, and defines
// reasons.
func TestUserRulesReplace(t *testing.T) {
	for _, c := range []userCase{
		{
			name: "replaced",
			rules: `[[rule]]
id = "user-unknown"
reason = "account_inactive"
any = ["user unknown"]`,
			category: InvalidAddress, reason: "account_inactive", rule: "user-unknown",
		}, {
			name: "switched off",
			rules: `[[rule]]
id = "user-unknown"
disabled = true
[[rule]]
id = "hint-unknown"
disabled = true`,
			category: InvalidAddress, reason: "user_unknown", rule: "pair 550 5.1.1",
		}, {
			name: "with a reason of its own",
			rules: `[[reason]]
id = "house_rule"
category = "Blocked"
definition = "d"
cause = "c"
fix = ["f"]
scope = "message"
owner = "operator"
action = "wait"
[[rule]]
id = "ours"
reason = "house_rule"
any = ["user unknown"]`,
			category: Blocked, reason: "house_rule", rule: "ours",
		},
	} {
		c.check(t)
	}
}

// aRule is a user's rule without a phrase; wordedRule has one.
const (
	aRule      = "[[rule]]\nid = \"a\"\nreason = \"user_unknown\"\n"
	wordedRule = aRule + "any = [\"x y\"]\n"
)

// userMistake is a user's file and what the error about it says.
type userMistake struct{ name, rules, want string }

func (c *userMistake) check(t *testing.T) {
	t.Helper()
	_, err := New(Options{Rules: []byte(c.rules), RulesName: "my.toml"})
	if err == nil || !strings.Contains(err.Error(), c.want) {
		t.Errorf("%s: %v, want %q", c.name, err, c.want)
	}
}

// TestUserRulesErrors holds that an error about a user's file names the file, the line and the rule.
func TestUserRulesErrors(t *testing.T) {
	for _, c := range []userMistake{
		{
			name:  "unknown key",
			rules: "[[rule]]\nid = \"a\"\nreson = \"user_unknown\"",
			want:  "my.toml:3: unknown key rule.reson",
		}, {
			name:  "a key that would be ignored",
			rules: wordedRule + `provider = ["gmail"]`,
			want:  "my.toml:5: unknown key rule.provider",
		}, {
			name: "not TOML", rules: "[[rule]\n", want: "my.toml:1:",
		}, {
			name: "wrong type", rules: aRule + `any = "x y"`, want: "my.toml:4:",
		}, {
			name:  "no such reason",
			rules: "# mine\n[[rule]]\nid = \"a\"\nreason = \"nonsense\"\nany = [\"x y\"]",
			want:  `my.toml:3: rule "a": there is no reason "nonsense"`,
		}, {
			name:  "no such category",
			rules: wordedRule + `category = "Bounced"`,
			want:  `there is no category "Bounced"`,
		}, {
			name: "no phrase", rules: aRule, want: `my.toml:2: rule "a": it has no phrase`,
		}, {
			name:  "no such class",
			rules: aRule + `any = ["{nobody} here"]`,
			want:  `rule "a": phrase "{nobody} here": there is no class "nobody"`,
		}, {
			name: "gap at the end", rules: aRule + `any = ["x .."]`, want: "no words beside a gap",
		}, {
			name:  "bad code",
			rules: wordedRule + `code = ["55"]`,
			want:  `rule "a": code "55" is not three digits or x`,
		}, {
			name:  "bad enhanced code",
			rules: wordedRule + `enhanced = ["5.1"]`,
			want:  `rule "a": enhanced "5.1" is not like 5.1.1`,
		},
	} {
		c.check(t)
	}
}

// TestUserRulesOrderErrors holds the same for what orders rules: bands, beats and ids.
func TestUserRulesOrderErrors(t *testing.T) {
	for _, c := range []userMistake{
		{
			name:  "unknown band",
			rules: wordedRule + `weight = "much"`,
			want: `my.toml:2: rule "a": there is no weight "much": ` +
				`write certain, strong, normal, hint or vague`,
		}, {
			name:  "a number for a band",
			rules: wordedRule + `weight = 9`,
			want:  `my.toml:2: rule "a": weight 9 is a number: write weight = "certain"`,
		}, {
			name:  "a fraction for a band",
			rules: wordedRule + `weight = 5.5`,
			want:  `weight 5.5 is a number: write weight = "hint"`,
		}, {
			name:  "an unknown rule to beat",
			rules: wordedRule + `beats = ["nobody"]`,
			want:  `my.toml:2: rule "a": beats "nobody", but there is no rule of this id`,
		}, {
			name:  "a rule that beats itself",
			rules: wordedRule + `beats = ["a"]`,
			want:  `my.toml:2: rule "a": a beats a: take one of these beats out`,
		}, {
			name: "a circle of rules",
			rules: wordedRule + "beats = [\"b\"]\n[[rule]]\nid = \"b\"\nreason = \"mailbox_full\"\n" +
				"any = [\"z\"]\nbeats = [\"a\"]",
			want: `my.toml:2: rule "a": a beats b beats a: take one of these beats out`,
		}, {
			name:  "the guide's tables",
			rules: "[pairs]\n\"550\" = [\"Blocked\"]",
			want:  "cannot be changed",
		}, {
			name:  "two of one id",
			rules: wordedRule + "[[rule]]\nid = \"a\"\nreason = \"mailbox_full\"\nany = [\"z\"]",
			want:  "there are two of this id",
		},
	} {
		c.check(t)
	}
}

// TestBeatenRuleSwitchedOff holds that a user may switch a built-in rule off that others beat.
func TestBeatenRuleSwitchedOff(t *testing.T) {
	if _, err := New(Options{Rules: []byte("[[rule]]\nid = \"blocklist\"\ndisabled = true")}); err != nil {
		t.Error(err)
	}
}

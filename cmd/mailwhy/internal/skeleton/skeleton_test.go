package skeleton

import (
	"strings"
	"testing"
)

// TestRules holds that wordings with one phrase share a rule, that ids differ, and that what a server said
// cannot leave its comment.
func TestRules(t *testing.T) {
	wordings := []Wording{
		{Phrase: "zwirbel am anschlag", Code: 550, Example: "550 zwirbel am anschlag", Count: 2,
			Reason: "refused_unexplained", Hosts: []string{"mx.example.com"}},
		{Phrase: "zwirbel am anschlag", Code: 554, Example: "554 zwirbel am anschlag", Count: 1,
			Reason: "user_unknown", Hosts: []string{"mx.example.com"}},
		{Phrase: "zwirbel-am anschlag!", Code: 554, Example: "554 zwirbel-am anschlag!", Count: 1,
			Reason: "refused_unexplained"},
		{Phrase: "früh gestutzt", Example: "früh gestutzt", Count: 1,
			Reason: "refused_unexplained", Hosts: []string{"mx\n[[rule]]"}},
	}
	out := string(Rules(wordings))
	for _, want := range []string{
		"# 3 rules ", "# 3 times, said by mx.example.com\n", "; others of them otherwise\n",
		`code = ["550", "554"]`, `id = "own-zwirbel-am-anschlag"`, "said by mx?[[rule]]\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "\n[[rule]]\n"); n != 3 {
		t.Errorf("%d rules, want 3:\n%s", n, out)
	}
}

func TestTOMLString(t *testing.T) {
	for in, want := range map[string]string{
		"plain":               `"plain"`,
		`a "quoted" \ one`:    `"a \"quoted\" \\ one"`,
		"two\nlines\x7f":      `"two\u000Alines\u007F"`,
		"turned \u202e":       `"turned \u202E"`,
		"not \xff UTF-8":      "\"not \ufffd UTF-8\"",
		"Größe überschritten": `"Größe überschritten"`,
	} {
		if got := tomlString(in); got != want {
			t.Errorf("tomlString(%q) = %s, want %s", in, got, want)
		}
	}
}

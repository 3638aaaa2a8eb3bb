package diagnose

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the reasons into docs/diagnosis.md")

// diagnosisPage is the page for users.
const diagnosisPage = "../docs/diagnosis.md"

// TestDocumentedReasons holds that the page lists every category and reason of the guide, in its words. Run
// the test with -update to write the list.
func TestDocumentedReasons(t *testing.T) {
	const begin, end = "<!-- reasons -->\n", "<!-- end of reasons -->\n"
	text, err := os.ReadFile(diagnosisPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines %q and %q", diagnosisPage, begin, end)
	}
	want := reasonsList(newEngine(t))
	if *update {
		if err := os.WriteFile(diagnosisPage, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the reasons in %s are out of date; run this test with -update. They should be:\n%s",
			diagnosisPage, want)
	}
}

// reasonsList is the list of all reasons, by category.
func reasonsList(e *Engine) string {
	var b strings.Builder
	write := func(heading, definition string, c Category) {
		fmt.Fprintf(&b, "\n### %s\n\n", heading)
		wrapInto(&b, definition, "")
		b.WriteByte('\n')
		for _, r := range e.Reasons() {
			if r.Category == c {
				wrapInto(&b, fmt.Sprintf("- **`%s`**: %s. Who acts: %s; scope: %s; action: %s.",
					r.ID, r.Definition, r.Owner, r.Scope, r.Action), "  ")
			}
		}
	}
	for _, c := range e.Categories() {
		write(string(c.Name), c.Definition, c.Name)
	}
	write("No category", "The reply is not a refusal.", "")
	b.WriteByte('\n')
	return b.String()
}

// wrapInto writes text in lines of at most 110 columns, those after the first behind indent.
func wrapInto(b *strings.Builder, text, indent string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > 110:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	b.WriteString(line + "\n")
}

// TestDocumentedRules holds that the file of rules shown on the page loads and does what it says.
func TestDocumentedRules(t *testing.T) {
	doc, err := os.ReadFile(diagnosisPage)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(doc), "```toml\n")
	rules, _, ok := strings.Cut(after, "```\n")
	if !ok {
		t.Fatal("there is no block of toml")
	}
	e, err := New(Options{Rules: []byte(rules)})
	if err != nil {
		t.Fatal(err)
	}
	d := e.answer("550 5.7.1 Message held by ACME gateway")
	if d.Rule != "acme-gateway-quarantine" {
		t.Errorf("decided by %s", d.Rule)
	}
	if d := e.answer("451 SPAM not accepted"); d.Rule == "spam-word" {
		t.Error("spam-word is still there")
	}
}

package diagnose

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the lists into docs/diagnosis.md and docs/fixes.md")

// diagnosisPage is the page for users.
const diagnosisPage = "../docs/diagnosis.md"

// fixesPage is the page of fixes.
const fixesPage = "../docs/fixes.md"

// TestDocumentedReasons holds that the page lists every category and reason of the guide, in its words. Run
// the test with -update to write the list.
func TestDocumentedReasons(t *testing.T) {
	checkList(t, diagnosisPage, "reasons", reasonsList(newEngine(t)))
}

// TestDocumentedFixes holds that the page lists the steps of every reason, with the pages that they were
// checked against.
func TestDocumentedFixes(t *testing.T) {
	checkList(t, fixesPage, "fixes", fixesList(newEngine(t)))
}

// checkList holds that a page has a list between its marks, or writes it there.
func checkList(t *testing.T, page, name, want string) {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines %q and %q", page, begin, end)
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the %s in %s are out of date; run this test with -update. They should be:\n%s",
			name, page, want)
	}
}

// fixesList is the list of the fixes of all reasons, and of what providers' own pages add.
func fixesList(e *Engine) string {
	var b strings.Builder
	for _, r := range e.Reasons() {
		if r.ID == noRefusal {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n", r.ID)
		wrapInto(&b, fmt.Sprintf("%s Who acts: %s.", r.Cause, r.Owner), "")
		b.WriteByte('\n')
		for i, step := range r.Fix {
			wrapInto(&b, fmt.Sprintf("%d. %s", i+1, step), "   ")
		}
		for _, link := range r.Links {
			fmt.Fprintf(&b, "\nSee\n<%s>\n", link)
		}
		for _, a := range e.advice[r.ID] {
			b.WriteByte('\n')
			wrapInto(&b, fmt.Sprintf("By %s: %s", a.Provider, strings.Join(a.Fix, " ")), "")
			for _, link := range a.Links {
				fmt.Fprintf(&b, "<%s>\n", link)
			}
		}
	}
	b.WriteByte('\n')
	return b.String()
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

// TestDocumentedRules holds that the files of rules shown on the page load, and that the first does what it
// says.
func TestDocumentedRules(t *testing.T) {
	doc, err := os.ReadFile(diagnosisPage)
	if err != nil {
		t.Fatal(err)
	}
	var rules string
	for i, block := range strings.Split(string(doc), "```toml\n")[1:] {
		block, _, _ = strings.Cut(block, "```\n")
		if i == 0 {
			rules = block
		}
		if _, err := New(Options{Rules: []byte(block)}); err != nil {
			t.Errorf("block %d: %v", i+1, err)
		}
	}
	if rules == "" {
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

package webhook

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSetUp: for each provider there is something to enter, and its own name stands once.
func TestSetUp(t *testing.T) {
	var names []string
	for _, s := range setUps() {
		names = append(names, s.Provider)
	}
	if !slices.Equal(names, Providers()) {
		t.Errorf("there are texts for %q, but the providers are %q", names, Providers())
	}
	for _, name := range Providers() {
		s := SetUpOf(name)
		if s.Provider != name || s.Place == "" || len(s.Events) == 0 || s.Delivered == "" || s.Proof == "" {
			t.Errorf("%s: something is missing in %+v", name, s)
		}
	}
}

// TestSetUpDocumented: docs/feedback.md has all of it. Run the test with -update to write it.
func TestSetUpDocumented(t *testing.T) {
	const file = "../../../docs/feedback.md"
	const begin, end = "<!-- providers -->\n", "<!-- end of providers -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s lacks the marks %q and %q", file, begin, end)
	}
	var b strings.Builder
	for _, s := range setUps() {
		fmt.Fprintf(&b, "- **%s**\n", s.Provider)
		for _, row := range []string{"place: " + s.Place, "events: " + strings.Join(s.Events, ", ") +
			"; also, to log what arrives: " + s.Delivered, "proof: " + s.Proof} {
			b.WriteString(wrapped(row))
		}
	}
	want := "\n" + b.String() + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the providers in %s are out of date; run this test with -update. They should be:\n%s", file,
			want)
	}
}

// wrapped is an item of a list below another one, in lines of at most 110 columns.
func wrapped(text string) string {
	var b strings.Builder
	line := "  -"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 110 {
			b.WriteString(line + "\n")
			line = "   "
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}

package preset

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of presets into docs/presets.md")

// TestTables: docs/presets.md shows every value. Run the test with -update to write the tables.
func TestTables(t *testing.T) {
	const file, begin, end = "../../docs/presets.md", "<!-- presets -->\n", "<!-- end of presets -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s lacks the marks %q and %q", file, begin, end)
	}
	want := tables(load(t))
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the tables in %s are out of date; run this test with -update. They should be:\n%s",
			file, want)
	}
}

// tables are the generated part of the page.
func tables(s *Set) string {
	var b strings.Builder
	b.WriteString("\n## Hosts and ports\n\n| preset | provider | host | `starttls` | `implicit` |\n" +
		"|---|---|---|---|---|\n")
	for _, p := range s.All {
		host := p.Hosts.Value[0]
		if n := len(p.Hosts.Value) - 1; n > 0 {
			host += fmt.Sprintf(" + %d", n)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s %s | %s | %s |\n", p.Name, p.Title, host, p.Hosts.Source,
			numbers(p.PortsFor(StartTLS)), numbers(p.PortsFor(Implicit)))
	}
	b.WriteString("\n## Limits\n\n" +
		"| preset | connections | recipients | messages | idle | age | size, MiB | rate | null sender |\n" +
		"|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range s.All {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", p.Name, cell(p.Connections),
			cell(p.Recipients), cell(p.Messages), cell(p.Idle), cell(p.Age), megabytes(p.Size), cell(p.Rate),
			cell(p.NullSender))
	}
	b.WriteString("\n## AUTH and credentials\n\n")
	for _, p := range s.All {
		order := "the usual order"
		if p.Auth.Known() {
			order = fmt.Sprintf("%s (%s)", strings.Join(p.Auth.Value, ", "), p.Auth.Source)
		}
		fmt.Fprintf(&b, "- `%s`: %s\n", p.Name, order)
		for _, c := range []struct {
			key  string
			want Secret
		}{{"username", p.User}, {"password", p.Password}} {
			if c.want.Says != "" {
				fmt.Fprintf(&b, "  - %s: %s (%s)\n", c.key, c.want.Says, c.want.Source)
			}
		}
	}
	b.WriteString("\n## Limits of the account\n\n")
	for _, p := range s.All {
		if p.Note != "" {
			fmt.Fprintf(&b, "- `%s`: %s\n", p.Name, p.Note)
		}
	}
	b.WriteString("\n")
	return b.String()
}

// cell is a value with its source.
func cell[T any](v Value[T]) string {
	if !v.Known() {
		return ""
	}
	return fmt.Sprintf("%v %s", v.Value, v.Source)
}

func megabytes(v Value[int64]) string {
	if !v.Known() {
		return ""
	}
	return fmt.Sprintf("%.4g %s", float64(v.Value)/(1<<20), v.Source)
}

func numbers(ns []int) string { return strings.Trim(fmt.Sprint(ns), "[]") }

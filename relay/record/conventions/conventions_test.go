package conventions

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailwhy/relay/record"
)

var update = flag.Bool("update", false, "write the golden files")

// goldens are the events of package record, by the names of their files.
func goldens(t *testing.T) map[string]record.Event {
	t.Helper()
	files, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	all := map[string]record.Event{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e, err := record.Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = e
	}
	return all
}

// TestGolden compares some events in both forms with files.
func TestGolden(t *testing.T) {
	events := goldens(t)
	for _, name := range []string{"accepted", "network", "lane"} {
		e := events[name]
		for form, got := range map[string][]byte{"ecs": AppendECS(nil, &e), "otel": AppendOTel(nil, &e)} {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got, "", " "); err != nil {
				t.Fatalf("%s as %s: %v in %s", name, form, err, got)
			}
			pretty.WriteByte('\n')
			file := filepath.Join("testdata", name+"."+form+".json")
			if *update {
				if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(file); err != nil || !bytes.Equal(want, pretty.Bytes()) {
				t.Errorf("%s as %s (%v):\n%s\nwant\n%s", name, form, err, pretty.Bytes(), want)
			}
		}
	}
}

// TestNothingIsLost: each field of each event is there, under the name that the table gives, and no line has
// what acts on a terminal.
func TestNothingIsLost(t *testing.T) {
	for name, e := range goldens(t) {
		var doc map[string]json.RawMessage
		line := AppendECS(nil, &e)
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		var otel logsData
		lineOTel := AppendOTel(nil, &e)
		if err := json.Unmarshal(lineOTel, &otel); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, a := range otel.ResourceLogs[0].ScopeLogs[0].LogRecords[0].Attributes {
			keys = append(keys, a.Key)
		}
		for field := range flatten(&e) {
			row := rowOf(field)
			for n := range strings.SplitSeq(row.ECS, ", ") {
				if _, there := doc[n]; !there {
					t.Errorf("%s: ECS has no %s", name, n)
				}
			}
			for n := range strings.SplitSeq(row.OTel, ", ") {
				if strings.Contains(n, ".") && !slices.Contains(keys, n) {
					t.Errorf("%s: OTel has no %s", name, n)
				}
			}
		}
		for _, b := range [][]byte{line, lineOTel} {
			if bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
				t.Errorf("%s: unsafe: %q", name, b)
			}
		}
	}
}

// rowOf is what a field is called elsewhere.
func rowOf(field string) Row {
	row := Row{field, "", ""}
	for _, r := range Rows() {
		if r.Field == field {
			row = r
		}
	}
	if row.ECS == "" {
		row.ECS = "mailwhy." + field
	}
	if row.OTel == "" {
		row.OTel = "mailwhy." + field
	}
	return row
}

// TestRowsAreFields: the map names nothing that events do not have.
func TestRowsAreFields(t *testing.T) {
	known := map[string]bool{}
	typ := reflect.TypeFor[record.Event]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		known[name] = true
	}
	for _, r := range Rows() {
		if !known[r.Field] {
			t.Errorf("events have no field %q", r.Field)
		}
	}
}

// The marks around the generated table.
const begin, end = "<!-- conventions -->\n", "<!-- end -->\n"

// TestDocumented compares the table in docs/delivery-log.md with the map.
func TestDocumented(t *testing.T) {
	const file = "../../../docs/delivery-log.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("\n| field | ECS | OpenTelemetry |\n|---|---|---|\n")
	code := func(s string) string { return "`" + strings.ReplaceAll(s, ", ", "`, `") + "`" }
	for _, r := range Rows() {
		row := rowOf(r.Field)
		table.WriteString("| " + code(r.Field) + " | " + code(row.ECS) + " | " + code(row.OTel) + " |\n")
	}
	table.WriteString("\n")
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q", file, begin)
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(page) != want {
		t.Errorf("%s is old: go test ./relay/record/conventions -update", file)
	}
}

func BenchmarkConventions(b *testing.B) {
	line, err := os.ReadFile("../testdata/deferred.json")
	if err != nil {
		b.Fatal(err)
	}
	e, err := record.Parse(line)
	if err != nil {
		b.Fatal(err)
	}
	forms := map[string]func([]byte, *record.Event) []byte{"ecs": AppendECS, "otel": AppendOTel}
	for name, form := range forms {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			for b.Loop() {
				buf = form(buf[:0], &e)
			}
		})
	}
}

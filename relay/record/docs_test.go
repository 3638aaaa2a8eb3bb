package record

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// documented is what docs/delivery-log.md says below a heading: for each name in the first column of the
// table there, its second column. The order is that of the names.
func documented(t *testing.T, heading string) (names []string, second map[string]string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/delivery-log.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/delivery-log.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	_, rows, _ := strings.Cut(section, "\n|---")
	second = map[string]string{}
	name := regexp.MustCompile("`([a-z0-9_]+)`")
	for row := range strings.Lines(rows) {
		cells := strings.Split(row, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			names = append(names, m[1])
			second[m[1]] = strings.TrimSpace(cells[2])
		}
	}
	return names, second
}

// schema are the names of the JSON fields of a struct, in order, and the type that a reader of JSON sees.
func schema(typ reflect.Type) (names []string, types map[string]string) {
	types = map[string]string{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		names = append(names, name)
		types[name] = jsonType(f.Type)
	}
	return names, types
}

// jsonType is the type of a field in the words of docs/delivery-log.md.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	case reflect.Pointer:
		return "object"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "strings"
		}
	}
	return "string" // times and bytes too
}

// TestFieldsAreDocumented compares the tables of fields in docs/delivery-log.md with the schema: names,
// order and types.
func TestFieldsAreDocumented(t *testing.T) {
	for heading, typ := range map[string]reflect.Type{
		"## Fields":     reflect.TypeFor[Event](),
		"### diagnosis": reflect.TypeFor[diagnose.Diagnosis](),

		"### suppression": reflect.TypeFor[relay.Suppression](),
	} {
		names, types := documented(t, heading)
		wantNames, wantTypes := schema(typ)
		if !slices.Equal(names, wantNames) {
			t.Errorf("%s: the fields are\n%q, documented are\n%q", heading, wantNames, names)
		}
		if !maps.Equal(types, wantTypes) {
			t.Errorf("%s: the types are\n%q, documented are\n%q", heading, wantTypes, types)
		}
	}
}

// TestEventsAreDocumented compares the table of events in docs/delivery-log.md with the kinds that there are.
func TestEventsAreDocumented(t *testing.T) {
	var want []string
	for _, k := range relay.EventKinds() {
		want = append(want, string(k))
	}
	if names, _ := documented(t, "## Events"); !slices.Equal(names, want) {
		t.Errorf("the events are\n%q, documented are\n%q", want, names)
	}
}

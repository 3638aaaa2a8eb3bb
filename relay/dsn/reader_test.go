package dsn

import (
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"regexp"
	"strings"
	"testing"
)

// The strict reader takes a DSN apart by the letter of the RFCs and shares no code with what it checks. It
// knows what the report was about, and so which fields must be there, and which must not.

// entity is a message or body part as it was read.
type entity struct {
	fields []readField
	body   string // as transferred
}

type readField struct {
	name, value string   // value unfolded
	lines       []string // of the value, as written
}

// get returns the one value of a field; a second one is an error.
func (e *entity) get(t testing.TB, name string) string {
	t.Helper()
	value, n := "", 0
	for _, f := range e.fields {
		if strings.EqualFold(f.name, name) {
			value, n = f.value, n+1
		}
	}
	if n > 1 {
		t.Errorf("field %s stands %d times", name, n)
	}
	return value
}

// decoded is the body without its transfer encoding.
func (e *entity) decoded(t testing.TB) string {
	t.Helper()
	switch cte := e.get(t, "Content-Transfer-Encoding"); cte {
	case "7bit":
		if strings.ContainsFunc(e.body, func(r rune) bool { return r >= 0x80 || r == 0 }) {
			t.Error("a 7bit part has other bytes")
		}
		return e.body
	case "8bit":
		return e.body
	case "quoted-printable":
		b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(e.body)))
		if err != nil {
			t.Errorf("quoted-printable: %v", err)
		}
		return string(b)
	default:
		t.Errorf("transfer encoding %q", cte)
		return e.body
	}
}

var fieldLine = regexp.MustCompile(`^([!-9;-~]+):(.*)$`)

// readFields reads the fields of a header or block: every line is a field or continues one, none is blank.
func readFields(t testing.TB, s string) []readField {
	t.Helper()
	var fields []readField
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\r\n"), "\r\n") {
		switch {
		case strings.TrimSpace(line) == "":
			t.Errorf("a blank line within the fields:\n%s", s)
		case line[0] == ' ' || line[0] == '\t':
			if len(fields) == 0 {
				t.Fatalf("the fields begin with a continuation: %q", line)
			}
			f := &fields[len(fields)-1]
			f.value += line
			f.lines = append(f.lines, line)
		default:
			m := fieldLine.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("no field: %q", line)
			}
			fields = append(fields,
				readField{name: m[1], value: strings.TrimPrefix(m[2], " "), lines: []string{m[2]}})
		}
	}
	return fields
}

// readEntity separates header and body.
func readEntity(t testing.TB, s string) *entity {
	t.Helper()
	head, body, ok := strings.Cut(s, "\r\n\r\n")
	if !ok {
		t.Fatalf("no empty line after the header:\n%s", s)
	}
	return &entity{readFields(t, head+"\r\n"), body}
}

// parts takes a multipart apart (RFC 2046, 5.1.1).
func (e *entity) parts(t testing.TB, want string) []*entity {
	t.Helper()
	kind, params, err := mime.ParseMediaType(e.get(t, "Content-Type"))
	if err != nil || kind != want {
		t.Fatalf("content type %q (%v), want %s", kind, err, want)
	}
	if !strings.Contains(e.get(t, "Content-Type"), `boundary="`+params["boundary"]+`"`) {
		t.Error("the boundary is not quoted")
	}
	delimiter := "--" + params["boundary"]
	body := "\r\n" + e.body
	chunks := strings.Split(body, "\r\n"+delimiter)
	last := chunks[len(chunks)-1]
	if len(chunks) < 2 || strings.TrimRight(last, "\r\n") != "--" {
		t.Fatalf("the multipart does not end with its delimiter but %q", last)
	}
	var parts []*entity
	for _, c := range chunks[1 : len(chunks)-1] {
		if !strings.HasPrefix(c, "\r\n") {
			t.Fatalf("something follows the delimiter: %q", c[:min(len(c), 40)])
		}
		if strings.Contains(c, params["boundary"]+"\r\n") {
			t.Error("the boundary occurs within a part")
		}
		parts = append(parts, readEntity(t, c[2:]))
	}
	return parts
}

// String makes failures readable.
func (e *entity) String() string { return fmt.Sprintf("%v\n\n%s", e.fields, e.body) }

package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

var update = flag.Bool("update", false, "write openapi.json and the table of docs/api.md")

// object is a JSON object of the document.
type object = map[string]any

// LaneState is relay.LaneState as it is written.
type LaneState struct {
	Name      string               `json:"name"`
	Paused    bool                 `json:"paused"`              // nothing is sent but probes
	Slowed    bool                 `json:"slowed,omitempty"`    // less is sent than is configured
	Since     time.Time            `json:"since,omitzero"`      // of the pause, or of the slowness
	NextProbe time.Time            `json:"next_probe,omitzero"` // of a pause
	Diagnosis *diagnose.Diagnosis  `json:"diagnosis,omitempty"` // of the reply that led to it
	Reply     string               `json:"reply,omitempty"`     // the upstream's words, or the error
	Limit     int                  `json:"limit"`               // most connections now
	Rate      float64              `json:"rate,omitempty"`      // most messages a second now
	Senders   []relay.SenderPaused `json:"senders,omitempty"`   // whose mail waits while other mail goes on
}

// reflector turns Go types into schemas.
func reflector(t *testing.T) *jsonschema.Reflector {
	t.Helper()
	r := &jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true}
	for _, dir := range []string{"relay", "diagnose"} {
		part := new(jsonschema.Reflector)
		err := inDir("../..", func() error { return part.AddGoComments("mailwhy", "./"+dir) })
		if err != nil {
			t.Fatal(err)
		}
		if r.CommentMap == nil {
			r.CommentMap = map[string]string{}
		}
		for name, text := range part.CommentMap {
			r.CommentMap[name] = strings.Join(strings.Fields(text), " ")
		}
	}
	r.Mapper = func(typ reflect.Type) *jsonschema.Schema {
		switch typ {
		case reflect.TypeFor[relay.LaneState]():
			return &jsonschema.Schema{Ref: "#/$defs/LaneState"}
		case reflect.TypeFor[relay.State]():
			return oneOf(States())
		case reflect.TypeFor[diagnose.Stage]():
			return oneOf(append(diagnose.Stages(), "")) // a success has none
		case reflect.TypeFor[relay.EventKind]():
			return oneOf(relay.EventKinds())
		case reflect.TypeFor[diagnose.Reply]():
			return &jsonschema.Schema{Type: "object", Description: "A reply of a server."}
		case reflect.TypeFor[diagnose.Seconds]():
			return &jsonschema.Schema{Type: "number", Description: "Seconds."}
		}
		return nil
	}
	return r
}

// inDir runs f in another working directory.
func inDir(dir string, f func() error) error {
	was, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	defer os.Chdir(was)
	return f()
}

// oneOf is the schema of a string that is one of several.
func oneOf[S ~string](values []S) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

// builder makes the document.
type builder struct {
	t       *testing.T
	r       *jsonschema.Reflector
	schemas object
}

// schema is a reference to the schema of v's type, which it adds to the document. What a request has may
// leave out every field.
func (b *builder) schema(v any, request bool) object {
	b.t.Helper()
	suffix := ""
	if request {
		suffix = "Request"
	}
	data, err := json.Marshal(b.r.Reflect(v))
	if err != nil {
		b.t.Fatal(err)
	}
	data = regexp.MustCompile(`"#/\$defs/([A-Za-z]+)"`).ReplaceAll(data,
		[]byte(`"#/components/schemas/${1}`+suffix+`"`))
	var s object
	if err := json.Unmarshal(data, &s); err != nil {
		b.t.Fatal(err)
	}
	defs, _ := s["$defs"].(object)
	if explained, ok := defs["Explained"].(object); ok {
		delete(explained, "required") // in a list there may be an error instead
	}
	for name, def := range defs {
		if d, ok := def.(object); ok && request {
			delete(d, "required")
			d["additionalProperties"] = false
		}
		b.schemas[name+suffix] = def
	}
	delete(s, "$defs")
	delete(s, "$schema")
	return s
}

// content is a body.
func (b *builder) content(rt *route, v any, request bool) object {
	kind, schema := "application/json", object{"type": "string"}
	switch {
	case strings.HasSuffix(rt.pattern, "/events"):
		kind = "text/event-stream"
	case strings.HasSuffix(rt.pattern, "/export"):
		kind = "text/csv"
	case v == "":
		kind = "application/octet-stream"
	case rt.pattern == "GET /v1/openapi.json":
		schema = object{"type": "object"}
	case strings.HasSuffix(rt.pattern, "/diagnose"):
		one := b.schema(v, request)
		schema = object{"oneOf": []any{one, object{"type": "array", "items": one}}}
	default:
		schema = b.schema(v, request)
	}
	return object{kind: object{"schema": schema}}
}

// operation describes a route.
func (b *builder) operation(rt *route) object {
	method, path, _ := strings.Cut(rt.pattern, " ")
	parameters := []any{}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		parameters = append(parameters, object{"name": m[1], "in": "path", "required": true,
			"schema": object{"type": "string"}})
	}
	for _, p := range rt.query {
		schema := object{"type": "string"}
		if p.many {
			schema = object{"type": "array", "items": schema}
		}
		parameters = append(parameters, object{"name": p.name, "in": "query", "description": p.about,
			"schema": schema})
	}
	responses := object{
		"200": object{"description": "Done.", "content": b.content(rt, rt.gives, false)},
		"default": object{"description": "An error.", "content": object{"application/json": object{
			"schema": b.schema(Problem{}, false)}}},
	}
	if rt.pattern == "GET /v1/health" {
		responses["503"] = object{"description": "The relay is not healthy.",
			"content": b.content(rt, rt.gives, false)}
	}
	op := object{"operationId": operationID(method, path), "summary": rt.about, "responses": responses}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if rt.takes != nil {
		op["requestBody"] = object{"required": true, "content": b.content(rt, rt.takes, true)}
	}
	if rt.scope == "" {
		op["security"] = []any{}
	} else {
		op["security"] = []any{object{"token": []any{string(rt.scope)}}}
	}
	return op
}

// operationID is a name for code that is made from the document: getMessagesById.
func operationID(method, path string) string {
	id := strings.ToLower(method)
	for part := range strings.SplitSeq(strings.TrimPrefix(path, Version+"/"), "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			part = "by" + strings.ToUpper(name[:1]) + strings.TrimSuffix(name[1:], "}")
		}
		part = strings.ReplaceAll(part, ".", "")
		id += strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}

// makeDocument makes the document from the table of routes.
func makeDocument(t *testing.T, routes []route) []byte {
	t.Helper()
	b := &builder{t: t, r: reflector(t), schemas: object{}}
	b.schema(LaneState{}, false)
	paths := object{}
	for i := range routes {
		method, path, _ := strings.Cut(routes[i].pattern, " ")
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(method)] = b.operation(&routes[i])
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{"title": "mailwhy", "version": "1",
			"description": "The HTTP API of a running mailwhy relay; see docs/api.md."},
		"servers": []any{object{"url": "http://127.0.0.1:8025"}},
		"paths":   paths,
		"components": object{"schemas": b.schemas, "securitySchemes": object{"token": object{
			"type": "http", "scheme": "bearer",
			"description": "A token of mailwhy token create, with the scope that the operation names."}}},
	}
	out, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// TestOpenAPI: the document is the one that the table of routes makes, and the mux serves what it says.
func TestOpenAPI(t *testing.T) {
	s, err := New(Options{Events: newStream()})
	if err != nil {
		t.Fatal(err)
	}
	want := makeDocument(t, s.routes())
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(document, want) {
		t.Error("openapi.json is not what routes.go makes: go test ./relay/admin -run OpenAPI -update")
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Security []map[string][]string `json:"security"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	fill := regexp.MustCompile(`\{\w+\}`)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			r := httptest.NewRequest(strings.ToUpper(method), fill.ReplaceAllString(path, "x"), http.NoBody)
			if _, pattern := s.mux.Handler(r); pattern != strings.ToUpper(method)+" "+path {
				t.Errorf("%s %s is served by %q", method, path, pattern)
			}
			w := httptest.NewRecorder()
			s.known(nil).ServeHTTP(w, r)
			if open := len(op.Security) == 0; open != (w.Code != http.StatusUnauthorized) {
				t.Errorf("%s %s without a token: %d", method, path, w.Code)
			}
		}
	}
}

// TestPathsDocumented: docs/api.md has a row for each route.
func TestPathsDocumented(t *testing.T) {
	const file, begin, end = "../../docs/api.md", "<!-- routes -->\n", "<!-- end of routes -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(page), begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no %q and %q", file, begin, end)
	}
	s, err := New(Options{Events: newStream()})
	if err != nil {
		t.Fatal(err)
	}
	table := "| request | scope | what it does |\n|---|---|---|\n"
	for _, rt := range s.routes() {
		scope := string(rt.scope)
		if scope == "" {
			scope = "none"
		}
		table += "| `" + strings.Replace(rt.pattern, Version, "", 1) + "` | " + scope + " | " + rt.about +
			" |\n"
	}
	want := before + begin + table + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Errorf("%s is not the table of routes: go test ./relay/admin -run Documented -update", file)
	}
}

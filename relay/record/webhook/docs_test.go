package webhook

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/record/webhook/eventlog"
	"mailwhy/relay/smtptest"
)

var update = flag.Bool("update", false, "write docs/webhooks.schema.json")

const (
	docs       = "../../../docs/"
	schemaFile = docs + "webhooks.schema.json"
)

// object is a JSON object, in a schema.
type object = map[string]any

// schemaOf is the schema of a Go type as it is written.
func schemaOf(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Float64:
		return object{"type": "number"}
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Struct:
		if t != reflect.TypeFor[time.Time]() {
			return structSchema(t)
		}
		return object{"type": "string", "format": "date-time"}
	}
	return object{"type": "string"}
}

// structSchema is the schema of a struct. Fields may be added, and those that are not known are left out.
func structSchema(t reflect.Type) object {
	properties := object{}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			properties[name] = schemaOf(t.Field(i).Type)
		}
	}
	return object{"type": "object", "properties": properties}
}

// schema is the schema of the body of a request.
func schema() object {
	data := schemaOf(reflect.TypeFor[record.Event]())
	data["required"] = []string{"v", "time", "event"}
	kinds := []string{}
	for _, k := range relay.EventKinds() {
		kinds = append(kinds, string(k))
	}
	data["properties"].(object)["v"] = object{"const": record.Version}
	data["properties"].(object)["event"] = object{"enum": kinds}
	name := object{"type": "string", "pattern": `^(message|session|suppression|upstream|webhook)\.[a-z]+$`}
	when := object{"type": "string", "format": "date-time"}
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "The body of a request of mailwhy to a webhook",
		"oneOf":   []object{{"$ref": "#/$defs/event"}, {"$ref": "#/$defs/batch"}},
		"$defs": object{
			"data": data,
			"event": object{"type": "object", "required": []string{"type", "timestamp", "data"},
				"properties": object{"type": name, "timestamp": when,
					"data": object{"$ref": "#/$defs/data"}}},
			"batch": object{"type": "object", "required": []string{"type", "timestamp", "data"},
				"properties": object{"type": object{"const": "batch"}, "timestamp": when,
					"data": object{"type": "array", "minItems": 1, "items": object{
						"allOf": []object{{"$ref": "#/$defs/event"}}, "required": []string{"id"},
						"properties": object{
							"id": object{"type": "string", "pattern": "^evt_[a-z0-9]+$"}}}}}},
		},
	}
}

// TestSchemaIsDocumented compares the schema in docs with what is written.
func TestSchemaIsDocumented(t *testing.T) {
	want, err := json.MarshalIndent(schema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(schemaFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/webhooks.schema.json is old (%v): go test ./relay/record/webhook -run Schema -update",
			err)
	}
}

// TestBodiesFitTheSchema: every kind of event fits the schema, alone and in a batch; what is no event does
// not.
func TestBodiesFitTheSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	valid := func(body []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err == nil {
			err = s.Validate(v)
		}
		return err
	}
	for _, e := range everyKind() {
		ev := encode(&e, "", nil)
		_, batch := batchOf([]*eventlog.Event{&ev, &ev})
		for _, body := range [][]byte{bodyOf(&ev), batch} {
			if err := valid(body); err != nil {
				t.Errorf("%s: %v\n%s", e.Kind, err, body)
			}
		}
	}
	for _, body := range []string{`{}`, `{"type":"sent","timestamp":"2026-11-29T12:00:00.000Z","data":{}}`,
		`{"type":"message.failed","timestamp":"2026-11-29T12:00:00.000Z","data":{"v":1}}`,
		`{"type":"batch","timestamp":"2026-11-29T12:00:00.000Z","data":[]}`} {
		if valid([]byte(body)) == nil {
			t.Errorf("fits the schema: %s", body)
		}
	}
}

// everyKind are events of every kind, with all that they may have.
func everyKind() (list []relay.Event) {
	d := diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full", Fix: []string{"wait"},
		Alternatives: []diagnose.Category{diagnose.Blocked}, RetryAfter: diagnose.Seconds(time.Minute),
		Blocklist: &diagnose.Blocklist{Name: "x"}, Links: []string{"https://x.test"}}
	for _, kind := range relay.EventKinds() {
		e := event("M1", 1)
		e.Kind, e.Diagnosis, e.State, e.Webhook = kind, &d, "disabled", "shop"
		e.Tried = &relay.Attempt{Time: time.Now(), Stage: diagnose.StageRcpt,
			Reply: diagnose.ParseReply("452 4.2.2 Mailbox full \xe4\r\n")}
		e.NextAttempt, e.Changed = time.Now(), []string{"bcc removed"}
		e.Feedback = &relay.Feedback{Source: "webhook", EventID: "1", ReportedAt: time.Now()}
		list = append(list, e)
	}
	return list
}

// TestTypesAreDocumented: the page has the type of every event.
func TestTypesAreDocumented(t *testing.T) {
	page, err := os.ReadFile(docs + "webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range relay.EventKinds() {
		for _, state := range statesOf(kind) {
			name := TypeOf(kind, state)
			if name != "message."+string(kind) && !bytes.Contains(page, []byte("`"+name+"`")) {
				t.Errorf("the page does not have the type %s of %s", name, kind)
			}
		}
	}
}

// statesOf are the states that an event may have.
func statesOf(kind relay.EventKind) []string {
	switch kind {
	case relay.EventLane:
		return []string{"paused", "resumed", "slowed", "refused"}
	case relay.EventSuppression:
		return []string{"created", "renewed", "removed", "observed"}
	case relay.EventWebhook:
		return []string{"disabled", "enabled", "lost", "test"}
	}
	return []string{""}
}

// code is the example of a language in the page.
func code(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile(docs + "webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "\n```"+language+"\n")
	text, _, end := strings.Cut(text, "\n```\n")
	if !ok || !end {
		t.Fatalf("the page has no example in %s", language)
	}
	return text + "\n"
}

// TestExamples: each receiver of the page runs, takes single events and batches, and refuses what is not
// signed, is signed by somebody else, or is old.
func TestExamples(t *testing.T) {
	for _, tc := range []struct{ language, file, program, probe, args string }{
		{"python", "receiver.py", "python3", "--version", ""},
		{"javascript", "receiver.js", "node", "--version", ""},
		{"go", "receiver.go", "go", "version", "run"},
	} {
		t.Run(tc.language, func(t *testing.T) {
			t.Parallel()
			if out, err := exec.Command(tc.program, tc.probe).CombinedOutput(); err != nil {
				t.Skipf("%s is not installed: %v %s", tc.program, err, out)
			}
			file := filepath.Join(t.TempDir(), tc.file)
			if err := os.WriteFile(file, []byte(code(t, tc.language)), 0o600); err != nil {
				t.Fatal(err)
			}
			tryExample(t, append([]string{tc.program}, append(strings.Fields(tc.args), file)...))
		})
	}
}

// tryExample runs a receiver and sends to it.
func tryExample(t *testing.T, args []string) {
	addr, err := smtptest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(addr, ":")
	if args[0] == "go" { // go run leaves its child alone when it is killed
		binary := filepath.Join(t.TempDir(), "receiver")
		if out, err := exec.Command("go", "build", "-o", binary, args[2]).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		args = []string{binary}
	}
	var out smtptest.Buffer
	cmd := exec.Command(args[0], append(args[1:], port)...)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	send := func(secret string, batch int, at time.Time) int {
		s := settings("http://" + addr)
		s.Secrets, s.Batch = []string{secret}, batch
		e, err := NewEndpoint(s)
		if err != nil {
			t.Fatal(err)
		}
		one, two := encode(new(event("M1", 1)), "", nil), encode(new(event("M2", 1)), "", nil)
		id, body := one.ID, bodyOf(&one)
		if batch > 1 {
			id, body = batchOf([]*eventlog.Event{&one, &two})
		}
		return e.exchange(t.Context(), id, body, at).status
	}
	smtptest.WaitFor(t, "the receiver", func() bool { return send(secret, 1, time.Now()) != 0 })
	other := "whsec_" + strings.Repeat("QUFB", 8)
	for _, tc := range []struct {
		secret string
		batch  int
		at     time.Time
		want   int
	}{
		{secret, 1, time.Now(), http.StatusNoContent}, {secret, 2, time.Now(), http.StatusNoContent},
		{other, 1, time.Now(), http.StatusBadRequest}, {other, 2, time.Now(), http.StatusBadRequest},
		{secret, 1, time.Now().Add(-10 * time.Minute), http.StatusBadRequest},
	} {
		if got := send(tc.secret, tc.batch, tc.at); got != tc.want {
			t.Errorf("batch of %d with %s: answered %d, want %d\n%s", tc.batch, tc.secret, got, tc.want,
				out.String())
		}
	}
	if n := strings.Count(out.String(), "message.deferred ann@x.test mailbox_full"); n != 4 {
		t.Errorf("it prints %d events of 4:\n%s", n, out.String())
	}
}

package conventions

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"mailwhy/relay/record"
)

// AppendECS appends an event as a document of the Elastic Common Schema, without a line end.
func AppendECS(b []byte, e *record.Event) []byte {
	level, _ := severity(e.Kind)
	doc := object{
		"ecs.version": text(ECSVersion), "event.kind": text("event"),
		"event.category": json.RawMessage(`["email"]`), "event.type": json.RawMessage(`["info"]`),
		"event.dataset": text("mailwhy.delivery"),
		"event.outcome": text(outcome(e.Kind)), "service.type": text("mailwhy"), "log.level": text(level),
		"message": safe(sentence(e)),
	}
	renamed(flatten(e), func(r Row) string { return r.ECS }, func(name, field string, v json.RawMessage) {
		switch field {
		case "from", "to": // of which ECS has lists
			v = json.RawMessage("[" + string(v) + "]")
		case "duration_s":
			v = json.RawMessage(strconv.FormatInt(int64(math.Round(e.DurationS*1e9)), 10))
		case "tls":
			doc["tls.version_protocol"] = text("tls")
			v = text(strings.TrimPrefix(e.TLS, "TLS"))
		}
		doc[name] = v
	})
	return appendObject(b, doc)
}

// safe is a string as package record writes it: without anything that acts on a terminal unseen.
func safe(s string) json.RawMessage {
	e := record.Event{Note: s}
	var o struct {
		Note json.RawMessage `json:"note"`
	}
	if err := json.Unmarshal(e.AppendJSON(nil), &o); err != nil || o.Note == nil {
		return text("")
	}
	return o.Note
}

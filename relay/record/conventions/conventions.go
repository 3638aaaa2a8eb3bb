// Package conventions writes events in the terms of others, for log stores that know them: the Elastic Common
// Schema (ECS) and OpenTelemetry. Both have no terms for SMTP, so it is a map of fields: what has a name
// there gets it, the rest stands below "mailwhy.". The JSON form of package record remains the one that is
// defined; docs/delivery-log.md shows the map, and a test compares it.
//
// An event in ECS is one flat JSON object whose keys are the dotted names of fields. In OpenTelemetry it is
// one line of an OTLP JSON file (a LogsData message), as the Collector's otlpjsonfile receiver reads it.
//
// What always holds: one line of valid JSON, as safe to show as that of package record; nothing is left out
// of an event. It is slower than that form, since it is made of it.
package conventions

import (
	"bytes"
	"encoding/json"
	"net"
	"strconv"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/record"
)

// ECSVersion is the version of the Elastic Common Schema whose names are used.
const ECSVersion = "8.17.0"

// Row says what a field of an event is called elsewhere; "" is "mailwhy." and its own name.
type Row struct{ Field, ECS, OTel string }

// Rows are the fields that have a name elsewhere. An OTel name in capitals or camel case is a field of the
// LogRecord itself.
func Rows() []Row {
	return []Row{
		{"time", "@timestamp", "timeUnixNano"},
		{"event", "event.action", "eventName"},
		{"id", "email.local_id", ""},
		{"message_id", "email.message_id", ""},
		{"trace_id", "trace.id", "traceId"},
		{"span_id", "span.id", "spanId"},
		{"from", "email.from.address", ""},
		{"to", "email.to.address", ""},
		{"user", "user.name", "user.name"},
		{"host", "server.address", "server.address"},
		{"remote", "server.ip, server.port", "network.peer.address, network.peer.port"},
		{"tls", "tls.version", "tls.protocol.version"},
		{"error", "error.type", "error.type"},
		{"error_text", "error.message", "error.message"},
		{"duration_s", "event.duration", ""},
	}
}

// object is a decoded JSON object. The values stay as they were written.
type object = map[string]json.RawMessage

// flatten is an event as an object without objects: their names are joined by dots.
func flatten(e *record.Event) object {
	flat := object{}
	var add func(prefix string, o object)
	add = func(prefix string, o object) {
		for name, v := range o {
			var inner object
			if v[0] == '{' && json.Unmarshal(v, &inner) == nil {
				add(prefix+name+".", inner)
				continue
			}
			flat[prefix+name] = v
		}
	}
	var whole object
	if json.Unmarshal(e.AppendJSON(nil), &whole) == nil { // what record writes can always be read
		add("", whole)
	}
	return flat
}

// renamed gives the fields the names of a convention. split names what a field is parted into.
func renamed(flat object, name func(Row) string, put func(name, field string, v json.RawMessage)) {
	names := map[string]string{}
	for _, row := range Rows() {
		names[row.Field] = name(row)
	}
	for field, v := range flat {
		switch to := names[field]; {
		case to == "":
			put("mailwhy."+field, field, v)
		case field == "remote":
			address, port, _ := strings.Cut(to, ", ")
			putRemote(v, address, port, put)
		default:
			put(to, field, v)
		}
	}
}

// putRemote parts an address with a port.
func putRemote(v json.RawMessage, address, port string, put func(name, field string, v json.RawMessage)) {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return
	}
	host, number, err := net.SplitHostPort(s)
	if n, numberErr := strconv.ParseUint(number, 10, 16); err == nil && numberErr == nil {
		put(address, "remote", text(host))
		put(port, "remote", json.RawMessage(strconv.FormatUint(n, 10)))
		return
	}
	put("mailwhy.remote", "remote", v) // a socket, say
}

// text is a string as JSON.
func text(s string) json.RawMessage {
	b, _ := json.Marshal(s) // a string can always be written
	return b
}

// outcome is how an event ended, in the words of ECS.
func outcome(k relay.EventKind) string {
	switch k {
	case relay.EventAccepted, relay.EventRelayed, relay.EventDelivered, relay.EventReleased:
		return "success"
	case relay.EventDeferred, relay.EventFailed, relay.EventExpired, relay.EventSuppressed,
		relay.EventRefused, relay.EventQuarantined, relay.EventRetrying, relay.EventBounced,
		relay.EventComplained:
		return "failure"
	}
	return "unknown"
}

// severity is the level of an event: its name in logs, and its number in OpenTelemetry.
func severity(k relay.EventKind) (name string, number int) {
	switch {
	case k == relay.EventQuarantined:
		return "error", 17
	case outcome(k) == "failure", k == relay.EventLane, k == relay.EventHeld, k == relay.EventDelayed:
		return "warn", 13
	}
	return "info", 9
}

// sentence is an event in a few words.
func sentence(e *record.Event) string {
	parts := []string{string(e.Kind)}
	reply := strings.Join(strings.Fields(e.Reply), " ")
	for _, s := range []string{e.To, e.State, reply, e.ErrorText, e.Note} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// appendObject appends a JSON object with its keys in order. HTML is not escaped.
func appendObject(b []byte, v any) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // it holds nothing but what JSON has
		return b
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

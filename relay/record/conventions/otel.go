package conventions

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"mailwhy/relay/record"
)

// The parts of an OTLP LogsData message that are used (opentelemetry-proto, logs/v1; OTLP, JSON Protobuf
// Encoding: ids are hexadecimal, and whole numbers of 64 bits are strings).
type (
	logsData struct {
		ResourceLogs []resourceLogs `json:"resourceLogs"`
	}
	resourceLogs struct {
		Resource  resource    `json:"resource"`
		ScopeLogs []scopeLogs `json:"scopeLogs"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeLogs struct {
		Scope      scope       `json:"scope"`
		LogRecords []logRecord `json:"logRecords"`
	}
	scope struct {
		Name string `json:"name"`
	}
	logRecord struct {
		TimeUnixNano   string      `json:"timeUnixNano"`
		SeverityNumber int         `json:"severityNumber"`
		SeverityText   string      `json:"severityText"`
		EventName      string      `json:"eventName"`
		Body           value       `json:"body"`
		Attributes     []attribute `json:"attributes"`
		TraceID        string      `json:"traceId,omitempty"`
		SpanID         string      `json:"spanId,omitempty"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String json.RawMessage `json:"stringValue,omitempty"`
		Int    json.RawMessage `json:"intValue,omitempty"`
		Double json.RawMessage `json:"doubleValue,omitempty"`
		Bool   json.RawMessage `json:"boolValue,omitempty"`
		Array  *array          `json:"arrayValue,omitempty"`
	}
	array struct {
		Values []value `json:"values"`
	}
)

// AppendOTel appends an event as a line of an OTLP JSON file, without a line end.
func AppendOTel(b []byte, e *record.Event) []byte {
	level, number := severity(e.Kind)
	r := logRecord{
		TimeUnixNano: strconv.FormatInt(e.Time.UnixNano(), 10), SeverityNumber: number,
		SeverityText: strings.ToUpper(level), EventName: "mailwhy." + string(e.Kind),
		Body: value{String: safe(sentence(e))}, TraceID: e.TraceID, SpanID: e.SpanID,
	}
	otel := func(row Row) string { return row.OTel }
	renamed(flatten(e), otel, func(name, field string, v json.RawMessage) {
		switch field {
		case "time", "event", "trace_id", "span_id":
			return // of the record itself
		case "tls":
			r.Attributes = append(r.Attributes, attribute{"tls.protocol.name", value{String: text("tls")}})
			v = text(strings.TrimPrefix(e.TLS, "TLS"))
		}
		r.Attributes = append(r.Attributes, attribute{name, valueOf(v)})
	})
	slices.SortFunc(r.Attributes, func(a, b attribute) int { return cmp.Compare(a.Key, b.Key) })
	return appendObject(b, logsData{[]resourceLogs{{
		Resource:  resource{[]attribute{{"service.name", value{String: text("mailwhy")}}}},
		ScopeLogs: []scopeLogs{{Scope: scope{"mailwhy"}, LogRecords: []logRecord{r}}},
	}}})
}

// valueOf is a JSON value as an AnyValue.
func valueOf(v json.RawMessage) value {
	switch {
	case v[0] == '"':
		return value{String: v}
	case v[0] == 't' || v[0] == 'f':
		return value{Bool: v}
	case v[0] == '[':
		var list []json.RawMessage
		out := value{Array: &array{Values: []value{}}}
		if json.Unmarshal(v, &list) == nil {
			for _, one := range list {
				out.Array.Values = append(out.Array.Values, valueOf(one))
			}
		}
		return out
	case strings.ContainsAny(string(v), ".eE"):
		return value{Double: v}
	}
	return value{Int: text(string(v))}
}

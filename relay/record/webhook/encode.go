package webhook

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/record/webhook/eventlog"
)

// TypeOf is the type of an event as receivers see it. state is that of a lane, a webhook or a
// change of the suppression list.
func TypeOf(kind relay.EventKind, state string) string {
	switch kind {
	case relay.EventLane:
		return "upstream." + state
	case relay.EventSuppression:
		return "suppression." + state
	case relay.EventWebhook:
		return "webhook." + state
	case relay.EventRefused:
		return "session.refused"
	case relay.EventDSN:
		return "message.reported"
	}
	return "message." + string(kind)
}

// encode is e as it is kept, with its addresses treated by redact, if that is not nil. An event without an id
// gets one that is made of what it says, and so is the same however often it is encoded.
func encode(e *relay.Event, id string, redact func(*record.Event)) eventlog.Event {
	out := record.New(e)
	if redact != nil {
		redact(&out)
	}
	ev := eventlog.Event{
		Type: TypeOf(e.Kind, e.State), Kind: string(e.Kind), Client: e.Client, User: e.User,
		Order: orderOf(e), Time: e.Time, Data: out.AppendJSON(make([]byte, 0, 640)), ID: id,
	}
	if e.Diagnosis != nil {
		ev.Category = string(e.Diagnosis.Category)
	}
	if id == "" {
		ev.ID = idOf("evt_", ev.Data)
	}
	return ev
}

// orderOf is what events have in common that are told in their order.
func orderOf(e *relay.Event) string {
	switch e.Kind {
	case relay.EventLane:
		return "upstream " + e.Lane
	case relay.EventWebhook:
		return "webhook " + e.Webhook
	}
	return e.ID
}

// idOf is the id of what stands in b. It has no dots (Standard Webhooks 1.0.0, Signature scheme).
func idOf(prefix string, b []byte) string {
	sum := sha256.Sum256(b)
	return prefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15])) // without padding
}

// bodyOf is the body of a request about one event.
func bodyOf(e *eventlog.Event) []byte {
	return append(appendBody(make([]byte, 0, len(e.Data)+128), "", e), '\n')
}

// batchOf is the body of a request about several events, and its id.
func batchOf(events []*eventlog.Event) (id string, body []byte) {
	size := 128
	var ids []byte
	for _, e := range events {
		size += len(e.Data) + 192
		ids = append(append(ids, e.ID...), ' ')
	}
	body = append(make([]byte, 0, size), `{"type":"batch","timestamp":"`...)
	body = appendTime(body, events[0].Time)
	body = append(body, `","data":[`...)
	for i, e := range events {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendBody(body, e.ID, e)
	}
	return idOf("batch_", ids), append(body, "]}\n"...)
}

// appendBody appends the object of an event; id is left out where it is "". Nothing in it has to be escaped.
func appendBody(b []byte, id string, e *eventlog.Event) []byte {
	b = append(b, '{')
	if id != "" {
		b = append(append(append(b, `"id":"`...), id...), `",`...)
	}
	b = append(append(append(b, `"type":"`...), e.Type...), `","timestamp":"`...)
	b = append(appendTime(b, e.Time), `","data":`...)
	return append(append(b, e.Data...), '}')
}

func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

package events

import (
	"encoding/json"
	"strings"
)

// postmark is one event. Metadata come from fields of the header. Whether MessageID is the id of the 250 is
// not known.
func (s *Sender) postmark(m *Mail, e *Event) ([]byte, error) {
	metadata := object{}
	for _, f := range m.fields() {
		const prefix = "x-pm-metadata-"
		if name := strings.ToLower(f.Name); strings.HasPrefix(name, prefix) {
			metadata[name[len(prefix):]] = f.Value
		}
	}
	event := object{"MessageID": newUUID(), "Metadata": metadata, "MessageStream": "outbound"}
	switch e.Kind {
	case Delivered:
		event["RecordType"], event["Recipient"], event["Details"] = "Delivery", e.Recipient, e.line()
		event["DeliveredAt"] = stamp(e.Time)
		return json.Marshal(event)
	case Complained:
		event["RecordType"], event["Type"] = "SpamComplaint", "SpamComplaint"
	case Dropped:
		event["RecordType"], event["Type"] = "Bounce", "ManuallyDeactivated"
		event["Description"] = "The recipient was deactivated in an earlier bounce."
	case Retrying:
		event["RecordType"], event["Type"] = "Bounce", "Transient"
	case Bounced:
		event["RecordType"], event["Type"] = "Bounce", "SoftBounce"
		if e.hard() {
			event["Type"] = "HardBounce"
		}
	}
	if e.Reply != "" {
		event["Details"] = "smtp;" + e.line()
	}
	event["ID"], event["Email"], event["BouncedAt"] = e.Time.UnixNano(), e.Recipient, stamp(e.Time)
	return json.Marshal(event)
}

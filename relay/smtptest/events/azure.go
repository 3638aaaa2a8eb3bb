package events

import "encoding/json"

// azure is a batch of one event. It tells of no deferral and of no complaint. Its messageId is its own.
func (s *Sender) azure(m *Mail, e *Event) ([]byte, error) {
	status, words := "", e.line()
	switch e.Kind {
	case Bounced:
		status = "Failed"
		if e.hard() {
			status = "Bounced"
		}
	case Delivered:
		status = "Delivered"
	case Dropped:
		status, words = "Suppressed", "The recipient is on the suppression list."
	default:
		return nil, ErrUntold
	}
	id := newUUID()
	return json.Marshal([]object{{
		"id": newUUID(), "topic": "/subscriptions/practice", "dataVersion": "1.0", "eventTime": stamp(e.Time),
		"subject":   "sender/" + m.From + "/message/" + id,
		"eventType": "Microsoft.Communication.EmailDeliveryReportReceived",
		"data": object{
			"sender": m.From, "recipient": e.Recipient, "messageId": id, "internetMessageId": m.messageID(),
			"status": status, "deliveryStatusDetails": object{"statusMessage": words},
			"deliveryAttemptTimeStamp": stamp(e.Time),
		},
	}})
}

package mail

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose/bounce"
	"mailwhy/relay/feedback"
)

// Read returns the events of a journalled mail: none where it tells nothing of a delivery. The error says
// that a mail system's report was not understood.
func (r *Reader) Read(raw *feedback.Raw) ([]feedback.Event, error) {
	in := r.read(Of(raw))
	switch in.verdict {
	case VerdictUnread:
		return nil, errors.New("a mail system wrote this, but nothing in it was understood as a report")
	case VerdictReport:
	default:
		return nil, nil
	}
	base := feedback.Event{Source: feedback.SourceDSN, Time: in.written(raw.Time), Raw: raw.Body}
	events := in.notified(base)
	if c := in.report.Complaint; c != nil {
		events = in.complained(base, c)
	}
	finder := r.finder(in)
	for i := range events {
		e := &events[i]
		e.Keys = finder.keys(e)
		e.ID = in.id(e)
	}
	return events, nil
}

// notified makes an event of each recipient of each delivery status. One that names nobody still tells that
// something became of the message.
func (in *reading) notified(base feedback.Event) (events []feedback.Event) {
	for i := range in.report.Notifications {
		n := &in.report.Notifications[i]
		for j := range n.Recipients {
			r := &n.Recipients[j]
			e := base
			e.Provider = in.reporter(cmp.Or(r.ReportingMTA, n.ReportingMTA))
			e.Kind = kindOf(r.Kind)
			e.Recipient, e.Original = r.Address, r.Original
			e.Status, e.Host, e.Type = r.Status, r.RemoteMTA, r.Action
			if r.Symptom.Reply.Code != 0 {
				e.Reply = r.Symptom.Reply.Raw
			} else {
				e.Text = r.Symptom.Text
			}
			events = append(events, e)
		}
		if len(n.Recipients) == 0 {
			e := base
			e.Provider, e.Kind = in.reporter(n.ReportingMTA), kindOf(in.report.Kind)
			events = append(events, e)
		}
	}
	return events
}

// kindOf is the kind of event that a report is. A delivery status whose Action is relayed or expanded (RFC
// 3464, 2.3.3) says that the next system took the message, which is all that delivered means here.
func kindOf(k bounce.Kind) feedback.Kind {
	switch k {
	case bounce.KindDelay:
		return feedback.KindRetrying
	case bounce.KindSuccess:
		return feedback.KindDelivered
	}
	return feedback.KindBounced
}

// complained makes the events of a complaint. Original-Rcpt-To (RFC 5965, 3.2) are all recipients that the
// reporter knows of, so of several none is known to complain.
func (in *reading) complained(base feedback.Event, c *bounce.Complaint) (events []feedback.Event) {
	base.Source, base.Kind, base.Type = feedback.SourceARF, feedback.KindComplained, c.Type
	base.Provider = in.reporter(c.Reporter)
	base.Shared = len(c.Recipients) > 1
	for _, recipient := range c.Recipients {
		e := base
		if strings.Contains(recipient, "@") { // else it was made unreadable
			e.Recipient = recipient
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		events = append(events, base)
	}
	return events
}

// reporter is the host that reports, in lower case: as the report says, or the domain of the mail's sender.
func (in *reading) reporter(mta string) string {
	if mta = strings.TrimSpace(mta); mta == "" || strings.ContainsAny(mta, " /") {
		return domainOf(in.header.get("from"))
	}
	return strings.ToLower(mta)
}

// written is when the mail was written, by its writer's clock, but not later than it came.
func (in *reading) written(came time.Time) time.Time {
	at, err := netmail.ParseDate(in.header.get("date"))
	if err != nil || at.After(came) {
		return came
	}
	return at.UTC()
}

// id makes the id of an event: of what the mail says, without what its way added.
func (in *reading) id(e *feedback.Event) string {
	h := sha256.New()
	part := func(s string) { h.Write([]byte(strconv.Itoa(len(s)) + ":" + s)) }
	for _, s := range []string{
		string(e.Kind), strings.ToLower(e.Recipient), e.Status, e.Reply, e.Text,
		in.header.get("message-id"), in.header.get("date"),
	} {
		part(s)
	}
	h.Write(bytes.TrimSpace(bytes.ReplaceAll(in.header.body, []byte("\r\n"), []byte("\n"))))
	return "sha256-" + hex.EncodeToString(h.Sum(nil)[:16])
}

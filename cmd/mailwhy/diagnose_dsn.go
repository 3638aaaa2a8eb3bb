package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/diagnose/bounce"
	"mailwhy/relay/dsn"
)

// reported is what is printed of one recipient of a bounce: what it says, and what that means.
type reported struct {
	File              string `json:"file,omitempty"` // when several are read
	Kind              string `json:"kind,omitempty"` // what the mail is, or what became of this recipient's
	Recipient         string `json:"recipient,omitempty"`
	OriginalRecipient string `json:"original_recipient,omitempty"`
	Action            string `json:"dsn_action,omitempty"` // the Diagnosis has an action of its own
	Status            string `json:"dsn_status,omitempty"`
	Remote            string `json:"remote,omitempty"` // who refused
	ReportingMTA      string `json:"reporting_mta,omitempty"`
	MessageID         string `json:"message_id,omitempty"` // of the message that came back
	Subject           string `json:"subject,omitempty"`
	QueueID           string `json:"queue_id,omitempty"` // ours, where it came back
	FeedbackType      string `json:"feedback_type,omitempty"`
	explained
}

// reports explains the bounces in files, or emits one with its annotation.
func (d *diagnoser) reports(files []string) error {
	if d.enrich {
		return d.enrichFile(files[0])
	}
	for _, name := range files {
		label := ""
		if len(files) > 1 {
			label = name
		}
		err := d.withFile(name, func(r io.Reader) error { return d.report(name, label, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

// withFile opens a file, or standard input when the name is "-", for f to read.
func (d *diagnoser) withFile(name string, f func(io.Reader) error) error {
	if name == "-" {
		return f(d.in)
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return f(file)
}

// report explains each recipient of one bounce. The label is printed with each, unless it is empty.
func (d *diagnoser) report(name, label string, r io.Reader) error {
	found, err := bounce.Read(r)
	if err != nil {
		return err
	}
	d.warnOfLimits(name, found.Limits)
	if found.Complaint != nil {
		return d.complaint(label, &found)
	}
	if len(found.Notifications) == 0 {
		nothing := explained{Error: notAReport(found.Kind)}
		return d.printReported(&reported{File: label, Kind: string(found.Kind), explained: nothing})
	}
	for i := range found.Notifications {
		if err := d.notification(label, &found, &found.Notifications[i]); err != nil {
			return err
		}
	}
	return nil
}

// notAReport says that a mail of that kind reports nothing of a delivery.
func notAReport(k bounce.Kind) string {
	const nothing = "no delivery report is found here"
	switch k {
	case bounce.KindReceipt:
		return nothing + ": it is a read receipt"
	case bounce.KindAutoReply:
		return nothing + ": it is an automatic reply"
	case bounce.KindReply:
		return nothing + ": somebody answers a message"
	}
	return nothing
}

// complaint prints whose message somebody complains about.
func (d *diagnoser) complaint(label string, found *bounce.Report) error {
	c := found.Complaint
	r := reported{File: label, Kind: string(found.Kind), FeedbackType: c.Type, ReportingMTA: c.Reporter,
		Recipient: strings.Join(c.Recipients, ", ")}
	r.about(&c.Message, found.Keys)
	return d.printReported(&r)
}

// about notes which message a report is about: as the report shows it, else as it is found in the mail.
func (r *reported) about(m *bounce.Message, keys []bounce.Key) {
	r.MessageID, r.Subject = m.ID, m.Subject
	for _, k := range keys {
		switch {
		case k.Kind == bounce.KeyQueueID && r.QueueID == "":
			r.QueueID = k.Value
		case k.Kind == bounce.KeyMessageID && r.MessageID == "":
			r.MessageID = "<" + k.Value + ">"
		}
	}
}

// notification explains each recipient of a delivery status, or of a bounce without one.
func (d *diagnoser) notification(label string, found *bounce.Report, n *bounce.Notification) error {
	if len(n.Recipients) == 0 {
		nobody := explained{Error: "the delivery status names no recipient"}
		r := reported{File: label, Kind: string(found.Kind), ReportingMTA: n.ReportingMTA, explained: nobody}
		return d.printReported(&r)
	}
	for i := range n.Recipients {
		r := reportedOf(&n.Recipients[i])
		r.File = label
		r.about(&n.Message, found.Keys)
		r.explained = d.explainRecipient(&n.Recipients[i])
		if err := d.printReported(&r); err != nil {
			return err
		}
	}
	return nil
}

// reportedOf is what a bounce says of a recipient, ready to be printed.
func reportedOf(r *bounce.Recipient) reported {
	return reported{Kind: string(r.Kind), Recipient: r.Address, OriginalRecipient: r.Original,
		Action: r.Action, Status: r.Status, Remote: r.RemoteMTA, ReportingMTA: r.ReportingMTA}
}

// explainRecipient says what the refusal of a recipient means.
func (d *diagnoser) explainRecipient(r *bounce.Recipient) explained {
	symptom := r.Symptom
	if d.stage != "" {
		symptom.Stage = diagnose.Stage(d.stage)
	}
	return explainSymptom(d.engine, &symptom)
}

// warnOfLimits says what of a bounce was not read; the exit status will tell that something was not.
func (d *diagnoser) warnOfLimits(name string, limits []bounce.Limit) {
	for _, l := range limits {
		d.failed = true
		fmt.Fprintf(d.errOut, "mailwhy: warning: %s: %s\n", printable(name), limitWords(l))
	}
}

// limitWords say what lies beyond a limit and was not read.
func limitWords(l bounce.Limit) string {
	switch l {
	case bounce.LimitSize:
		return fmt.Sprintf("only its first %d MiB are read", bounce.MaxSize>>20)
	case bounce.LimitDepth:
		return fmt.Sprintf("parts that are nested more than %d deep are not read", bounce.MaxDepth)
	case bounce.LimitParts:
		return fmt.Sprintf("only its first %d parts are read", bounce.MaxParts)
	case bounce.LimitFields:
		return fmt.Sprintf("only the first %d fields of a header are read", bounce.MaxFields)
	case bounce.LimitFieldSize:
		return fmt.Sprintf("only the first %d KiB of a field are read", bounce.MaxFieldSize>>10)
	case bounce.LimitRecipients:
		return fmt.Sprintf("only its first %d recipients are read", bounce.MaxRecipients)
	}
	return "it is not read to its end: " + string(l)
}

// printReported prints what a bounce says of one recipient.
func (d *diagnoser) printReported(r *reported) error {
	if r.Error != "" {
		d.failed = true
	}
	return d.printBlock(r, r.writeReport)
}

// writeReport writes for a person what a bounce says of one recipient.
func (r *reported) writeReport(b *bytes.Buffer) {
	if r.Error != "" {
		fmt.Fprintln(b, printable(cmp.Or(r.File, "the report")))
		item(b, "error", r.Error)
		return
	}
	fmt.Fprintln(b, printable(r.headline()))
	if r.Kind == string(bounce.KindComplaint) {
		item(b, "complaint", complaintWords(r.FeedbackType))
	} else {
		paragraph(b, "  ", "  ", r.said())
		writeDiagnosis(b, r.Diagnosis)
	}
	item(b, "refused by", r.Remote)
	item(b, "reported by", r.ReportingMTA)
	item(b, "message", strings.TrimSpace(r.MessageID+" "+r.Subject))
	item(b, "queue id", r.QueueID)
	item(b, "file", r.File)
}

// headline says whom a report is about, and what became of the mail: in the words of its status, else ours.
func (r *reported) headline() string {
	who := cmp.Or(r.Recipient, "a recipient that the report does not name")
	about := strings.TrimSpace(r.Action + " " + r.Status)
	if about == "" {
		switch bounce.Kind(r.Kind) {
		case bounce.KindDelay:
			about = "delayed"
		case bounce.KindSuccess:
			about = "delivered or handed on"
		case bounce.KindComplaint:
			about = "complaint"
		default:
			about = "failed"
		}
	}
	return who + ": " + about
}

// complaintWords say what a complaint of that type means (RFC 5965, 7.3; RFC 6591, 3.1).
func complaintWords(feedbackType string) string {
	switch feedbackType {
	case "not-spam":
		return "not-spam: the recipient took the message out of the spam folder"
	case "auth-failure":
		return "auth-failure: the message arrived, but its SPF, DKIM or DMARC did not pass"
	case "opt-out":
		return "opt-out: the recipient wants no more mail of this kind"
	case "", "abuse":
		return "abuse: the message arrived, and the recipient or a filter marked it as spam"
	}
	return feedbackType
}

// errNotEnriched says why a report came out as it went in.
var errNotEnriched = errors.New("no delivery status is found in the report: it is emitted as it is")

// enrichFile emits a bounce with our annotation last in each recipient's block of its delivery status. A
// bounce that cannot be annotated is emitted whole as it came, so that a filter loses nothing, and is an
// error.
func (d *diagnoser) enrichFile(name string) error {
	return d.withFile(name, func(r io.Reader) error {
		file, err := io.ReadAll(io.LimitReader(r, bounce.MaxSize+1))
		if err != nil {
			return err
		}
		a := d.enriched(file)
		if _, err := d.out.Write(a.File); err != nil {
			return err
		}
		if len(file) > bounce.MaxSize {
			if _, err := io.Copy(d.out, r); err != nil {
				return err
			}
			return fmt.Errorf("%s: larger than %d MiB: it is emitted as it is", name, bounce.MaxSize>>20)
		}
		d.warnOfLimits(name, a.Limits)
		if a.Recipients == 0 {
			return fmt.Errorf("%s: %w", name, errNotEnriched)
		}
		return nil
	})
}

// enriched is a bounce with its annotation. What is not a refusal gets none.
func (d *diagnoser) enriched(file []byte) bounce.Annotated {
	return bounce.Annotate(file, func(r *bounce.Recipient) []byte {
		found := d.explainRecipient(r)
		if found.Category == "" {
			return nil
		}
		return dsn.Annotation(found.Diagnosis)
	})
}

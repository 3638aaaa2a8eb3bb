package bounce

import (
	"io"

	"mailwhy/diagnose"
)

// Report is what a file reports.
type Report struct {
	Kind          Kind
	Notifications []Notification // of a failure, a delay or a success; none otherwise
	Complaint     *Complaint     // of a complaint; nil otherwise
	Keys          []Key          // by which the message that any mail is about can be found
	Limits        []Limit        // the bounds that the file goes beyond: something of it was not read
}

// Source is where in a file something was reported.
type Source string

// The sources.
const (
	SourceStatus Source = "status" // a delivery status, written for programs (RFC 3464, 2)
	SourceProse  Source = "prose"  // what is said to a person
)

// Notification is one delivery status, or what a bounce without one says to a person.
type Notification struct {
	Source       Source
	ReportingMTA string      // who wrote it, without its type (RFC 3464, 2.2.2)
	Message      Message     // the message that came back
	Recipients   []Recipient // none: the delivery status names no recipient
}

// Recipient is what is reported of one recipient. A field that is not reported is empty.
type Recipient struct {
	Address      string // Final-Recipient (RFC 3464, 2.3.2), without its type
	Original     string // Original-Recipient (RFC 3464, 2.3.1), likewise, where it differs from Address
	Action       string // RFC 3464, 2.3.3, in lower case
	Status       string // RFC 3464, 2.3.4, as it is written
	Kind         Kind   // failure, delay or success
	RemoteMTA    string // who refused (RFC 3464, 2.3.5), without its type
	ReportingMTA string // of the notification as far as it was read: a later block may name another

	// Symptom is what was said of why, for diagnose.Engine.Diagnose: the reply where one is quoted, else the
	// wording. It never contradicts the Action: that of a failure is not a reply that accepts, that of a
	// delay not a failure.
	Symptom diagnose.Symptom
}

// Message is what a report shows of the message that it is about.
type Message struct {
	ID      string // Message-ID, as it is written
	Subject string // in readable form (RFC 2047)
	Facts   diagnose.Facts
}

// Read reads a bounce. It reads at most MaxSize bytes of r, and one more to know whether there are. The error
// is r's.
func Read(r io.Reader) (Report, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return Report{}, err
	}
	return Parse(b), nil
}

// Parse reads a bounce that is in memory already. It reads at most MaxSize bytes, and does not change file.
func Parse(file []byte) Report { return parse(file).report }

// parse reads file, and returns the document that it was read as.
func parse(file []byte) *document {
	d := newDocument(file)
	root := d.readPart(d.text, 0, len(d.text), 0, false)
	d.classify(&root)
	d.report.Keys = d.findKeys(&root)
	d.report.Limits = d.limits
	return d
}

// document is one file while it is read.
type document struct {
	text   []byte // the file; its line ends are CRLF or LF
	report Report
	limits []Limit

	parts      int   // read so far
	recipients int   // found so far
	work       int64 // bytes that were walked over, for the test that holds reading to be linear
}

// newDocument makes a document of a file.
func newDocument(file []byte) *document {
	d := &document{}
	if len(file) > MaxSize {
		d.beyond(LimitSize)
		file = file[:MaxSize]
	}
	d.text = inLines(file)
	return d
}

// another reports whether one recipient more is read.
func (d *document) another() bool {
	if d.recipients >= MaxRecipients {
		d.beyond(LimitRecipients)
		return false
	}
	d.recipients++
	return true
}

// Package mail takes bounce mail in as feedback: what comes to the listener for bounces, through a pipe or
// out of a mailbox. Package diagnose/bounce reads it; this package says whether it is to be taken at all,
// and makes the events.
//
// The files: mail.go is a mail and what is journalled of it, intake.go the door, verdict.go what a mail is,
// events.go what it tells, keys.go the message that it is about, header.go its own header.
//
// What always holds:
//
//   - A person's mail is never taken. Intake says so, and whoever got it leaves it where it is, passes it on,
//     or refuses it, so that it goes back.
//   - What is taken is in the journal before Intake.Take returns, as it came, with its envelope.
//   - Automatic answers, read receipts and reports of our own that came back have no effect, and are not
//     kept.
//   - Nothing in a mail proves who wrote it. Keys say by what the message can be found, and only a return
//     path whose code is right is a proof: that its writer got the message, or a mail from somebody who did.
//     How far an event may go is for whoever matches it.
//   - A report names its recipients itself: none is made up, and none is taken from what came back.
//   - The id of an event is made from what the mail says and not from the way it came, so that a mail which
//     comes twice, to the listener and to a mailbox, gives one event.
//
// RFC 3464 and 6533 (delivery status), 5965 (complaints), 3834 (automatic answers), 8098 (receipts).
package mail

import (
	"strings"
	"time"

	"mailwhy/relay/feedback"
)

// Provider is the feedback.Raw.Provider of bounce mail.
const Provider = "mail"

// Mail is a mail as it came, with what its way tells about it.
type Mail struct {
	Content []byte   // header and body, with line ends of any kind
	From    string   // reverse-path without angle brackets; NullSender; "" where it is not known
	To      []string // envelope recipients; none where they are not known
	Peer    string   // name or address of the host that handed it over; "" where it is not known

	Hello string // the name that this host gave itself; "" where it is not known
	// Cut reports that Content is only the beginning.
	Cut bool
}

// NullSender is the reverse-path of reports (RFC 5321, 4.5.5).
const NullSender = "<>"

// The fields of a feedback.Raw that hold the envelope.
const (
	fieldFrom  = "Mail-From"
	fieldTo    = "Rcpt-To" // an address a line
	fieldPeer  = "Peer"
	fieldHello = "Helo"
	fieldCut   = "Cut"
)

// raw is what is journalled of a mail that came through the source of that name.
func (m *Mail) raw(source string, now time.Time) *feedback.Raw {
	raw := &feedback.Raw{Source: source, Provider: Provider, Time: now, Body: m.Content,
		Header: map[string]string{}}
	cut := ""
	if m.Cut {
		cut = "true"
	}
	for name, value := range map[string]string{
		fieldFrom: m.From, fieldTo: strings.Join(m.To, "\n"), fieldPeer: m.Peer,
		fieldHello: m.Hello, fieldCut: cut,
	} {
		if value != "" {
			raw.Header[name] = value
		}
	}
	return raw
}

// Of is the mail that was journalled as raw.
func Of(raw *feedback.Raw) *Mail {
	m := &Mail{
		Content: raw.Body, From: raw.Header[fieldFrom], Peer: raw.Header[fieldPeer],
		Hello: raw.Header[fieldHello], Cut: raw.Header[fieldCut] != "",
	}
	if to := raw.Header[fieldTo]; to != "" {
		m.To = strings.Split(to, "\n")
	}
	return m
}

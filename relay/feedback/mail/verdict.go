package mail

import (
	"strings"

	"mailwhy/diagnose/bounce"
	"mailwhy/relay/internal/returnpath"
)

// Verdict is what a mail is, and so what is to be done with it.
type Verdict string

// The verdicts.
const (
	VerdictReport    Verdict = "report"    // it tells what became of mail, or complains about it
	VerdictUnread    Verdict = "unread"    // a mail system wrote it, but what it says was not understood
	VerdictOwn       Verdict = "own"       // a report of our own that came back
	VerdictAutomatic Verdict = "automatic" // an automatic answer, a receipt, or a report on no delivery
	VerdictPerson    Verdict = "person"    // a person's, or other mail: not to be taken
)

// Taken reports whether a mail of this verdict is journalled. In a mailbox any other stays as it is: an
// automatic answer and a report of our own are for whoever reads the mailbox.
func (v Verdict) Taken() bool { return v == VerdictReport || v == VerdictUnread }

// Reader reads bounce mail. It is safe for concurrent use if Own is.
type Reader struct {
	// Paths are our return paths; nil: there are none.
	Paths *returnpath.Paths
	// Own reports whether a Message-ID is that of a report that we wrote; nil: there are none.
	Own func(messageID string) bool
}

// reading is a mail that was read.
type reading struct {
	mail    *Mail
	header  header
	report  bounce.Report
	verdict Verdict
}

// Judge says what a mail is.
func (r *Reader) Judge(m *Mail) Verdict { return r.read(m).verdict }

// read reads a mail.
func (r *Reader) read(m *Mail) *reading {
	in := &reading{mail: m, header: headerOf(m.Content), report: bounce.Parse(m.Content)}
	in.verdict = in.judge(r)
	if in.verdict == VerdictReport && r.Own != nil && r.Own(in.header.get("message-id")) {
		in.verdict = VerdictOwn
	}
	return in
}

// judge is the verdict by what the mail says.
func (in *reading) judge(r *Reader) Verdict {
	switch in.report.Kind {
	case bounce.KindFailure, bounce.KindDelay, bounce.KindSuccess:
		return VerdictReport
	case bounce.KindComplaint:
		if complains(in.report.Complaint.Type) {
			return VerdictReport
		}
		return VerdictAutomatic
	case bounce.KindAutoReply, bounce.KindReceipt:
		return VerdictAutomatic
	case bounce.KindReply:
		return VerdictPerson
	}
	if in.reports(r) {
		return VerdictUnread
	}
	return VerdictPerson
}

// reports reports whether a mail that says nothing we know can only be a report: it has the null sender (RFC
// 5321, 4.5.5). Out of a mailbox that is not enough, since other programs use it too: such a mail must have
// been sent to a return path of ours.
func (in *reading) reports(r *Reader) bool {
	if in.mail.From != "" {
		return in.mail.From == NullSender
	}
	return strings.TrimSpace(in.header.get("return-path")) == NullSender && len(r.finder(in).paths) > 0
}

// complains reports whether a type of feedback (RFC 5965, 7.3) says that somebody does not want the mail. A
// failed authentication (RFC 6591) concerns no recipient, and not-spam is the contrary of a complaint.
func complains(kind string) bool {
	switch kind {
	case "auth-failure", "not-spam", "dmarc":
		return false
	}
	return true
}

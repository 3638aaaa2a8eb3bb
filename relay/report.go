package relay

import (
	"io"
	"time"

	"mailwhy/diagnose"
)

// Report is a delivery status notification to compose (RFC 3464): about one message, of one kind.
type Report struct {
	ID      string // queue id that the DSN will have
	Time    time.Time
	Kind    NoticeKind
	To      string // the address that it goes to, without angle brackets
	Message *Message
	// Recipients are indexes into Message.Recipients, never empty. What was told after the upstream's 250
	// (diagnose.StageRemote) and what was met before have different reports, and a complaint has none.
	Recipients []int
	RetryUntil time.Time // of NoticeDelayed: when the message will be given up
	EightBit   bool      // the DSN's route takes 8-bit content (RFC 6152)
	// Open opens the content of Message. If it fails the DSN lacks only the returned content.
	Open func() (io.ReadCloser, error)
}

// Digest is one report about many failures with the same diagnosis, made by storm control in place of a DSN
// for each.
type Digest struct {
	ID        string
	Time      time.Time
	To        string
	Diagnosis *diagnose.Diagnosis // of all of them; nil when there is none
	Failures  []DigestFailure     // in order of time, never empty
}

// DigestFailure is one recipient's failure in a Digest.
type DigestFailure struct {
	ID        string // queue id
	MessageID string
	Recipient string
	Time      time.Time      // of the last attempt, or of the message's arrival if there was none
	Reply     diagnose.Reply // zero when the upstream said nothing
	NetErr    diagnose.NetErr
	Expired   bool
}

// Draft is a composed report. Content is the whole message, header and body, with CRLF line ends.
type Draft struct {
	MessageID string // angle brackets included
	Subject   string
	From      string // address of the From header
	EightBit  bool   // Content has bytes above 127 in its body
	UTF8      bool   // its header has, so that SMTPUTF8 is needed (RFC 6531, 3.2)
	Content   []byte
}

// Composer composes reports. It is safe for concurrent use, and its only I/O is reading what Report.Open
// opens. The size of a Draft is bounded, whatever the message's size.
type Composer interface {
	Compose(*Report) (*Draft, error)
	ComposeDigest(*Digest) (*Draft, error)
}

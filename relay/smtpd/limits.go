package smtpd

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mailwhy/relay/smtpd/wire"
)

// Limits bound what clients may cost. A number of zero is no limit; every time must be set.
type Limits struct {
	Connections     int   // at once, in total
	ClientConns     int   // at once, of one address; a unix socket has no address and no limit
	Messages        int   // of a connection
	Errors          int   // 5yz replies in a row; a message accepted starts anew
	AuthFailures    int   // of a connection
	OtherCommands   int   // between messages that are neither MAIL, RCPT nor DATA
	Recipients      int   // of a message
	MessageSize     int64 // bytes of content
	CommandLine     int   // bytes
	ContentLine     int   // bytes
	HeaderPeek      int   // bytes of the header that are looked at and held in memory
	InFlight        int64 // bytes of memory for all contents under way
	Spill           int64 // bytes of a content from which the store keeps it on disk: of the rest only the buffer counts as InFlight
	Received        int   // Received lines in a message: more is a loop (RFC 5321, 6.3)
	OwnReceived     int   // Received lines that are our own
	DataRate        int64 // bytes a second that content must keep up, after DataGrace
	CommandTimeout  time.Duration
	DataTimeout     time.Duration // of a read of content
	DataTotal       time.Duration // of a content
	DataGrace       time.Duration
	HandshakeTime   time.Duration // of TLS, and of a PROXY header
	WriteTimeout    time.Duration
	AuthFailureWait time.Duration // before a failed AUTH is answered; may be zero
}

// DefaultLimits suit an application that sends mail. Times are those of RFC 5321, 4.5.3.2.
func DefaultLimits() Limits {
	return Limits{
		Connections:     1000,
		ClientConns:     500,
		Messages:        10000,
		Errors:          20,
		AuthFailures:    5,
		OtherCommands:   1000,
		Recipients:      1000,
		MessageSize:     50 << 20,
		CommandLine:     4096,
		ContentLine:     1 << 20,
		HeaderPeek:      128 << 10,
		InFlight:        64 << 20,
		Spill:           128 << 10,
		Received:        100,
		OwnReceived:     5,
		DataRate:        100,
		CommandTimeout:  5 * time.Minute,
		DataTimeout:     3 * time.Minute,
		DataTotal:       30 * time.Minute,
		DataGrace:       time.Minute,
		HandshakeTime:   30 * time.Second,
		WriteTimeout:    time.Minute,
		AuthFailureWait: time.Second,
	}
}

// check refuses what makes no sense.
func (l *Limits) check() error {
	var errs []error
	for name, d := range map[string]time.Duration{
		"CommandTimeout": l.CommandTimeout, "DataTimeout": l.DataTimeout, "DataTotal": l.DataTotal,
		"DataGrace": l.DataGrace, "HandshakeTime": l.HandshakeTime, "WriteTimeout": l.WriteTimeout,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("smtpd: limit %s must be set", name))
		}
	}
	if l.CommandLine < 512 { // RFC 5321, 4.5.3.1.4
		errs = append(errs, errors.New("smtpd: limit CommandLine must be 512 or more"))
	}
	if l.HeaderPeek < 4096 {
		errs = append(errs, errors.New("smtpd: limit HeaderPeek must be 4096 or more"))
	}
	return errors.Join(errs...)
}

// wire is the part that the wire holds clients to. An upstream's size limit is tighter than ours at times; the session sees to it.
func (l *Limits) wire() wire.Limits {
	return wire.Limits{
		Line: l.CommandLine, Content: l.MessageSize, ContentLine: l.ContentLine, Idle: l.CommandTimeout,
		ContentIdle: l.DataTimeout, ContentTotal: l.DataTotal, MinRate: l.DataRate, Grace: l.DataGrace,
		Handshake: l.HandshakeTime, Write: l.WriteTimeout,
	}
}

// flightBuffer is what a content takes of memory once the store has it on disk: the buffer that it flows through.
const flightBuffer = 64 << 10

// flight counts the bytes of memory that contents take while they are being taken in, all sessions together.
type flight struct{ bytes atomic.Int64 }

// reserve adds n and reports whether the limit allows it; if not, nothing is added.
func (f *flight) reserve(n, limit int64) bool {
	if total := f.bytes.Add(n); limit > 0 && total > limit {
		f.bytes.Add(-n)
		return false
	}
	return true
}

func (f *flight) release(n int64) { f.bytes.Add(-n) }

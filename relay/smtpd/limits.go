package smtpd

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mailwhy/relay/smtpd/wire"
)

// Limits bound what clients may cost. A number of zero means no limit; every time must be set.
type Limits struct {
	Connections   int   // at once, in total
	ClientConns   int   // at once, from one address; a unix socket has no address and no limit
	Messages      int   // per connection
	Errors        int   // 5xx replies in a row; an accepted message starts the count again
	AuthFailures  int   // per connection
	OtherCommands int   // between messages, other than MAIL, RCPT and DATA
	Recipients    int   // per message
	MessageSize   int64 // bytes of content
	CommandLine   int   // bytes
	ContentLine   int   // bytes
	HeaderPeek    int   // bytes of the header that are read into memory and looked at
	Memory        int64 // bytes of memory for all contents being received
	// InlineLimit is the size above which the store puts contents on disk, so that only their buffer counts
	// against Memory.
	InlineLimit     int64
	Received        int   // Received fields in a message; as many mean a loop (RFC 5321, 6.3)
	OwnReceived     int   // Received fields of our own
	DataRate        int64 // bytes per second that the content must keep up after DataGrace
	CommandTimeout  time.Duration
	DataTimeout     time.Duration // for each read of content
	DataTotal       time.Duration // for a whole content
	DataGrace       time.Duration
	HandshakeTime   time.Duration // for TLS, and for a PROXY header
	WriteTimeout    time.Duration
	AuthFailureWait time.Duration // before a failed AUTH is answered; may be zero
}

// check reports limits that are missing or make no sense.
func (l *Limits) check() error {
	var errs []error
	for _, limit := range []struct {
		name  string
		value time.Duration
	}{
		{"CommandTimeout", l.CommandTimeout}, {"DataTimeout", l.DataTimeout}, {"DataTotal", l.DataTotal},
		{"DataGrace", l.DataGrace}, {"HandshakeTime", l.HandshakeTime}, {"WriteTimeout", l.WriteTimeout},
	} {
		if limit.value <= 0 {
			errs = append(errs, fmt.Errorf("smtpd: Limits.%s must be set", limit.name))
		}
	}
	if l.CommandLine < 512 { // RFC 5321, 4.5.3.1.4
		errs = append(errs, errors.New("smtpd: Limits.CommandLine must be 512 or more"))
	}
	if l.HeaderPeek < 4096 {
		errs = append(errs, errors.New("smtpd: Limits.HeaderPeek must be 4096 or more"))
	}
	return errors.Join(errs...)
}

// wire returns the limits that the wire enforces. The upstream's size limit may be lower than ours; the
// session enforces that one.
func (l *Limits) wire() wire.Limits {
	return wire.Limits{
		Line: l.CommandLine, Content: l.MessageSize, ContentLine: l.ContentLine, Idle: l.CommandTimeout,
		ContentIdle: l.DataTimeout, ContentTotal: l.DataTotal, MinRate: l.DataRate, Grace: l.DataGrace,
		Handshake: l.HandshakeTime, Write: l.WriteTimeout,
	}
}

// contentBuffer is the memory that a content takes once the store writes it to disk: the buffer it flows
// through.
const contentBuffer = 64 << 10

// memoryBudget counts the memory of all contents that are being received, over all sessions.
type memoryBudget struct{ used atomic.Int64 }

// reserve adds n bytes and reports whether the limit allows it; if not, it adds nothing.
func (b *memoryBudget) reserve(n, limit int64) bool {
	if used := b.used.Add(n); limit > 0 && used > limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *memoryBudget) release(n int64) { b.used.Add(-n) }

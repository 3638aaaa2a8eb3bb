// Package events sends what providers tell of mail after they took it: the same JSON, signed in the same way,
// sent again as they do. `mailwhy practice --events` rehearses with it, and tests of the webhooks.
//
// One file a provider has its payload and its signature, sns.go and signature.go what several share, send.go
// the sending. What was made is read and proved by package relay/feedback/webhook in this package's test, for
// every provider and every kind that it tells.
//
// What always holds: an event is about a Mail as the provider got it, by the keys that the provider really
// gives, no others. Where it is not known that the id in an event is the one in the 250 of the same provider,
// the event gets an id of its own; where only a tag of the application comes back, it comes back only if it
// is in the header. A rehearsal may thus match worse than the provider, never better.
package events

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// Kind is what became of a message for one recipient.
type Kind string

// The kinds.
const (
	Retrying   Kind = "retrying"
	Delivered  Kind = "delivered"
	Bounced    Kind = "bounced"
	Dropped    Kind = "dropped"
	Complained Kind = "complained"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Retrying, Delivered, Bounced, Dropped, Complained} }

// ErrUntold reports that a provider has no event for a kind.
var ErrUntold = errors.New("the provider does not tell of it")

// Event is what happened.
type Event struct {
	Kind      Kind
	Recipient string
	Reply     string // of the recipient's server, lines joined by "\n"; empty for Dropped and Complained
	Host      string // the recipient's server
	Time      time.Time
}

// code is the reply's basic code, "" without one.
func (e *Event) code() string {
	if len(e.Reply) < 3 {
		return ""
	}
	return e.Reply[:3]
}

// enhanced is the reply's enhanced status code (RFC 3463), "" without one.
func (e *Event) enhanced() string {
	if len(e.Reply) < 4 {
		return ""
	}
	word, _, _ := strings.Cut(e.Reply[4:], " ")
	if strings.Count(word, ".") != 2 || strings.Trim(word, "0123456789.") != "" {
		return ""
	}
	return word
}

// status is the enhanced status code, or the one that fits the class.
func (e *Event) status() string {
	if s := e.enhanced(); s != "" {
		return s
	}
	return e.Reply[:1] + ".0.0"
}

// hard reports whether the reply is final.
func (e *Event) hard() bool { return strings.HasPrefix(e.Reply, "5") }

// line is the reply in one line, as most providers quote it.
func (e *Event) line() string { return strings.ReplaceAll(e.Reply, "\n", " ") }

// text is the reply without its codes at the begin of each line.
func (e *Event) text() string {
	var lines []string
	for line := range strings.SplitSeq(e.Reply, "\n") {
		if len(line) >= 4 {
			line = line[4:]
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// about reports whether the enhanced status code is of a subject and detail, as "1.1" or "2.2".
func (e *Event) about(detail string) bool {
	_, rest, _ := strings.Cut(e.enhanced(), ".")
	return rest == detail
}

// Mail is a message as a provider took it.
type Mail struct {
	ID     string // in the provider's 250
	From   string
	To     []string
	Header []byte // what came before the empty line
}

// field is a field of the header.
type field struct{ Name, Value string }

// fields are those of the header, in order. What is not a field is passed over.
func (m *Mail) fields() []field {
	var all []field
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(m.Header)))
	for {
		line, err := r.ReadContinuedLine()
		if err != nil || line == "" {
			return all
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			all = append(all, field{strings.TrimSpace(name), strings.TrimSpace(value)})
		}
	}
}

// value is that of the first field of a name.
func (m *Mail) value(name string) string {
	all := m.fields()
	i := slices.IndexFunc(all, func(f field) bool { return strings.EqualFold(f.Name, name) })
	if i < 0 {
		return ""
	}
	return all[i].Value
}

// messageID is the Message-ID with its angle brackets.
func (m *Mail) messageID() string { return m.value("Message-ID") }

// bareID is the Message-ID without them.
func (m *Mail) bareID() string { return strings.Trim(m.messageID(), "<>") }

// object is a JSON object.
type object = map[string]any

// newID is an id that nobody has had.
func newID() string { return strings.ToLower(rand.Text()) }

// newUUID is an id in the form of RFC 9562, version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// stamp is a time as JSON of most providers has it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

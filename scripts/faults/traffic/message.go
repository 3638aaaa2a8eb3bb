// Package traffic is the mail that scripts/faults sends through a relay: the messages, the client that offers
// them and the sink that is the relay's upstream. Both enter into a ledger what they do before they go on.
//
// What always holds: a message is offered once, whatever becomes of it; the same id makes the same message.
package traffic

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
)

// Message is what a client offers.
type Message struct {
	ID      string
	From    string
	To      []string
	Content []byte // CRLF lines, the last one ended; no dot-stuffing
	eight   bool   // has bytes beyond ASCII
}

// BodyWords are in every body: no log may hold them.
const BodyWords = "words-of-a-body-that-no-log-may-hold"

// The local parts that the sink knows. What follows the dot is the message's id.
const (
	GoodUser = "good" // taken
	BadUser  = "bad"  // 550 at RCPT
	SoftUser = "soft" // 451 at RCPT, the first time
)

// Mix says what messages a client makes.
type Mix struct {
	Plain bool   // one good recipient and a small content only
	Users string // of the recipients, comma-separated; "" is a mixture
	Size  int    // of the content, about; 0 is a mixture
}

// Message makes a message.
func (x Mix) Message(id string) *Message {
	seed := sha256.Sum256([]byte(id))
	random := rand.New(rand.NewChaCha8(seed))
	m := &Message{ID: id, From: "sender@load.test"}
	users := strings.Split(x.Users, ",")
	if x.Users == "" {
		users = []string{GoodUser}
		if !x.Plain {
			users = mixture(random)
		}
	}
	for i, u := range users {
		m.To = append(m.To, ledger.Address(u, id, i))
	}
	size := x.Size
	switch {
	case size > 0:
	case x.Plain:
		size = 1000
	default:
		size = someSize(random)
	}
	m.eight = !x.Plain && random.IntN(4) == 0
	if !x.Plain && x.Users == "" && len(users) == 1 && users[0] != BadUser && random.IntN(10) == 0 {
		m.From = ""
	}
	m.Content = m.text(random, size)
	return m
}

// mixture is a choice of recipients: mostly good ones, some refused for good, some at first.
func mixture(random *rand.Rand) []string {
	users := []string{GoodUser}
	switch random.IntN(10) {
	case 0:
		users = []string{BadUser}
	case 1:
		users = []string{SoftUser}
	case 2:
		users = []string{GoodUser, BadUser, SoftUser}
	case 3:
		users = []string{GoodUser, GoodUser}
	}
	return users
}

// someSize is mostly a few kilobytes; one in 25 is too large for the spool's database.
func someSize(random *rand.Rand) int {
	switch n := random.IntN(100); {
	case n < 4:
		return 300<<10 + random.IntN(600<<10)
	case n < 10:
		return 200
	}
	return 1000 + random.IntN(8000)
}

// text is header and body. Some lines begin with a dot, or look like the end of a content.
func (m *Message) text(random *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sFrom: <sender@load.test>\r\nTo: <%s>\r\nSubject: fault %s\r\n", ledger.Header(m.ID),
		m.To[0], m.ID)
	fmt.Fprintf(&b, "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s@load.test>\r\n\r\n%s\r\n", m.ID,
		BodyWords)
	const letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ=.-+"
	line := make([]byte, 0, 80)
	for b.Len() < size {
		line = line[:0]
		switch random.IntN(20) {
		case 0:
			line = append(line, '.')
		case 1:
			line = append(line, ".."...)
		case 2:
			if m.eight {
				line = append(line, 0xe9, 0xff, 0x80)
			}
		}
		for range random.IntN(72) {
			line = append(line, letters[random.IntN(len(letters))])
		}
		b.Write(line)
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// Stuffed is the content as it is sent, without the final dot (RFC 5321, 4.5.2).
func (m *Message) Stuffed() []byte {
	s := bytes.ReplaceAll(m.Content, []byte("\r\n."), []byte("\r\n.."))
	if s[0] == '.' {
		s = append([]byte("."), s...)
	}
	return s
}

// Offer is the message as a client enters it into a ledger.
func (m *Message) Offer(l *ledger.Ledger) *smtptest.Offer {
	o := &smtptest.Offer{ID: m.ID, From: m.From, To: m.To, Sum: l.Sum(m.Content)}
	if m.eight {
		o.Params = "BODY=8BITMIME"
	}
	return o
}

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
)

// message is what a client offers.
type message struct {
	id      string
	from    string
	to      []string
	content []byte // CRLF lines, the last one ended; no dot-stuffing
	sum     string
	eight   bool // has bytes beyond ASCII
}

// mark begins the first line of every content. What stands before it at the sink was added on the way.
const mark = "X-Fault-Id: "

// The local parts that the sink knows. What follows the dot is the message's id.
const (
	goodUser = "good" // taken
	badUser  = "bad"  // 550 at RCPT
	softUser = "soft" // 451 at RCPT, the first time
)

// mix says what messages a client makes.
type mix struct {
	plain bool   // one good recipient and a small content only
	users string // of the recipients, comma-separated; "" is a mixture
	null  bool   // the null sender
	size  int    // of the content, about; 0 is a mixture
}

// newMessage makes a message. The same id makes the same message.
func (x mix) newMessage(id string) *message {
	seed := sha256.Sum256([]byte(id))
	random := rand.New(rand.NewChaCha8(seed))
	m := &message{id: id, from: "sender@load.test"}
	users := strings.Split(x.users, ",")
	if x.users == "" {
		users = []string{goodUser}
		if !x.plain {
			users = mixture(random)
		}
	}
	for i, u := range users {
		m.to = append(m.to, fmt.Sprintf("%s.%s.%d@sink.test", u, id, i))
	}
	size := x.size
	switch {
	case size > 0:
	case x.plain:
		size = 1000
	default:
		size = someSize(random)
	}
	m.eight = !x.plain && random.IntN(4) == 0
	if x.null || !x.plain && x.users == "" && len(users) == 1 && users[0] != badUser && random.IntN(10) == 0 {
		m.from = ""
	}
	m.content = m.text(random, size)
	sum := sha256.Sum256(m.content)
	m.sum = hex.EncodeToString(sum[:12])
	return m
}

// mixture is a choice of recipients: mostly good ones, some refused for good, some at first.
func mixture(random *rand.Rand) []string {
	users := []string{goodUser}
	switch random.IntN(10) {
	case 0:
		users = []string{badUser}
	case 1:
		users = []string{softUser}
	case 2:
		users = []string{goodUser, badUser, softUser}
	case 3:
		users = []string{goodUser, goodUser}
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
func (m *message) text(random *rand.Rand, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\r\nFrom: <sender@load.test>\r\nTo: <%s>\r\nSubject: fault %s\r\n", mark, m.id, m.to[0], m.id)
	fmt.Fprintf(&b, "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s@load.test>\r\n\r\n%s\r\n", m.id, bodyMark)
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

// stuffed is the content as it is sent, without the final dot (RFC 5321, 4.5.2).
func (m *message) stuffed() []byte {
	s := bytes.ReplaceAll(m.content, []byte("\r\n."), []byte("\r\n.."))
	if s[0] == '.' {
		s = append([]byte("."), s...)
	}
	return s
}

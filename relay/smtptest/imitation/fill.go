package imitation

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mailwhy/relay/smtptest"
)

// hole is a name to fill in, with a length where it is made up: {host}, {hex:12}.
var hole = regexp.MustCompile(`\{([a-zA-Z_]+)(?::([0-9]+))?\}`)

// fill replaces the holes of a text:
//
//	{host}        the server's name          {client}      the name in EHLO
//	{from}        the sender                 {domain}      the sender's domain
//	{user}        as authenticated           {message_id}  of the content, without angle brackets
//	{time}        seconds since 1970         {date}        RFC 5322
//	{uuid}        made up                    {word:N}      N letters and digits, made up
//	{hex:N}       N digits, made up          {HEX:N}       the same in upper case
func (b *behaviour) fill(text string, cmd smtptest.Command) string {
	return hole.ReplaceAllStringFunc(text, func(h string) string {
		m := hole.FindStringSubmatch(h)
		n, _ := strconv.Atoi(m[2])
		return b.hole(m[1], n, cmd)
	})
}

// hole is what one hole stands for.
func (b *behaviour) hole(name string, n int, cmd smtptest.Command) string {
	from := cmd.Address
	var content []byte
	if cmd.Arrived != nil {
		from, content = cmd.Arrived.From, cmd.Arrived.Content
	}
	switch name {
	case "host":
		return b.i.Host
	case "client":
		_, client, _ := strings.Cut(cmd.Line, " ")
		return client
	case "from":
		return from
	case "domain":
		_, domain, _ := strings.Cut(from, "@")
		return domain
	case "user":
		return cmd.User
	case "message_id":
		return messageID(content, b.i.Host)
	case "time":
		return strconv.FormatInt(time.Now().Unix(), 10)
	case "date":
		return time.Now().UTC().Format(time.RFC1123Z)
	}
	return madeUp(name, n)
}

// madeUp is a random id of a form.
func madeUp(form string, n int) string {
	digits := hex.EncodeToString([]byte(rand.Text() + rand.Text()))
	switch form {
	case "hex":
		return digits[len(digits)-n:]
	case "HEX":
		return strings.ToUpper(digits[len(digits)-n:])
	case "word":
		return (rand.Text() + rand.Text())[:n]
	case "uuid":
		d := digits[:32]
		return d[:8] + "-" + d[8:12] + "-" + d[12:16] + "-" + d[16:20] + "-" + d[20:]
	}
	return ""
}

// messageID is the Message-ID of a content without its angle brackets; made up where there is none.
func messageID(content []byte, host string) string {
	header, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(content))).ReadMIMEHeader()
	if id := strings.Trim(strings.TrimSpace(header.Get("Message-Id")), "<>"); id != "" {
		return id
	}
	return rand.Text() + "@" + host
}

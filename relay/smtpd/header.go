package smtpd

import (
	"bytes"
	"fmt"
	"mime"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
)

// facts are what the header of a message says that matters here.
type facts struct {
	messageID, date string
	subject, from   string
	dkim            []string // d= of each signature
	received, own   int      // Received fields, and those that we made
	report          bool     // a delivery status notification
}

// maxFact bounds each value that is kept of a header.
const maxFact = 998

// headerEnded reports whether the empty line after the header is in b, of which the bytes from fresh on are new.
func headerEnded(b []byte, fresh int) bool {
	return bytes.HasPrefix(b, []byte("\r\n")) || bytes.Contains(b[max(0, fresh-3):], []byte("\r\n\r\n"))
}

// readHeader reads the fields at the start of a message. It takes what it finds: a message without a header, or with a broken
// one, has no facts.
func readHeader(b []byte, hostname string) (f facts) {
	for len(b) > 0 {
		field, rest := cutField(b)
		b = rest
		name, value, ok := bytes.Cut(field, []byte(":"))
		if !ok || bytes.ContainsAny(bytes.TrimRight(name, " \t"), " \t") {
			return f // the header ends, or is none
		}
		f.take(strings.ToLower(string(bytes.TrimRight(name, " \t"))), unfold(value), hostname)
	}
	return f
}

// cutField splits off the first field with its continuation lines.
func cutField(b []byte) (field, rest []byte) {
	for n := 0; ; {
		i := bytes.Index(b[n:], []byte("\r\n"))
		if i < 0 {
			return b, nil
		}
		n += i + 2
		if n == len(b) || b[n] != ' ' && b[n] != '\t' {
			return b[:n-2], b[n:]
		}
	}
}

// unfold removes line ends (RFC 5322, 2.2.3) and caps a value.
func unfold(value []byte) string {
	s := strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
	return s[:min(len(s), 64<<10)]
}

// take notes what one field says.
func (f *facts) take(name, value, hostname string) {
	switch name {
	case "message-id":
		f.messageID = clean.ASCII(value, maxFact)
	case "date":
		f.date = value
	case "subject":
		f.subject = value[:min(len(value), maxFact)]
	case "from":
		f.from = fromDomain(value)
	case "content-type":
		f.report = statusReport(value)
	case "dkim-signature":
		if d := dkimDomain(value); d != "" && len(f.dkim) < 16 {
			f.dkim = append(f.dkim, d)
		}
	case "received":
		f.received++
		if receivedBy(value, hostname) {
			f.own++
		}
	}
}

// receivedBy reports whether a Received field was made by a mailwhy of this name.
func receivedBy(value, hostname string) bool {
	words := strings.Fields(value)
	for i := range len(words) - 2 {
		if words[i] == "by" && strings.EqualFold(words[i+1], hostname) && words[i+2] == "(mailwhy)" {
			return true
		}
	}
	return false
}

// statusReport reports whether a Content-Type is that of a delivery status notification (RFC 3464, 2; RFC 6522, 3).
func statusReport(value string) bool {
	kind, params, err := mime.ParseMediaType(value)
	return err == nil && kind == "multipart/report" && strings.EqualFold(params["report-type"], "delivery-status")
}

// fromDomain is the domain of the first address of a From field, in lower case; "" if there is none to be found.
func fromDomain(value string) string {
	if list, err := mail.ParseAddressList(value); err == nil && len(list) > 0 {
		value = list[0].Address
	}
	i := strings.LastIndexByte(value, '@')
	if i < 0 {
		return ""
	}
	domain, _, _ := strings.Cut(value[i+1:], ">")
	domain, _, _ = strings.Cut(strings.TrimSpace(domain), " ")
	return strings.ToLower(clean.Line(domain, 255))
}

// dkimDomain is the d= tag of a DKIM-Signature field (RFC 6376, 3.5).
func dkimDomain(value string) string {
	for tag := range strings.SplitSeq(value, ";") {
		key, v, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(key) == "d" {
			return strings.ToLower(clean.ASCII(strings.TrimSpace(v), 255))
		}
	}
	return ""
}

// timeFormat is a date of RFC 5322, 3.3.
const timeFormat = "Mon, 02 Jan 2006 15:04:05 -0700"

// trace is the Received field of a message (RFC 5321, 4.4). The recipient is named only when there is one: others are
// nobody's business.
func (s *session) trace(m *relay.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from %s (%s)\r\n\tby %s (mailwhy) with %s id %s", s.fromWord(), s.tcpInfo(),
		s.options.Hostname, m.Client.Protocol, m.ID)
	if state := s.wire.TLS(); state != nil {
		fmt.Fprintf(&b, "\r\n\t(%s %s)", tlsVersion(state), tlsCipher(state))
	}
	if len(m.Recipients) == 1 {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", m.Recipients[0].Address)
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", m.Arrived.Format(timeFormat))
	return b.String()
}

// fromWord is what the client called itself, as a word of a Received field.
func (s *session) fromWord() string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ()<>;,\\\"", r) {
			return '?'
		}
		return r
	}, s.hello)
}

// tcpInfo is the client's configured name and its address.
func (s *session) tcpInfo() string {
	literal := "unix socket"
	if !s.unix {
		literal = "[" + literalOf(s.addr) + "]"
	}
	if s.network == nil || s.network.Name == "" {
		return literal
	}
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ()[]\\", r) {
			return '_'
		}
		return r
	}, clean.ASCII(s.network.Name, 64))
	return name + " " + literal
}

// literalOf is an address as in an address literal (RFC 5321, 4.1.3).
func literalOf(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "unknown"
	case a.Is6():
		return "IPv6:" + a.String()
	}
	return a.String()
}

// missing are the fields that a submitted message should have and does not (RFC 6409, 8.3). A signed message is left as
// it is: its signature may say that there is no such field.
func (s *session) missing(m *relay.Message, f *facts) string {
	if s.options.KeepHeaders || len(f.dkim) > 0 {
		return ""
	}
	var b strings.Builder
	if f.messageID == "" {
		m.MessageID = "<" + m.ID + "@" + s.options.Hostname + ">"
		fmt.Fprintf(&b, "Message-ID: %s\r\n", m.MessageID)
	}
	if f.date == "" {
		fmt.Fprintf(&b, "Date: %s\r\n", m.Arrived.In(time.Local).Format(timeFormat))
	}
	return b.String()
}

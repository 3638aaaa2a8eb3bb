package smtpd

import (
	"bytes"
	"fmt"
	"mime"
	"net/mail"
	"net/netip"
	"slices"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/internal/traceparent"
)

// facts are the parts of a message header that matter here.
type facts struct {
	messageID     string
	subject, from string
	dkim          []string          // the d= tag of each signature
	received, own int               // Received fields, and how many of them we added
	report        bool              // a delivery status notification
	kept          map[string]string // values of the fields that are asked for, by their names
	traceID       string            // of the field traceparent
	spanID        string
	traces        int // fields of that name
}

// maxFact bounds each value taken from a header.
const maxFact = 998

// headerEnded reports whether b contains the empty line after the header. The bytes of b from fresh on are
// new.
func headerEnded(b []byte, fresh int) bool {
	return bytes.HasPrefix(b, []byte("\r\n")) || bytes.Contains(b[max(0, fresh-3):], []byte("\r\n\r\n"))
}

// readHeader reads the fields at the start of a message, and keeps the values of some. It never fails: a
// message with no header, or a broken one, has fewer facts.
func readHeader(b []byte, hostname string, keep []string) (f facts) {
	for len(b) > 0 {
		one, rest := cutField(b)
		b = rest
		name, value, ok := bytes.Cut(one, []byte(":"))
		if !ok || bytes.ContainsAny(bytes.TrimRight(name, " \t"), " \t") {
			return f // the end of the header, or not a header
		}
		field, text := strings.ToLower(string(bytes.TrimRight(name, " \t"))), unfold(value)
		f.take(field, text, hostname)
		if slices.Contains(keep, field) {
			f.keep(field, text)
		}
	}
	return f
}

// keep keeps the first value of a field.
func (f *facts) keep(field, value string) {
	if f.kept == nil {
		f.kept = map[string]string{}
	}
	if _, there := f.kept[field]; !there {
		f.kept[field] = strings.ToValidUTF8(value[:min(len(value), maxFact)], "\uFFFD")
	}
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

// unfold removes line ends (RFC 5322, 2.2.3) and bounds the length of a value.
func unfold(value []byte) string {
	s := strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
	return s[:min(len(s), 64<<10)]
}

// take records what one field says.
func (f *facts) take(name, value, hostname string) {
	switch name {
	case "message-id":
		f.messageID = clean.ASCII(value, maxFact)
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
	case "traceparent":
		f.trace(value)
	case "received":
		f.received++
		if receivedBy(value, hostname) {
			f.own++
		}
	}
}

// trace notes which trace a message belongs to. Of several fields none is believed (W3C Trace Context, 3.2).
func (f *facts) trace(value string) {
	f.traceID, f.spanID = "", ""
	if f.traces++; f.traces == 1 {
		f.traceID, f.spanID, _ = traceparent.Parse(value)
	}
}

// receivedBy reports whether a mailwhy with this host name added a Received field.
func receivedBy(value, hostname string) bool {
	words := strings.Fields(value)
	for i := range len(words) - 2 {
		if words[i] == "by" && strings.EqualFold(words[i+1], hostname) && words[i+2] == "(mailwhy)" {
			return true
		}
	}
	return false
}

// statusReport reports whether a Content-Type is that of a delivery status notification (RFC 3464, 2; RFC
// 6522, 3).
func statusReport(value string) bool {
	kind, params, err := mime.ParseMediaType(value)
	return err == nil && kind == "multipart/report" &&
		strings.EqualFold(params["report-type"], "delivery-status")
}

// fromDomain is the domain of the first address in a From field, in lower case; "" if there is none.
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

// trace is the Received field of a message (RFC 5321, 4.4). It names the recipient only if there is just
// one: recipients must not learn of each other.
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

// fromWord is the name that the client gave itself, as a word of a Received field.
func (s *session) fromWord() string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ()<>;,\\\"", r) {
			return '?'
		}
		return r
	}, s.hello)
}

// tcpInfo is the client's configured name and its address, for a Received field.
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

// literalOf writes an address as an address literal does (RFC 5321, 4.1.3).
func literalOf(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "unknown"
	case a.Is6():
		return "IPv6:" + a.String()
	}
	return a.String()
}

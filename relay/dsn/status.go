package dsn

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/internal/xtext"
)

// The most bytes that are quoted of what others wrote.
const (
	maxAddress   = 500 // RFC 3461, 5.4
	maxReplyLine = 900
	maxReply     = 4096
	maxFix       = 2000
)

// statusFields writes the fields of one delivery status. In a report on an SMTPUTF8 message they may hold
// UTF-8 (RFC 6533, 3), in any other they are ASCII.
type statusFields struct{ utf8 bool }

// clean makes a stranger's text fit for a field.
func (s statusFields) clean(text string, max int) string {
	if s.utf8 {
		return clean.Line(text, max)
	}
	return clean.ASCII(text, max)
}

// own makes a text of the guide, which need not be ASCII, fit for a field.
func (s statusFields) own(text string) string {
	text = clean.Line(text, maxFix)
	if s.utf8 {
		return text
	}
	return encodedWords(text)
}

// statusPart is part 2 (RFC 3464, 2).
func (c *Composer) statusPart(r *relay.Report) part {
	s := statusFields{utf8: r.Message.Envelope.SMTPUTF8}
	h := &header{text: make([]byte, 0, 4096+128*len(r.Recipients))}
	s.message(h, r, c.o.Hostname)
	groups := group(r)
	for _, i := range r.Recipients {
		h.text = append(h.text, "\r\n"...)
		s.recipient(h, r, &r.Message.Recipients[i], groups.of[i].detailOf(i))
	}
	p := part{body: h.text}
	p.header.add("Content-Description", "Delivery report")
	if isASCII(p.body) {
		p.header.add("Content-Type", "message/delivery-status")
		p.header.add("Content-Transfer-Encoding", "7bit") // RFC 3464, 2
		return p
	}
	p.header.add("Content-Type", "message/global-delivery-status") // RFC 6533, 3
	p.transfer(r.EightBit)
	return p
}

// transfer lets the body stand as it is where its way takes 8-bit content, and encodes it elsewhere (RFC
// 6533, 5).
func (p *part) transfer(eightBit bool) {
	if eightBit && fitsEightBit(p.body) {
		p.eightBit = true
		p.header.add("Content-Transfer-Encoding", "8bit")
		return
	}
	p.quotedPrintable()
}

// message is the per-message block (RFC 3464, 2.2).
func (s statusFields) message(h *header, r *relay.Report, hostname string) {
	m := r.Message
	h.add("Original-Envelope-Id", s.clean(m.Envelope.EnvID, maxAddress))
	if by := toldBy(r); by != "" {
		s.told(h, r, by, hostname)
	} else {
		h.add("Reporting-MTA", mtaName(hostname))
		h.add("Received-From-MTA", receivedFrom(&m.Client))
		h.add("Arrival-Date", m.Arrived.Format(dateLayout))
	}
	h.add("X-Mailwhy-Queue-ID", m.ID)
}

// toldBy is who told later what became of the recipients; "" where we met it ourselves. Where several told,
// it is the name of the upstream that they all belong to.
func toldBy(r *relay.Report) string {
	name := ""
	for i, index := range r.Recipients {
		a := r.Message.Recipients[index].Last
		if a == nil || a.Stage != diagnose.StageRemote {
			return ""
		}
		by := cmp.Or(a.ReportedBy, a.Upstream)
		if i > 0 && by != name {
			by = a.Upstream
		}
		name = by
	}
	return name
}

// told is the per-message block of what another system told: it is the Reporting-MTA, which had the message
// from us, and we are the gateway that makes a notification of what it told (RFC 3464, 2.2.3).
func (s statusFields) told(h *header, r *relay.Report, by, hostname string) {
	h.add("Reporting-MTA", mtaName(by))
	h.add("DSN-Gateway", mtaName(hostname))
	h.add("Received-From-MTA", mtaName(hostname))
	for _, past := range r.Message.Recipients[r.Recipients[0]].History {
		if past.Event == relay.EventRelayed {
			h.add("Arrival-Date", past.Time.Format(dateLayout))
			return
		}
	}
}

// receivedFrom is the client's name and address (RFC 3464, 2.2.4); "" when neither is known.
func receivedFrom(c *relay.Client) string {
	address := ""
	if ip, err := netip.ParseAddr(c.Addr); err == nil {
		address = "[" + ip.String() + "]"
	}
	switch {
	case c.Hello != "" && address != "":
		return mtaName(c.Hello) + " (" + address + ")"
	case c.Hello != "":
		return mtaName(c.Hello)
	case address != "":
		return "dns; " + address
	}
	return ""
}

// recipient is the block of one recipient (RFC 3464, 2.3).
func (s statusFields) recipient(h *header, r *relay.Report, rc *relay.Recipient, d detail) {
	h.add("Original-Recipient", s.originalRecipient(rc.ORCPT))
	h.add("Final-Recipient", s.finalRecipient(rc.Address))
	h.add("Action", string(r.Kind))
	h.add("Status", status(r.Kind, rc))
	if d == inBrief {
		return
	}
	s.attempt(h, rc.Last)
	h.add("Final-Log-ID", s.logID(r, rc))
	if r.Kind == relay.NoticeDelayed && !r.RetryUntil.IsZero() { // RFC 3464, 2.3.9
		h.add("Will-Retry-Until", r.RetryUntil.Format(dateLayout))
	}
	if r.Kind != relay.NoticeRelayed && d == inFull {
		h.add("X-Mailwhy-Error", s.own(networkError(rc.Last)))
		s.extensions(h, rc.Diagnosis)
	}
}

// logID is the id under which the reporting system logs the message (RFC 3464, 2.3.8), if that is known.
func (s statusFields) logID(r *relay.Report, rc *relay.Recipient) string {
	if toldLater(rc) {
		return s.clean(rc.Last.UpstreamID, maxAddress)
	}
	return r.Message.ID
}

// toldLater reports whether it was told after the upstream's 250 what became of a recipient.
func toldLater(rc *relay.Recipient) bool {
	return rc.Last != nil && rc.Last.Stage == diagnose.StageRemote
}

// attempt writes what the newest attempt met. The remote is named, and its reply quoted, only where there
// was one (RFC 3461, 6.3 (h) and (i)).
func (s statusFields) attempt(h *header, a *relay.Attempt) {
	if a == nil {
		return
	}
	if a.Stage == diagnose.StageRemote {
		s.remote(h, a)
		return
	}
	if !a.Reply.IsZero() {
		h.add("Remote-MTA", remoteName(a.Host))
		lines := replyLines(a.Reply.Raw, s.clean)
		if len(lines) > 0 {
			lines[0] = "smtp; " + lines[0]
		}
		h.addLines("Diagnostic-Code", lines...)
	}
	if a.Stage != diagnose.StageQueue {
		h.add("Last-Attempt-Date", a.Time.Format(dateLayout))
	}
}

// remote writes what was told of the upstream's own attempt, as far as it was: where no reply was quoted, the
// words in its place have a type of their own (RFC 3464, 2.3.6).
func (s statusFields) remote(h *header, a *relay.Attempt) {
	h.add("Remote-MTA", remoteName(a.Host))
	raw, kind := a.Reply.Raw, "smtp; "
	if a.Reply.IsZero() {
		raw, kind = a.NetErr.Text, "x-mailwhy-told; "
	}
	if lines := replyLines(raw, s.clean); len(lines) > 0 {
		lines[0] = kind + lines[0]
		h.addLines("Diagnostic-Code", lines...)
	}
	if !a.Time.IsZero() {
		h.add("Last-Attempt-Date", a.Time.Format(dateLayout))
	}
}

// networkError says why there is no reply: the kind, which is stable, and the words.
func networkError(a *relay.Attempt) string {
	switch {
	case a == nil || !a.Reply.IsZero() || a.Stage == diagnose.StageRemote:
		return ""
	case a.NetErr.Text == "":
		return string(a.NetErr.Kind)
	}
	return string(a.NetErr.Kind) + ": " + a.NetErr.Text
}

// extensions writes the diagnosis, beside the standard fields and last (RFC 3464, 2.4).
func (s statusFields) extensions(h *header, d *diagnose.Diagnosis) {
	if d == nil {
		return
	}
	h.add("X-Mailwhy-Category", s.own(string(d.Category)))
	h.add("X-Mailwhy-Reason", s.own(string(d.Reason)))
	h.add("X-Mailwhy-Fix", s.own(numbered(d.Fix)))
	h.add("X-Mailwhy-Rule", s.own(d.Rule))
	h.add("X-Mailwhy-Confidence", s.own(string(d.Confidence)))
}

// numbered joins steps into one line.
func numbered(steps []string) string {
	if len(steps) == 1 {
		return steps[0]
	}
	var b strings.Builder
	for i, step := range steps {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(i+1) + ". " + step)
	}
	return b.String()
}

// originalRecipient is the ORCPT parameter with its value decoded (RFC 3464, 2.3.1; RFC 6533, 3).
func (s statusFields) originalRecipient(orcpt string) string {
	if orcpt == "" {
		return ""
	}
	kind, value, _ := strings.Cut(orcpt, ";")
	if t, address, err := xtext.ORCPT(orcpt); err == nil && (s.utf8 || isASCII(address)) {
		kind, value = t, address
	}
	return s.clean(kind, maxAddress) + "; " + s.clean(value, maxAddress)
}

// finalRecipient is the address as it was accepted (RFC 3464, 2.3.2; RFC 6533, 3).
func (s statusFields) finalRecipient(address string) string {
	switch {
	case isASCII(address):
		return "rfc822; " + s.clean(address, maxAddress)
	case s.utf8:
		return "utf-8; " + s.clean(address, maxAddress)
	}
	return "utf-8; " + xtext.EncodeUTF8(address)
}

// remoteName is the name of a server that replied, always of the type dns (RFC 3461, 6.3 (h)).
func remoteName(host string) string {
	host = clean.ASCII(strings.TrimSpace(host), maxAddress)
	if ip, err := netip.ParseAddr(host); err == nil {
		host = "[" + ip.String() + "]"
	}
	if host == "" {
		return ""
	}
	return "dns; " + host
}

// replyLines takes a reply apart into its lines, each cleaned; the whole is capped.
func replyLines(raw string, clean func(string, int) string) []string {
	var lines []string
	left := maxReply
	for line := range strings.SplitSeq(raw, "\n") {
		line = strings.TrimSpace(clean(strings.TrimSuffix(line, "\r"), min(left, maxReplyLine)))
		if line == "" {
			continue
		}
		lines = append(lines, line)
		if left -= len(line); left <= 0 {
			break
		}
	}
	return lines
}

// status is the enhanced status code (RFC 3464, 2.3.4): as the upstream gave it or told it later, else what
// its basic code or the network error tells. A failure may have class 4, since failing after a temporary
// refusal is what expiry is. A delay always has: where a 5xx waits because it is our own fault, readers that
// go by Status would take the address for dead. The upstream's own code stands in Diagnostic-Code.
func status(kind relay.NoticeKind, rc *relay.Recipient) string {
	if rc.Last == nil {
		return fallbackClass(kind, rc) + ".0.0"
	}
	reply := rc.Last.Reply
	if e := reply.Enhanced; possible(kind, e.Class) && inRange(e) {
		e.Class = classOf(kind, e.Class)
		return e.String()
	}
	told, ok := diagnose.ParseEnhanced(rc.Last.Status)
	if ok && possible(kind, told.Class) && inRange(told) {
		told.Class = classOf(kind, told.Class)
		return told.String()
	}
	if possible(kind, reply.Class()) {
		return strconv.Itoa(classOf(kind, reply.Class())) + ".0.0" // RFC 3461, 6.3 (g)
	}
	return fallbackClass(kind, rc) + "." + networkStatus(rc.Last.NetErr.Kind)
}

// possible reports whether a status class says something of the action.
func possible(kind relay.NoticeKind, class int) bool {
	if kind == relay.NoticeRelayed {
		return class == 2
	}
	return class == 4 || class == 5
}

// classOf is the class that stands beside an action for one that the upstream gave.
func classOf(kind relay.NoticeKind, class int) int {
	if kind == relay.NoticeDelayed {
		return 4 // RFC 3464, 2.3.4: a persistent transient failure
	}
	return class
}

// inRange reports whether e can be written: three digits at most (RFC 3463, 2).
func inRange(e diagnose.Enhanced) bool {
	return e.Subject >= 0 && e.Subject <= 999 && e.Detail >= 0 && e.Detail <= 999
}

// fallbackClass is the class where nobody gave a code.
func fallbackClass(kind relay.NoticeKind, rc *relay.Recipient) string {
	switch {
	case kind == relay.NoticeRelayed:
		return "2"
	case kind == relay.NoticeDelayed || rc.State == relay.Expired:
		return "4"
	}
	return "5"
}

// networkStatus is the subject and detail for a failure without a reply (RFC 3463, 3).
func networkStatus(kind diagnose.NetKind) string {
	switch kind {
	case diagnose.NetExpired:
		return "4.7" // delivery time expired
	case diagnose.NetRefused, diagnose.NetUnreachable, diagnose.NetConnectTimeout, diagnose.NetProxy:
		return "4.1" // no answer from host
	case diagnose.NetTimeout, diagnose.NetNoGreeting, diagnose.NetReset, diagnose.NetClosed:
		return "4.2" // bad connection
	case diagnose.NetDNSFailure:
		return "4.3" // directory server failure
	case diagnose.NetDNSNotFound:
		return "4.4" // unable to route
	case diagnose.NetSuppressed:
		return "1.1" // bad destination mailbox address
	case diagnose.NetNullMX:
		return "1.10" // RFC 7505, 4.1
	case diagnose.NetProtocol:
		return "5.0"
	case diagnose.NetTLSAuthority, diagnose.NetTLSExpired, diagnose.NetTLSName, diagnose.NetTLSPin,
		diagnose.NetTLSProtocol:
		return "7.5" // cryptographic failure
	case diagnose.NetTLSUnavailable:
		return "7.10" // encryption needed (RFC 5248)
	case diagnose.NetExtensionMissing:
		return "3.3" // system not capable of selected features
	case diagnose.NetSizeExceeded:
		return "3.4" // message too big for system
	case diagnose.NetUTF8Unavailable:
		return "6.7" // RFC 6531, 3.5
	case diagnose.NetEightUnavailable:
		return "6.3" // conversion required but not supported
	}
	return "0.0"
}

package bounce

import "strings"

// Complaint is what a feedback report says (RFC 5965). A field that is not reported is empty.
type Complaint struct {
	Type       string   // Feedback-Type in lower case: abuse, fraud, not-spam, virus, auth-failure, ...
	Recipients []string // Original-Rcpt-To: who complains; many reporters leave it out or hash it
	Sender     string   // Original-Mail-From: the return path of the message
	Reporter   string   // Reporting-MTA, without its type, else User-Agent
	SourceIP   string   // who handed the message over
	Date       string   // Arrival-Date, as it is written
	Message    Message
}

// feedback is what the feedback report in p says, or nil when there is none.
func (p *part) feedback() *Complaint {
	for i := range p.parts {
		if c := &p.parts[i]; c.isFeedback() {
			return p.complaint(c.ownFields())
		}
	}
	if p.isJunkReport() {
		return p.complaint(header{{"Feedback-Type", "abuse"},
			{"Original-Rcpt-To", p.theReturned().line("X-HmXmrOriginalRecipient")}})
	}
	if p.kind == "multipart/report" && p.reportType() == "feedback-report" {
		return p.complaint(nil) // its second part is missing or has a wrong type
	}
	return nil
}

// complaint is what the fields of a feedback report say, with the message that came with it.
func (p *part) complaint(h header) *Complaint {
	c := &Complaint{
		Type:     strings.ToLower(shortened(withoutComment(h.line("Feedback-Type")), maxName)),
		Sender:   address(h.line("Original-Mail-From")),
		Reporter: untyped(h.get("Reporting-MTA")),
		SourceIP: shortened(h.line("Source-IP"), maxName),
		Date:     shortened(h.get("Arrival-Date", "Received-Date"), maxName),
		Message:  p.theReturned().message(p),
	}
	if c.Reporter == "" {
		c.Reporter = shortened(h.line("User-Agent"), maxName)
	}
	for i := range h {
		if !strings.EqualFold(h[i].name, "Original-Rcpt-To") {
			continue
		}
		if a := address(h[i].value); a != "" && p.doc.another() {
			c.Recipients = append(c.Recipients, a)
		}
	}
	return c
}

// isJunkReport recognises the complaints of Outlook.com, which are not feedback reports: the message alone,
// with the recipient in a field of its header, under a subject of their own.
func (p *part) isJunkReport() bool {
	subject := strings.ToLower(strings.TrimSpace(p.fields.line("Subject")))
	return p.isFrom("staff@hotmail.com") && strings.HasPrefix(subject, "complaint about message")
}

// reportType is what a multipart/report is of (RFC 6522, 3), in lower case.
func (p *part) reportType() string {
	_, params := p.contentType()
	return strings.ToLower(params["report-type"])
}

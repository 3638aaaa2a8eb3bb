package main

import (
	"mime"
	"strings"

	"mailwhy/diagnose"
)

// header is the header of a message that came back; nil when the report returns none.
type header []field

// get is the value of the first field of that name, on one line.
func (h header) get(name string) string {
	b := statusBlock{fields: h}
	return unfolded(b.get(name))
}

// subject is the subject in readable form.
func (h header) subject() string {
	s, err := new(mime.WordDecoder).DecodeHeader(h.get("Subject"))
	if err != nil {
		return h.get("Subject")
	}
	return s
}

// returned is the header of the message that a report returns (RFC 3464, 2; RFC 6522, 3).
func (p *mimePart) returned() header {
	for i := range p.parts {
		c := &p.parts[i]
		switch c.kind {
		case "message/rfc822", "message/global":
			if len(c.parts) > 0 {
				return c.parts[0].fields
			}
		case "text/rfc822-headers", "message/rfc822-headers", "message/global-headers":
			b := c.decoded()
			fields, _ := readFields(b, 0, len(b))
			return fields
		}
	}
	return nil
}

// facts are what the header shows, and the report: it goes to the envelope sender (RFC 3464, 2).
func (h header) facts(report *mimePart) diagnose.Facts {
	f := diagnose.Facts{
		HeaderFrom:   domainOf(h.get("From")),
		EnvelopeFrom: domainOf(h.get("Return-Path")),
		Examined:     h.get("From") != "" && h.get("Date") != "", // a header that was cut short shows less than there was
	}
	if f.EnvelopeFrom == "" {
		f.EnvelopeFrom = domainOf(unfolded(report.field("To")))
	}
	for i := range h {
		if strings.EqualFold(h[i].name, "DKIM-Signature") {
			if d := tagOf(unfolded(h[i].value), "d"); d != "" {
				f.DKIMDomains = append(f.DKIMDomains, d)
			}
		}
	}
	return f
}

// domainOf is the domain of the last address in s, lower case.
func domainOf(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return ""
	}
	domain := s[at+1:]
	if end := strings.IndexAny(domain, "> ,;\"()\t"); end >= 0 {
		domain = domain[:end]
	}
	return strings.ToLower(domain)
}

// tagOf is the value of a tag in a list of them (RFC 6376, 3.2).
func tagOf(s, name string) string {
	for tag := range strings.SplitSeq(s, ";") {
		key, value, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(key) == name {
			return strings.ToLower(strings.TrimSpace(value))
		}
	}
	return ""
}

package bounce

import (
	"mime"
	"strings"
	"unicode/utf8"

	"mailwhy/diagnose"
)

// returned is the header of the message that a report returns (RFC 3464, 2; RFC 6522, 3), or nil.
func (p *part) returned() header {
	for i := range p.parts {
		c := &p.parts[i]
		switch {
		case c.isMessage():
			if len(c.parts) > 0 {
				return c.parts[0].fields
			}
		case c.isHeader():
			b := c.opening(maxOriginal)
			h, _ := c.doc.readHeader(b, 0, len(b))
			return h
		}
	}
	return nil
}

// message is what a header shows of a message that came back in report.
func (h header) message(report *part) Message {
	return Message{ID: shortened(h.line("Message-ID"), maxName), Subject: h.subject(), Facts: h.facts(report)}
}

// subject is the subject in readable form (RFC 2047).
func (h header) subject() string {
	raw := shortened(h.line("Subject"), 4*maxName)
	s, err := new(mime.WordDecoder).DecodeHeader(raw)
	if err != nil {
		s = raw
	}
	return shortened(s, maxName)
}

// facts are what the header shows, and the report: it goes to the envelope sender (RFC 3464, 2).
func (h header) facts(report *part) diagnose.Facts {
	f := diagnose.Facts{
		HeaderFrom:   domainOf(h.line("From")),
		EnvelopeFrom: domainOf(h.line("Return-Path")),
		Examined:     h.get("From") != "" && h.get("Date") != "", // else the header was cut short
	}
	if f.EnvelopeFrom == "" {
		f.EnvelopeFrom = domainOf(report.fields.line("To"))
	}
	for i := range h {
		if strings.EqualFold(h[i].name, "DKIM-Signature") && len(f.DKIMDomains) < maxDKIM {
			if d := tagOf(unfolded(h[i].value), "d"); d != "" && len(d) <= maxDomain {
				f.DKIMDomains = append(f.DKIMDomains, d)
			}
		}
	}
	return f
}

// domainOf is the domain of the last address in s, lower case; "" when it is longer than any domain.
func domainOf(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return ""
	}
	domain := s[at+1:]
	if end := strings.IndexAny(domain, "> ,;\"()\t"); end >= 0 {
		domain = domain[:end]
	}
	if len(domain) > maxDomain {
		return ""
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

// shortened is s, at most max bytes of it, cut at a character.
func shortened(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

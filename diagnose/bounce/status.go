package bounce

import (
	"bytes"
	"iter"
	"strings"
)

// status is a delivery status and what stands around it.
type status struct {
	part    *part
	report  *part // the part that it is in
	message Message
	quoted  *quotations // of what the report says to a person
}

// statuses are the delivery statuses in p itself, not those of what was forwarded in it. What a report
// returns of the message that it is about is not a report of its own, whatever it holds.
func (p *part) statuses() []status {
	for _, is := range [...]func(*part) bool{(*part).isStatus, (*part).looksLikeStatus} {
		if found := p.statusesThat(is); len(found) > 0 {
			return found
		}
	}
	return nil
}

// alone is p as a delivery status that was taken out of its report, or nothing.
func (p *part) alone() []status {
	if len(p.parts) > 0 || !p.isStatus() && !p.looksLikeStatus() {
		return nil
	}
	s := newStatus(p, header(nil), "")
	s.part = p
	return []status{s}
}

// ownStatuses appends the delivery statuses in p, but not those in what was forwarded in it.
func (p *part) ownStatuses(list []status) []status {
	if found := p.statuses(); len(found) > 0 {
		return append(list, found...)
	}
	if !p.isMessage() {
		for i := range p.parts {
			list = p.parts[i].ownStatuses(list)
		}
	}
	return append(list, p.alone()...)
}

// allStatuses appends those in what was forwarded as well.
func (p *part) allStatuses(list []status) []status {
	if found := p.statuses(); len(found) > 0 {
		return append(list, found...)
	}
	for i := range p.parts {
		list = p.parts[i].allStatuses(list)
	}
	return append(list, p.alone()...)
}

// newStatus is a delivery status in a report, but for its part.
func newStatus(report *part, original header, words string) status {
	return status{report: report, message: original.message(report), quoted: &quotations{text: words}}
}

// statusesThat are the parts of p that are delivery statuses by what is reports.
func (p *part) statusesThat(is func(*part) bool) []status {
	var list []status
	for i := range p.parts {
		if !is(&p.parts[i]) {
			continue
		}
		if len(list) == 0 {
			list = append(list, newStatus(p, p.theReturned(), p.words()))
		} else {
			list = append(list, list[0])
		}
		list[len(list)-1].part = &p.parts[i]
	}
	return list
}

// looksLikeStatus reports whether p is a delivery status under a wrong name.
func (p *part) looksLikeStatus() bool {
	other := strings.HasPrefix(p.kind, "message/") && !p.isMessage() && !p.isHeader()
	if p.kind != "text/plain" && p.kind != "application/octet-stream" && !p.flat && !other {
		return false
	}
	for b := range p.doc.blocks(p.decoded()) {
		if b.get("Final-Recipient") != "" && b.get("Action", "Status") != "" {
			return true
		}
	}
	return false
}

// notification is what the delivery status reports.
func (s *status) notification() Notification {
	n := Notification{Source: SourceStatus, Message: s.message}
	n.ReportingMTA = untyped(s.report.fields.get("Reporting-MTA"))
	for b := range s.part.doc.blocks(s.part.decoded()) {
		if name := b.get("Reporting-MTA"); name != "" {
			n.ReportingMTA = untyped(name)
		}
		if b.isRecipient() && s.part.doc.another() {
			r := s.recipient(&b)
			r.ReportingMTA = n.ReportingMTA
			n.Recipients = append(n.Recipients, r)
		}
	}
	return n
}

// recipient reads one block.
func (s *status) recipient(b *block) Recipient {
	r := Recipient{
		Address:   address(b.get("Final-Recipient", "X-Actual-Recipient", "Original-Recipient")),
		Original:  address(b.get("Original-Recipient")),
		Action:    strings.ToLower(withoutComment(b.get("Action"))),
		Status:    withoutComment(b.get("Status")),
		RemoteMTA: untyped(b.get("Remote-MTA")),
	}
	if r.Original == r.Address {
		r.Original = ""
	}
	r.Symptom = s.symptom(b, &r)
	r.Kind = r.kind()
	return r
}

// block is a block of a delivery status (RFC 3464, 2.1): that of the message, or of one recipient.
type block struct {
	header
	end int // where the block ends in the body: behind its last line
}

// isRecipient reports whether the block is about a recipient.
func (b *block) isRecipient() bool {
	return b.get("Final-Recipient", "Original-Recipient", "X-Actual-Recipient") != "" ||
		b.get("Action") != "" && b.get("Status") != ""
}

// blocks takes a delivery status apart. Where the empty line between two recipients was lost, the second
// Final-Recipient begins a block of its own.
func (d *document) blocks(body []byte) iter.Seq[block] {
	return func(yield func(block) bool) {
		f, end := fieldReader{doc: d}, 0
		finish := func() bool {
			b := block{f.done(), end}
			f = fieldReader{doc: d}
			return len(b.header) == 0 || yield(b)
		}
		for at := 0; at < len(body); {
			next := d.lineEnd(body, at, len(body))
			line := bytes.TrimRight(body[at:next], "\r\n")
			at = next
			if len(bytes.TrimSpace(line)) == 0 {
				if !finish() {
					return
				}
				continue
			}
			if begins(line, "Final-Recipient") && f.endsAtRecipient() && !finish() {
				return
			}
			f.line(line)
			end = at
		}
		finish()
	}
}

// endsAtRecipient reports whether another Final-Recipient ends the block: it has one, or takes no further
// field.
func (f *fieldReader) endsAtRecipient() bool {
	return f.full || f.done().get("Final-Recipient") != ""
}

// begins reports whether a line is the field of that name.
func begins(line []byte, name string) bool {
	return len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) &&
		bytes.HasPrefix(bytes.TrimLeft(line[len(name):], " \t"), []byte(":"))
}

// address is a field's value without its type and its brackets, as in "rfc822; bob@example.com".
func address(value string) string { return shortened(strings.Trim(untyped(value), "<>"), maxName) }

// untyped is a field's value without its type, as in "dns; mx.example.com".
func untyped(value string) string {
	value = unfolded(value)
	if _, rest, found := strings.Cut(value, ";"); found {
		value = rest
	}
	return shortened(strings.TrimSpace(value), maxName)
}

// withoutComment is a value in front of a comment in brackets (RFC 5322, 3.2.2).
func withoutComment(value string) string {
	value, _, _ = strings.Cut(unfolded(value), "(")
	return shortened(strings.TrimSpace(value), maxName)
}

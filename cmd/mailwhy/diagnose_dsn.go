package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"mailwhy/diagnose"
)

// maxReport is the largest bounce that is read, bytes.
const maxReport = 64 << 20

// reported is what a bounce says of one recipient, and what it means.
type reported struct {
	File              string `json:"file,omitempty"` // when several are read
	Recipient         string `json:"recipient,omitempty"`
	OriginalRecipient string `json:"original_recipient,omitempty"`
	Action            string `json:"dsn_action,omitempty"` // the Diagnosis has an action of its own
	Status            string `json:"dsn_status,omitempty"`
	Remote            string `json:"remote,omitempty"` // who refused
	ReportingMTA      string `json:"reporting_mta,omitempty"`
	MessageID         string `json:"message_id,omitempty"` // of the message that came back
	Subject           string `json:"subject,omitempty"`
	explained

	symptom diagnose.Symptom
}

// reports explains the bounces in files, or emits one with its annotation.
func (d *diagnoser) reports(files []string) error {
	if d.enrich {
		return d.enrichFile(files[0])
	}
	for _, name := range files {
		b, err := d.readReport(name)
		if err != nil {
			return err
		}
		label := ""
		if len(files) > 1 {
			label = name
		}
		if err := d.report(label, b); err != nil {
			return err
		}
	}
	return nil
}

// readReport reads a whole bounce, from standard input when the name is "-".
func (d *diagnoser) readReport(name string) ([]byte, error) {
	r := d.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err == nil && len(b) > maxReport {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxReport)
	}
	return b, err
}

// report explains each recipient of one bounce.
func (d *diagnoser) report(label string, file []byte) error {
	list := readBounce(file)
	if len(list) == 0 {
		list = []reported{{explained: explained{Error: "no delivery report is found here"}}}
	}
	for i := range list {
		r := &list[i]
		r.File = label
		if r.Error == "" {
			d.explainReported(r)
		}
		if err := d.printReported(r); err != nil {
			return err
		}
	}
	return nil
}

// explainReported fills in what the symptom of a recipient means.
func (d *diagnoser) explainReported(r *reported) {
	if d.stage != "" {
		r.symptom.Stage = diagnose.Stage(d.stage)
	}
	r.explained = explainSymptom(d.engine, &r.symptom)
}

// printReported prints what a bounce says of one recipient.
func (d *diagnoser) printReported(r *reported) error {
	if r.Error != "" {
		d.failed = true
	}
	if d.json {
		return d.printJSON(r)
	}
	var b bytes.Buffer
	if d.blocks++; d.blocks > 1 {
		b.WriteByte('\n')
	}
	r.writeReport(&b)
	_, err := d.out.Write(b.Bytes())
	return err
}

// writeReport writes for a person what a bounce says of one recipient.
func (r *reported) writeReport(b *bytes.Buffer) {
	if r.Error != "" {
		fmt.Fprintln(b, printable(cmp.Or(r.File, "the report")))
		item(b, "error", r.Error)
		return
	}
	who := cmp.Or(r.Recipient, "a recipient that the report does not name")
	if about := strings.TrimSpace(r.Action + " " + r.Status); about != "" {
		who += ": " + about
	}
	fmt.Fprintln(b, printable(who))
	paragraph(b, "  ", "  ", r.said())
	writeDiagnosis(b, r.Diagnosis)
	item(b, "refused by", r.Remote)
	item(b, "told by", r.ReportingMTA)
	item(b, "message", strings.TrimSpace(r.MessageID+" "+r.Subject))
	item(b, "file", r.File)
}

// readBounce finds what a bounce says of its recipients: in its delivery status, in one of a report that it forwards,
// or, where there is none, in its words.
func readBounce(file []byte) []reported {
	budget := maxParts
	root := readMIME(file, 0, len(file), 0, &budget)
	var list []reported
	for _, s := range root.statuses(nil) {
		list = append(list, s.recipients()...)
	}
	if len(list) > 0 {
		return list
	}
	return root.toldInWords()
}

// foundStatus is a delivery status and what stands around it.
type foundStatus struct {
	part     *mimePart
	around   *mimePart // the report
	original header    // of the message that came back
	told     string    // the beginning of what the report says to a person
}

// maxTold is how much of what a report says to a person is looked at, bytes.
const maxTold = 64 << 10

// statuses appends the delivery statuses in p. What a report returns of the message that it is about is no report of
// its own, whatever it holds.
func (p *mimePart) statuses(list []foundStatus) []foundStatus {
	for _, is := range [...]func(*mimePart) bool{(*mimePart).isStatus, (*mimePart).looksLikeStatus} {
		before := len(list)
		for i := range p.parts {
			if is(&p.parts[i]) {
				told := p.words()
				list = append(list, foundStatus{&p.parts[i], p, p.returned(), told[:min(len(told), maxTold)]})
			}
		}
		if len(list) > before {
			return list
		}
	}
	for i := range p.parts {
		list = p.parts[i].statuses(list)
	}
	if len(p.parts) == 0 && p.looksLikeStatus() { // a status alone, taken out of its report
		list = append(list, foundStatus{p, p, nil, ""})
	}
	return list
}

// isStatus reports whether p is a delivery status (RFC 3464, 2.1; RFC 6533, 3).
func (p *mimePart) isStatus() bool {
	return p.kind == "message/delivery-status" || p.kind == "message/global-delivery-status"
}

// looksLikeStatus reports whether p is a delivery status under a wrong name.
func (p *mimePart) looksLikeStatus() bool {
	if p.kind != "text/plain" && p.kind != "application/octet-stream" {
		return false
	}
	blocks := readBlocks(p.decoded())
	return slices.ContainsFunc(blocks, func(b statusBlock) bool {
		return b.get("Final-Recipient") != "" && b.get("Action", "Status") != ""
	})
}

// recipients are those of the delivery status.
func (s *foundStatus) recipients() []reported {
	blocks := readBlocks(s.part.decoded())
	var list []reported
	mta := untyped(s.around.field("Reporting-MTA"))
	for i := range blocks {
		b := &blocks[i]
		if name := b.get("Reporting-MTA"); name != "" {
			mta = untyped(name)
		}
		if b.isRecipient() {
			list = append(list, s.recipient(b, mta))
		}
	}
	if len(list) == 0 {
		list = append(list, reported{ReportingMTA: mta, explained: explained{Error: "the delivery status names no recipient"}})
	}
	return list
}

// recipient reads one block.
func (s *foundStatus) recipient(b *statusBlock, mta string) reported {
	r := reported{
		Recipient:         strings.Trim(untyped(b.get("Final-Recipient", "X-Actual-Recipient", "Original-Recipient")), "<>"),
		OriginalRecipient: strings.Trim(untyped(b.get("Original-Recipient")), "<>"),
		Action:            strings.ToLower(withoutComment(b.get("Action"))),
		Status:            withoutComment(b.get("Status")),
		Remote:            untyped(b.get("Remote-MTA")),
		ReportingMTA:      mta,
		MessageID:         s.original.get("Message-ID"),
		Subject:           s.original.subject(),
	}
	if r.OriginalRecipient == r.Recipient {
		r.OriginalRecipient = ""
	}
	r.symptom = s.symptom(b, &r)
	return r
}

// symptom is what the engine is asked about: the reply that the block quotes, or the wording, or, where it quotes none,
// what the report tells a person of this recipient; the Status speaks where the reply has no enhanced code.
func (s *foundStatus) symptom(b *statusBlock, r *reported) diagnose.Symptom {
	y := diagnose.Symptom{Upstream: hostName(r.Remote), Facts: s.original.facts(s.around)}
	y.Facts.Recipient = r.Recipient
	said := diagnosticText(b.get("Diagnostic-Code"))
	if y.Reply = diagnose.ParseReply(said); y.Reply.Code == 0 {
		y.Reply, y.Text = diagnose.Reply{}, unfolded(said)
	}
	if said == "" {
		y.Reply = replyNear(s.told, r.Recipient)
	}
	if e, ok := diagnose.ParseEnhanced(r.Status); ok && y.Reply.Enhanced.IsZero() && (e.Subject != 0 || e.Detail != 0) {
		y.Reply.Enhanced = e // RFC 3464, 2.3.4
	}
	if y.Reply.Code == 0 && y.Reply.Enhanced.IsZero() && y.Text == "" {
		y.Text = cmp.Or(strings.TrimSpace(r.Action+" "+r.Status), "failed") // so little is told of why
	}
	if isSuccess(r.Action) && y.Reply.Code == 0 {
		y.Reply.Code = 250
	}
	return y
}

// diagnosticText is a Diagnostic-Code without its type (RFC 3464, 2.3.6), which some leave out.
func diagnosticText(value string) string {
	kind, said, found := strings.Cut(value, ";")
	if !found || strings.ContainsAny(strings.TrimSpace(kind), " \n") {
		return value
	}
	return strings.TrimSpace(said)
}

// isSuccess reports whether an action tells of no refusal (RFC 3464, 2.3.3).
func isSuccess(action string) bool {
	return action == "delivered" || action == "relayed" || action == "expanded"
}

// replyNear finds the refusal that a text quotes next behind an address, line by line.
func replyNear(text, address string) diagnose.Reply {
	const reach = 4 << 10
	at := strings.Index(strings.ToLower(text), strings.ToLower(address))
	if at < 0 || at > len(text) || address == "" {
		return diagnose.Reply{}
	}
	text = text[at:]
	for line := range strings.Lines(text[:min(len(text), reach)]) {
		if quotesRefusal(line) {
			return diagnose.ParseReply(line)
		}
	}
	return diagnose.Reply{}
}

// untyped is a field's value without its type, as in "rfc822; bob@example.com".
func untyped(value string) string {
	value = unfolded(value)
	if _, rest, found := strings.Cut(value, ";"); found {
		value = rest
	}
	return strings.TrimSpace(value)
}

// withoutComment is a value in front of a comment in brackets (RFC 5322, 3.2.2).
func withoutComment(value string) string {
	value, _, _ = strings.Cut(unfolded(value), "(")
	return strings.TrimSpace(value)
}

// hostName is the name in "mx.example.com (192.0.2.1)" or "mx.example.com [192.0.2.1]".
func hostName(s string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return strings.Trim(name, "[]()")
}

// errNotEnriched says why a report came out as it went in.
var errNotEnriched = errors.New("no delivery status is found in the report: it is emitted as it is")

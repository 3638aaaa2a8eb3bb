package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mailwhy/diagnose"
)

// explained is what is printed of one reply.
type explained struct {
	Error    string `json:"error,omitempty"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Text     string `json:"text"`
	*diagnose.Diagnosis
}

// maxQuoted is how much of a text that could not be read is shown, bytes.
const maxQuoted = 1024

// unreadable is the answer where there is none.
func unreadable(s string, why error) explained {
	return explained{Error: why.Error(), Text: cut(strings.TrimSpace(s), maxQuoted)}
}

// explainSymptom diagnoses a symptom.
func explainSymptom(e *diagnose.Engine, s *diagnose.Symptom) explained {
	d := e.Diagnose(*s)
	x := explained{Code: s.Reply.Code, Enhanced: s.Reply.Enhanced.String(), Text: s.Reply.Text, Diagnosis: &d}
	if x.Code == 0 {
		x.Text = strings.Join(strings.Fields(s.Text), " ")
	}
	return x
}

// cut shortens s to at most max bytes, at a character, and marks the cut.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max] + "..."
}

// print prints one answer, in one write, so that whoever reads gets it at once.
func (d *diagnoser) print(x explained) error {
	if x.Error != "" {
		d.failed = true
	}
	return d.printBlock(x, x.write)
}

// printBlock prints v as JSON, or a block of text for a person, in one write.
func (d *diagnoser) printBlock(v any, text func(*bytes.Buffer)) error {
	if d.json {
		return d.printJSON(v)
	}
	var b bytes.Buffer
	if d.blocks++; d.blocks > 1 {
		b.WriteByte('\n')
	}
	text(&b)
	_, err := d.out.Write(b.Bytes())
	return err
}

// printJSON prints one object on a line.
func (d *diagnoser) printJSON(v any) error {
	b, err := safeJSON(v)
	if err != nil {
		return err
	}
	_, err = d.out.Write(append(b, '\n'))
	return err
}

// safeJSON is v as JSON on one line that a terminal can show: what acts on one without being seen is
// escaped, too.
func safeJSON(v any) ([]byte, error) {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	b := make([]byte, 0, plain.Len())
	for _, r := range strings.TrimSuffix(plain.String(), "\n") {
		switch {
		case !unicode.IsControl(r) && !unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			b = utf8.AppendRune(b, r)
		case r > 0xffff: // RFC 8259, 7: as a UTF-16 surrogate pair
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b, nil
}

// said is what was said, on one line.
func (x *explained) said() string {
	s := strings.TrimSpace(x.Enhanced + " " + cut(x.Text, maxQuoted))
	if x.Code != 0 {
		s = strings.TrimSpace(fmt.Sprintf("%d %s", x.Code, s))
	}
	return s
}

// write writes an answer for a person: what was said, why and who must act, then the rest.
func (x *explained) write(b *bytes.Buffer) {
	fmt.Fprintln(b, printable(x.said()))
	if x.Diagnosis == nil {
		item(b, "error", x.Error)
		return
	}
	writeDiagnosis(b, x.Diagnosis)
}

// writeDiagnosis writes what a refusal means.
func writeDiagnosis(b *bytes.Buffer, d *diagnose.Diagnosis) {
	reason := strings.ReplaceAll(string(d.Reason), "_", " ")
	if d.Category == "" { // no refusal: nobody must act
		paragraph(b, "  ", "  ", reason+": "+d.Cause)
		return
	}
	paragraph(b, "  ", "  ", fmt.Sprintf("%s: %s must act", reason, d.Owner.Words()))
	label := string(d.Category)
	if !d.InGuide {
		label += " (not one of the guide's)"
	}
	item(b, "category", label)
	item(b, "cause", d.Cause)
	steps(b, "fix", d.Fix)
	for i, e := range d.Evidence {
		item(b, first(i, "evidence"), e)
	}
	writeFacts(b, d)
	item(b, "basis", basisWords(d))
	for i, link := range d.Links {
		item(b, first(i, "see"), link)
	}
}

// writeFacts writes what the reply itself says beside its reason.
func writeFacts(b *bytes.Buffer, d *diagnose.Diagnosis) {
	item(b, "provider", d.Provider)
	if d.RetryAfter > 0 {
		item(b, "retry", "not before "+time.Duration(d.RetryAfter).String()+" have passed")
	}
	if l := d.Blocklist; l != nil {
		item(b, "blocklist", l.Name)
		for _, link := range []string{l.Lookup, l.Removal} {
			item(b, "", link)
		}
	}
	if d.SizeLimit > 0 {
		item(b, "limit", fmt.Sprintf("%d bytes", d.SizeLimit))
	}
	item(b, "domain", d.Domain)
	item(b, "address", d.IP)
}

// basisWords say what a diagnosis rests on and what else it could be.
func basisWords(d *diagnose.Diagnosis) string {
	basis := map[diagnose.Basis]string{
		diagnose.BasisText:     "the wording",
		diagnose.BasisPair:     "the pair of codes in the guide's table",
		diagnose.BasisEnhanced: "the enhanced code alone",
		diagnose.BasisCode:     "the basic code alone",
		diagnose.BasisStage:    "where in the exchange it was said",
		diagnose.BasisNetwork:  "there is no reply",
		diagnose.BasisProvider: "the provider's own type",

		diagnose.BasisFrontDoor: "the relay's own decision",
	}[d.Basis]
	text := fmt.Sprintf("%s; confidence %s; rule %s", basis, d.Confidence, d.Rule)
	if len(d.Alternatives) > 0 {
		text += "; it could also be " + joinNames(d.Alternatives)
	}
	return text
}

// wrapAt is the column at which text for people is broken.
const wrapAt = 100

// itemWidth is the column of the values of items, behind two spaces, the longest name and two more.
const itemWidth = 14

// item writes a named value; without a value it writes nothing.
func item(b *bytes.Buffer, name, value string) {
	if value != "" {
		paragraph(b, fmt.Sprintf("  %-*s", itemWidth-2, name), strings.Repeat(" ", itemWidth), value)
	}
}

// steps writes a named list of ordered steps; a single step has no number.
func steps(b *bytes.Buffer, name string, list []string) {
	for i, s := range list {
		if len(list) == 1 {
			item(b, name, s)
			return
		}
		number := fmt.Sprintf("%d. ", i+1)
		paragraph(b, fmt.Sprintf("  %-*s%s", itemWidth-2, first(i, name), number),
			strings.Repeat(" ", itemWidth+len(number)), s)
	}
}

// first is the name for the first of several values.
func first(i int, name string) string {
	if i == 0 {
		return name
	}
	return ""
}

// paragraph writes text in lines of at most wrapAt columns, where words allow it.
func paragraph(b *bytes.Buffer, head, indent, text string) {
	b.WriteString(head)
	column := utf8.RuneCountInString(head)
	for i, word := range strings.Fields(printable(text)) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > wrapAt:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
}

// printable is s as one line that a terminal can show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '?'
	}, s)
}

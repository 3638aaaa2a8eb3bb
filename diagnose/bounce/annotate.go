package bounce

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"mime/quotedprintable"
	"strings"
)

// Annotated is a bounce with fields added to its delivery status.
type Annotated struct {
	File       []byte
	Recipients int     // whose block has the fields, or needs none; 0: File is as it was
	Limits     []Limit // the bounds that the file goes beyond: of what lies there nothing was annotated
}

// mark is a field that a block has when it was annotated before.
const mark = "X-Mailwhy-Category"

// Annotate adds to each recipient's block of the delivery statuses in file, last in it, the header fields
// that fields returns for it: lines that end in CRLF, the first of them X-Mailwhy-Category, or nothing. Every
// other byte stays as it is, but where a status is encoded: there the encoding of that part is made anew. The
// fields get the line ends that the status has. A block that has been annotated is left alone. Of a file
// larger than MaxSize nothing is annotated.
func Annotate(file []byte, fields func(*Recipient) []byte) Annotated {
	if len(file) > MaxSize {
		return Annotated{File: file, Limits: []Limit{LimitSize}}
	}
	d := newDocument(file)
	root := d.readPart(d.text, 0, len(d.text), 0, false)
	a, done := Annotated{}, 0
	for _, s := range root.allStatuses(nil) {
		if s.part.foreign || s.part.start < done {
			continue
		}
		body, n := s.annotated(file[:s.part.start], file[s.part.start:s.part.end], fields)
		a.Recipients += n
		a.File = append(append(a.File, file[done:s.part.start]...), body...)
		done = s.part.end
	}
	a.File = append(a.File, file[done:]...)
	a.Limits = d.limits
	return a
}

// annotated is a delivery status, encoded as it was, with the fields. before is what stands in front of its
// body, body how that stands in the file.
func (s *status) annotated(before, body []byte, fields func(*Recipient) []byte) (out []byte, recipients int) {
	plain, err := s.part.decode(body)
	if err != nil {
		return body, 0
	}
	w := insertion{plain: plain, eol: lineEnding(plain)}
	for b := range s.part.doc.blocks(inLines(plain)) {
		if !b.isRecipient() || !s.part.doc.another() {
			continue
		}
		recipients++
		if b.get(mark) != "" {
			continue
		}
		r := s.recipient(&b)
		w.insert(fields(&r), b.end)
	}
	if w.done == 0 {
		return body, recipients
	}
	return encode(w.whole(), s.part.encoding(), lineBreak(before, lineEnding(before))), recipients
}

// insertion is a text while lines are put between its own.
type insertion struct {
	plain []byte
	eol   string // of its lines
	done  int    // of plain, bytes
	out   bytes.Buffer
}

// insert puts lines that end in CRLF behind plain[:at]. The last line of a part has no line end, since that
// belongs to the boundary.
func (w *insertion) insert(lines []byte, at int) {
	if len(lines) == 0 {
		return
	}
	w.out.Write(w.plain[w.done:at])
	w.done = at
	text := strings.TrimSuffix(string(lines), "\r\n")
	if w.eol != "" {
		text = strings.ReplaceAll(text, "\r\n", w.eol)
	}
	if lineBreak(w.plain[:at], w.eol) == "" {
		w.out.WriteString(cmp.Or(w.eol, "\r\n") + text)
	} else {
		w.out.WriteString(text + w.eol)
	}
}

// whole is the text with what was put in.
func (w *insertion) whole() []byte {
	w.out.Write(w.plain[w.done:])
	return w.out.Bytes()
}

// encode is a body in a transfer encoding (RFC 2045, 6.7 and 6.8), in lines that end in eol.
func encode(body []byte, encoding, eol string) []byte {
	var b bytes.Buffer
	switch encoding {
	case "base64":
		s := base64.StdEncoding.EncodeToString(body)
		for ; len(s) > 76; s = s[76:] {
			b.WriteString(s[:76] + "\r\n")
		}
		b.WriteString(s)
	case "quoted-printable":
		w := quotedprintable.NewWriter(&b)
		w.Write(body) // neither this nor Close fails: b does not
		w.Close()
	default:
		return body
	}
	if eol == "\r\n" || eol == "" {
		return b.Bytes()
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte(eol))
}

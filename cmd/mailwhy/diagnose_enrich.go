package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime/quotedprintable"

	"mailwhy/relay/dsn"
)

// enrichFile emits a bounce with our annotation last in each recipient's block of its delivery status. Every other byte
// stays as it is, but where the status is encoded: there the encoding of that part is made anew. A bounce that cannot
// be annotated is emitted whole as it came, so that a filter loses nothing, and is an error.
func (d *diagnoser) enrichFile(name string) error {
	file, err := d.readReport(name)
	if err != nil {
		return err
	}
	out, blocks := d.enriched(file)
	if _, err := d.out.Write(out); err != nil {
		return err
	}
	if blocks == 0 {
		return fmt.Errorf("%s: %w", name, errNotEnriched)
	}
	return nil
}

// enriched is a bounce with its annotation, and how many recipients' blocks have one now.
func (d *diagnoser) enriched(file []byte) (out []byte, blocks int) {
	budget := maxParts
	root := readMIME(file, 0, len(file), 0, &budget)
	done := 0
	for _, s := range root.statuses(nil) {
		if s.part.foreign || s.part.start < done {
			continue
		}
		body, n := d.enrichStatus(&s)
		blocks += n
		out = append(append(out, file[done:s.part.start]...), body...)
		done = s.part.end
	}
	return append(out, file[done:]...), blocks
}

// enrichStatus is the body of a delivery status, encoded as it was, with its annotation.
func (d *diagnoser) enrichStatus(s *foundStatus) (body []byte, blocks int) {
	plain, err := s.part.decode()
	if err != nil {
		return s.part.body(), 0
	}
	var b bytes.Buffer
	done, added := 0, 0
	list := readBlocks(plain)
	for i := range list {
		block := &list[i]
		switch {
		case !block.isRecipient():
			continue
		case block.annotated():
			blocks++
			continue
		}
		r := s.recipient(block, "")
		d.explainReported(&r)
		if r.Category == "" { // delivered, or else no refusal
			blocks++
			continue
		}
		b.Write(plain[done:block.end])
		writeAnnotation(&b, dsn.Annotation(r.Diagnosis))
		done = block.end
		blocks, added = blocks+1, added+1
	}
	if added == 0 {
		return s.part.body(), blocks
	}
	b.Write(plain[done:])
	return s.part.encodeAgain(b.Bytes()), blocks
}

// writeAnnotation writes fields behind a block, with line ends like those that are there. The last line of a part has
// none, since it belongs to the boundary.
func writeAnnotation(b *bytes.Buffer, fields []byte) {
	if !bytes.Contains(b.Bytes(), []byte("\r\n")) {
		fields = bytes.ReplaceAll(fields, []byte("\r\n"), []byte("\n"))
	}
	n := lineBreak(fields)
	if lineBreak(b.Bytes()) == 0 {
		b.Write(fields[len(fields)-n:])
		fields = fields[:len(fields)-n]
	}
	b.Write(fields)
}

// encodeAgain encodes a body as p is encoded (RFC 2045, 6.7 and 6.8), with line ends like those of p's header.
func (p *mimePart) encodeAgain(body []byte) []byte {
	var b bytes.Buffer
	switch p.encoding() {
	case "base64":
		s := base64.StdEncoding.EncodeToString(body)
		for ; len(s) > 76; s = s[76:] {
			b.WriteString(s[:76] + "\r\n")
		}
		b.WriteString(s)
	case "quoted-printable":
		w := quotedprintable.NewWriter(&b)
		w.Write(body)
		w.Close()
	default:
		return body
	}
	if lineBreak(p.file[:p.start]) == 1 {
		return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n"))
	}
	return b.Bytes()
}

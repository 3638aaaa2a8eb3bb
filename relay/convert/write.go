package convert

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// writer is the visitor that writes a content with what has to be done to its parts.
type writer struct {
	out   *bufio.Writer
	parts []action
	needs Needs
	coder io.WriteCloser // of the part's body; nil: it passes
}

func newWriter(w io.Writer, parts []action, n Needs) *writer {
	return &writer{out: bufio.NewWriterSize(w, chunk), parts: parts, needs: n}
}

func (w *writer) flush() error { return w.out.Flush() }

func (w *writer) header(p *part, h []byte) error {
	a := w.parts[p.n]
	w.coder = newCoder(w.out, p.encoded, a.to)
	label := a.to
	if p.kind != kindLeaf && w.needs.SevenBit && !p.frozen && p.encoded != sevenBit {
		label = sevenBit // RFC 2045, 6.4: nothing in it is 8-bit any more
	}
	if label == p.encoded {
		label = "" // it is labelled already
	}
	if !a.header && label == "" {
		_, err := w.out.Write(h)
		return err
	}
	labelled := label == ""
	var err error
	eachField(h, func(name string, field []byte) {
		switch {
		case err != nil:
		case len(bytes.TrimRight(field, "\r\n")) == 0:
			w.complete(p, &a, label, labelled)
			labelled = true
			_, err = w.out.Write(field)
		case name == "content-transfer-encoding" && label != "":
			if !labelled {
				_, err = fmt.Fprintf(w.out, "Content-Transfer-Encoding: %s\r\n", label)
			}
			labelled = true
		case a.header && !ascii(field):
			if field, err = encodeField(name, field); err == nil {
				_, err = w.out.Write(field)
			}
		default:
			_, err = w.out.Write(field)
		}
	})
	return err
}

// complete adds at the end of a header what a reader needs to know of a body that was encoded.
func (w *writer) complete(p *part, a *action, label encoding, labelled bool) {
	if a.to == "" {
		return
	}
	if !labelled {
		fmt.Fprintf(w.out, "Content-Transfer-Encoding: %s\r\n", label)
	}
	if p.root && !p.mime {
		io.WriteString(w.out, "MIME-Version: 1.0\r\n")
	}
	if !p.typed {
		charset := "utf-8"
		if !a.utf8 {
			charset = unknownCharset
		}
		fmt.Fprintf(w.out, "Content-Type: text/plain; charset=%s\r\n", charset)
	}
}

func (w *writer) body(_ *part, b []byte) error {
	if w.coder != nil {
		_, err := w.coder.Write(b)
		return err
	}
	_, err := w.out.Write(b)
	return err
}

func (w *writer) lineEnd(p *part, b []byte) error { return w.body(p, b) }

func (w *writer) ended(*part) error {
	if w.coder == nil {
		return nil
	}
	err := w.coder.Close()
	w.coder = nil
	return err
}

func (w *writer) around(_ *part, b []byte, boundary bool) error {
	if !boundary && w.needs.SevenBit {
		b = bytes.Map(func(r rune) rune { // nobody is shown these texts
			if r >= 0x80 {
				return '?'
			}
			return r
		}, b)
	}
	_, err := w.out.Write(b)
	return err
}

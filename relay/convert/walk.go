package convert

import (
	"bufio"
	"bytes"
	"io"
)

// The bounds of what is read with certainty.
const (
	maxHeader = 256 << 10 // bytes of the header of a part
	maxParts  = 10_000
	maxDepth  = 50
	chunk     = 32 << 10 // of a line that is longer
)

// visitor hears of a content, piece by piece and in its order: all bytes of it are in one of the calls.
type visitor interface {
	// header has the whole header of a part, with the empty line that ends it, if there is one.
	header(p *part, h []byte) error
	// body has a piece of a line of the part's own body: of a leaf.
	body(p *part, b []byte) error
	// lineEnd has the end of a line of the part's own body.
	lineEnd(p *part, b []byte) error
	// ended says that the part's own body has ended.
	ended(p *part) error
	// around has what stands between parts: boundaries, and the texts before the first and behind the last.
	around(p *part, b []byte, boundary bool) error
}

// walk goes through the parts of a content.
type walk struct {
	in    *input
	to    visitor
	parts int
	open  []string // boundaries of the multiparts around, the outermost first

	begins bool // the piece that was read last begins its line
}

// content goes through a whole content.
func (w *walk) content() error {
	_, err := w.entity(nil, 0)
	return err
}

// stop is why the lines of a part end: at the boundary of the multipart open[level], or at the end of the
// content, where level is -1.
type stop struct {
	level int
	last  bool   // it is the multipart's last boundary
	line  []byte // the boundary
}

// entity goes through a part with its header.
func (w *walk) entity(parent *part, depth int) (stop, error) {
	if w.parts++; w.parts > maxParts || depth > maxDepth {
		return stop{}, &Error{"it has too many parts"}
	}
	h, end, err := w.readHeader()
	if err != nil {
		return stop{}, err
	}
	p := newPart(h, parent, w.parts-1)
	if err := w.to.header(p, h); err != nil {
		return stop{}, err
	}
	switch {
	case end != nil:
		return *end, w.to.ended(p)
	case p.kind == kindMultipart:
		return w.multipart(p, depth)
	case p.kind == kindMessage:
		return w.entity(p, depth+1)
	}
	return w.leaf(p)
}

// readHeader reads a header. end is set when the part ends with it.
func (w *walk) readHeader() (h []byte, end *stop, err error) {
	for {
		line, eol, s, err := w.next()
		switch {
		case err != nil:
			return nil, nil, err
		case s != nil:
			return h, s, nil
		case len(h)+len(line)+len(eol) > maxHeader:
			return nil, nil, &Error{"the header of a part is too long"}
		}
		h = append(append(h, line...), eol...)
		if w.begins && len(line) == 0 {
			return h, nil, nil
		}
	}
}

// multipart goes through the parts of a multipart.
func (w *walk) multipart(p *part, depth int) (stop, error) {
	level := len(w.open)
	w.open = append(w.open, p.boundary)
	s, err := w.text(p)
	for err == nil && s.level == level && !s.last {
		p.parts++
		if err = w.to.around(p, s.line, true); err == nil {
			s, err = w.entity(p, depth+1)
		}
	}
	w.open = w.open[:level]
	if err != nil || s.level != level {
		return s, err // it ends without its last boundary
	}
	if err := w.to.around(p, s.line, true); err != nil {
		return s, err
	}
	return w.text(p)
}

// text goes through what stands before the first part of a multipart, or behind the last.
func (w *walk) text(p *part) (stop, error) {
	for {
		line, eol, s, err := w.next()
		if err != nil || s != nil {
			return deref(s), err
		}
		if err := w.to.around(p, line, false); err != nil {
			return stop{}, err
		}
		if err := w.to.around(p, eol, false); err != nil {
			return stop{}, err
		}
	}
}

// leaf goes through the body of a part. The line end before a boundary belongs to the boundary (RFC 2046,
// 5.1.1).
func (w *walk) leaf(p *part) (stop, error) {
	var held []byte
	for {
		line, eol, s, err := w.next()
		if err != nil {
			return stop{}, err
		}
		if s != nil {
			if s.level < 0 && len(held) > 0 {
				if err := w.to.lineEnd(p, held); err != nil {
					return stop{}, err
				}
				held = held[:0]
			}
			if err := w.to.ended(p); err != nil {
				return stop{}, err
			}
			return *s, w.to.around(p, held, true)
		}
		if len(held) > 0 {
			if err := w.to.lineEnd(p, held); err != nil {
				return stop{}, err
			}
			held = held[:0]
		}
		if err := w.to.body(p, line); err != nil {
			return stop{}, err
		}
		held = append(held, eol...)
	}
}

// next returns the next piece of a line and the line end, if the piece has one, or what ends the part.
func (w *walk) next() (line, eol []byte, end *stop, err error) {
	w.begins = w.in.fresh
	line, eol, err = w.in.next()
	if err == io.EOF {
		return nil, nil, &stop{level: -1}, nil
	}
	if err != nil || !w.begins || !bytes.HasPrefix(line, []byte("--")) {
		return line, eol, nil, err
	}
	for level := len(w.open) - 1; level >= 0; level-- {
		rest, ok := bytes.CutPrefix(line[2:], []byte(w.open[level]))
		if !ok {
			continue
		}
		after, last := bytes.CutPrefix(rest, []byte("--"))
		if len(bytes.TrimRight(after, " \t")) == 0 {
			whole := append(bytes.Clone(line), eol...)
			return nil, nil, &stop{level: level, last: last, line: whole}, nil
		}
	}
	return line, eol, nil, nil
}

func deref(s *stop) stop {
	if s == nil {
		return stop{}
	}
	return *s
}

// input reads lines in pieces.
type input struct {
	r     *bufio.Reader
	fresh bool // a line begins
}

func newInput(r io.Reader) *input { return &input{bufio.NewReaderSize(r, chunk), true} }

// next returns the next piece of a line, and its line end if it has one. Both are good until the next call.
func (in *input) next() (line, eol []byte, err error) {
	b, err := in.r.ReadSlice('\n')
	switch {
	case len(b) == 0:
		return nil, nil, err
	case err != nil && err != bufio.ErrBufferFull && err != io.EOF:
		return nil, nil, err
	}
	if in.fresh = b[len(b)-1] == '\n'; !in.fresh {
		if err == bufio.ErrBufferFull && b[len(b)-1] == '\r' { // it may belong to the line end
			in.r.UnreadByte()
			b = b[:len(b)-1]
		}
		return b, nil, nil
	}
	line = bytes.TrimSuffix(b[:len(b)-1], []byte("\r"))
	return line, b[len(line):], nil
}

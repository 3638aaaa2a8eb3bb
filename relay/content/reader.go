package content

import (
	"bytes"
	"io"

	"mailwhy/relay"
	"mailwhy/relay/internal/fields"
)

// buffer is lent to a reader while the header passes.
type buffer struct {
	in  []byte // of the source: in[r:]
	out []byte // mended
}

// readSize is the least room for a read from the source.
const readSize = 4 << 10

// reader is a content with its header mended.
type reader struct {
	mender *Mender
	m      *relay.Message
	known  bool // the client is
	src    io.Reader

	buf    *buffer // nil before the first read, and once the header has passed
	r      int     // start of the input that was not looked at
	sent   int     // bytes of buf.out that were read
	size   int     // of the mended header so far
	open   bool    // the output does not end with a line end
	first  bool    // no field was seen yet
	looked bool    // signatures were looked for
	long   long    // what happens to the rest of a field that does not fit into memory
	ended  bool    // the header has: what is left of buf is body
	eof    bool    // of the source
	err    error   // of the source, other than io.EOF

	header header
}

// long is what happens to a field that does not fit into memory.
type long int

const (
	longNone long = iota
	longPass
	longDrop
)

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.buf == nil && (r.ended || r.err != nil) {
			return r.rest(p)
		}
		if r.buf == nil {
			r.buf = r.mender.buffers.Get().(*buffer)
			r.buf.in, r.buf.out = r.buf.in[:0], r.buf.out[:0]
		}
		if out := r.buf.out[r.sent:]; len(out) > 0 {
			n := copy(p, out)
			r.sent += n
			return n, nil
		}
		if r.ended {
			return r.body(p)
		}
		if r.err != nil {
			r.giveBack()
			return 0, r.err
		}
		r.buf.out, r.sent = r.buf.out[:0], 0
		r.fill()
		r.mend()
	}
}

// body returns what came of the body together with the header, and then gives the buffer back.
func (r *reader) body(p []byte) (int, error) {
	n := copy(p, r.buf.in[r.r:])
	r.r += n
	if r.r == len(r.buf.in) {
		r.giveBack()
	}
	if n == 0 {
		return r.rest(p)
	}
	return n, nil
}

// rest reads what follows the buffer.
func (r *reader) rest(p []byte) (int, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case r.eof:
		return 0, io.EOF
	}
	return r.src.Read(p)
}

// giveBack returns the buffer, unless an unusual header has made it large.
func (r *reader) giveBack() {
	if cap(r.buf.out) <= 2*MaxHeader {
		r.mender.buffers.Put(r.buf)
	}
	r.buf = nil
}

// fill reads until the header or the content ends or MaxHeader bytes are in memory. It looks at each new byte
// once, so that a slow client costs no more than a fast one.
func (r *reader) fill() {
	b := r.buf
	b.in = b.in[:copy(b.in, b.in[r.r:])]
	r.r = 0
	for fresh := 0; !r.eof && r.err == nil && len(b.in) < MaxHeader && !r.enough(fresh); {
		fresh = len(b.in)
		if len(b.in) == cap(b.in) {
			b.in = append(make([]byte, 0, min(MaxHeader, 2*cap(b.in)+readSize)), b.in...)
		}
		n, err := r.src.Read(b.in[fresh:cap(b.in)])
		b.in = b.in[:fresh+n]
		if err == io.EOF {
			r.eof = true
		} else if err != nil {
			r.err = err
		}
	}
}

// enough reports whether the input, of which the bytes from fresh on are new, can be worked on.
func (r *reader) enough(fresh int) bool {
	if r.long != longNone {
		return len(r.buf.in) > 2 // more than a line end
	}
	return headerEnds(r.buf.in, fresh)
}

// headerEnds reports whether b contains an empty line. The bytes from fresh on are new.
func headerEnds(b []byte, fresh int) bool {
	return bytes.HasPrefix(b, crlf()) || bytes.Contains(b[max(0, fresh-3):], []byte("\r\n\r\n"))
}

func crlf() []byte { return []byte("\r\n") }

// mend takes whole fields from the input, as long as there are any and the output does not grow too large.
func (r *reader) mend() {
	if !r.looked {
		r.looked = true
		r.header.look(r.buf.in)
	}
	for !r.ended && r.err == nil && len(r.buf.out) < MaxHeader {
		in := r.buf.in[r.r:]
		n := fields.End(in, r.eof)
		switch {
		case r.long != longNone:
			if !r.passLong(in, n) {
				return
			}
		case len(in) == 0 && r.eof, bytes.HasPrefix(in, crlf()):
			r.end(false)
		case n == 0 && len(in) < MaxHeader:
			return
		case n == 0:
			r.beginLong(in)
		default:
			r.r += r.line(in, n)
		}
	}
}

// line takes the field of length n at the start of in, and returns the length of what it took. The first
// line is special: From lines of an mbox become fields, as Postfix does it, and a line that begins with a
// blank would continue our own field before it.
func (r *reader) line(in []byte, n int) int {
	name := fields.Name(in[:n])
	if r.first && mboxLine(in) {
		n = bytes.Index(in, crlf()) + 2 // a field of its own, whatever follows
		if n == 1 {
			n = len(in)
		}
		r.emit([]byte("X-Mailbox-Line: "), in[:n])
		note(r.m, "mailbox line renamed")
		return n
	}
	if name == "" {
		r.end(true)
		return 0
	}
	r.first = false
	r.field(name, in[:n])
	return n
}

// mboxLine reports whether a line begins as those that separate the messages of an mbox file, quoted or not.
// From with a blank before its colon is a field (RFC 5322, 4.5).
func mboxLine(b []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(b, ">"), []byte("From "))
	return ok && !bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte(":"))
}

// end ends the header, with an empty line if one is missing. What follows is body.
func (r *reader) end(missing bool) {
	if r.open {
		r.emit(crlf())
	}
	r.complete()
	if missing {
		r.emit(crlf())
		note(r.m, "empty line added")
	}
	r.ended = true
}

// emit appends to the output.
func (r *reader) emit(parts ...[]byte) {
	for _, p := range parts {
		r.buf.out = append(r.buf.out, p...)
		r.size += len(p)
	}
	if most := r.mender.options.MaxHeader; most > 0 && r.size > most {
		r.err = relay.ErrHeaderTooLong
	}
	r.open = len(r.buf.out) > 0 && !bytes.HasSuffix(r.buf.out, crlf())
}

// beginLong begins a field that fills the memory.
func (r *reader) beginLong(in []byte) {
	name := fields.Name(in)
	if name == "" || r.first && mboxLine(in) {
		r.end(true)
		return
	}
	r.first = false
	r.long = longPass
	if r.drops(name) {
		r.long = longDrop
		return
	}
	r.header.saw(name)
	r.r += len(in) - len(r.tidyName(name, in))
}

// passLong passes or drops more of a long field, of which n bytes are left if n is not 0. It reports whether
// the field has ended.
func (r *reader) passLong(in []byte, n int) bool {
	ended := n > 0 || r.eof
	if !ended {
		n = max(0, len(in)-2) // the rest may be the line end
	}
	if r.long == longPass {
		r.emit(in[:n])
	}
	r.r += n
	if ended {
		r.long = longNone
	}
	return ended
}

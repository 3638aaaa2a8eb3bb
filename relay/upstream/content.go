package upstream

import (
	"bytes"
	"io"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// block is how much of a content is read and written at a time.
const block = 32 << 10

// buffers are what an exchange reads content into and writes from.
type buffers struct {
	in  []byte
	out []byte
}

func newBuffers() *buffers {
	return &buffers{in: make([]byte, block), out: make([]byte, 0, block+4<<10)}
}

// dotStuffer makes content transparent (RFC 5321, 4.5.2) block by block.
type dotStuffer struct {
	begun bool
	last  [2]byte // of the content so far
}

// append appends src to dst with a dot before each line that begins with one. A line begins after any LF:
// the front door refuses bare ones, and here they are harmless.
func (s *dotStuffer) append(dst, src []byte) []byte {
	if len(src) == 0 {
		return dst
	}
	if src[0] == '.' && (!s.begun || s.last[1] == '\n') {
		dst = append(dst, '.')
	}
	s.begun = true
	if len(src) == 1 {
		s.last = [2]byte{s.last[1], src[0]}
	} else {
		s.last = [2]byte(src[len(src)-2:])
	}
	for {
		i := bytes.Index(src, []byte("\n."))
		if i < 0 {
			return append(dst, src...)
		}
		dst = append(append(dst, src[:i+1]...), '.')
		src = src[i+1:]
	}
}

// end appends the end of data, after a line end if the content does not end with one.
func (s *dotStuffer) end(dst []byte) []byte {
	if s.begun && s.last != [2]byte{'\r', '\n'} {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, ".\r\n"...)
}

// content writes the content, together with the next envelope if there is one, and reads the verdict.
func (x *exchange) content(p *part) *part {
	follow, l := x.stream(p)
	if l == nil {
		var r reply
		if r, l = x.heed(diagnose.StageEndOfData, x.p.opt.Timeouts.EndOfData); l != nil {
			l.dot = true
		} else {
			x.settle(p, diagnose.StageEndOfData, r)
			x.c.reused, x.c.dirty = true, r.class() != 2 && follow == nil
		}
	}
	if l != nil && follow != nil {
		follow.rewind()
	}
	if l != nil && x.lost(p, l) {
		return p
	}
	return x.then(p, follow)
}

// stream writes the content and the final dot. It returns the part that follows, whose envelope it wrote
// after the dot if possible.
func (x *exchange) stream(p *part) (follow *part, l *loss) {
	defer p.close()
	c, b := x.c, x.buf
	c.streaming.Store(true)
	defer c.streaming.Store(false)
	var dots dotStuffer
	b.out = b.out[:0]
	for {
		n, err := p.content.Read(b.in)
		b.out = dots.append(b.out, b.in[:n])
		if err != nil && err != io.EOF {
			p.d.err = err
			return nil, &loss{stage: diagnose.StageEndOfData, rep: reply{err: err}}
		}
		if c.spoke() {
			return nil, x.early()
		}
		if err == io.EOF {
			break
		}
		if len(b.out) >= block {
			if err := c.write(b.out, x.p.opt.Timeouts.Write); err != nil {
				return nil, x.interrupted(err)
			}
			b.out = b.out[:0]
		}
	}
	b.out = dots.end(b.out)
	follow = x.following(p)
	c.streaming.Store(false)
	if c.spoke() { // the deadline that woke the last write must not apply to the next one
		return follow, x.early()
	}
	if err := c.write(b.out, x.p.opt.Timeouts.Write); err != nil {
		r := c.lastWords(err)
		return follow, &loss{stage: diagnose.StageEndOfData, rep: r, dot: true}
	}
	return follow, nil
}

// early is the loss of a connection whose server replied before the end of data. The reply is the verdict,
// unless it claims success: a server cannot accept what it has not received.
func (x *exchange) early() *loss { return x.verdict(x.c.await(0)) }

// interrupted is the loss of a connection that stopped taking content.
func (x *exchange) interrupted(err error) *loss { return x.verdict(x.c.lastWords(err)) }

func (x *exchange) verdict(r reply) *loss {
	if r.err == nil && r.class() != 4 && r.class() != 5 && !r.ending() {
		r = reply{err: &protocolError{r.raw}}
	}
	return &loss{stage: diagnose.StageEndOfData, rep: r}
}

// following gets the part that comes after p and appends its envelope to the end of data, if both can be
// one write (RFC 2920, 3.1).
func (x *exchange) following(p *part) *part {
	c := x.c
	if !c.ext.Pipelining || x.ctx.Err() != nil || !c.fit() {
		return nil
	}
	var follow *part
	if len(p.d.waiting) > 0 {
		follow = &part{d: p.d}
	} else if t := x.next(); t != nil {
		follow = begin(t)
	}
	if follow != nil && x.prepare(follow) {
		x.buf.out = x.envelope(x.buf.out, follow)
		follow.ahead = true
	}
	return follow
}

// eightBit reports whether the transaction's content has a byte that is not ASCII.
func eightBit(t *relay.Transaction, buf []byte) (bool, error) {
	r, err := t.Open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	for {
		n, err := r.Read(buf)
		if !ascii(buf[:n]) {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

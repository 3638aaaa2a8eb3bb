package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// Buffers lends each connection its small buffer, and a large one while content flows. It is safe for
// concurrent use.
type Buffers struct{ small, large sync.Pool }

// NewBuffers makes a Buffers.
func NewBuffers() *Buffers {
	return &Buffers{
		small: sync.Pool{New: func() any { return new([smallBuffer]byte) }},
		large: sync.Pool{New: func() any { return new([largeBuffer]byte) }},
	}
}

// input is what has been received but not used yet: buf[r:w].
type input struct {
	buf   []byte
	r, w  int
	small *[smallBuffer]byte // the array of buf, unless lent is
	lent  *[largeBuffer]byte // the array of buf while it is a large one
}

func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// room makes space for more input: it starts over, moves the rest to the front, or takes a larger buffer.
func (in *input) room(from *Buffers) {
	switch {
	case in.buf == nil:
		in.small = from.small.Get().(*[smallBuffer]byte)
		in.buf = in.small[:]
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.w < len(in.buf):
	case in.r > 0:
		in.w = copy(in.buf, in.bytes())
		in.r = 0
	default:
		in.enlarge(from)
	}
}

// enlarge moves the rest into a borrowed large buffer.
func (in *input) enlarge(from *Buffers) {
	if in.lent != nil {
		return
	}
	lent := from.large.Get().(*[largeBuffer]byte)
	in.w = copy(lent[:], in.bytes())
	in.r, in.buf, in.lent = 0, lent[:], lent
}

// giveBack returns the borrowed buffer if the rest fits into a small one.
func (in *input) giveBack(to *Buffers) {
	if in.lent == nil || in.w-in.r > smallBuffer {
		return
	}
	in.w = copy(in.small[:], in.bytes())
	in.r, in.buf = 0, in.small[:]
	to.large.Put(in.lent)
	in.lent = nil
}

// end returns all buffers and drops the rest.
func (in *input) end(to *Buffers) {
	if in.lent != nil {
		to.large.Put(in.lent)
	}
	if in.small != nil {
		to.small.Put(in.small)
	}
	*in = input{}
}

// errDrain is returned by fill when a drain must end the session.
var errDrain = errors.New("draining")

// fill writes the pending replies and reads more input. until gives the deadline; fill calls it again when
// a read was woken early.
func (c *Conn) fill(until func(now time.Time) time.Time) error {
	if err := c.flush(); err != nil {
		return err
	}
	c.in.room(c.cfg.Buffers)
	for {
		c.setReadDeadline(until(time.Now()))
		if c.drainNow() {
			return errDrain
		}
		n, err := c.nc.Read(c.in.buf[c.in.w:])
		c.in.w += n
		if n > 0 {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(c.deadline) {
			c.deadline = time.Time{} // Drain set another one
			continue
		}
		if err != nil {
			return err
		}
	}
}

// drainNow reports whether a drain must end the session before the next command is read. The flag is
// checked after the deadline is set, and Drain sets them in the other order, so one of the two always
// notices.
func (c *Conn) drainNow() bool {
	return c.mode != modeContent && !c.leaving && c.draining.Load() && !c.cfg.Dialogue.Busy()
}

// setReadDeadline moves the deadline of reads. It sets a later one only if that gains an eighth of the
// time, because each move costs a timer.
func (c *Conn) setReadDeadline(t time.Time) {
	gain := t.Sub(c.deadline)
	if !c.deadline.IsZero() && gain >= 0 && gain < time.Until(t)/8 {
		return
	}
	c.deadline = t
	c.raw.SetReadDeadline(t)
}

// errLineTooLong is returned by readLine for a command line over the limit.
var errLineTooLong = errors.New("line too long")

// readLine returns the next line of input without its line end. Commands may end in LF only, as people and
// probes type them; content may not. Of a TLS handshake it returns TLSHello, and drops the rest. The
// line is valid until the next read.
func (c *Conn) readLine(limit int) ([]byte, error) {
	wait := c.cfg.Limits.Idle
	if c.leaving {
		wait = min(wait, quitGrace)
	}
	idle := func(now time.Time) time.Time { return now.Add(wait) }
	for {
		in := c.in.bytes()
		if isHello(in) { // a line end in it would have no meaning
			c.in.r = c.in.w
			return []byte(TLSHello), nil
		}
		if i := bytes.IndexByte(in, '\n'); i >= 0 {
			c.in.r += i + 1
			line := bytes.TrimSuffix(in[:i], []byte{'\r'})
			if len(line) > limit {
				return nil, errLineTooLong
			}
			return line, nil
		}
		if len(in) > limit+1 || len(in) == largeBuffer {
			return nil, errLineTooLong
		}
		if err := c.fill(idle); err != nil {
			if err == io.EOF && len(in) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// isHello reports whether the input begins with a TLS handshake, or with one in the form of SSL 2, as very
// old clients send it (RFC 5246, E.2).
func isHello(in []byte) bool {
	return bytes.HasPrefix(in, []byte(TLSHello)) ||
		len(in) > 4 && in[0] >= 0x80 && in[2] == 1 && (in[3] == 3 || in[3] == 0 && in[4] == 2)
}

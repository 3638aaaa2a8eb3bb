package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// The errors of Content.Read. After those for which Fatal is true, the connection ends with the reply.
var (
	ErrBareLF      = errors.New("LF without CR in content")
	ErrBareCR      = errors.New("CR without LF in content")
	ErrNUL         = errors.New("NUL in content")
	ErrTooLarge    = errors.New("content over the size limit")
	ErrLineTooLong = errors.New("content line over the length limit")
	ErrIdle        = fmt.Errorf("content stalled: %w", os.ErrDeadlineExceeded)
	ErrTooSlow     = fmt.Errorf("content too slow: %w", os.ErrDeadlineExceeded)
)

// Content is the content of one message, without the dots that the client added. Read returns io.EOF only
// after the final dot; every other end is an error, io.ErrUnexpectedEOF if the client left.
type Content struct {
	c        *Conn
	start    time.Time
	received int64  // raw bytes
	n        int64  // bytes of content
	line     int    // bytes of the current line
	begin    bool   // at the beginning of a line, after CRLF
	lfOnly   bool   // LF.LF was seen: the client thinks that it has ended the content
	cr       bool   // a CR was seen
	discard  bool   // the rest is thrown away, and only drained limits it
	drained  int64  // bytes discarded
	pending  []byte // ready for the reader: part of the input buffer, or of fixed
	fixed    []byte // normalized input
	err      error
}

func newContent(c *Conn) *Content { return &Content{c: c, start: time.Now(), begin: true} }

// Content is what follows the server's 354; nil if there was none. It is valid until Session.Data returns.
func (c *Conn) Content() *Content {
	if c.mode != modeContent {
		return nil
	}
	return c.content
}

// Read implements io.Reader. Its errors stay.
func (t *Content) Read(p []byte) (int, error) {
	for len(t.pending) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.pending, t.err = t.next()
	}
	n := copy(p, t.pending)
	t.pending = t.pending[n:]
	return n, nil
}

// LFOnly reports whether LF.LF was seen in the content: the sign of a client that ends its lines with LF
// only and waits for a reply that cannot come.
func (t *Content) LFOnly() bool { return t.lfOnly }

// Normalized reports whether bare CR or LF was turned into CRLF.
func (t *Content) Normalized() bool { return t.fixed != nil }

// lfEnds reports whether a line may end, and the content may end, in LF alone: for a lenient client, as long
// as it has not sent a single CR. Of a client that relays the mail of others this is never true, since the
// lines of its own header end in CRLF; so nobody can smuggle a message through it.
func (t *Content) lfEnds() bool { return t.c.lenient && !t.cr }

// Fatal reports whether err must end the session because it is not known where the content ends.
func Fatal(err error) bool {
	return err != io.EOF && err != ErrTooLarge && err != ErrLineTooLong
}

// next returns the next piece of content, if possible without copying it from the input buffer. Its errors
// are final.
func (t *Content) next() ([]byte, error) {
	for {
		in := t.c.in.bytes()
		if t.begin && len(in) > 0 && in[0] == '.' {
			if len(in) == 1 || len(in) == 2 && in[1] == '\r' { // perhaps the end
				if err := t.fill(); err != nil {
					return nil, err
				}
				continue
			}
			t.begin = false
			if in[1] == '\n' && t.lfEnds() {
				t.c.in.r += 2
				return nil, io.EOF
			}
			if in[1] == '\r' && len(in) > 2 && in[2] == '\n' {
				t.c.in.r += 3
				return nil, io.EOF
			}
			t.c.in.r++ // RFC 5321, 4.5.2
			continue
		}
		piece, err := t.take(in)
		if err != nil {
			return nil, err
		}
		if len(piece) > 0 {
			return piece, t.count(len(piece))
		}
		if err := t.fill(); err != nil {
			return nil, err
		}
	}
}

// count checks the content against the size limit.
func (t *Content) count(n int) error {
	if t.discard {
		t.drained += int64(n)
		return nil
	}
	t.n += int64(n)
	if limit := t.c.cfg.Limits.Content; limit > 0 && t.n > limit {
		return ErrTooLarge
	}
	return nil
}

// take consumes lines from in until one begins with a dot, or in ends, and returns them. Of an incomplete
// line it takes what there is, except a final CR.
func (t *Content) take(in []byte) ([]byte, error) {
	end := 0
	for end < len(in) && !(t.begin && in[end] == '.') {
		i := bytes.IndexByte(in[end:], '\n')
		whole := i >= 0
		piece := in[end:]
		if whole {
			piece = in[end : end+i+1]
		} else if piece[len(piece)-1] == '\r' {
			piece = piece[:len(piece)-1]
		}
		err := check(piece, whole)
		t.cr = t.cr || whole && err == nil || err == ErrBareCR
		if err != nil && err != ErrNUL && (t.c.cfg.Normalize || t.c.lenient) {
			return t.normalize(in[:end], piece)
		}
		if err != nil {
			return nil, err
		}
		end += len(piece)
		if err := t.measure(len(piece), whole); err != nil {
			t.c.in.r += end
			return nil, err
		}
		if !whole {
			break
		}
	}
	t.c.in.r += end
	return in[:end], nil
}

// measure records the position of the next byte and checks the current line against the length limit.
func (t *Content) measure(n int, whole bool) error {
	length := t.line + n
	t.line = length
	if n > 0 {
		t.begin = whole
	}
	if whole {
		t.line = 0
	}
	if limit := t.c.cfg.Limits.ContentLine; limit > 0 && length > limit && !t.discard {
		return ErrLineTooLong
	}
	return nil
}

// check looks for bytes that are not allowed in a line, or in the beginning of one. take leaves out a CR at
// the end of an incomplete line.
func check(piece []byte, whole bool) error {
	text := piece
	if whole {
		text = piece[:len(piece)-1]
		if len(text) == 0 || text[len(text)-1] != '\r' {
			return ErrBareLF
		}
		text = text[:len(text)-1]
	}
	if bytes.IndexByte(text, '\r') >= 0 {
		return ErrBareCR
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return ErrNUL
	}
	return nil
}

// normalize consumes before, which is clean, and line, and returns them with each bare CR and LF of line
// turned into CRLF. A dot after a bare LF has no meaning: only CRLF.CRLF ends content (RFC 5321, 4.1.1.4),
// but see lfEnds.
func (t *Content) normalize(before, line []byte) ([]byte, error) {
	if bytes.IndexByte(line, 0) >= 0 {
		return nil, ErrNUL
	}
	t.cr = t.cr || bytes.IndexByte(line, '\r') >= 0
	t.fixed = append(t.fixed[:0], before...)
	from := len(t.fixed)
	for i, b := range line {
		switch {
		case b == '\r' && i+1 < len(line) && line[i+1] == '\n': // with the LF
		case b == '\r', b == '\n':
			t.fixed = append(t.fixed, '\r', '\n')
		default:
			t.fixed = append(t.fixed, b)
		}
	}
	t.c.in.r += len(before) + len(line)
	err := t.measure(len(t.fixed)-from, whole(line))
	t.begin = bytes.HasSuffix(line, []byte("\r\n")) || whole(line) && t.lfEnds()
	t.lfOnly = t.lfOnly || string(line) == ".\n"
	return t.fixed, err
}

// whole reports whether a line has its end.
func whole(line []byte) bool { return line[len(line)-1] == '\n' }

// fill reads more of the content.
func (t *Content) fill() error {
	in := &t.c.in
	if in.w == len(in.buf) && in.buf != nil {
		in.enlarge(t.c.cfg.Buffers)
	}
	before := in.w - in.r
	err := t.c.fill(t.deadline)
	t.received += int64(in.w - in.r - before)
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case time.Now().Before(t.allowance()):
		return ErrIdle
	}
	return ErrTooSlow
}

// deadline is when the next byte must have come.
func (t *Content) deadline(now time.Time) time.Time {
	d := now.Add(t.c.cfg.Limits.ContentIdle)
	if a := t.allowance(); a.Before(d) {
		return a
	}
	return d
}

// allowance is when the content must have ended, given how much has come.
func (t *Content) allowance() time.Time {
	l := &t.c.cfg.Limits
	end := t.start.Add(l.ContentTotal)
	if l.MinRate > 0 {
		earned := time.Duration(float64(t.received) / float64(l.MinRate) * float64(time.Second))
		if slow := t.start.Add(l.Grace + earned); slow.Before(end) {
			return slow
		}
	}
	return end
}

// endContent gives the server the final dot, after discarding the rest of the content. If the rest cannot
// be read to its end, or is larger than another message, the session ends with the server's reply.
func (c *Conn) endContent() {
	t := c.content
	if err := t.drain(); err != io.EOF {
		c.last, c.linger, c.failed = true, true, err
	}
	c.mode, c.content = modeCommand, nil
	c.in.giveBack(c.cfg.Buffers)
	c.handed = append(c.handed[:0], ".\r\n"...)
}

// drain reads to the end of the content and returns io.EOF, or the reason why it could not.
func (t *Content) drain() error {
	if t.err != nil && (t.err == io.EOF || Fatal(t.err)) {
		return t.err
	}
	why := t.err
	if why == nil {
		why = ErrTooLarge
	}
	t.discard, t.err, t.pending = true, nil, nil
	limit := max(t.c.cfg.Limits.Content, 1<<20)
	for t.drained <= limit {
		if _, err := t.next(); err != nil {
			return err
		}
	}
	return why
}

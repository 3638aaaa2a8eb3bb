package convert

import (
	"bufio"
	stdbase64 "encoding/base64"
	"io"
)

// newCoder gives a body the encoding to; nil leaves it as it is. One that has the encoding from already only
// loses what does not belong there, and gets shorter lines. Errors of w are those of its Flush.
func newCoder(w *bufio.Writer, from, to encoding) io.WriteCloser {
	lines := lineBreaker{out: w, soft: to == quotedPrintable}
	switch {
	case to == "":
		return nil
	case to == from:
		return &cleaner{lineBreaker: lines, is: to}
	case to == quotedPrintable:
		return &quoter{lineBreaker: lines}
	}
	return stdbase64.NewEncoder(stdbase64.StdEncoding, &lines)
}

// maxEncoded is the longest line of an encoded body (RFC 2045, 6.7 and 6.8).
const maxEncoded = 76

// lineBreaker breaks the lines of an encoded body.
type lineBreaker struct {
	out  *bufio.Writer
	soft bool // the lines are broken as quoted-printable wants it
	at   int  // bytes on the line
}

// put writes a byte. No line that was not one before begins with "-", as boundaries do: in quoted-printable
// it has another form, in base64 it counts for nothing.
func (l *lineBreaker) put(x byte) {
	broken := l.room(1)
	switch {
	case broken && x == '-' && l.soft:
		l.putQuoted(x)
	case broken && x == '-':
	default:
		l.out.WriteByte(x)
		l.at++
	}
}

// putAll writes bytes.
func (l *lineBreaker) putAll(b []byte) {
	for len(b) > 0 {
		n := min(len(b), l.limit()-l.at)
		if n <= 0 {
			l.put(b[0])
			n = 1
		} else {
			l.out.Write(b[:n])
			l.at += n
		}
		b = b[n:]
	}
}

// limit is how many bytes of a body a line has.
func (l *lineBreaker) limit() int {
	if l.soft {
		return maxEncoded - 1 // there is room for the "=" of a soft line break
	}
	return maxEncoded
}

// room begins another line if n bytes, which must stand on one, have no room on this one. It reports whether
// it did.
func (l *lineBreaker) room(n int) bool {
	if l.at+n <= l.limit() {
		return false
	}
	if l.soft {
		l.out.WriteByte('=')
	}
	l.out.WriteString("\r\n")
	l.at = 0
	return true
}

// putQuoted writes a byte as quoted-printable does those that cannot be written otherwise.
func (l *lineBreaker) putQuoted(x byte) {
	const hex = "0123456789ABCDEF"
	l.room(len("=XX"))
	l.out.WriteByte('=')
	l.out.WriteByte(hex[x>>4])
	l.out.WriteByte(hex[x&15])
	l.at += len("=XX")
}

// lineEnd writes a byte of a line end that the body has.
func (l *lineBreaker) lineEnd(x byte) {
	l.out.WriteByte(x)
	l.at = 0
}

// Write implements io.Writer, for base64.
func (l *lineBreaker) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		if l.at == maxEncoded {
			l.out.WriteString("\r\n")
			l.at = 0
		}
		n := min(len(rest), maxEncoded-l.at)
		l.out.Write(rest[:n])
		l.at, rest = l.at+n, rest[n:]
	}
	return len(b), nil
}

// quoter encodes a body as quoted-printable (RFC 2045, 6.7). Line ends are those of a text.
type quoter struct {
	lineBreaker
	blank byte // the blank that was read last, if nothing stands behind it yet
}

// Write implements io.Writer.
func (q *quoter) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		x := rest[0]
		end := x == '\r' || x == '\n'
		q.putBlank(end)
		n := plainRun(rest)
		switch {
		case n > 0:
			q.putAll(rest[:n])
		case end:
			q.lineEnd(x)
		case x == ' ' || x == '\t':
			q.blank = x
		default:
			q.putQuoted(x)
		}
		rest = rest[max(n, 1):]
	}
	return len(b), nil
}

// plainRun is how many bytes at the start of b quoted-printable has as they are, less the blanks at the end.
func plainRun(b []byte) int {
	n := 0
	for i, x := range b {
		if x > ' ' && x < 0x7f && x != '=' {
			n = i + 1
		} else if n == 0 || x != ' ' && x != '\t' {
			break
		}
	}
	return n
}

// putBlank writes the blank that waits. At the end of a line it has to be encoded.
func (q *quoter) putBlank(end bool) {
	switch {
	case q.blank == 0:
	case end:
		q.putQuoted(q.blank)
	default:
		q.put(q.blank)
	}
	q.blank = 0
}

// Close implements io.Closer.
func (q *quoter) Close() error {
	q.putBlank(true)
	return nil
}

// cleaner takes 8-bit bytes out of a body that is encoded: in quoted-printable they are written as they
// should have been, in base64 they count for nothing (RFC 2045, 6.8). Lines that are too long are broken:
// a program that encodes and forgets about lines is where most of them come from.
type cleaner struct {
	lineBreaker
	is   encoding
	held []byte // of a "=" and what follows it, in quoted-printable
}

// Write implements io.Writer.
func (c *cleaner) Write(b []byte) (int, error) {
	for _, x := range b {
		switch {
		case x == '\r' || x == '\n':
			c.out.Write(c.held) // a soft line break
			c.held = c.held[:0]
			c.lineEnd(x)
		case c.is == base64 && x >= 0x80:
		case c.is == base64:
			c.put(x)
		case x >= 0x80:
			c.putHeld()
			c.putQuoted(x)
		case x == '=':
			c.putHeld() // "=" never follows another one
			c.held = append(c.held, x)
		case len(c.held) > 0:
			if c.held = append(c.held, x); len(c.held) == len("=XX") {
				c.putHeld()
			}
		default:
			c.put(x)
		}
	}
	return len(b), nil
}

// putHeld writes what was held, on one line.
func (c *cleaner) putHeld() {
	if len(c.held) > 0 {
		c.room(len(c.held))
		c.out.Write(c.held)
		c.at += len(c.held)
		c.held = c.held[:0]
	}
}

// Close implements io.Closer.
func (c *cleaner) Close() error {
	c.out.Write(c.held)
	return nil
}

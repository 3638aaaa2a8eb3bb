package convert

import (
	"bufio"
	stdbase64 "encoding/base64"
	"io"
	"mime/quotedprintable"
)

// newCoder gives a body the encoding to; nil leaves it as it is. One that has the encoding from already only
// loses what does not belong there, and gets shorter lines.
func newCoder(w io.Writer, from, to encoding) io.WriteCloser {
	switch {
	case to == "":
		return nil
	case to == from:
		return &cleaner{out: bufio.NewWriter(w), is: to}
	case to == quotedPrintable:
		return quotedprintable.NewWriter(w)
	}
	lines := &lineBreaker{w: w}
	return stdbase64.NewEncoder(stdbase64.StdEncoding, lines)
}

// lineBreaker breaks the lines of base64 (RFC 2045, 6.8).
type lineBreaker struct {
	w  io.Writer
	at int // bytes on the line
}

// maxEncoded is the longest line of an encoded body.
const maxEncoded = 76

// Write implements io.Writer.
func (l *lineBreaker) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		if l.at == maxEncoded {
			if _, err := io.WriteString(l.w, "\r\n"); err != nil {
				return 0, err
			}
			l.at = 0
		}
		n := min(len(rest), maxEncoded-l.at)
		if _, err := l.w.Write(rest[:n]); err != nil {
			return 0, err
		}
		l.at, rest = l.at+n, rest[n:]
	}
	return len(b), nil
}

// cleaner takes 8-bit bytes out of a body that is encoded: in quoted-printable they are written as they
// should have been, in base64 they count for nothing (RFC 2045, 6.8). Lines that are too long are broken:
// a program that encodes and forgets about lines is where most of them come from.
type cleaner struct {
	out  *bufio.Writer
	is   encoding
	at   int    // bytes on the line
	held []byte // of a "=" and what follows it, in quoted-printable
}

// Write implements io.Writer.
func (c *cleaner) Write(b []byte) (int, error) {
	for _, x := range b {
		switch {
		case x == '\r' || x == '\n':
			c.put(c.held, 0) // a soft line break
			c.held, c.at = c.held[:0], 0
			c.out.WriteByte(x)
		case x >= 0x80 && c.is == base64:
		case x >= 0x80:
			c.put(c.held, maxEncoded-1)
			c.held = c.held[:0]
			const hex = "0123456789ABCDEF"
			c.put([]byte{'=', hex[x>>4], hex[x&15]}, maxEncoded-1)
		case c.is == base64:
			c.put([]byte{x}, maxEncoded)
		case x == '=' || len(c.held) > 0:
			if c.held = append(c.held, x); len(c.held) == len("=XX") {
				c.put(c.held, maxEncoded-1)
				c.held = c.held[:0]
			}
		default:
			c.put([]byte{x}, maxEncoded-1) // there is room for the "=" of a soft line break
		}
	}
	return len(b), c.out.Flush()
}

// put writes what must stand on one line, on the next one if this one would have more than limit bytes then.
// A limit of 0 is none.
func (c *cleaner) put(b []byte, limit int) {
	if limit > 0 && c.at+len(b) > limit {
		if c.is == quotedPrintable {
			c.out.WriteByte('=')
		}
		c.out.WriteString("\r\n")
		c.at = 0
	}
	c.out.Write(b)
	c.at += len(b)
}

// Close implements io.Closer.
func (c *cleaner) Close() error {
	c.put(c.held, 0)
	return c.out.Flush()
}

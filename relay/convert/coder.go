package convert

import (
	stdbase64 "encoding/base64"
	"io"
	"mime/quotedprintable"
)

// newCoder gives a body the encoding to; nil leaves it as it is. One that has the encoding from already only
// loses what does not belong there.
func newCoder(w io.Writer, from, to encoding) io.WriteCloser {
	switch {
	case to == "":
		return nil
	case to == from:
		return &cleaner{w, to}
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
// should have been, in base64 they count for nothing (RFC 2045, 6.8).
type cleaner struct {
	w  io.Writer
	is encoding
}

// Write implements io.Writer.
func (c *cleaner) Write(b []byte) (int, error) {
	const hex = "0123456789ABCDEF"
	clean := make([]byte, 0, len(b)+16)
	for _, x := range b {
		switch {
		case x < 0x80:
			clean = append(clean, x)
		case c.is == quotedPrintable:
			clean = append(clean, '=', hex[x>>4], hex[x&15])
		}
	}
	if _, err := c.w.Write(clean); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements io.Closer.
func (c *cleaner) Close() error { return nil }

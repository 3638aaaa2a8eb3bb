// Package convert makes a content fit for a server that takes less than the sender used: 8-bit bytes for one
// without 8BITMIME (RFC 6152, 3), and lines longer than SMTP allows (RFC 5321, 4.5.3.1.6). relay/app asks for
// it at the attempt, since only then it is known what the server takes; what is stored stays as it came.
//
// How: the content is read twice. The first time (scan.go) nothing but what each part needs is remembered, a
// few bytes a part; if nothing is to be done the content is returned as it is. The second time (write.go) the
// parts that need it are encoded on their way: text as quoted-printable, all else as base64 (RFC 2045, 6.7
// and
// 6.8), fields of headers by RFC 2047 and RFC 2231 (field.go). walk.go finds the parts, for both.
//
// What always holds: memory is bounded, whatever the size of the content. Decoded, every body and every field
// is what it was. What needs nothing keeps every byte. A part that must not be changed (multipart/signed, RFC
// 1847; message/partial, RFC 2046) and has to be is an *Error, and so is what cannot be read with certainty:
// then the content is to be refused, as it would be without conversion.
package convert

import (
	"io"
)

// Needs are what has to be done to a content.
type Needs struct {
	SevenBit  bool // no byte above 127
	LongLines bool // no line of more than 998 bytes, but for those of headers
}

// Error says why a content cannot be converted.
type Error struct{ Why string }

// Error implements error.
func (e *Error) Error() string { return "the content cannot be converted: " + e.Why }

// Open returns a content that open returns, converted. changed says that it is another one than open's. The
// error is open's, that of reading, or an *Error.
func Open(open func() (io.ReadCloser, error), n Needs) (content io.ReadCloser, changed bool, err error) {
	first, err := open()
	if err != nil {
		return nil, false, err
	}
	s := &scan{needs: n}
	err = (&walk{in: newInput(first), to: s}).content()
	first.Close()
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		return nil, false, err
	}
	second, err := open()
	if err != nil || !s.found {
		return second, false, err
	}
	r, w := io.Pipe()
	go func() {
		out := newWriter(w, s.parts, n)
		err := (&walk{in: newInput(second), to: out}).content()
		if err == nil {
			err = out.flush()
		}
		w.CloseWithError(err) // nil is io.EOF
	}()
	return &converted{r, second}, true, nil
}

// converted is a content that is being converted.
type converted struct {
	*io.PipeReader
	source io.Closer
}

// Close ends the conversion.
func (c *converted) Close() error {
	c.PipeReader.Close()
	return c.source.Close()
}

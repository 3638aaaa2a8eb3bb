package dsn

import (
	"bytes"
	"io"

	"mailwhy/relay"
)

// maxHeader is how much of an original header is returned.
const maxHeader = 64 << 10

// What is returned of the original, for the person who reads.
const (
	returnedWhole  = "whole"
	returnedHeader = "header"
	returnedNone   = "none"
)

// original is what is returned of the message that is reported on.
type original struct {
	header   []byte
	whole    []byte // nil unless the whole is returned
	returned string
	tooLarge bool // the whole was due but exceeds the limit
}

// readOriginal reads what RET, the kind of report and the limit allow (RFC 3461, 6.2). A message that
// cannot be read costs the report only this part.
func (c *Composer) readOriginal(r *relay.Report) *original {
	o := &original{returned: returnedNone}
	due := r.Kind == relay.NoticeFailed && r.Message.Envelope.Ret != relay.RetHeaders
	want := int64(maxHeader)
	if due && r.Message.Size <= c.o.ReturnLimit {
		want = c.o.ReturnLimit
	}
	o.tooLarge = due && r.Message.Size > c.o.ReturnLimit
	content, err := readUpTo(r.Open, want, r.Message.Size)
	if err != nil || len(content) == 0 {
		return o
	}
	o.header, o.returned = cutHeader(content), returnedHeader
	if due && !o.tooLarge && int64(len(content)) == r.Message.Size && o.canReturn(content, r) {
		o.whole, o.returned = content, returnedWhole
	}
	return o
}

// readUpTo reads at most limit bytes of a content of some size; short content is not an error.
func readUpTo(open func() (io.ReadCloser, error), limit, size int64) ([]byte, error) {
	rc, err := open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	var b bytes.Buffer
	b.Grow(int(max(0, min(limit, size))) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(rc, limit)); err != nil {
		return nil, err
	}
	if int64(b.Len()) == limit {
		// The end must be seen for damage to be seen; one byte more is enough to know that there is more.
		if _, err := rc.Read(make([]byte, 1)); err != nil && err != io.EOF {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// cutHeader is the header of a message, with whole lines only and at most maxHeader bytes.
func cutHeader(content []byte) []byte {
	end := 0
	for end < len(content) {
		n := bytes.IndexByte(content[end:], '\n')
		if n < 0 || end+n+1 > maxHeader {
			break
		}
		if line := content[end : end+n]; len(line) == 0 || string(line) == "\r" {
			break
		}
		end += n + 1
	}
	return content[:end]
}

// canReturn reports whether a message can stand in the report: message/rfc822 takes no encoding (RFC 2046,
// 5.2.1), so its bytes must fit the report's own way; message/global takes one (RFC 6532, 3.7).
func (o *original) canReturn(content []byte, r *relay.Report) bool {
	if fitsSevenBit(content) {
		return true
	}
	return fitsEightBit(content) && (r.EightBit || o.global(r))
}

// global reports whether the original is an internationalized message (RFC 6532).
func (o *original) global(r *relay.Report) bool {
	return r.Message.Envelope.SMTPUTF8 && !isASCII(o.header)
}

// part is part 3; ok is false when there is nothing to return.
func (o *original) part(r *relay.Report) (p part, ok bool) {
	switch o.returned {
	case returnedWhole:
		p.body = o.whole
		p.header.add("Content-Description", "Undelivered message")
		p.header.add("Content-Type", o.mediaType(r, "message/rfc822", "message/global"))
	case returnedHeader:
		p.body = o.header
		p.header.add("Content-Description", "Header of the message")
		// RFC 6522, 4
		p.header.add("Content-Type", o.mediaType(r, "text/rfc822-headers", "message/global-headers"))
	default:
		return p, false
	}
	switch {
	case fitsSevenBit(p.body):
		p.header.add("Content-Transfer-Encoding", "7bit")
	case o.returned == returnedHeader && !o.global(r):
		p.quotedPrintable()
	default:
		p.transfer(r.EightBit)
	}
	return p, true
}

// mediaType chooses between a type and its internationalized form (RFC 6533, 4 and 5).
func (o *original) mediaType(r *relay.Report, plain, global string) string {
	if o.global(r) {
		return global
	}
	return plain
}

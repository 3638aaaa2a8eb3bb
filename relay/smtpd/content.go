package smtpd

import (
	"errors"
	"io"

	"mailwhy/relay/smtpd/wire"
)

// The errors of a contentReader that do not come from the wire.
var (
	errMemory   = errors.New("too much content is being received")
	errUpstream = errors.New("content over the upstream's size limit")
	errEightBit = errors.New("8-bit content, but the upstream has no 8BITMIME")
)

// contentReader is the content on its way from the wire to Accept. Its errors stay, and io.EOF means that
// the final dot was seen.
type contentReader struct {
	session  *session
	content  *wire.Content
	seen     int64 // bytes so far
	reserved int64 // bytes reserved in the server's memory budget
	storing  bool  // Accept has begun
	left     int64 // bytes that the upstream's limit still allows; -1 means no limit
	err      error
}

// Read implements io.Reader.
func (r *contentReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.content.Read(p)
	if err == nil {
		err = r.admit(p[:n])
	}
	r.err = err
	if err != nil && err != io.EOF {
		return 0, err
	}
	return n, err
}

// admit checks a piece of the content against the upstream's capabilities and the server's memory budget.
func (r *contentReader) admit(p []byte) error {
	if !r.session.tx.eightBit && hasHighBit(p) {
		return errEightBit
	}
	if r.left >= 0 {
		if r.left -= int64(len(p)); r.left < 0 {
			return errUpstream
		}
	}
	r.seen += int64(len(p))
	if !r.reserve() {
		return errMemory
	}
	return nil
}

// reserve keeps the reservation equal to the memory that the content takes: everything seen so far, until
// the store writes it to disk.
func (r *contentReader) reserve() bool {
	l := &r.session.options.Limits
	takes := r.seen
	if r.storing && r.seen > l.InlineLimit {
		takes = min(r.seen, contentBuffer)
	}
	more := takes - r.reserved
	if more > 0 && !r.session.server.memory.reserve(more, l.Memory) {
		return false
	}
	if more < 0 {
		r.session.server.memory.release(-more)
	}
	r.reserved = takes
	return true
}

// limitUpstream applies the upstream's size limit, which counts our own header fields and what was read so
// far.
func (r *contentReader) limitUpstream(own, read int) error {
	limit := r.session.tx.limit
	if !limit.upstream {
		return nil
	}
	if r.left = limit.bytes - int64(own) - int64(read); r.left < 0 {
		r.left = 0
		r.err = errUpstream
		return errUpstream
	}
	return nil
}

func (r *contentReader) release() { r.session.server.memory.release(r.reserved) }

// peek reads into buf, growing it as needed, until the header or the content ends or it has read max bytes.
func (r *contentReader) peek(buf *[]byte, max int) ([]byte, error) {
	head := (*buf)[:0]
	for len(head) < max {
		if len(head) == cap(head) {
			head = append(make([]byte, 0, min(max, 4096+2*cap(head))), head...)
			*buf = head
		}
		from := len(head)
		n, err := r.Read(head[from:min(cap(head), max)])
		head = head[:from+n]
		if err == io.EOF {
			return head, nil
		}
		if err != nil {
			return nil, err
		}
		if headerEnded(head, from) {
			return head, nil
		}
	}
	return head, nil
}

func hasHighBit(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

package smtpd

import (
	"cmp"
	"errors"
	"io"

	"mailwhy/relay"
	"mailwhy/relay/smtpd/wire"
)

// The errors of a contentReader that do not come from the wire.
var (
	errMemory   = errors.New("too much content is being received")
	errUpstream = errors.New("content over the upstream's size limit")
)

// contentReader is the content on its way from the wire to Accept. Its errors stay, and io.EOF means that
// the final dot was seen.
type contentReader struct {
	session  *session
	content  *wire.Content
	message  *relay.Message
	seen     int64 // bytes so far
	reserved int64 // bytes reserved in the server's memory budget
	storing  bool  // Accept has begun
	keep     int64 // of a bounce mail: bytes that are kept; 0 for other mail
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
	if err == io.EOF && r.content.Normalized() {
		r.message.Changed = append(r.message.Changed, "line ends normalized")
	}
	return n, err
}

// admit checks a piece of the content against the server's memory budget.
func (r *contentReader) admit(p []byte) error {
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
	switch {
	case r.keep > 0:
		takes = min(r.seen, r.keep)
	case r.storing && r.seen > l.InlineLimit:
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

func (r *contentReader) release() { r.session.server.memory.release(r.reserved) }

// outgoing is the content as it was mended, on its way to Accept.
type outgoing struct {
	src     io.Reader
	body    *contentReader
	limited bool
	left    int64 // bytes that the upstream's limit still allows, if limited
}

// Read implements io.Reader.
func (o *outgoing) Read(p []byte) (int, error) {
	n, err := o.src.Read(p)
	if !o.limited {
		return n, err
	}
	return n, cmp.Or(o.count(n), err)
}

// count takes n bytes from what the limit allows.
func (o *outgoing) count(n int) error {
	if o.left -= int64(n); o.left < 0 {
		o.body.err = errUpstream
		return errUpstream
	}
	return nil
}

// limitUpstream applies the upstream's size limit to what is still to be read. The limit counts the read
// bytes that come before, too.
func (o *outgoing) limitUpstream(read int) error {
	limit := o.body.session.tx.limit
	if !limit.upstream {
		return nil
	}
	o.limited, o.left = true, limit.bytes
	return o.count(read)
}

// peek reads from r into buf, growing it as needed, until the header or the content ends or it has read max
// bytes.
func peek(r io.Reader, buf *[]byte, max int) ([]byte, error) {
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

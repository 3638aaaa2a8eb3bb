package upstream

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"mailwhy/diagnose"
)

// maxReply is how many bytes of a reply are kept. The rest is read and counted, so that the dialogue stays
// in step.
const maxReply = 64 << 10

// reply is one reply unchanged, or why there is none.
type reply struct {
	raw  string
	code int
	cut  int64 // bytes beyond maxReply
	err  error
}

// class is the first digit of the code.
func (r reply) class() int { return r.code / 100 }

// ending reports whether the server closes the connection with this reply (RFC 5321, 3.8 and 4.1.1.10).
func (r reply) ending() bool { return r.code == 421 || r.code == 221 }

// protocolError means that what the server sent is not an SMTP reply.
type protocolError struct{ raw string }

func (e *protocolError) Error() string { return fmt.Sprintf("not an SMTP reply: %q", clip(e.raw)) }

// cutError means that the connection ended in the middle of a reply.
type cutError struct {
	raw string
	err error
}

func (e *cutError) Error() string {
	return fmt.Sprintf("connection lost in the middle of a reply: %q: %v", clip(e.raw), e.err)
}

func (e *cutError) Unwrap() error { return e.err }

// clip bounds the length of a quotation in an error.
func clip(s string) string { return s[:min(len(s), 512)] }

// replyReader reads replies (RFC 5321, 4.2.1) of any length and form: bare codes, tabs, bare LF, and lines
// without a code in a multi-line reply.
type replyReader struct {
	r      *bufio.Reader
	recent [4]string // replies repeat: the same bytes share one string
	turn   int
}

func newReplyReader(r io.Reader) *replyReader { return &replyReader{r: bufio.NewReader(r)} }

// next reads one reply. After an error the reader cannot be used any more.
func (rr *replyReader) next() reply {
	line, err := rr.r.ReadSlice('\n')
	code, more, ok := replyLine(line)
	switch {
	case err == nil && ok && !more:
		return reply{raw: rr.keep(line), code: code}
	case (err == nil || err == bufio.ErrBufferFull) && !ok:
		return reply{err: &protocolError{string(line)}}
	}
	return rr.long(code, more, line, err)
}

// long continues a reply that has several lines or exceeds the buffer.
func (rr *replyReader) long(code int, more bool, line []byte, err error) reply {
	m := multiline{code: code}
	for {
		m.add(line)
		for err == bufio.ErrBufferFull {
			line, err = rr.r.ReadSlice('\n')
			m.add(line)
		}
		switch {
		case err != nil && m.raw.Len() > 0:
			return reply{err: &cutError{m.raw.String(), err}}
		case err != nil:
			return reply{err: err}
		case !more:
			return m.end()
		}
		line, err = rr.r.ReadSlice('\n')
		more = m.line(line)
	}
}

// keep turns line into a string, reusing a recent one if it is equal.
func (rr *replyReader) keep(line []byte) string {
	for _, s := range rr.recent {
		if s == string(line) {
			return s
		}
	}
	s := string(line)
	rr.recent[rr.turn] = s
	rr.turn = (rr.turn + 1) % len(rr.recent)
	return s
}

// multiline collects the lines of one reply.
type multiline struct {
	raw   bytes.Buffer
	code  int
	cut   int64
	mixed bool // the codes contain both success and failure
}

// add keeps as much of b as there is room for.
func (m *multiline) add(b []byte) {
	n := min(len(b), maxReply-m.raw.Len())
	m.raw.Write(b[:n])
	m.cut += int64(len(b) - n)
}

// line reports whether more lines follow the one that begins with b. A line without a code is only text.
func (m *multiline) line(b []byte) (more bool) {
	code, more, ok := replyLine(b)
	if !ok {
		return true
	}
	m.mixed = m.mixed || (code < 400) != (m.code < 400)
	return more
}

// end makes the reply. If the codes of the lines differ, diagnose decides which one counts, as it will when
// it reads the raw bytes again. A reply with both success and failure is not a reply.
func (m *multiline) end() reply {
	raw := m.raw.String()
	if m.mixed {
		return reply{err: &protocolError{raw}}
	}
	return reply{raw: raw, code: diagnose.ParseReply(raw).Code, cut: m.cut}
}

// replyLine reads the code at the start of a line and whether another line follows. ok is false if there is
// no code.
func replyLine(b []byte) (code int, more, ok bool) {
	if len(b) < 3 || b[0] < '2' || b[0] > '7' || !digit(b[1]) || !digit(b[2]) {
		return 0, false, false
	}
	code = int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0')
	if len(b) == 3 {
		return code, false, true
	}
	return code, b[3] == '-', !wordGoesOn(b[3:])
}

// wordGoesOn reports whether the three digits before b are the beginning of a longer word or number.
func wordGoesOn(b []byte) bool {
	c := b[0] | 0x20 // letters in lower case
	return digit(b[0]) || 'a' <= c && c <= 'z' || b[0] == '.' && len(b) > 1 && digit(b[1])
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

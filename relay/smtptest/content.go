package smtptest

import (
	"bufio"
	"bytes"
)

// readContent reads a content to its final dot (RFC 5321, 4.5.2), undoing the dot-stuffing. Only CRLF.CRLF
// ends it. What is over the size limit is read and thrown away.
func (c *session) readContent(m *Message) error {
	if c.srv.opt.Ledger != nil {
		m.arrival = c.srv.opt.Ledger.Arrive()
	}
	lineStart, cr := true, false
	for {
		c.beforeRead()
		chunk, err := c.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
		if lineStart && chunk[0] == '.' {
			if string(chunk) == ".\r\n" {
				break
			}
			chunk = chunk[1:]
		}
		whole := err == nil
		lineStart, cr = c.watchLineEnds(m, chunk, whole, cr)
		m.Size += int64(len(chunk))
		switch limit := c.srv.opt.SizeLimit; {
		case limit > 0 && m.Size > limit:
		case m.arrival != nil:
			m.arrival.Line(chunk)
		default:
			m.Content = append(m.Content, chunk...)
		}
	}
	return nil
}

// watchLineEnds notes bare CR and LF. It is given a piece of a line, whether it ends the line, and whether
// the piece before it ended in CR; it says whether a new line starts after it, and whether it ends in CR.
func (c *session) watchLineEnds(m *Message, chunk []byte, whole, cr bool) (lineStart, endsInCR bool) {
	if len(chunk) == 0 {
		return false, cr
	}
	if cr && chunk[0] != '\n' {
		m.BareCR = true
	}
	text := chunk
	if whole {
		text = chunk[:len(chunk)-1]
		if len(text) > 0 {
			cr = text[len(text)-1] == '\r'
		}
		m.BareLF = m.BareLF || !cr
		lineStart = cr
	}
	last := len(text) - 1
	if i := bytes.IndexByte(text, '\r'); i >= 0 && i < last {
		m.BareCR = true
	}
	return lineStart, !whole && text[last] == '\r'
}

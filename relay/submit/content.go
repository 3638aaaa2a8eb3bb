// Package submit hands a message from a local program to a relay, as the sendmail command does: it reads the
// message from a pipe, completes its header, finds its recipients, and speaks SMTP as a client.
//
// The command mailwhy sendmail calls it: Read, then Content.Mail, then Send. The message is read to its end
// before the relay is spoken to, because a program such as a cron job may write for hours, and a relay waits
// for minutes.
//
// What always holds: memory is bounded, whatever the size of the message; a longer one is in a file that has
// no name, so that nothing is left behind. Nothing of an address or a header can become an SMTP command. The
// relay is told that the message is whole only when it is; whether it took it is always known or said to be
// unknown (ErrUncertain).
package submit

import (
	"bytes"
	"io"
	"os"
)

// maxMemory is how much of a message is held in memory, bytes. It holds what programs usually send, so that
// no file system needs to be writable.
const maxMemory = 1 << 20

// Content is a message as it was read, with lines that end in CRLF. Close releases it.
type Content struct {
	size     int64
	eightBit bool

	memory []byte
	file   *os.File // nil while memory holds all of it
}

// Read reads a message to its end. Lines may end in LF or CRLF; a CR on its own, as progress bars print it,
// ends a line of the body and is a space in the header, where it could start a field. NUL bytes are left out:
// no mail may have them (RFC 5322, 4). If dotEnds, a line of a single dot ends the message, and what follows
// is not read.
func Read(r io.Reader, dotEnds bool) (*Content, error) {
	c := &Content{}
	l := liner{out: c, dotEnds: dotEnds, header: true}
	b := make([]byte, 32<<10)
	for !l.ended {
		n, err := r.Read(b)
		if err := l.take(b[:n]); err != nil {
			c.Close()
			return nil, err
		}
		switch {
		case err == io.EOF:
			l.ended = true
		case err != nil:
			c.Close()
			return nil, err
		}
	}
	if err := l.finish(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// write adds lines.
func (c *Content) write(b []byte) error {
	if c.file == nil && len(c.memory)+len(b) > maxMemory {
		if err := c.toFile(); err != nil {
			return err
		}
	}
	c.size += int64(len(b))
	if c.file == nil {
		c.memory = append(c.memory, b...)
		return nil
	}
	_, err := c.file.Write(b)
	return err
}

// toFile goes on in a file without a name.
func (c *Content) toFile() error {
	f, err := os.CreateTemp("", "mailwhy-sendmail-*")
	if err != nil {
		return err
	}
	c.file = f
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	_, err = f.Write(c.memory)
	c.memory = nil
	return err
}

// from is the content from an offset on.
func (c *Content) from(offset int64) io.Reader {
	var all io.ReaderAt = bytes.NewReader(c.memory)
	if c.file != nil {
		all = c.file
	}
	return io.NewSectionReader(all, offset, c.size-offset)
}

// Close releases what the content is in.
func (c *Content) Close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// liner makes lines that end in CRLF.
type liner struct {
	out     *Content
	dotEnds bool
	buf     []byte // of one take

	header bool // no empty line was seen
	length int  // of the line so far
	dot    bool // the line so far is a dot that may end the message, and is held back
	cr     bool // the last byte was a CR
	ended  bool
}

// take takes the next bytes.
func (l *liner) take(b []byte) error {
	l.buf = l.buf[:0]
	for _, c := range b {
		if l.ended {
			break
		}
		switch c {
		case 0:
			continue
		case '\r':
			l.cr = true
			continue
		}
		if l.cr && c != '\n' {
			l.loneCR()
		}
		l.cr = false
		if c == '\n' {
			l.lineFeed()
		} else {
			l.add(c)
		}
	}
	return l.out.write(l.buf)
}

// finish ends a last line that has no end.
func (l *liner) finish() error {
	l.buf = l.buf[:0]
	if l.length > 0 {
		l.lineFeed()
	}
	return l.out.write(l.buf)
}

// add adds a byte to the line.
func (l *liner) add(c byte) {
	if l.length++; l.length == 1 && c == '.' && l.dotEnds {
		l.dot = true
		return
	}
	l.release()
	l.buf = append(l.buf, c)
	l.out.eightBit = l.out.eightBit || c >= 0x80
}

// release adds a dot that was held back and ends nothing.
func (l *liner) release() {
	if l.dot {
		l.buf = append(l.buf, '.')
		l.dot = false
	}
}

// loneCR takes a CR, or several, that no LF follows.
func (l *liner) loneCR() {
	if l.header {
		l.add(' ')
		return
	}
	l.release()
	l.endLine()
}

// lineFeed takes the end of a line.
func (l *liner) lineFeed() {
	if l.dot {
		l.ended = true
		return
	}
	l.endLine()
}

func (l *liner) endLine() {
	l.header = l.header && l.length > 0
	l.length = 0
	l.buf = append(l.buf, '\r', '\n')
}

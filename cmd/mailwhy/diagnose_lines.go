package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxLine is the longest line that is read as one, bytes.
const maxLine = 1 << 20

// lineReader reads lines of any length in bounded memory.
type lineReader struct {
	r   *bufio.Reader
	buf []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line with its line end, if it has one; it is good until the next call. Of a line longer than
// maxLine it returns the beginning and false: the caller goes on with rest. At the end it returns io.EOF.
func (l *lineReader) next() (line []byte, whole bool, err error) {
	l.buf = l.buf[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, piece...)
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(l.buf) > 0:
			return l.buf, true, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		case len(l.buf) >= maxLine:
			return l.buf, false, nil
		}
	}
}

// rest copies what next left of a long line to w.
func (l *lineReader) rest(w io.Writer) error {
	for {
		piece, err := l.r.ReadSlice('\n')
		if _, err := w.Write(piece); err != nil {
			return err
		}
		switch {
		case err == nil || errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// unescape makes line ends of the \r\n or \n that stand for them in a reply of several lines. A \n is one only in front
// of a code or at the end, since names are written like DOMAIN\nick.
func unescape(s string) string {
	if !strings.Contains(s, `\n`) {
		return s
	}
	s = strings.ReplaceAll(s, `\r\n`, "\r\n")
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\n`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if after == "" || startsWithCode(after) {
			b.WriteByte('\n')
		} else {
			b.WriteString(`\n`)
		}
		s = after
	}
}

// startsWithCode reports whether a line of a reply could begin here (RFC 5321, 4.2).
func startsWithCode(s string) bool {
	if len(s) < 3 || strings.Trim(s[:3], "0123456789") != "" {
		return false
	}
	return len(s) == 3 || strings.ContainsRune(" -\r\n\\", rune(s[3]))
}

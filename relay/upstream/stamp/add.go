package stamp

import (
	"bytes"
	"io"
)

// maxHeader is how much of a header is looked through for a field. A message with a longer one gets none.
const maxHeader = 128 << 10

// Add is a content with the field in front of it, unless its header has a field of that name: then, and
// where the header is too long to tell, it is unchanged. The header is read into memory at the first Read.
// Closing it closes content.
func (f Field) Add(content io.ReadCloser) io.ReadCloser {
	return &stamped{Closer: content, field: f, content: content}
}

// stamped is a content that gets a field.
type stamped struct {
	io.Closer
	field   Field
	content io.Reader
	head    []byte // read, and to be returned first
	err     error  // met while reading it
	begun   bool
}

// Read implements io.Reader.
func (s *stamped) Read(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.begin()
	}
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.content.Read(p)
}

// begin reads the header and puts the field in front of it.
func (s *stamped) begin() {
	line := s.field.line()
	s.head = append(make([]byte, 0, len(line)+8<<10), line...)
	most, ended := len(line)+maxHeader, false
	for s.err == nil && !ended && len(s.head) < most {
		from := len(s.head)
		if from == cap(s.head) {
			s.head = append(s.head, make([]byte, from)...)[:from]
		}
		var n int
		n, s.err = s.content.Read(s.head[from:min(cap(s.head), most)])
		s.head = s.head[:from+n]
		ended = headerEnds(s.head[len(line):], from-len(line))
	}
	header := s.head[len(line):]
	if whole := ended || s.err == io.EOF; !whole || has(header, s.field.Name) {
		s.head = header
	}
}

// headerEnds reports whether b holds the empty line behind a header; the bytes from fresh on are new.
func headerEnds(b []byte, fresh int) bool {
	return bytes.HasPrefix(b, []byte("\r\n")) || bytes.Contains(b[max(0, fresh-3):], []byte("\r\n\r\n"))
}

// has reports whether the header at the start of b has a field of that name.
func has(b []byte, name string) bool {
	for len(b) > 0 && !bytes.HasPrefix(b, []byte("\r\n")) {
		if len(b) > len(name) && bytes.EqualFold(b[:len(name)], []byte(name)) &&
			bytes.HasPrefix(bytes.TrimLeft(b[len(name):], " \t"), []byte(":")) {
			return true
		}
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	return false
}

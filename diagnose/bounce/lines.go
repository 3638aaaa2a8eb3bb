package bounce

import "bytes"

// lineEnd is where the line at at ends, its line end included.
func (d *document) lineEnd(file []byte, at, end int) int {
	next := end
	if i := bytes.IndexByte(file[at:end], '\n'); i >= 0 {
		next = at + i + 1
	}
	d.work += int64(next - at)
	return next
}

// lineBreak is the line end at the end of b, or "". CR alone is one where it ends the first line, too.
func lineBreak(b []byte, first string) string {
	for _, end := range [...]string{"\r\n", "\n", "\r"} {
		if bytes.HasSuffix(b, []byte(end)) && (end != "\r" || first == "\r") {
			return end
		}
	}
	return ""
}

// lineEnding is the first line end of b, or "" when it has none.
func lineEnding(b []byte) string {
	i := bytes.IndexAny(b, "\r\n")
	switch {
	case i < 0:
		return ""
	case b[i] == '\n':
		return "\n"
	case i+1 < len(b) && b[i+1] == '\n':
		return "\r\n"
	}
	return "\r"
}

// inLines is b with lines that end in CRLF or LF. Where its first one ends in CR alone, as on old
// Macintoshes, LF stands for each CR that is alone; every offset stays what it is.
func inLines(b []byte) []byte {
	if lineEnding(b) != "\r" {
		return b
	}
	out := bytes.Clone(b)
	for i, c := range b {
		if c == '\r' && (i+1 == len(b) || b[i+1] != '\n') {
			out[i] = '\n'
		}
	}
	return out
}

package main

import (
	"bytes"
	"strings"
)

// field is a field of a header or of a delivery status.
type field struct {
	name  string
	value string // the lines of a folded field stay apart, each without the white space around it
}

// readFields reads the header at start, up to and with the empty line that ends it; body is what comes next. A line
// that is neither a field nor the rest of one is passed over.
func readFields(file []byte, start, end int) (fields []field, body int) {
	for at := start; at < end; {
		next := lineEnd(file, at, end)
		line := string(bytes.TrimRight(file[at:next], "\r\n"))
		if line == "" {
			return fields, next
		}
		fields = addLine(fields, line)
		at = next
	}
	return fields, end
}

// addLine adds one line of a header.
func addLine(fields []field, line string) []field {
	if line[0] == ' ' || line[0] == '\t' {
		if rest := strings.TrimSpace(line); len(fields) > 0 && rest != "" {
			f := &fields[len(fields)-1]
			f.value += "\n" + rest
		}
		return fields
	}
	name, value, found := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	if !found || name == "" || strings.ContainsAny(name, " \t<>@") {
		return fields
	}
	return append(fields, field{name, strings.TrimSpace(value)})
}

// unfolded is a value on one line.
func unfolded(value string) string { return strings.ReplaceAll(value, "\n", " ") }

// statusBlock is a block of a delivery status (RFC 3464, 2.1): that of the message, or of one recipient.
type statusBlock struct {
	fields []field
	end    int // where the block ends in the body: behind its last line
}

// get is the value of the first field of that name that the block has.
func (b *statusBlock) get(names ...string) string {
	for _, name := range names {
		for i := range b.fields {
			if strings.EqualFold(b.fields[i].name, name) {
				return b.fields[i].value
			}
		}
	}
	return ""
}

// isRecipient reports whether the block is about a recipient.
func (b *statusBlock) isRecipient() bool {
	return b.get("Final-Recipient", "Original-Recipient", "X-Actual-Recipient") != "" ||
		b.get("Action") != "" && b.get("Status") != ""
}

// annotated reports whether our annotation is there already.
func (b *statusBlock) annotated() bool { return b.get("X-Mailwhy-Category") != "" }

// readBlocks takes a delivery status apart. Where the empty line between two recipients was lost, the second
// Final-Recipient begins a block of its own.
func readBlocks(body []byte) []statusBlock {
	var blocks []statusBlock
	var b statusBlock
	finish := func() {
		if len(b.fields) > 0 {
			blocks = append(blocks, b)
		}
		b = statusBlock{}
	}
	for at := 0; at < len(body); {
		next := lineEnd(body, at, len(body))
		line := string(bytes.TrimRight(body[at:next], "\r\n"))
		at = next
		if strings.TrimSpace(line) == "" {
			finish()
			continue
		}
		if begins(line, "Final-Recipient") && b.get("Final-Recipient") != "" {
			finish()
		}
		b.fields = addLine(b.fields, line)
		b.end = at
	}
	finish()
	return blocks
}

// begins reports whether a line is the field of that name.
func begins(line, name string) bool {
	return len(line) > len(name) && strings.EqualFold(line[:len(name)], name) &&
		strings.HasPrefix(strings.TrimLeft(line[len(name):], " \t"), ":")
}

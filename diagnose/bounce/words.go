package bounce

import (
	"html"
	"strings"
	"unicode/utf8"
)

// copyBegins are how mailers introduce the message that came back; in lower case, as they stand in a line.
func copyBegins() []string {
	return []string{
		"--- below this line is a copy", "is a copy of the message", "is a copy of your message",
		"a copy of the original message", "----original mail",
		"--- original message", "----original message", "original message headers",
		"original message follows", "header of the original message", "headers of the original message",
		"--- the header of the original",
		"message headers follow", "message header follows", "included is a copy of the message header",
		"--- unsent message", "--- returned message", "start of returned message",
		"--- undelivered message",
		"message text follows", "bounced e-mail:", "copy of your message follows",
		"copy of the message follows",
		"original message attached", "--- message header", "--- header of", "message contents follow",
		"the original mail message follows", "of the message follow", "of your original message follow",
	}
}

// known reports what a field of that name says about the lines around it: 0 for nothing, 1 that they may be
// the header of a message, 2 that they are.
func known(name string) int {
	if strings.ContainsAny(name, " \t;") {
		return 0
	}
	switch strings.ToLower(name) {
	case "received", "return-path", "message-id", "mime-version", "dkim-signature", "delivered-to",
		"content-transfer-encoding", "x-mailer", "x-received", "arc-seal", "x-original-to", "user-agent",
		"authentication-results", "domainkey-signature", "list-unsubscribe", "x-originating-ip":
		return 2
	case "from", "to", "cc", "date", "subject", "sender", "reply-to", "content-type", "references",
		"in-reply-to", "precedence", "errors-to", "list-id", "list-help", "list-post", "list-subscribe",
		"list-archive", "importance", "x-priority", "content-language", "thread-index", "auto-submitted":
		return 1
	}
	if len(name) > 2 && (name[0] == 'X' || name[0] == 'x') && name[1] == '-' {
		return 1
	}
	return 0
}

// enoughFields is how many fields in a row are a header, one of them being of a kind that nobody writes into
// a report.
const enoughFields = 3

// ownWords is where a report's own words end in a text and where the header of the message that came back
// begins; both are the length of the text when nothing came back in it. The words end at a line that
// introduces the copy, or at a run of lines that are a header, whatever stands in front of it.
func (d *document) ownWords(text string) (end, original int) {
	d.work += int64(len(text))
	begins := copyBegins()
	run := headerRun{}
	for at := 0; at < len(text); {
		next := at + lineLength(text[at:])
		line := strings.TrimRight(text[at:next], "\r\n")
		if run.line(line, at); run.fields >= enoughFields && run.certain {
			return run.start, run.start
		}
		if introduces(line, begins) {
			return at, next
		}
		at = next
	}
	return len(text), len(text)
}

// lineLength is the length of the first line of s with its line end.
func lineLength(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i + 1
	}
	return len(s)
}

// introduces reports whether a line introduces the message that came back.
func introduces(line string, begins []string) bool {
	if len(line) > maxIntroduction {
		return false
	}
	line = strings.ToLower(line)
	for _, b := range begins {
		if strings.Contains(line, b) {
			return true
		}
	}
	return false
}

// headerRun counts the fields of a header that stand in a row.
type headerRun struct {
	start   int // where the first one stands
	fields  int
	certain bool // nobody writes one of them but into a header
}

func (r *headerRun) line(line string, at int) {
	if line != "" && (line[0] == ' ' || line[0] == '\t') && r.fields > 0 {
		return // RFC 5322, 2.2.3
	}
	name, _, found := strings.Cut(line, ":")
	k := 0
	if found && len(name) <= maxFieldName {
		k = known(strings.TrimRight(name, " \t"))
	}
	if k == 0 {
		*r = headerRun{}
		return
	}
	if r.fields == 0 {
		r.start = at
	}
	r.fields++
	r.certain = r.certain || k == 2
}

// isField reports whether a line of a report is a field of the message that it is about, as the subject that
// many quote. What the sender wrote there says nothing of the refusal.
func isField(line string) bool {
	name, _, found := strings.Cut(line, ":")
	return found && len(name) <= maxFieldName && known(name) > 0 ||
		len(line) > 13 && strings.EqualFold(line[:13], "with subject ") // Mimecast
}

// words are the beginning of what p says to a person in its own words: a text as it is, HTML without its
// tags, of several parts the first that says anything.
func (p *part) words() string {
	p.read()
	return p.prose.own
}

// inText is the header of the message that came back in p's text, behind its own words, or nil.
func (p *part) inText() header {
	p.read()
	text := p.prose.original
	for { // what introduces it may be several lines, and lines may be empty in between
		n := lineLength(text)
		line := strings.TrimSpace(text[:n])
		name, _, found := strings.Cut(line, ":")
		if n == 0 || found && name != "" && !strings.ContainsAny(name, " \t<>@") {
			break
		}
		text = text[n:]
	}
	b := []byte(text)
	h, _ := p.doc.readHeader(b, 0, len(b))
	return h
}

// prose is a text for a person, taken apart.
type prose struct {
	own      string // the report's own words
	original string // what of the message that came back stands behind them
}

// read takes the text apart that p says to a person, once.
func (p *part) read() {
	if p.prose != nil {
		return
	}
	p.prose = &prose{}
	if p.isMultipart() && !p.flat {
		for i := range p.parts {
			if w := p.parts[i].words(); strings.TrimSpace(w) != "" {
				p.prose = p.parts[i].prose
				return
			}
		}
		return
	}
	text := p.text()
	text = shortened(text, maxProse)
	end, original := p.doc.ownWords(text)
	*p.prose = prose{text[:end], text[original:]}
}

// text is the beginning of what p says to a person, as text.
func (p *part) text() string {
	switch {
	case p.kind == "text/html":
		b := p.opening(maxMarkup)
		return html.UnescapeString(withoutTags(string(b[:min(len(b), maxMarkup)])))
	case p.flat, strings.HasPrefix(p.kind, "text/") && p.kind != "text/rfc822-headers":
		b := p.opening(maxProse)
		return strings.ToValidUTF8(string(b[:min(len(b), maxProse)]), string(utf8.RuneError))
	}
	return ""
}

// withoutTags drops what stands between < and >, and makes a line of each tag.
func withoutTags(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('\n')
		if _, s, found = strings.Cut(after, ">"); !found {
			return b.String()
		}
	}
}

package bounce

import "strings"

// proseReader gathers, line by line, whom a report in words names and what it says about each.
type proseReader struct {
	doc       *document
	reporter  string // who wrote the report
	sentences []string
	closings  []string

	list  []Recipient
	seen  map[string]bool // the addresses of list, in lower case
	words strings.Builder // about the last of list
	open  bool            // what comes next is about the last of list

	indent   int    // of the line with the address, characters
	indented bool   // the words are indented more than that
	sentence bool   // the address stood in a sentence, not at the beginning of a line
	blank    bool   // the line before was empty
	last     string // the last line that was not, in lower case

	searched int  // how many bytes of words were there when they were last searched for a refusal
	refused  bool // there was one
}

// line reads one line.
func (w *proseReader) line(line string) {
	for strings.HasPrefix(line, "> ") { // a report that somebody quotes
		line = line[2:]
	}
	text := strings.TrimSpace(line)
	if text == "" {
		w.blank = true
		return
	}
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	found, rest := w.names(text, indent)
	for _, address := range found {
		if !w.begin(address, indent) {
			return
		}
	}
	if len(found) > 0 {
		text = strings.TrimSpace(rest)
	} else if w.ends(text, indent) {
		w.open = false
	}
	w.blank, w.last = false, strings.ToLower(shortened(text, maxIntroduction))
	w.add(text, indent)
}

// ends reports whether a line is no longer about the last recipient.
func (w *proseReader) ends(text string, indent int) bool {
	switch {
	case !w.open:
		return false
	case len(text) < maxIntroduction && containsAny(strings.ToLower(text), w.closings):
		return true
	case w.words.Len() == 0:
		return false
	}
	return w.blank && w.indented && indent <= w.indent || isRule(text) || isHeading(text) && w.refuses()
}

// isHeading reports whether a line is like Sendmail's "----- Transcript of session follows -----".
func isHeading(text string) bool { return strings.HasPrefix(text, "---") }

// refuses reports whether the words so far quote a refusal.
func (w *proseReader) refuses() bool {
	if n := w.words.Len(); n != w.searched {
		w.searched = n
		_, w.refused = refusalIn(w.words.String())
	}
	return w.refused
}

// add adds a line to the words about the last recipient.
func (w *proseReader) add(text string, indent int) {
	if !w.open || text == "" {
		return
	}
	if w.words.Len() == 0 {
		w.indented = indent > w.indent
	}
	if isHeading(text) || isField(text) {
		return
	}
	text = withoutBrackets(text)
	if room := maxWording - w.words.Len(); room > 0 {
		w.words.WriteString(shortened(text, room) + "\n")
	}
}

// begin begins the words about a recipient. It reports whether there is room for it.
func (w *proseReader) begin(address string, indent int) bool {
	key := strings.ToLower(address)
	if n := len(w.list); n > 0 && w.open && strings.EqualFold(w.list[n-1].Address, address) {
		return true
	}
	w.finish()
	if w.open = !w.seen[key]; !w.open {
		return true // what is said again, in another language for instance
	}
	if !w.doc.another() {
		w.open = false
		return false
	}
	w.seen[key] = true
	w.list = append(w.list, Recipient{Address: address})
	w.indent, w.indented = indent, false
	return true
}

// finish records the words about the last recipient: the reply that they quote, else the wording.
func (w *proseReader) finish() {
	words := strings.TrimSpace(w.words.String())
	w.words.Reset()
	w.searched, w.refused = 0, false
	if len(w.list) == 0 || words == "" {
		return
	}
	y := &w.list[len(w.list)-1].Symptom
	if r, ok := refusalIn(words); ok {
		y.Reply = r
	} else {
		y.Text = words
	}
}

// done are the recipients. The reporter's own address is one only where it is the only one.
func (w *proseReader) done() []Recipient {
	w.finish()
	if len(w.list) < 2 {
		return w.list
	}
	list := w.list[:0]
	for _, r := range w.list {
		if !strings.EqualFold(r.Address, w.reporter) {
			list = append(list, r)
		}
	}
	return list
}

// names are the recipients that a line names, and what it says behind them.
func (w *proseReader) names(text string, indent int) (found []string, rest string) {
	if !strings.Contains(text, "@") { // which spares most lines the search
		return nil, ""
	}
	within := w.open && w.words.Len() > 0
	if within && indent > w.indent {
		return nil, "" // it is of the words about another
	}
	if found, rest = namedFirst(text); len(found) > 0 {
		if strings.HasSuffix(w.last, "sent by") || strings.HasSuffix(w.last, "from") {
			return nil, "" // the sender, as Exim has it
		}
		w.sentence = false
		return found, rest
	}
	if within && !w.sentence || beginsReply(text) {
		return nil, ""
	}
	if found = w.inSentence(text); len(found) > 0 {
		w.sentence = true
	}
	return found, text
}

// namedFirst are the recipients with which a line begins: "<bob@example.com>:" of qmail, Postfix and Yahoo,
// "bob@example.com" of Exim, "<bob@example.com>... User unknown" of Sendmail, "bob@example.com on Thu, 29 Apr
// 2010" of Exchange 2003, "Bob<mailto:bob@example.com>" of later ones.
func namedFirst(text string) (found []string, rest string) {
	text = strings.TrimLeft(text, "*->\u2022 \t")
	found, rest = addressesAt(text)
	if len(found) > 0 && followsAddress(rest) {
		return found, behindAddress(rest, found[len(found)-1])
	}
	if at := strings.Index(text, "<mailto:"); at > 0 && len(text) < maxIntroduction && len(found) == 0 {
		if address, after := addressAt(text[at:]); address != "" && strings.TrimSpace(after) == "" {
			return []string{address}, ""
		}
	}
	return nil, ""
}

// followsAddress reports whether what stands behind an address shows that the line is about it.
func followsAddress(rest string) bool {
	trimmed := strings.TrimLeft(rest, " \t")
	switch {
	case trimmed == "", trimmed == ".", trimmed == ",", trimmed == ";":
		return true
	case rest[0] == ':', rest[0] == ';', strings.HasPrefix(trimmed, "..."), strings.HasPrefix(rest, " - "):
		return true
	case trimmed[0] == '(', trimmed[0] == '[', trimmed[0] == '<':
		return true
	case rest[0] == '\t':
		return true
	}
	lower := strings.ToLower(rest)
	return strings.Contains(lower, " error_code") || isOnDate(lower)
}

// behindAddress is what a line says behind an address: without the address once more, in other marks, and
// without Exchange's date.
func behindAddress(rest, address string) string {
	if isOnDate(strings.ToLower(rest)) {
		return ""
	}
	rest = strings.TrimLeft(rest, ":,.; \t")
	if again, after := addressAt(rest); strings.EqualFold(again, address) {
		return behindAddress(after, address)
	}
	return rest
}

// isOnDate reports whether s begins with " on Thu, 29 Apr 2010" or " on 4/29/10", in lower case.
func isOnDate(s string) bool {
	day, found := strings.CutPrefix(s, " on ")
	return found && len(day) > 5 &&
		(isDigit(day[0]) || strings.Contains("mon tue wed thu fri sat sun", day[:3]))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// beginsReply reports whether a line begins with a reply, whoever quotes it.
func beginsReply(text string) bool {
	text = strings.TrimLeft(text, "<> ")
	return len(text) > 3 && '2' <= text[0] && text[0] <= '5' && isDigit(text[1]) && isDigit(text[2]) &&
		(text[3] == ' ' || text[3] == '-')
}

// inSentence are the recipients that a line names in a sentence of a mailer.
func (w *proseReader) inSentence(text string) []string {
	text = strings.Join(strings.Fields(text), " ")
	lower := strings.ToLower(text)
	if len(lower) != len(text) { // a character whose lower case is longer
		return nil
	}
	for _, before := range w.sentences {
		at := strings.Index(lower, before)
		if at < 0 {
			continue
		}
		if found, _ := addressesAt(text[at+len(before):]); len(found) > 0 {
			return found
		}
	}
	return nil
}

// addressesAt are the addresses that s begins with, with commas between them, and what stands behind them.
func addressesAt(s string) (found []string, rest string) {
	for rest = s; ; {
		address, after := addressAt(s)
		if address == "" {
			return found, rest
		}
		found, rest = append(found, address), after
		more, ok := strings.CutPrefix(strings.TrimLeft(after, " "), ",")
		if s = strings.TrimSpace(more); !ok {
			return found, rest
		}
	}
}

package bounce

import (
	"regexp"
	"slices"
	"strings"
)

// bounceSubjects and bouncePhrases are how mailers without delivery statuses begin what they have to say,
// copyBegins how they introduce the message that came back; all in lower case, with | between them.
const (
	bounceSubjects = "undeliver|returned mail|failure notice|mail delivery failed|delivery status|" +
		"delivery failure|mail system error|could not be delivered|unzustellbar"
	bouncePhrases = "qmail-send program|created automatically by mail delivery software|" +
		"had permanent fatal errors|could not be delivered|delivery to the following|" +
		"delivery has failed to|wasn't delivered to|was not delivered to|undeliverable"
	copyBegins = "--- below this line is a copy|this is a copy of the message|--- original message|" +
		"--- the header of the original|" + transcript + "|--- unsent message"
	transcript = "--- transcript of session"
)

// aboutRecipient is the line with which the words about a recipient begin: "<bob@example.com>:" of qmail and
// Postfix, "  bob@example.com" of Exim, "<bob@example.com>... User unknown" of Sendmail.
const aboutRecipient = `^[ \t]*(?:<([^\s<>@]+@[^\s<>@]+)>|([^\s<>@:;,"()']+@[A-Za-z0-9.\-]+[A-Za-z0-9]))` +
	`(?::|\.\.\.|[ \t]*\(|[ \t]*$)(.*)$`

// inProse reads a bounce that has no delivery status, as those of qmail and of Exim: what it says to a person
// of each recipient, up to the copy of the message. There are no recipients when p is not a bounce.
func (p *part) inProse() Notification {
	if !p.looksLikeBounce() {
		for i := range p.parts { // one that was forwarded
			if n := p.parts[i].inProse(); len(n.Recipients) > 0 {
				return n
			}
		}
		return Notification{}
	}
	n := Notification{Source: SourceProse, Message: p.returned().message(p)}
	if n.Recipients = p.doc.byRecipient(p.words()); len(n.Recipients) == 0 {
		n.Recipients = p.atLarge()
	}
	for i := range n.Recipients {
		r := &n.Recipients[i]
		r.Symptom.Facts = n.Message.Facts
		r.Symptom.Facts.Recipient = r.Address
	}
	return n
}

// looksLikeBounce recognises a bounce by its header, or by its first words.
func (p *part) looksLikeBounce() bool {
	if p.kind == "multipart/report" || p.fields.get("X-Failed-Recipients") != "" {
		return true
	}
	from := strings.ToLower(p.fields.get("From") + p.fields.get("Return-Path"))
	if strings.Contains(from, "mailer-daemon") || strings.Contains(from, "postmaster@") ||
		strings.TrimSpace(p.fields.get("Return-Path")) == "<>" {
		return true
	}
	text := p.words()
	return containsAny(p.fields.get("Subject"), bounceSubjects) ||
		containsAny(text[:min(len(text), maxWording)], bouncePhrases)
}

// containsAny reports whether s, in any case, holds one of the phrases, which stand with | between them.
func containsAny(s, phrases string) bool {
	s = strings.ToLower(s)
	for phrase := range strings.SplitSeq(phrases, "|") {
		if strings.Contains(s, phrase) {
			return true
		}
	}
	return false
}

// byRecipient takes the words of a bounce apart by recipient.
func (d *document) byRecipient(text string) []Recipient {
	d.work += int64(len(text))
	w := proseReader{doc: d, about: regexp.MustCompile(aboutRecipient)}
	for line := range strings.Lines(text) {
		if !w.line(strings.TrimRight(line, "\r\n")) {
			break
		}
	}
	w.finish()
	return slices.DeleteFunc(w.list, func(r Recipient) bool {
		return r.Symptom.Reply.Code == 0 && r.Symptom.Text == ""
	})
}

// proseReader gathers the words about each recipient.
type proseReader struct {
	doc   *document
	about *regexp.Regexp
	list  []Recipient
	words strings.Builder // about the last of them, or in front of the first

	searched int  // how many bytes of words were there when they were last searched for a refusal
	refused  bool // there was one
}

// line reads one line, and reports whether the words go on.
func (w *proseReader) line(line string) bool {
	if containsAny(line, copyBegins) {
		return containsAny(line, transcript) && !w.refuses() // the reason stands there
	}
	if strings.Contains(line, "@") { // which spares most lines the search
		if m := w.about.FindStringSubmatch(line); m != nil {
			if !w.begin(m[1] + m[2]) {
				return false
			}
			line = m[3]
		}
	}
	line = withoutBrackets(strings.TrimSpace(line))
	if room := maxWording - w.words.Len(); room > 0 {
		w.words.WriteString(shortened(line, room) + "\n")
	}
	return true
}

// refuses reports whether the words so far quote a refusal.
func (w *proseReader) refuses() bool {
	if n := w.words.Len(); n != w.searched {
		w.searched = n
		_, w.refused = refusalIn(w.words.String())
	}
	return w.refused
}

// begin begins the words about a recipient, unless they are the ones that are being read. It reports whether
// there is room for it.
func (w *proseReader) begin(address string) bool {
	if n := len(w.list); n > 0 && strings.EqualFold(w.list[n-1].Address, address) {
		return true
	}
	if !w.doc.another() {
		return false
	}
	w.finish()
	w.list = append(w.list, Recipient{Address: address})
	return true
}

// finish records the words about the last recipient: the reply that they quote, else the wording.
func (w *proseReader) finish() {
	words := strings.TrimSpace(w.words.String())
	w.words.Reset()
	w.searched, w.refused = 0, false
	if len(w.list) == 0 {
		return
	}
	y := &w.list[len(w.list)-1].Symptom
	if r, ok := refusalIn(words); ok {
		y.Reply = r
	} else {
		y.Text = words
	}
}

// withoutBrackets is what stands in Sendmail's "(reason: 550 5.1.1 User unknown)".
func withoutBrackets(line string) string {
	if reason, ok := strings.CutPrefix(line, "(reason:"); ok {
		return strings.TrimSpace(strings.TrimSuffix(reason, ")"))
	}
	return line
}

// atLarge reads a bounce whose words are in no known order: the first refusal that they quote, else all of
// them. Exim names the recipients in a field of its own.
func (p *part) atLarge() []Recipient {
	text := strings.TrimSpace(shortened(p.words(), 4*maxWording))
	if text == "" {
		return nil
	}
	all := Recipient{}
	for line := range strings.Lines(text) {
		if r, ok := refusalIn(line); ok {
			all.Symptom.Reply = r
			break
		}
	}
	if all.Symptom.Reply.Code == 0 {
		all.Symptom.Text = shortened(text, maxWording)
	}
	var list []Recipient
	names := p.fields.line("X-Failed-Recipients")
	for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !p.doc.another() {
			break
		}
		r := all
		r.Address = shortened(name, maxName)
		list = append(list, r)
	}
	if len(list) == 0 && p.doc.another() {
		list = []Recipient{all}
	}
	return list
}

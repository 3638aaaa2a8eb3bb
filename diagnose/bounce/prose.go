package bounce

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"mailwhy/diagnose"
)

// inProse reads what p, which has no delivery status, says to a person of each recipient.
func (p *part) inProse() Notification {
	n := Notification{Source: SourceProse, Message: p.theReturned().message(p)}
	text := p.words()
	kind := proseKind(p.fields.subject(), text)
	n.Recipients = p.named(text)
	if len(n.Recipients) == 0 && strings.TrimSpace(text) != "" && p.doc.another() {
		n.Recipients = []Recipient{{}} // it does not say who
	}
	larger := p.doc.readRefusals(text)
	for i := range n.Recipients {
		r := &n.Recipients[i]
		larger.complete(r, kind, len(n.Recipients) == 1)
		r.Kind, r.Symptom.Final = kind, kind == KindFailure
		r.Symptom.Facts = n.Message.Facts
		r.Symptom.Facts.Recipient = r.Address
	}
	return n
}

// theReturned is the header of the message that came back: in a part of its own, else behind p's words.
func (p *part) theReturned() header {
	if h := p.returned(); h != nil {
		return h
	}
	return p.inText()
}

// proseKind is what a report in words says that became of the mail.
func proseKind(subject, text string) Kind {
	text = strings.ToLower(text)
	subject = strings.ToLower(subject)
	_, refused := refusalIn(text)
	switch {
	case containsAny(text, finals()):
		return KindFailure
	case containsAny(text, delays()), containsAny(subject, delays()):
		return KindDelay
	case !refused && containsAny(text, successes()):
		return KindSuccess
	}
	return KindFailure
}

// containsAny reports whether s, which is in lower case, holds one of the phrases.
func containsAny(s string, phrases []string) bool {
	return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(s, phrase) })
}

// named are the recipients that a report in words names: in its text, else in the header field that Exim and
// Gmail have for it, else in what it quotes of the session.
func (p *part) named(text string) []Recipient {
	d := p.doc
	d.work += int64(len(text))
	reporter, _ := addressAt(lastWord(p.fields.line("From")))
	w := proseReader{doc: d, reporter: reporter, sentences: sentences(), closings: closings(),
		seen: map[string]bool{}}
	for line := range strings.Lines(text) {
		w.line(strings.TrimRight(line, "\r\n"))
	}
	list := w.done()
	if len(list) > 0 && !p.greets(list) {
		return list
	}
	if named := p.inField(); len(named) > 0 {
		return named
	}
	if len(list) > 0 {
		return list
	}
	return d.inTranscript(text)
}

// greets reports whether the only recipient that a report seems to name is the person whom it is written to.
func (p *part) greets(list []Recipient) bool {
	to := addressesIn(p.fields.line("To"), 2)
	return len(list) == 1 && len(to) == 1 && strings.EqualFold(list[0].Address, to[0])
}

// lastWord is the last word of s, where an address stands in a From field.
func lastWord(s string) string { return s[strings.LastIndexByte(s, ' ')+1:] }

// inField are the recipients that X-Failed-Recipients names.
func (p *part) inField() []Recipient {
	var list []Recipient
	names := p.fields.line("X-Failed-Recipients")
	for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !p.doc.another() {
			break
		}
		list = append(list, Recipient{Address: shortened(name, maxName)})
	}
	return list
}

// inTranscript are the recipients of the commands and refusals that a report quotes.
func (d *document) inTranscript(text string) []Recipient {
	var list []Recipient
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "@") {
			continue
		}
		lower := strings.ToLower(line)
		command := strings.Contains(lower, "rcpt to:") || strings.Contains(lower, "(generated from ")
		if _, refused := refusalIn(line); !command && !refused {
			continue
		}
		found := addressesIn(line, 2)
		if len(found) != 1 || seen[strings.ToLower(found[0])] {
			continue // of several addresses nobody knows which one is meant
		}
		seen[strings.ToLower(found[0])] = true
		if !d.another() {
			break
		}
		list = append(list, Recipient{Address: found[0]})
	}
	return list
}

// addressesIn are the different addresses in a line, at most max.
func addressesIn(line string, max int) []string {
	var list []string
	for i := 0; i < len(line) && len(list) < max; {
		if i > 0 && !separates(rune(line[i-1])) {
			i++
			continue
		}
		address, rest := addressAt(line[i:])
		if address == "" {
			i++
			continue
		}
		same := func(a string) bool { return strings.EqualFold(a, address) }
		if !slices.ContainsFunc(list, same) {
			list = append(list, address)
		}
		i = len(line) - len(rest)
	}
	return list
}

// refusals are the replies that a text quotes, for those recipients about whom it has no words of their own.
type refusals struct {
	text  string                    // without fields of the message
	first diagnose.Reply            // of all
	of    map[string]diagnose.Reply // that of the line in which an address, in lower case, stands
}

// readRefusals looks for replies line by line.
func (d *document) readRefusals(text string) *refusals {
	d.work += int64(len(text))
	f := &refusals{of: map[string]diagnose.Reply{}}
	var said strings.Builder
	for line := range strings.Lines(text) {
		if isField(strings.TrimSpace(line)) {
			continue
		}
		said.WriteString(line)
		r, ok := refusalIn(line)
		if !ok {
			continue
		}
		if f.first.Code == 0 {
			f.first = r
		}
		for _, a := range addressesIn(line, maxInLine) {
			if _, ok := f.of[strings.ToLower(a)]; !ok {
				f.of[strings.ToLower(a)] = r
			}
		}
	}
	f.text = strings.TrimSpace(said.String())
	return f
}

// complete gives a recipient about whom nothing is said the reply that is quoted with its address, else the
// first one, else the whole text. Every reply is about a recipient who is the only one. What a delay says in
// its other words is what will happen, not why, and a reply that is none of its kind is wording.
func (f *refusals) complete(r *Recipient, kind Kind, only bool) {
	y := &r.Symptom
	if kind == KindSuccess {
		y.Reply, y.Text = diagnose.Reply{Code: 250}, ""
		return
	}
	if y.Reply.Code == 0 && (y.Text == "" || only && f.first.Code != 0) {
		reply, ok := f.of[strings.ToLower(r.Address)]
		if !ok {
			reply = f.first
		}
		f.say(y, reply, kind)
	}
	if kind == KindDelay && y.Reply.Code != 0 && !delayed.fits(y.Reply) {
		y.Reply, y.Text = diagnose.Reply{}, shortened(y.Reply.Raw, maxWording)
	}
}

// say makes a symptom of a reply, or, where there is none, of the whole text.
func (f *refusals) say(y *diagnose.Symptom, reply diagnose.Reply, kind Kind) {
	y.Reply, y.Text = reply, ""
	switch {
	case reply.Code != 0:
	case kind == KindDelay:
		y.Text = "delayed"
	default:
		y.Text = cmp.Or(shortened(f.text, maxWording), "failed") // so little is said of why
	}
}

// withoutBrackets is what stands in Sendmail's "(reason: 550 5.1.1 User unknown)".
func withoutBrackets(line string) string {
	if reason, ok := strings.CutPrefix(line, "(reason:"); ok {
		return strings.TrimSpace(strings.TrimSuffix(reason, ")"))
	}
	return line
}

// isRule reports whether a line only separates what stands above it from what stands below.
func isRule(line string) bool {
	if len(line) < 5 {
		return false
	}
	first, size := utf8.DecodeRuneInString(line)
	return strings.ContainsRune("-=*_#+~", first) && strings.Trim(line[size:], string(first)) == ""
}

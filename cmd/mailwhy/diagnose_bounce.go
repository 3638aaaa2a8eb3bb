package main

import (
	"regexp"
	"slices"
	"strings"

	"mailwhy/diagnose"
)

// maxWording is how much of a bounce's words about one recipient is read, bytes.
const maxWording = 4 << 10

// bounceSubjects and bouncePhrases are how mailers without delivery statuses begin what they have to say; both in lower
// case.
const (
	bounceSubjects = "undeliver|returned mail|failure notice|mail delivery failed|delivery status|delivery failure|mail system error|could not be delivered|unzustellbar"
	bouncePhrases  = "qmail-send program|created automatically by mail delivery software|had permanent fatal errors|could not be delivered|" +
		"delivery to the following|delivery has failed to|wasn't delivered to|was not delivered to|undeliverable"
	copyBegins = "--- below this line is a copy|this is a copy of the message|--- original message|--- the header of the original|--- transcript of session|--- unsent message"
)

// toldInWords reads a bounce that has no delivery status, as those of qmail and of Exim: what it says to a person of
// each recipient, up to the copy of the message. Nil when it is no bounce.
func (p *mimePart) toldInWords() []reported {
	if !p.looksLikeBounce() {
		for i := range p.parts { // one that was forwarded
			if list := p.parts[i].toldInWords(); len(list) > 0 {
				return list
			}
		}
		return nil
	}
	text := p.words()
	text = text[:min(len(text), maxTold)]
	list := toldOf(text)
	if len(list) == 0 {
		list = p.toldAtLarge(text)
	}
	original := p.returned()
	for i := range list {
		r := &list[i]
		r.MessageID, r.Subject = original.get("Message-ID"), original.subject()
		r.symptom.Facts = original.facts(p)
		r.symptom.Facts.Recipient = r.Recipient
	}
	return list
}

// looksLikeBounce tells a bounce by its header, or by its first words.
func (p *mimePart) looksLikeBounce() bool {
	if p.kind == "multipart/report" || p.field("X-Failed-Recipients") != "" {
		return true
	}
	from := strings.ToLower(p.field("From") + p.field("Return-Path"))
	if strings.Contains(from, "mailer-daemon") || strings.Contains(from, "postmaster@") || strings.TrimSpace(p.field("Return-Path")) == "<>" {
		return true
	}
	text := p.words()
	return containsAny(p.field("Subject"), bounceSubjects) || containsAny(text[:min(len(text), maxWording)], bouncePhrases)
}

// containsAny reports whether s, in any case, holds one of the phrases, which stand with | between them.
func containsAny(s, phrases string) bool {
	s = strings.ToLower(s)
	return slices.ContainsFunc(strings.Split(phrases, "|"), func(p string) bool { return strings.Contains(s, p) })
}

// aboutRecipient is the line with which the words about a recipient begin: "<bob@example.com>:" of qmail and Postfix,
// "  bob@example.com" of Exim, "<bob@example.com>... User unknown" of Sendmail.
const aboutRecipient = `^[ \t]*(?:<([^\s<>@]+@[^\s<>@]+)>|([^\s<>@:;,"()']+@[A-Za-z0-9.\-]+[A-Za-z0-9]))(?::|\.\.\.|[ \t]*\(|[ \t]*$)(.*)$`

// toldOf takes the words of a bounce apart by recipient.
func toldOf(text string) []reported {
	about := regexp.MustCompile(aboutRecipient)
	var list []reported
	var words strings.Builder
	finish := func() {
		if len(list) > 0 {
			tell(&list[len(list)-1], words.String())
		}
		words.Reset()
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if containsAny(line, copyBegins) {
			if containsAny(line, "transcript of session") && !quotesRefusal(words.String()) {
				continue // the reason stands there
			}
			break
		}
		if m := about.FindStringSubmatch(line); m != nil {
			address := m[1] + m[2]
			if len(list) == 0 || !strings.EqualFold(list[len(list)-1].Recipient, address) {
				finish()
				list = append(list, reported{Recipient: address})
			}
			line = m[3]
		}
		if words.Len() < maxWording {
			words.WriteString(withoutBrackets(strings.TrimSpace(line)) + "\n")
		}
	}
	finish()
	return slices.DeleteFunc(list, func(r reported) bool { return r.symptom.Reply.Code == 0 && r.symptom.Text == "" })
}

// withoutBrackets is what stands in Sendmail's "(reason: 550 5.1.1 User unknown)".
func withoutBrackets(line string) string {
	if reason, ok := strings.CutPrefix(line, "(reason:"); ok {
		return strings.TrimSpace(strings.TrimSuffix(reason, ")"))
	}
	return line
}

// quotesRefusal reports whether a refusal is quoted in words.
func quotesRefusal(words string) bool {
	class := diagnose.ParseReply(words).Class()
	return class == 4 || class == 5
}

// tell records the words about a recipient: the reply that they quote, else the wording.
func tell(r *reported, words string) {
	words = strings.TrimSpace(words)
	if quotesRefusal(words) {
		r.symptom.Reply = diagnose.ParseReply(words)
	} else {
		r.symptom.Text = words
	}
}

// toldAtLarge reads a bounce whose words are in no known order: the first refusal that they quote, else all of them.
func (p *mimePart) toldAtLarge(text string) []reported {
	text = strings.TrimSpace(text[:min(len(text), 4*maxWording)])
	if text == "" {
		return nil
	}
	var all reported
	for line := range strings.Lines(text) {
		if quotesRefusal(line) {
			all.symptom.Reply = diagnose.ParseReply(line)
			break
		}
	}
	if all.symptom.Reply.Code == 0 {
		all.symptom.Text = text[:min(len(text), maxWording)]
	}
	failed := strings.FieldsFunc(unfolded(p.field("X-Failed-Recipients")), func(r rune) bool { return r == ',' || r == ' ' })
	if len(failed) == 0 {
		return []reported{all}
	}
	list := make([]reported, len(failed))
	for i, address := range failed {
		list[i] = all
		list[i].Recipient = address
	}
	return list
}

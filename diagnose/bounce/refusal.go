package bounce

import (
	"cmp"
	"strings"
	"unicode"

	"mailwhy/diagnose"
)

// outcome is what became of the mail to a recipient (RFC 3464, 2.3.3).
type outcome int

const (
	unknown  outcome = iota
	accepted         // delivered, relayed or expanded
	delayed          // it will be tried again
	failed           // it will not be tried again
)

// outcome follows from the Action or, where that is unknown or missing, from the class of the Status (RFC
// 3464, 2.3.4).
func (r *Recipient) outcome() outcome {
	switch r.Action {
	case "delivered", "relayed", "expanded":
		return accepted
	case "delayed":
		return delayed
	case "failed":
		return failed
	}
	e, _ := diagnose.ParseEnhanced(r.Status)
	switch e.Class {
	case 4:
		return delayed
	case 5:
		return failed
	}
	return unknown
}

// kind is the kind of report that is made of a recipient. Where neither the Action nor the Status says what
// became of the mail, only a reply that accepts makes a success of it.
func (r *Recipient) kind() Kind {
	switch o := r.outcome(); {
	case o == accepted, o == unknown && r.Symptom.Reply.Class() == 2:
		return KindSuccess
	case o == delayed:
		return KindDelay
	}
	return KindFailure
}

// fits reports whether a reply can be the reason of an outcome. A 221 ends a session, and with it a
// transaction.
func (o outcome) fits(r diagnose.Reply) bool {
	switch o {
	case accepted:
		return r.Class() == 2
	case failed:
		return r.Class() == 4 || r.Class() == 5 || r.Code == 221
	case delayed:
		return r.Class() == 4 || r.Code == 221
	}
	return true
}

// symptom is what the engine is asked about: the reply that fits the outcome, else the wording. The Status
// speaks where the reply has no enhanced code.
func (s *status) symptom(b *block, r *Recipient) diagnose.Symptom {
	o := r.outcome()
	y := diagnose.Symptom{Upstream: hostName(r.RemoteMTA), Final: o == failed, Facts: s.message.Facts}
	y.Facts.Recipient = r.Address
	diagnostic := b.get("Diagnostic-Code")
	if o == accepted {
		y.Reply = success(diagnostic)
		return y
	}
	if y.Reply = s.reply(diagnostic, o, r.Address); y.Reply.Code == 0 {
		said, _ := diagnosticCode(diagnostic)
		y.Text = strings.Join(strings.Fields(said), " ")
	}
	if y.Reply.Enhanced.IsZero() {
		y.Reply.Enhanced = o.enhanced(r.Status)
	}
	if y.Reply.Code == 0 && y.Reply.Enhanced.IsZero() && y.Text == "" {
		y.Text = cmp.Or(strings.TrimSpace(r.Action+" "+r.Status), "failed") // so little is said of why
	}
	return y
}

// success is the reply that a Diagnostic-Code quotes, or, where it quotes none, a 250 in place of the Action.
func success(diagnostic string) diagnose.Reply {
	if said, isReply := diagnosticCode(diagnostic); isReply && accepted.fits(replyIn(said)) {
		return replyIn(said)
	}
	return diagnose.Reply{Code: 250}
}

// reply is the reply that a Diagnostic-Code quotes, or, where it says nothing in words, the one that the
// report quotes for a person of this recipient. It is the zero Reply when there is none or it does not fit
// the outcome.
func (s *status) reply(diagnostic string, o outcome, address string) diagnose.Reply {
	said, isReply := diagnosticCode(diagnostic)
	r := quotedIn(said)
	if isReply {
		r = replyIn(said)
	}
	if r.Code != 0 && o.fits(r) {
		return r
	}
	if strings.ContainsFunc(said, unicode.IsLetter) {
		return diagnose.Reply{}
	}
	if r = s.quoted.near(address); o.fits(r) {
		return r
	}
	return diagnose.Reply{} // it is about somebody else
}

// enhanced is a Status as far as it says more than the outcome (RFC 3464, 2.3.4). The class of a delay is 4.
func (o outcome) enhanced(status string) diagnose.Enhanced {
	e, ok := diagnose.ParseEnhanced(status)
	if !ok || e.Subject == 0 && e.Detail == 0 || o == failed && e.Class == 2 {
		return diagnose.Enhanced{}
	}
	if o == delayed {
		e.Class = 4
	}
	return e
}

// diagnosticCode takes a Diagnostic-Code apart (RFC 3464, 2.3.6): what was said, and whether that is an SMTP
// reply. The type, which some leave out, says so: what an X-Unix or a dns says is wording, whatever numbers
// are in it.
func diagnosticCode(value string) (said string, isReply bool) {
	before, after, found := strings.Cut(value, ";")
	kind := strings.ToLower(withoutComment(before))
	if !found || !isAtom(kind) {
		return value, true
	}
	return strings.TrimSpace(after), strings.HasSuffix(kind, "smtp") || strings.HasSuffix(kind, "lmtp")
}

// isAtom reports whether s is written like the type of a field (RFC 3464, 2.1.2), not like what follows one.
func isAtom(s string) bool {
	return s != "" && isLetter(rune(s[0])) && !strings.ContainsFunc(s, func(r rune) bool {
		return !isLetter(r) && !('0' <= r && r <= '9') && !strings.ContainsRune("-_.", r)
	})
}

func isLetter(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }

// replyIn is the reply in a text, or the zero Reply. Its code is one of RFC 5321, 4.2.1.
func replyIn(text string) diagnose.Reply {
	r := diagnose.ParseReply(text)
	if r.Class() < 2 || r.Class() > 5 {
		return diagnose.Reply{}
	}
	return r
}

// quotedIn is the reply that wording quotes as Postfix does, "host mx.example.com[192.0.2.1] said: 550 5.1.1
// ...", or the zero Reply.
func quotedIn(wording string) diagnose.Reply {
	for _, before := range [...]string{" said: ", " refused to talk to me: "} {
		if _, reply, found := strings.Cut(unfolded(wording), before); found {
			return replyIn(reply)
		}
	}
	return diagnose.Reply{}
}

// refusalIn is the refusal that a text quotes, and whether there is one.
func refusalIn(text string) (diagnose.Reply, bool) {
	r := diagnose.ParseReply(text)
	return r, r.Class() == 4 || r.Class() == 5
}

// quotations finds the refusals in what a report says to a person.
type quotations struct {
	text string
	at   map[string]int // where each word of the text first stands; made when it is needed
}

// near is the refusal that stands next behind an address, looked for line by line; the zero Reply when there
// is none.
func (q *quotations) near(address string) diagnose.Reply {
	if q.at == nil {
		q.index()
	}
	at, ok := q.at[strings.ToLower(address)]
	if !ok {
		return diagnose.Reply{}
	}
	text := q.text[at:]
	for line := range strings.Lines(text[:min(len(text), maxWording)]) {
		if r, ok := refusalIn(line); ok {
			return r
		}
	}
	return diagnose.Reply{}
}

// index notes where the words of the text stand.
func (q *quotations) index() {
	q.at = map[string]int{}
	for from := 0; from < len(q.text); {
		n := strings.IndexFunc(q.text[from:], separates)
		if n < 0 {
			n = len(q.text) - from
		}
		word := strings.ToLower(strings.TrimRight(q.text[from:from+n], "."))
		if _, seen := q.at[word]; !seen && word != "" && len(word) <= maxName {
			q.at[word] = from
		}
		from += n + 1
	}
}

// separates reports whether a character stands between the words of a text, and never in a common address.
func separates(r rune) bool {
	return r <= ' ' || r < unicode.MaxASCII && strings.ContainsRune("<>()[],;:\"'", r)
}

// hostName is the name in "mx.example.com (192.0.2.1)" or "mx.example.com [192.0.2.1]".
func hostName(s string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return strings.Trim(name, "[]()")
}

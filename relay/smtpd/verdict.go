package smtpd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/clean"
)

// AcceptMode is what happens to mail before its client is answered.
type AcceptMode int

// The values of an AcceptMode.
const (
	AcceptAsListener AcceptMode = iota // of a Network: as its listener has it
	AcceptQueue                        // it is stored
	AcceptTry                          // its upstream is offered it; see Options.Try
)

// tries reports whether the client's mail is offered to the upstream while the client waits.
func (s *session) tries() bool {
	mode, ok := s.options.Modes[s.listen.Addr]
	if !ok {
		mode = s.listen.Accept
	}
	if s.network != nil && s.network.Accept != AcceptAsListener {
		mode = s.network.Accept
	}
	return mode == AcceptTry && s.options.Try != nil
}

// The bounds of a reply to content. Clients cut lines of more than 512 octets (RFC 5321, 4.5.3.1.5), and
// show no end of lines.
const (
	replyLineOctets = 500 // with the code and the line end
	replyFixes      = 4   // lines of steps
	replyOthers     = 2   // lines of further recipients
	fixWords        = 60  // octets of a fix in the first line
)

// answer is a reply, and if it is a verdict on a content, what it is about.
type answer struct {
	reply string
	id    string   // of the message
	about []judged // nil: nobody
}

// judged is a recipient of the transaction, and what became of it.
type judged struct {
	given  string // the address, as the client gave it
	became *relay.Recipient
}

// wholeText is what the client reads.
func wholeText(answers []answer) string {
	var b strings.Builder
	for i := range answers {
		b.WriteString(answers[i].reply)
	}
	return b.String()
}

// verdicts are the answers to a content that the upstream was offered: after are its recipients as the
// attempt left them; nil if the spool has it.
func (s *session) verdicts(id string, after []relay.Recipient) []answer {
	if after == nil {
		return s.forEach(answer{reply: verdict(id, nil), id: id})
	}
	return s.answers(s.judge(after), func(about []judged) answer {
		return answer{verdict(id, recipientsOf(about)), id, about}
	})
}

// suppressedAnswers are the answers to m, of which all recipients are suppressed. They have the form and the
// codes of the refusal for which the first one is, whether that was long ago or in this session.
func (s *session) suppressedAnswers(m *relay.Message, err *relay.SuppressedError) []answer {
	return s.answers(s.judge(m.Recipients), func(about []judged) answer {
		rs := recipientsOf(about)
		first := slices.IndexFunc(m.Recipients, func(r relay.Recipient) bool {
			return r.Address == rs[0].Address
		})
		code, enhanced := err.Entries[first].Codes()
		return answer{refusalForm(strconv.Itoa(code), enhanced.String(), m.ID, rs, true), m.ID, about}
	})
}

// judge finds for each recipient of the transaction what became of it. Another address may stand in the place
// of one that the client gave.
func (s *session) judge(after []relay.Recipient) []judged {
	list := make([]judged, len(s.tx.recipients))
	for i := range list {
		given, at := s.tx.recipients[i].Address, i
		if at >= len(after) || after[at].Address != given {
			at = max(0, slices.IndexFunc(after, func(r relay.Recipient) bool {
				return r.Address == given || slices.Contains(r.Given, given)
			}))
		}
		list[i] = judged{given, &after[at]}
	}
	return list
}

// recipientsOf are the recipients, each once.
func recipientsOf(about []judged) (list []relay.Recipient) {
	seen := map[*relay.Recipient]bool{}
	for _, j := range about {
		if !seen[j.became] {
			seen[j.became] = true
			list = append(list, *j.became)
		}
	}
	return list
}

// answers makes one answer about all recipients, or for LMTP one for each RCPT (RFC 2033, 4.2).
func (s *session) answers(all []judged, make func([]judged) answer) (list []answer) {
	if !s.listen.LMTP {
		return []answer{make(all)}
	}
	for _, at := range s.tx.order {
		list = append(list, make(all[at:at+1]))
	}
	return list
}

// forEach is an answer that is the same for all recipients, as often as the protocol wants it.
func (s *session) forEach(a answer) []answer {
	if s.listen.LMTP && s.tx != nil {
		return slices.Repeat([]answer{a}, len(s.tx.order))
	}
	return []answer{a}
}

// contentAnswers are the answers to a content: the library's, or what stands in for it.
func (s *session) contentAnswers(library answer) []answer {
	final := s.final
	s.final = nil
	if final != nil {
		return final
	}
	return s.forEach(library)
}

// helloVerb is the command that begins a session: verb, or what LMTP has in its place.
func (s *session) helloVerb(verb string) string {
	if s.listen.LMTP {
		return "LHLO"
	}
	return verb
}

// verdict is one reply: that all recipients were relayed to, or failed, or else that the message is queued.
func verdict(id string, after []relay.Recipient) string {
	isRelayed := func(r relay.Recipient) bool { return r.State == relay.Relayed }
	isOpen := func(r relay.Recipient) bool { return !r.State.Final() }
	switch {
	case len(after) == 0 || slices.ContainsFunc(after, isOpen):
	case !slices.ContainsFunc(after, func(r relay.Recipient) bool { return !isRelayed(r) }):
		return relayedReply(id, after[0].Last)
	case !slices.ContainsFunc(after, isRelayed):
		return refusalReply(id, after)
	}
	return "250 2.0.0 Ok: queued as " + id + "\r\n"
}

// relayedReply is the reply to a message that the upstream took. What it said is a's.
func relayedReply(id string, a *relay.Attempt) string {
	text := "Ok: relayed, " + id
	if a != nil && a.Reply.Raw != "" {
		text += ", upstream said " + oneLine(a.Reply.Raw)
	}
	return wholeReply("250", "2.0.0", []string{text})
}

// refusalReply is the reply to a message that failed for all of its recipients: the code is the upstream's,
// the first line its words and what they mean, and the rest what to do about it.
func refusalReply(id string, after []relay.Recipient) string {
	code, enhanced := codesOf(after[0].Last)
	return refusalForm(code, enhanced, id, after, len(after) > 1)
}

// refusalForm is a refusal with codes. named has each recipient stand in its line.
func refusalForm(code, enhanced, id string, after []relay.Recipient, named bool) string {
	first := &after[0]
	room := replyLineOctets - len("\r\n") - len(code) - len(enhanced) - 2
	lines := append([]string{refusalLine(first, named, room)}, advice(first.Diagnosis)...)
	others := 0
	for i := range after[1:] {
		r := &after[i+1]
		if sameWords(r.Last, first.Last) {
			continue
		}
		if others++; others <= replyOthers {
			lines = append(lines, refusalLine(r, true, room))
		}
	}
	if others > replyOthers {
		lines = append(lines, fmt.Sprintf("And %d more recipients", others-replyOthers))
	}
	return wholeReply(code, enhanced, append(lines, "See "+id))
}

// codesOf are the code and the enhanced code of a refusal. Where there is no reply that has them, they are
// those of the fault.
func codesOf(a *relay.Attempt) (code, enhanced string) {
	switch {
	case a == nil:
		return "554", "5.0.0"
	case a.Reply.Class() == 5 && a.Reply.Enhanced.Class == 5:
		return strconv.Itoa(a.Reply.Code), a.Reply.Enhanced.String()
	case a.Reply.Class() == 5:
		return strconv.Itoa(a.Reply.Code), "5.0.0"
	}
	switch a.NetErr.Kind {
	case diagnose.NetSizeExceeded:
		return "552", "5.3.4" // RFC 1870, 6.1
	case diagnose.NetUTF8Unavailable:
		return "553", "5.6.7" // RFC 6531, 3.5
	case diagnose.NetEightUnavailable:
		return "554", "5.6.3"
	case diagnose.NetCorrupt:
		return "451", "4.3.0" // our own disk
	}
	return "554", "5.0.0"
}

// refusalLine is what was said of one recipient, and what it means, in at most room octets. named has the
// recipient stand in it.
func refusalLine(r *relay.Recipient, named bool, room int) string {
	words := saidOf(r)
	if named && !strings.Contains(strings.ToLower(words), strings.ToLower(r.Address)) {
		words = "<" + clean.ASCII(r.Address, 254) + ">: " + words
	}
	if r.Diagnosis == nil {
		return shorten(words, room)
	}
	meaning := " [" + clean.ASCII(string(r.Diagnosis.Category), 40)
	if fix := fixInShort(r.Diagnosis); fix != "" {
		meaning += ": " + fix
	}
	meaning += "]"
	return shorten(words, room-len(meaning)) + meaning
}

// saidOf are the words of a refusal, without its codes.
func saidOf(r *relay.Recipient) string {
	for _, text := range []string{wordsOf(r.Last), causeOf(r.Diagnosis)} {
		if text = oneLine(text); text != "" {
			return text
		}
	}
	return "Refused"
}

func wordsOf(a *relay.Attempt) string {
	switch {
	case a == nil:
		return ""
	case a.Reply.Text != "":
		return a.Reply.Text
	}
	return a.NetErr.Text
}

func causeOf(d *diagnose.Diagnosis) string {
	if d == nil {
		return ""
	}
	return d.Cause
}

// sameWords reports whether a line about one of two refusals says it all. Suppression is about an address.
func sameWords(a, b *relay.Attempt) bool {
	if a != nil && a.NetErr.Kind == diagnose.NetSuppressed {
		return false
	}
	return a == b || a != nil && b != nil && a.Reply.Raw == b.Reply.Raw && a.NetErr == b.NetErr
}

// advice are the lines of the cause and the first steps of the fix.
func advice(d *diagnose.Diagnosis) (lines []string) {
	if d == nil {
		return nil
	}
	lines = append(lines, "Cause: "+oneLine(d.Cause))
	for i, step := range d.Fix[:min(len(d.Fix), replyFixes)] {
		if len(d.Fix) == 1 {
			lines = append(lines, "Fix: "+oneLine(step))
			continue
		}
		lines = append(lines, fmt.Sprintf("Fix %d: %s", i+1, oneLine(step)))
	}
	return lines
}

// fixInShort is the beginning of the first step, up to the first pause in it.
func fixInShort(d *diagnose.Diagnosis) string {
	if len(d.Fix) == 0 {
		return ""
	}
	text := oneLine(d.Fix[0])
	for i, c := range text {
		pause := strings.ContainsRune(",;:.", c) && (i+1 == len(text) || text[i+1] == ' ')
		if pause || c == '(' || c == '[' || c == ']' {
			text = strings.TrimSpace(text[:i])
			break
		}
	}
	text = shorten(text, fixWords)
	first, _, _ := strings.Cut(text, " ")
	name := d.Provider != "" && strings.EqualFold(first, d.Provider)
	if !name && len(text) > 1 && text[1] >= 'a' && text[1] <= 'z' {
		text = strings.ToLower(text[:1]) + text[1:]
	}
	return text
}

// oneLine is s as one line of printable ASCII.
func oneLine(s string) string {
	return clean.ASCII(strings.Join(strings.Fields(s), " "), 4*replyLineOctets)
}

// shorten cuts s to at most max octets, between two words where it can.
func shorten(s string, max int) string {
	const more = "..."
	if len(s) <= max {
		return s
	}
	s = s[:max-len(more)]
	if i := strings.LastIndexByte(s, ' '); i > len(s)/2 {
		s = s[:i]
	}
	return strings.TrimRight(s, " ,;:.") + more
}

// wholeReply is a reply of several lines (RFC 5321, 4.2.1), each with both codes (RFC 2034, 4).
func wholeReply(code, enhanced string, lines []string) string {
	var b strings.Builder
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		head := code + sep + enhanced + " "
		b.WriteString(head + shorten(line, replyLineOctets-len(head)-len("\r\n")) + "\r\n")
	}
	return b.String()
}

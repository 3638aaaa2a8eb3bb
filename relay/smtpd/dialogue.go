package smtpd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/smtpd/refusal"
	"mailwhy/relay/smtpd/wire"
)

// Busy implements wire.Dialogue.
func (s *session) Busy() bool { return s.tx != nil }

// answer turns a refusal into an Action.
func (s *session) answer(err error) wire.Action {
	var e *refusal.Error
	if !errors.As(err, &e) {
		e = refusal.New("internal_error")
	}
	s.why = e
	return wire.Action{Reply: s.server.refusals.Line(e)}
}

// finish is answer, and ends the connection.
func (s *session) finish(e *refusal.Error) wire.Action {
	a := s.answer(e)
	a.End = true
	return a
}

// Command implements wire.Dialogue: it reads each command line and decides what go-smtp sees of it.
func (s *session) Command(line string) wire.Action {
	if line == wire.TLSHello {
		return s.tlsInClear()
	}
	if s.lenient() {
		line = strings.ReplaceAll(line, "\t", " ")
	}
	verb, args, _ := strings.Cut(line, " ")
	s.verb, args = strings.ToUpper(verb), strings.TrimSpace(args)
	if strings.Contains(line, "\t") {
		return s.answer(refusal.New("tab"))
	}
	if !s.speak() {
		return s.answer(refusal.New("lmtp"))
	}
	if hasControl(line) {
		return s.answer(refusal.New("control_characters"))
	}
	switch s.verb {
	case "MAIL", "RCPT", "DATA":
		return s.mailCommand(args)
	case "EHLO", "HELO", "RSET", "NOOP", "VRFY", "AUTH", "STARTTLS", "HELP":
		return s.otherCommand(args)
	case "QUIT":
		return wire.Action{Pass: "QUIT"}
	case "BDAT": // the chunk follows at once, and must not be read as commands
		return s.finish(refusal.New("chunking"))
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "HOST:", "USER-AGENT:", "CONTENT-LENGTH:":
		return s.finish(refusal.New("http"))
	case "EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN":
		return s.answer(refusal.New("not_implemented", s.verb))
	}
	return s.answer(refusal.New("unknown_command", shown(verb)))
}

// shown is an unknown command as it may be repeated. What a client sends in place of one may be a password,
// in base64, after an AUTH that was refused; so only what looks like a command is shown.
func shown(verb string) string {
	letters := strings.TrimFunc(verb, unicode.IsLetter) == ""
	if letters && len(verb) <= 20 && (verb == strings.ToUpper(verb) || verb == strings.ToLower(verb)) {
		return verb
	}
	return fmt.Sprintf("a word of %d bytes", len(verb))
}

// speak reports whether the command is of the protocol that the listener speaks. LHLO of LMTP is EHLO from
// here on (RFC 2033, 4.1).
func (s *session) speak() bool {
	if !s.listen.LMTP {
		return true
	}
	switch s.verb {
	case "EHLO", "HELO":
		return false
	case "LHLO":
		s.verb = "EHLO"
	}
	return true
}

// hasControl reports whether a command line contains control characters, which no command does (RFC 5321,
// 4.1.2).
func hasControl(line string) bool {
	return strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// mailCommand handles MAIL, RCPT and DATA. go-smtp enforces their order.
func (s *session) mailCommand(args string) wire.Action {
	if s.hello == "" {
		return s.answer(refusal.New("hello_first", s.helloVerb("EHLO")))
	}
	switch s.verb {
	case "DATA":
		return s.dataCommand(args)
	case "MAIL":
		if n := s.options.Limits.Messages; n > 0 && s.messages >= n {
			return s.finish(refusal.New("too_many_messages", n))
		}
		if err := s.parseMail(args); err != nil {
			return s.answer(err)
		}
		return wire.Action{Pass: "MAIL FROM:<" + libraryPath(s.pending.address) + ">"}
	}
	if s.tx == nil {
		return s.answer(refusal.New("mail_first"))
	}
	if err := s.parseRcpt(args); err != nil {
		s.tx.rejected++
		return s.answer(err)
	}
	return wire.Action{Pass: "RCPT TO:<" + libraryPath(s.pending.address) + ">"}
}

// libraryPath is what go-smtp sees of a path: enough to enforce the order of commands. It unquotes local
// parts, so it would not return them unchanged.
func libraryPath(addr string) string {
	if addr == "" {
		return ""
	}
	_, domain := address.Split(addr)
	return "accepted@" + domain
}

func (s *session) dataCommand(args string) wire.Action {
	switch {
	case args != "":
		return s.answer(refusal.New("no_parameters", "DATA"))
	case s.tx == nil:
		return s.answer(refusal.New("rcpt_first"))
	case len(s.tx.recipients) == 0 && s.tx.rejected > 0 && !s.listen.LMTP: // else 503: RFC 2033, 4.2
		return s.answer(refusal.New("no_valid_recipients")) // RFC 5321, 3.3
	case len(s.tx.recipients) == 0:
		return s.answer(refusal.New("rcpt_first"))
	}
	return wire.Action{Pass: "DATA"}
}

// otherCommand handles the commands that do not send mail; their number is limited.
func (s *session) otherCommand(args string) wire.Action {
	s.others++
	if n := s.options.Limits.OtherCommands; n > 0 && s.others > n {
		return s.finish(refusal.New("too_many_commands"))
	}
	switch s.verb {
	case "EHLO", "HELO":
		name, _, _ := strings.Cut(args, " ")
		switch {
		case name == "" && s.lenient():
			name = "unknown"
		case name == "":
			return s.answer(refusal.New("hello_name", s.helloVerb(s.verb)))
		}
		s.hello, s.extended = clean.ASCII(name, 255), s.verb == "EHLO"
		return wire.Action{Pass: s.verb + " " + s.hello}
	case "HELP":
		return wire.Action{Reply: "214 2.0.0 EHLO, then MAIL, RCPT, DATA; see RFC 5321\r\n"}
	case "VRFY":
		// RFC 5321, 3.5.3
		return wire.Action{Reply: "252 2.1.5 Cannot verify addresses, send the message instead\r\n"}
	case "RSET", "NOOP":
		return wire.Action{Pass: s.verb}
	}
	return s.secureCommand(args)
}

// secureCommand handles STARTTLS and AUTH.
func (s *session) secureCommand(args string) wire.Action {
	if s.hello == "" {
		return s.answer(refusal.New("hello_first", s.helloVerb("EHLO")))
	}
	if s.verb == "AUTH" {
		if err := s.mayAuth(args); err != nil {
			return s.answer(err)
		}
		return wire.Action{Pass: "AUTH " + args}
	}
	switch {
	case args != "":
		return s.answer(refusal.New("no_parameters", "STARTTLS")) // RFC 3207, 4
	case s.wire.TLS() != nil:
		return s.answer(refusal.New("tls_active"))
	case s.user != "": // the library remembers that it has authenticated the client
		return s.answer(refusal.New("tls_after_auth"))
	case s.startTLS() == nil:
		return s.answer(refusal.New("tls_unavailable"))
	}
	s.hello, s.extended = "", false // RFC 3207, 4.2: the client must send EHLO again
	return wire.Action{StartTLS: true}
}

// Reply implements wire.Dialogue. Every reply passes here: it corrects go-smtp's wording and codes, counts
// errors, and records refusals.
func (s *session) Reply(reply []byte) (send []byte, end bool) {
	verb, why := s.verb, s.why
	s.why = nil
	if bytes.HasPrefix(reply, []byte("354")) || bytes.HasPrefix(reply, []byte("334")) {
		if verb == "DATA" {
			s.verb = contentEnd
		}
		return reply, false
	}
	s.verb = ""
	if !s.greeted {
		return s.greet()
	}
	answers := []answer{{reply: s.reworded(verb, string(reply))}}
	if verb == contentEnd {
		answers = s.contentAnswers(answers[0])
	}
	text := wholeText(answers)
	if !s.noteRefusals(verb, why, answers) {
		return []byte(text), false
	}
	if text[0] == '5' && verb != contentEnd && !s.forgiven(verb) || s.overshoot > overshootLimit {
		s.errs++
	}
	if n := s.options.Limits.Errors; n > 0 && s.errs >= n {
		return []byte(text + s.server.refusals.Line(refusal.New("too_many_errors", n))), true
	}
	if n := s.options.Limits.AuthFailures; verb == "AUTH" && n > 0 && s.failures >= n {
		return []byte(text + s.server.refusals.Line(refusal.New("too_many_logins", n))), true
	}
	return []byte(text), false
}

// noteRefusals records the refusals among the answers to a command, and reports whether there are any. A 421
// to an idle client is none.
func (s *session) noteRefusals(verb string, why *refusal.Error, answers []answer) bool {
	refused := func(a answer) bool { return a.reply[0] >= '4' }
	at := slices.IndexFunc(answers, refused)
	switch {
	case at < 0:
		return false
	case answers[at].about != nil:
		for i := range answers {
			if refused(answers[i]) {
				s.passedOn(&answers[i])
			}
		}
	case verb != "" || s.tx != nil || answers[at].reply[0] == '5':
		line := firstLine(answers[at].reply)
		if why == nil { // it is the library's, or the wire's
			why = s.server.refusals.Find(line)
		}
		s.refused(stageOf(verb), why, line)
	}
	return true
}

// forgiven reports whether a refusal does not count as an error: bad recipients must not take the good ones
// of their message with them, so as many are forgiven as a message may have. Who guesses return paths has no
// good ones.
func (s *session) forgiven(verb string) bool {
	limit := cmp.Or(s.options.Limits.Recipients, overshootLimit)
	return verb == "RCPT" && !s.listen.Bounces && s.tx != nil && s.tx.rejected <= limit
}

// overshootLimit is how many recipients over the limit are refused before they count as errors.
const overshootLimit = 1000

// turnAway is a refusal in place of the greeting.
func (s *session) turnAway(why *refusal.Error) (send []byte) {
	line := s.server.refusals.Line(why)
	s.refused(diagnose.StageConnect, why, strings.TrimRight(line, "\r\n"))
	return []byte(line)
}

// strange reports whether nobody on the client's host may send mail, and will not before the operator names
// who may.
func (s *session) strange() bool {
	return s.options.Access.Unnamed && s.network == nil && !s.hasUsers() && !s.listen.Bounces
}

// greet makes the greeting, or refuses a client that has too many connections, or can do nothing here.
func (s *session) greet() (send []byte, end bool) {
	s.greeted = true
	if !s.countClient() {
		why := refusal.New("client_connections", s.origin(), s.options.Limits.ClientConns)
		return s.turnAway(why), true
	}
	if s.strange() {
		s.server.strangers.note(s.options, s.addrString())
		return s.turnAway(refusal.New("no_clients", s.origin())), true
	}
	protocol := "ESMTP"
	if s.listen.LMTP {
		protocol = "LMTP"
	}
	return fmt.Appendf(nil, "220 %s %s mailwhy\r\n", s.options.Hostname, protocol), false
}

// reworded is the reply to send instead of one from go-smtp.
func (s *session) reworded(verb, reply string) string {
	code := reply[:3]
	switch {
	case verb == "EHLO" && code == "250":
		return s.ehloReply()
	case verb == "HELO" && code == "250":
		return "250 " + s.options.Hostname + "\r\n"
	case verb == "MAIL" && code == "250":
		return "250 2.1.0 Sender ok\r\n"
	case verb == "RCPT" && code == "250":
		return "250 2.1.5 Recipient ok\r\n"
	case (verb == "RSET" || verb == "NOOP") && code == "250":
		return "250 2.0.0 Ok\r\n"
	case verb == "AUTH" && code == "235":
		return "235 2.7.0 Authentication succeeded\r\n" // RFC 4954, 6
	case verb == "AUTH" && strings.HasSuffix(reply, " Invalid base64 data\r\n"):
		s.why = refusal.New("auth_response")
		return s.server.refusals.Line(s.why) // RFC 4954, 4
	}
	return reply
}

// ehloReply lists the extensions that we offer (RFC 5321, 4.1.1.1). Content that the upstream does not take
// is converted on its way out.
func (s *session) ehloReply() string {
	caps, _ := s.capabilities()
	lines := []string{s.options.Hostname, "PIPELINING", fmt.Sprintf("SIZE %d", s.sizeLimit(caps).bytes)}
	offer := func(keyword string, when bool) {
		if when {
			lines = append(lines, keyword)
		}
	}
	offer("8BITMIME", true)
	offer("SMTPUTF8", true)
	offer("DSN", true)
	offer("ENHANCEDSTATUSCODES", true)
	offer("STARTTLS", s.wire.TLS() == nil && s.user == "" && s.startTLS() != nil)
	offer("AUTH PLAIN LOGIN", s.authOffered())
	offer(fmt.Sprintf("LIMITS RCPTMAX=%d", s.options.Limits.Recipients), s.options.Limits.Recipients > 0)
	var b strings.Builder
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		b.WriteString("250" + sep + line + "\r\n")
	}
	return b.String()
}

// contentEnd takes the place of the verb in the reply to a content, which has a stage of its own. No
// command line can contain it.
const contentEnd = "\r\n.\r\n"

// stageOf is the stage of the reply to a command.
func stageOf(verb string) diagnose.Stage {
	switch verb {
	case "EHLO", "HELO":
		return diagnose.StageHello
	case "STARTTLS":
		return diagnose.StageTLS
	case "AUTH":
		return diagnose.StageAuth
	case "MAIL":
		return diagnose.StageMail
	case "RCPT":
		return diagnose.StageRcpt
	case "DATA":
		return diagnose.StageData
	case contentEnd:
		return diagnose.StageEndOfData
	case "RSET":
		return diagnose.StageReset
	}
	return diagnose.StageUnknown
}

// firstLine is the first line of a reply, without its line end.
func firstLine(reply string) string {
	line, _, _ := strings.Cut(reply, "\r\n")
	return line
}

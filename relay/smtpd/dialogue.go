package smtpd

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/smtpd/wire"
)

// Busy implements wire.Dialogue.
func (s *session) Busy() bool { return s.tx != nil }

// answer turns a reply into an Action.
func answer(reply error) wire.Action { return wire.Action{Reply: replyLine(reply)} }

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
		return answer(reply(500, 5, 5, 2, "The command contains a TAB; "+
			"lenient = true of this client accepts it as a space"))
	}
	if !s.speak() {
		return answer(reply(500, 5, 5, 1, "This listener speaks LMTP, send LHLO"))
	}
	if hasControl(line) {
		return answer(reply(500, 5, 5, 2, "The command contains control characters"))
	}
	switch s.verb {
	case "MAIL", "RCPT", "DATA":
		return s.mailCommand(args)
	case "EHLO", "HELO", "RSET", "NOOP", "VRFY", "AUTH", "STARTTLS", "HELP":
		return s.otherCommand(args)
	case "QUIT":
		return wire.Action{Pass: "QUIT"}
	case "BDAT": // the chunk follows at once, and must not be read as commands
		return wire.Action{Reply: "502 5.5.1 CHUNKING is not supported, use DATA\r\n", End: true}
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "HOST:", "USER-AGENT:", "CONTENT-LENGTH:":
		return wire.Action{Reply: "500 5.5.1 This is a mail server, not a web server\r\n", End: true}
	case "EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN":
		return answer(reply(502, 5, 5, 1, "Command not implemented"))
	}
	return answer(reply(500, 5, 5, 1, "Command not recognized"))
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
		return answer(reply(503, 5, 5, 1, "Send %s first", s.helloVerb()))
	}
	switch s.verb {
	case "DATA":
		return s.dataCommand(args)
	case "MAIL":
		if n := s.options.Limits.Messages; n > 0 && s.messages >= n {
			return wire.Action{Reply: "421 4.7.0 Too many messages on this connection, please open " +
				"another\r\n", End: true}
		}
		if err := s.parseMail(args); err != nil {
			return answer(err)
		}
		return wire.Action{Pass: "MAIL FROM:<" + libraryPath(s.pending.address) + ">"}
	}
	if s.tx == nil {
		return answer(reply(503, 5, 5, 1, "Send MAIL first"))
	}
	if err := s.parseRcpt(args); err != nil {
		s.tx.rejected++
		return answer(err)
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
		return answer(reply(501, 5, 5, 4, "DATA takes no parameters"))
	case s.tx == nil:
		return answer(reply(503, 5, 5, 1, "Send MAIL and RCPT first"))
	case len(s.tx.recipients) == 0 && s.tx.rejected > 0 && !s.listen.LMTP: // else 503: RFC 2033, 4.2
		return answer(reply(554, 5, 5, 1, "No valid recipients")) // RFC 5321, 3.3
	case len(s.tx.recipients) == 0:
		return answer(reply(503, 5, 5, 1, "Send RCPT first"))
	}
	return wire.Action{Pass: "DATA"}
}

// otherCommand handles the commands that do not send mail; their number is limited.
func (s *session) otherCommand(args string) wire.Action {
	s.others++
	if n := s.options.Limits.OtherCommands; n > 0 && s.others > n {
		return wire.Action{Reply: "421 4.7.0 Too many commands without a message\r\n", End: true}
	}
	switch s.verb {
	case "EHLO", "HELO":
		name, _, _ := strings.Cut(args, " ")
		switch {
		case name == "" && s.lenient():
			name = "unknown"
		case name == "":
			return answer(reply(501, 5, 5, 4, "%s needs your host name; "+
				"lenient = true of this client accepts it without", s.verb))
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
		return answer(reply(503, 5, 5, 1, "Send %s first", s.helloVerb()))
	}
	if s.verb == "AUTH" {
		if err := s.mayAuth(args); err != nil {
			return answer(err)
		}
		return wire.Action{Pass: "AUTH " + args}
	}
	switch {
	case args != "":
		return answer(reply(501, 5, 5, 4, "STARTTLS takes no parameters")) // RFC 3207, 4
	case s.wire.TLS() != nil:
		return answer(reply(503, 5, 5, 1, "TLS is already active"))
	case s.user != "": // the library remembers that it has authenticated the client
		return answer(reply(503, 5, 5, 1, "STARTTLS must come before AUTH"))
	case s.startTLS() == nil:
		return answer(reply(502, 5, 5, 1, "TLS is not available"))
	}
	s.hello, s.extended = "", false // RFC 3207, 4.2: the client must send EHLO again
	return wire.Action{StartTLS: true}
}

// Reply implements wire.Dialogue. Every reply passes here: it corrects go-smtp's wording and codes, counts
// errors, and records refusals.
func (s *session) Reply(reply []byte) (send []byte, end bool) {
	verb := s.verb
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
	replies := []string{s.reworded(verb, string(reply))}
	if verb == contentEnd {
		replies = s.contentReplies(replies[0])
	}
	refused := false
	for i, one := range replies {
		if one[0] < '4' {
			continue
		}
		refused = true
		if verb != "" || s.tx != nil || one[0] == '5' { // a 421 to an idle client is not a refusal
			s.refused(stageOf(verb), s.refusedRecipient(verb, i), firstLine(one))
		}
	}
	text := strings.Join(replies, "")
	if !refused {
		return []byte(text), false
	}
	if text[0] == '5' && verb != contentEnd && !s.forgiven(verb) || s.overshoot > overshootLimit {
		s.errs++
	}
	if n := s.options.Limits.Errors; n > 0 && s.errs >= n {
		return []byte(text + "421 4.7.0 Too many errors\r\n"), true
	}
	if n := s.options.Limits.AuthFailures; verb == "AUTH" && n > 0 && s.failures >= n {
		return []byte(text + "421 4.7.0 Too many failed authentications\r\n"), true
	}
	return []byte(text), false
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

// greet makes the greeting, or refuses a client that has too many connections.
func (s *session) greet() (send []byte, end bool) {
	s.greeted = true
	if !s.countClient() {
		const text = "421 4.7.0 Too many connections from your address, please try again later"
		s.refused(diagnose.StageConnect, "", text)
		return []byte(text + "\r\n"), true
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
		return "501 5.5.2 Invalid base64 data\r\n" // RFC 4954, 4
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

// refusedRecipient is the recipient that a refusal is about, if any; i is its number among the replies.
func (s *session) refusedRecipient(verb string, i int) string {
	switch {
	case verb == "RCPT":
		return s.pending.address
	case verb == contentEnd && s.listen.LMTP && s.tx != nil:
		return s.tx.recipients[s.tx.order[i]].Address
	}
	return ""
}

// firstLine is the first line of a reply, without its line end.
func firstLine(reply string) string {
	line, _, _ := strings.Cut(reply, "\r\n")
	return line
}

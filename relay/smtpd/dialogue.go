package smtpd

import (
	"bytes"
	"fmt"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/smtpd/wire"
)

// Busy implements wire.Dialogue.
func (s *session) Busy() bool { return s.tx != nil }

// answer makes an Action of a reply.
func answer(reply error) wire.Action { return wire.Action{Reply: replyLine(reply)} }

// Command implements wire.Dialogue: it reads each command line and decides what go-smtp gets of it.
func (s *session) Command(line string) wire.Action {
	verb, args, _ := strings.Cut(line, " ")
	s.verb, args = strings.ToUpper(verb), strings.TrimSpace(args)
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
	case "BDAT": // its chunk follows at once, and nobody is to take it for commands
		return wire.Action{Reply: "502 5.5.1 CHUNKING is not supported, use DATA\r\n", End: true}
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "HOST:", "USER-AGENT:", "CONTENT-LENGTH:":
		return wire.Action{Reply: "500 5.5.1 This is a mail server, not a web server\r\n", End: true}
	case "EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN":
		return answer(reply(502, 5, 5, 1, "Command not implemented"))
	}
	return answer(reply(500, 5, 5, 1, "Command not recognized"))
}

// hasControl reports whether a command line holds what no command holds (RFC 5321, 4.1.2). A tab is taken for a space by
// nobody here, so it is a control too.
func hasControl(line string) bool {
	return strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// mailCommand looks at MAIL, RCPT and DATA. Their order is go-smtp's to hold.
func (s *session) mailCommand(args string) wire.Action {
	if s.hello == "" {
		return answer(reply(503, 5, 5, 1, "Send EHLO first"))
	}
	switch s.verb {
	case "DATA":
		return s.dataCommand(args)
	case "MAIL":
		if n := s.options.Limits.Messages; n > 0 && s.messages >= n {
			return wire.Action{Reply: "421 4.7.0 Too many messages on this connection, please open another\r\n", End: true}
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

// libraryPath is what go-smtp is told of a path: enough to keep its order of commands. It unquotes local parts, so they would not come
// back as they were.
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
	case len(s.tx.recipients) == 0 && s.tx.rejected > 0:
		return answer(reply(554, 5, 5, 1, "No valid recipients")) // RFC 5321, 3.3
	case len(s.tx.recipients) == 0:
		return answer(reply(503, 5, 5, 1, "Send RCPT first"))
	}
	return wire.Action{Pass: "DATA"}
}

// otherCommand looks at commands that bring no mail nearer, and so are counted.
func (s *session) otherCommand(args string) wire.Action {
	s.others++
	if n := s.options.Limits.OtherCommands; n > 0 && s.others > n {
		return wire.Action{Reply: "421 4.7.0 Too many commands without a message\r\n", End: true}
	}
	switch s.verb {
	case "EHLO", "HELO":
		if args == "" {
			return answer(reply(501, 5, 5, 4, "%s needs your host name", s.verb))
		}
		name, _, _ := strings.Cut(args, " ")
		s.hello, s.extended = clean.ASCII(name, 255), s.verb == "EHLO"
		return wire.Action{Pass: s.verb + " " + s.hello}
	case "HELP":
		return wire.Action{Reply: "214 2.0.0 EHLO, then MAIL, RCPT, DATA; see RFC 5321\r\n"}
	case "VRFY":
		return wire.Action{Reply: "252 2.1.5 Cannot verify addresses, send the message instead\r\n"} // RFC 5321, 3.5.3
	case "RSET", "NOOP":
		return wire.Action{Pass: s.verb}
	}
	return s.secureCommand(args)
}

// secureCommand looks at STARTTLS and AUTH.
func (s *session) secureCommand(args string) wire.Action {
	if s.hello == "" {
		return answer(reply(503, 5, 5, 1, "Send EHLO first"))
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
	case s.user != "": // the library keeps that it has authenticated somebody
		return answer(reply(503, 5, 5, 1, "STARTTLS must come before AUTH"))
	case s.startTLS() == nil:
		return answer(reply(502, 5, 5, 1, "TLS is not available"))
	}
	s.hello, s.extended = "", false // RFC 3207, 4.2: EHLO is to be said again
	return wire.Action{StartTLS: true}
}

// Reply implements wire.Dialogue. Every reply passes here: go-smtp's words and codes are put right, errors counted, refusals
// recorded.
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
	text := s.reworded(verb, string(reply))
	if text[0] < '4' {
		return []byte(text), false
	}
	if verb != "" || s.tx != nil || text[0] == '5' { // an idle client's 421 refuses nothing
		s.refused(stageOf(verb), s.refusedRecipient(verb), firstLine(text))
	}
	if text[0] == '5' && verb != contentEnd || s.overshoot > overshootLimit {
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

// overshootLimit is how many recipients over the limit are answered before they count as errors.
const overshootLimit = 1000

// greet makes the greeting, or turns away one of too many connections of one client.
func (s *session) greet() (send []byte, end bool) {
	s.greeted = true
	if !s.countClient() {
		const text = "421 4.7.0 Too many connections from your address, please try again later"
		s.refused(diagnose.StageConnect, "", text)
		return []byte(text + "\r\n"), true
	}
	return fmt.Appendf(nil, "220 %s ESMTP mailwhy\r\n", s.options.Hostname), false
}

// reworded is what is said in place of a reply of go-smtp.
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

// ehloReply lists what is offered (RFC 5321, 4.1.1.1). What the upstream is known to lack is not.
func (s *session) ehloReply() string {
	caps, known := s.options.Capabilities()
	lines := []string{s.options.Hostname, "PIPELINING", fmt.Sprintf("SIZE %d", s.sizeLimit(caps).bytes)}
	offer := func(keyword string, when bool) {
		if when {
			lines = append(lines, keyword)
		}
	}
	offer("8BITMIME", caps.EightBit || !known)
	offer("SMTPUTF8", caps.SMTPUTF8 || !known)
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

// contentEnd stands for the verb in the reply to a content, which is another stage's than DATA's own. No line of a client holds it.
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

// refusedRecipient is the recipient that a refusal concerns, if it is one.
func (s *session) refusedRecipient(verb string) string {
	if verb != "RCPT" {
		return ""
	}
	return s.pending.address
}

// firstLine is a reply's text without its end.
func firstLine(reply string) string {
	line, _, _ := strings.Cut(reply, "\r\n")
	return line
}

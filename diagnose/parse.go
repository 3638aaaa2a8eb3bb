package diagnose

import (
	"strconv"
	"strings"
)

// maxParsed bounds how much of a reply is taken apart. Raw always keeps everything.
const maxParsed = 64 << 10

// ParseReply reads what a server said. It accepts any bytes and never fails: text that holds no reply gives a
// Reply with Raw and Text alone. A reply that stands inside other words, as in a log line or a gateway's
// sentence ("host X said: 550 ..."), is found there when nothing stands in front of it at the start of the
// text.
func ParseReply(raw string) Reply {
	s := raw
	if len(s) > maxParsed {
		s = s[:maxParsed]
	}
	s = strings.TrimLeft(s, " \t\r\n")
	code, rest := leadingCode(s)
	if code == 0 {
		var at int
		if at, code = embeddedCode(s); code != 0 {
			s = s[at:]
			_, rest = leadingCode(s)
		}
	}
	if code == 0 {
		return Reply{Raw: raw, Text: joinLines(s)}
	}
	if at, refused := refusedGreeting(code, s); refused != 0 {
		code, rest = refused, s[at+3:]
		rest = strings.TrimPrefix(rest, "-")
	}
	r := Reply{Raw: raw, Code: code}
	r.Enhanced, r.Text = readLines(code, rest)
	if r.Enhanced.IsZero() {
		r.Enhanced = hashedEnhanced(r.Text)
	}
	return r
}

// leadingCode reads a basic code at the start of s and returns what follows it and its separator (RFC 5321,
// 4.2).
func leadingCode(s string) (int, string) {
	if len(s) < 3 || !digit(s[0]) || !digit(s[1]) || !digit(s[2]) {
		return 0, ""
	}
	n := int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
	if n < 200 || n > 799 {
		return 0, ""
	}
	s = s[3:]
	switch {
	case s == "":
		return n, ""
	case s[0] == ' ' || s[0] == '-' || s[0] == '\t':
		return n, s[1:]
	case digit(s[0]) || letter(s[0]) || s[0] == '.' && len(s) > 1 && digit(s[1]):
		return 0, ""
	}
	return n, s
}

// refusedGreeting finds the refusal that ends a greeting (RFC 5321, 3.1) which begins with 220: a later line
// with another code, also where a log has joined the lines ("220-host 421 4.2.1 Service refused"). No other
// reply may turn into a refusal by its words: a 250 has taken the message.
func refusedGreeting(code int, s string) (at, refused int) {
	if code != 220 {
		return 0, 0
	}
	open := len(s) > 3 && s[3] == '-' // more lines must follow
	for i := 4; i+4 < len(s); i++ {
		if s[i-1] != ' ' && s[i-1] != '\n' {
			continue
		}
		open = open && !strings.HasPrefix(s[i:], "220 ")
		if s[i] != '4' && s[i] != '5' {
			continue
		}
		n, after := leadingCode(s[i:])
		if n == 0 || n >= 600 || after == "" {
			continue
		}
		e, _ := leadingEnhanced(strings.TrimLeft(after[:min(len(after), 16)], " "))
		if s[i-1] == '\n' || e.Class == n/100 || open && s[i+3] == ' ' && letter(after[0]) {
			return i, n
		}
	}
	return 0, 0
}

// readLines takes the lines of a reply apart: the first enhanced code found at a line's start, and the
// wording without the codes there. Lines that were joined in a log ("550-5.7.1 one 550 5.7.1 two") are lines
// too.
func readLines(code int, rest string) (Enhanced, string) {
	var found Enhanced
	var b strings.Builder
	b.Grow(len(rest))
	first := true
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if n, after := leadingCode(line); !first && n == code {
			line = strings.TrimSpace(after)
		}
		first = false
		for line != "" {
			var e Enhanced
			e, line = leadingEnhanced(line)
			if found.IsZero() && e.Class >= 2 {
				found = e
			}
			piece, next := cutAtCode(line, code)
			if piece != "" {
				if b.Len() > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(piece)
			}
			line = next
		}
	}
	return found, b.String()
}

// cutAtCode cuts a line of a joined reply before a repetition of its own code: " 550-" always, " 550 " only
// when an enhanced code follows, since "said 550 for RCPT" is wording.
func cutAtCode(line string, code int) (piece, next string) {
	digits := [3]byte{byte('0' + code/100), byte('0' + code/10%10), byte('0' + code%10)}
	for from := 0; ; {
		i := strings.Index(line[from:], string(digits[:]))
		if i < 0 {
			return strings.TrimSpace(line), ""
		}
		i += from
		from = i + 3
		if i == 0 || line[i-1] != ' ' {
			continue
		}
		n, after := leadingCode(line[i:])
		if n == 0 || from >= len(line) || endsInSaid(line[:i]) {
			continue
		}
		if line[from] == '-' && after != "" {
			return strings.TrimSpace(line[:i]), strings.TrimSpace(after)
		}
		if e, _ := leadingEnhanced(strings.TrimSpace(after)); !e.IsZero() {
			return strings.TrimSpace(line[:i]), strings.TrimSpace(after)
		}
	}
}

// endsInSaid reports whether s ends as a sentence that quotes another server.
func endsInSaid(s string) bool {
	s = strings.TrimRight(s, " ")
	return strings.HasSuffix(s, ":") || strings.HasSuffix(s, "said") || strings.HasSuffix(s, "returned")
}

// leadingEnhanced reads an enhanced code at the start of s, as "5.1.1", "#5.1.1", "(#5.1.1)" or "5.7.1:".
func leadingEnhanced(s string) (Enhanced, string) {
	t := strings.TrimLeft(s, "(#[")
	if len(s)-len(t) > 3 {
		return Enhanced{}, s
	}
	e, n := scanEnhanced(t)
	if n == 0 {
		return Enhanced{}, s
	}
	if n < len(t) && (t[n] == '@' || letter(t[n])) {
		return Enhanced{}, s
	}
	return e, strings.TrimLeft(t[n:], " \t:;,)]")
}

// hashedEnhanced finds an enhanced code that the wording marks with a number sign, as qmail does.
func hashedEnhanced(s string) Enhanced {
	for i := strings.IndexByte(s, '#'); i >= 0; {
		if e, n := scanEnhanced(s[i+1:]); n > 0 {
			return e
		}
		j := strings.IndexByte(s[i+1:], '#')
		if j < 0 {
			break
		}
		i += 1 + j
	}
	return Enhanced{}
}

// scanEnhanced reads class.subject.detail (RFC 3463, 2) and returns its length; leading zeros are dropped.
func scanEnhanced(s string) (Enhanced, int) {
	if len(s) < 5 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return Enhanced{}, 0
	}
	subject, n := scanNumber(s[2:])
	if n == 0 || 2+n >= len(s) || s[2+n] != '.' {
		return Enhanced{}, 0
	}
	at := 2 + n + 1
	detail, m := scanNumber(s[at:])
	at += m
	if m == 0 || at+1 < len(s) && s[at] == '.' && digit(s[at+1]) {
		return Enhanced{}, 0
	}
	return Enhanced{int(s[0] - '0'), subject, detail}, at
}

// scanNumber reads one to three digits; more than three are not part of an enhanced code.
func scanNumber(s string) (v, n int) {
	for n < len(s) && digit(s[n]) {
		if n == 3 {
			return 0, 0
		}
		v = v*10 + int(s[n]-'0')
		n++
	}
	return v, n
}

// ParseEnhanced reads an enhanced status code that stands alone, as in a Status field (RFC 3464, 2.3.4).
func ParseEnhanced(s string) (Enhanced, bool) {
	e, n := scanEnhanced(s)
	return e, n > 0 && n == len(s)
}

// embeddedCode finds a reply inside other words: three digits after a colon, a semicolon or "said", or in
// front of an enhanced code.
func embeddedCode(s string) (at, code int) {
	for i := 1; i+3 <= len(s); i++ {
		if !digit(s[i]) || s[i] < '2' || s[i] > '7' || wordByte(s[i-1]) || s[i-1] == '.' {
			continue
		}
		n, after := leadingCode(s[i:])
		if n == 0 {
			continue
		}
		if e, _ := leadingEnhanced(strings.TrimLeft(after, " ")); e.Class == n/100 {
			return i, n
		}
		if after != "" && introduces(s[:i]) && n < 600 {
			return i, n
		}
	}
	return 0, 0
}

// introduces reports whether before ends as the words in front of a quoted reply do.
func introduces(before string) bool {
	t := strings.TrimRight(before, " \t\r\n\"'`(<[")
	if t == "" {
		return false
	}
	for _, end := range [...]string{
		":", ";", " said", " returned", " replied", " response", " error", " code", "=", ">>>", "<<<",
	} {
		if len(t) >= len(end) && strings.EqualFold(t[len(t)-len(end):], end) {
			return true
		}
	}
	return false
}

// joinLines puts the lines of s on one, without the white space around them.
func joinLines(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return strings.TrimSpace(s)
	}
	return strings.Join(strings.Fields(s), " ")
}

func digit(c byte) bool    { return '0' <= c && c <= '9' }
func letter(c byte) bool   { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func wordByte(c byte) bool { return digit(c) || letter(c) || c >= 0x80 }

// ParseCodes reads "550", "5.7.1" or "550 5.7.1"; ok is false where name holds anything else.
func ParseCodes(name string) (code int, enhanced Enhanced, ok bool) {
	for _, field := range strings.Fields(name) {
		if e, is := ParseEnhanced(field); is && enhanced.IsZero() {
			enhanced = e
			continue
		}
		n, err := strconv.Atoi(field)
		if err != nil || n < 200 || n > 799 || code != 0 {
			return 0, Enhanced{}, false
		}
		code = n
	}
	return code, enhanced, code != 0 || !enhanced.IsZero()
}

package diagnose

import (
	"strings"
	"unicode/utf8"
)

// What a wording names is not part of what it says: the words of a web address, a path, a reference number,
// an account or a header field are facts. This file separates them from words.

// inLink reports whether the separator at s[i] stands inside a web address: an address goes on behind it.
func inLink(s string, i int) bool {
	switch s[i] {
	case ',', ';', '|', '!', '*':
		return i+1 < len(s) && (wordByte(s[i+1]) || strings.IndexByte("/?&=%", s[i+1]) >= 0)
	}
	return false
}

// findLink finds the web address in s: where it starts, with its scheme, and where its host does; host is -1
// where there is none. "aka.ms/page" is one too.
func findLink(s string) (start, host int) {
	if i := strings.Index(s, "://"); i >= 0 {
		for start = i; start > 0 && letter(s[start-1]); start-- {
		}
		return start, i + len("://")
	}
	slash := strings.IndexByte(s, '/')
	for start = max(slash, 0); start > 0 && (wordByte(s[start-1]) || inRun(s[start-1])); start-- {
	}
	if slash > 0 && dotted(s[start:slash]) == hostWord {
		return start, start
	}
	return 0, -1
}

// splitURL gives the host and the words of a web address that begins with its host.
func splitURL(dst []word, s string) []word {
	path := len(s)
	if i := strings.IndexAny(s, "/?#:"); i >= 0 {
		path = i
	}
	if kind := dotted(s[:path]); kind == hostWord || kind == ipWord {
		dst = append(dst, word{text: s[:path], kind: kind, url: true})
	}
	for s = s[path:]; s != ""; {
		i := 0
		for i < len(s) && !wordByte(s[i]) {
			i++
		}
		s = s[i:]
		n := runEnd(s, 0)
		if kind := dotted(s[:n]); kind == ipWord || kind == hostWord {
			dst = append(dst, word{text: s[:n], kind: kind, url: true})
		} else {
			dst = appendLink(dst, s[:n])
		}
		s = s[max(n, min(1, len(s))):]
	}
	return dst
}

// appendLink appends the words of a piece of a path.
func appendLink(dst []word, s string) []word {
	mark := func(r rune) bool { return r < utf8.RuneSelf && inRun(byte(r)) }
	for part := range strings.FieldsFuncSeq(s, mark) {
		if len(dst) < maxWords {
			dst = append(dst, word{text: part, kind: linkWord, url: true})
		}
	}
	return dst
}

// isPath reports whether a chunk, whose first slash is at slash, is the path of a file or folder:
// /var/spool/quota, C:\quota, spam/a/x7.gz.
func isPath(s string, slash int) bool {
	if strings.HasPrefix(s, "'") {
		s, slash = s[1:], slash-1
	}
	if len(s) > 3 && letter(s[0]) && s[1] == ':' && s[2] == '\\' {
		return true
	}
	if slash < 0 {
		return false
	}
	front := s[:slash]
	second := strings.IndexByte(s[slash+1:], '/')
	switch {
	case second <= 0:
		return false
	case front == "" || front == "~" || front == "." || front == "..":
		return letter(s[slash+1])
	}
	return !strings.Contains(s, "//") && dotted(front) != hostWord && strings.ContainsAny(s, "0123456789_.")
}

// isAddress reports whether s looks like local@domain.
func isAddress(s string) bool {
	at := strings.IndexByte(s, '@')
	return at > 0 && at < len(s)-1 && wordByte(s[at+1])
}

// splitAddress gives an address, and what stands in front of it or behind it without a space. What stands in
// front is words in "to=user@example.com" and part of the address in "bounce-1=user@example.com".
func splitAddress(dst []word, s string) []word {
	at := strings.IndexByte(s, '@')
	i := strings.LastIndexAny(s[:at], ":=")
	if i > 0 && strings.Trim(s[:i], "abcdefghijklmnopqrstuvwxyz:=") == "" {
		dst = splitPlain(dst, s[:i])
		s, at = s[i+1:], at-i-1
	}
	end := at + 1
	for end < len(s) && (wordByte(s[end]) || inRun(s[end])) && !strings.HasPrefix(s[end:], "...") {
		end++
	}
	dst = append(dst, word{text: strings.TrimRight(s[:end], ".-'"), kind: addressWord})
	return splitPlain(dst, s[end:])
}

// isIPv6 reports whether s is written as an IPv6 address.
func isIPv6(s string) bool {
	s = strings.TrimPrefix(s, "ipv6:")
	if n := strings.Count(s, ":"); n < 4 && !strings.Contains(s, "::") { // 00:05:00 is a time
		return false
	}
	hex := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != ':' && c != '.' && !digit(c) && (c < 'a' || c > 'f') {
			return false
		}
		hex = hex || digit(c)
	}
	return hex && len(s) >= 3
}

// dotted classifies a run with dots in it; plainWord when it is a sentence that lacks a space.
func dotted(s string) wordKind {
	digits, labels := true, 1
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if i > 0 && s[i-1] == '.' {
				return plainWord
			}
			labels++
		case c == '\'' || c >= utf8.RuneSelf:
			return plainWord
		case !digit(c):
			digits = false
		}
	}
	switch {
	case digits && labels == 4:
		return ipWord
	case digits && labels == 3:
		return enhancedWord
	case digits:
		return numberWord
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	switch last {
	case "txt", "log", "eml", "msg", "html", "htm", "php", "cgi", "gz":
		return nameWord
	}
	named := onlyLetters(last) || strings.HasPrefix(last, "xn--")
	if labels > 2 && len(last) >= 2 && named || labels > 1 && topLevel(last) {
		return hostWord
	}
	return plainWord
}

// topLevel reports whether a name of two labels that ends in s is a host rather than two sentences without a
// space.
func topLevel(s string) bool {
	switch s {
	case "com", "net", "org", "edu", "gov", "mil", "int", "info", "biz", "example", "invalid", "test",
		"local", "lan":
		return true
	case "it", "is", "in", "at", "no", "me", "my", "be", "so", "to", "as", "do", "us", "if", "or", "an",
		"by", "we", "id", "ip", "mx":
		return false
	}
	return len(s) == 2 && letter(s[0]) && letter(s[1])
}

// codePrefix is the length of a reply code that is glued to the first word of its line, as in "550-Mailbox";
// else 0.
func codePrefix(s string) int {
	if len(s) > 4 && (s[0] == '4' || s[0] == '5') && digit(s[1]) && digit(s[2]) && s[3] == '-' {
		return 3
	}
	return 0
}

// isName reports whether a run of several parts is a name or a reference: it holds letters and digits, more
// than "8-bit" or "24-hour-limit" does, or it names a header field.
func isName(s string) bool {
	if !hasDigit(s) {
		return isHeaderField(s)
	}
	first := strings.IndexAny(s, ".-_'")
	if first < 0 || strings.IndexByte(s, '\'') >= 0 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if letter(s[i]) {
			number := strings.Trim(s[:first], "0123456789") == ""
			return !number || hasDigit(s[first:]) || first > 3 && s[first] != '.'
		}
	}
	return false
}

// isHeaderField reports whether s is the name of a header field that sounds like a cause.
func isHeaderField(s string) bool {
	switch s {
	case "dkim-signature", "domainkey-signature", "received-spf", "authentication-results", "arc-seal",
		"arc-message-signature", "arc-authentication-results", "list-unsubscribe-post", "tls-required":
		return true
	}
	return strings.HasPrefix(s, "x-")
}

// isProperty reports whether s names a property of an authentication result, as in "header.from=" (RFC 8601,
// 2.3).
func isProperty(s string) bool {
	kind, _, ok := strings.Cut(s, ".")
	return ok && (kind == "header" || kind == "smtp" || kind == "policy" || kind == "body")
}

// quotedName reports whether s[start:end] is one word in quotes beside the word "header" or "field".
func quotedName(before []word, s string, start, end int) bool {
	chunk := s[start:end]
	if chunk[0] != '\'' && (start == 0 || s[start-1] != '"' && s[start-1] != '`') { // as most words
		return false
	}
	q := strings.Trim(chunk, "'")
	switch q {
	case "", "from", "to", "date", "subject", "received": // rules name these as words
		return false
	}
	if len(q) != len(chunk)-2 {
		if start == 0 || end == len(s) || s[start-1] != s[end] || s[end] != '"' && s[end] != '`' {
			return false
		}
	}
	if n := len(before); n > 0 {
		switch before[n-1].text {
		case "header", "headers", "field", "fields":
			return true
		}
	}
	after := strings.TrimLeft(s[end:], "\"` ")
	return strings.HasPrefix(after, "header") || strings.HasPrefix(after, "field")
}

func hasDigit(s string) bool {
	for i := 0; i < len(s); i++ {
		if digit(s[i]) {
			return true
		}
	}
	return false
}

func onlyLetters(s string) bool {
	for i := 0; i < len(s); i++ {
		if !letter(s[i]) {
			return false
		}
	}
	return s != ""
}

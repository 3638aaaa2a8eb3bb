package diagnose

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// wordKind tells plain words from the things that wordings are filled with.
type wordKind uint8

const (
	plainWord    wordKind = iota
	addressWord           // user@example.com
	hostWord              // mx.example.com
	ipWord                // 192.0.2.1, 2001:db8::1
	numberWord            // 300
	enhancedWord          // 5.1.1
	kinds
)

// word is one word of a wording: lower case, accents folded, no punctuation.
type word struct {
	text string
	kind wordKind
	url  bool // it stands in a web address
}

// key is the form of w that phrases are compared by: a plain word without the s of a plural or of a genitive
// ("recipient's" has become "recipients" by then).
func (w word) key() string {
	n := len(w.text)
	if w.kind != plainWord || n < 4 || w.text[n-1] != 's' {
		return w.text
	}
	switch w.text[n-2] {
	case 's', 'u', 'i', 'a', 'o':
		return w.text
	}
	return w.text[:n-1]
}

// maxWords bounds how many words of a wording are looked at: far beyond any honest reply.
const maxWords = 8 << 10

// splitWords makes the row of words of s, appended to dst. Scripts without spaces give one word a character.
func splitWords(dst []word, s string) []word {
	if len(s) > maxParsed {
		s = s[:maxParsed]
	}
	s = fold(s)
	for i := 0; i < len(s) && len(dst) < maxWords; {
		if n := separator(s, i); n > 0 {
			i += n
			continue
		}
		start := i
		for i++; i < len(s) && separator(s, i) == 0; i++ {
		}
		if s[start:i] != "unknown" || i == len(s) || s[i] != '[' { // Postfix's name for a host without one: unknown[192.0.2.1]
			dst = splitChunk(dst, s[start:i])
		}
	}
	return dst
}

// separator is the length of the character at s[i] if it always ends a chunk of words, else 0. s is valid UTF-8.
func separator(s string, i int) int {
	c := s[i]
	if letter(c) {
		return 0
	}
	switch c {
	case ' ', '<', '>', '(', ')', '[', ']', '{', '}', '"', ',', ';', '|', '!', '*', '`':
		return 1
	case 0xe3:
		if r, n := utf8.DecodeRuneInString(s[i:]); '\u3000' <= r && r <= '\u3002' { // ideographic space, comma and full stop
			return n
		}
	}
	if c < ' ' {
		return 1
	}
	return 0
}

// fold lowers the case and strips accents, so that a phrase written either way is found. Bytes that are no UTF-8 are
// taken for Latin-1, which is what old mailers send.
func fold(s string) string {
	if isLowerASCII(s) {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			r = rune(c)
		}
		b = appendFolded(b, r)
		i += n
	}
	return string(b)
}

func isLowerASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf || 'A' <= s[i] && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

// appendFolded appends r without its accents. Only scripts whose accents writers leave out are taken apart.
func appendFolded(b []byte, r rune) []byte {
	switch r {
	case '\u2018', '\u2019', '\u00b4':
		return append(b, '\'')
	case 'ß':
		return append(b, "ss"...)
	case 'ø', 'Ø':
		return append(b, 'o')
	case 'ł', 'Ł':
		return append(b, 'l')
	case 'đ', 'Đ':
		return append(b, 'd')
	case 'ı', 'İ':
		return append(b, 'i')
	case 'æ', 'Æ':
		return append(b, "ae"...)
	}
	if r < 0x0590 || 0x1e00 <= r && r < 0x2000 || 0xff00 <= r && r < 0xff60 {
		var raw [utf8.UTFMax]byte
		n := utf8.EncodeRune(raw[:], r)
		if d := norm.NFKD.Properties(raw[:n]).Decomposition(); d != nil {
			for _, x := range string(d) {
				if !unicode.Is(unicode.Mn, x) {
					b = utf8.AppendRune(b, unicode.ToLower(x))
				}
			}
			return b
		}
		if unicode.Is(unicode.Mn, r) {
			return b
		}
	}
	return utf8.AppendRune(b, unicode.ToLower(r))
}

// splitChunk takes apart what stands between two separators.
func splitChunk(dst []word, s string) []word {
	s = trimChunk(s)
	if s == "" {
		return dst
	}
	if lettersOrDigits(s) { // most words of a sentence
		return append(dst, plain(s, false))
	}
	if i := strings.Index(s, "://"); i >= 0 {
		return splitURL(dst, s, i)
	}
	if isAddress(s) {
		if i := strings.LastIndexAny(s[:strings.IndexByte(s, '@')], ":="); i >= 0 {
			dst = splitChunk(dst, s[:i])
			s = s[i+1:]
		}
		return append(dst, word{text: s, kind: addressWord})
	}
	if isIPv6(s) {
		return append(dst, word{text: strings.TrimPrefix(s, "ipv6:"), kind: ipWord})
	}
	return splitPlain(dst, s, false)
}

// trimChunk takes the marks off that may stand around a word.
func trimChunk(s string) string {
	for s != "" && chunkMark(s[0]) {
		s = s[1:]
	}
	for s != "" && chunkMark(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func chunkMark(c byte) bool {
	switch c {
	case '.', ':', '\'', '/', '?', '=', '&', '~':
		return true
	}
	return false
}

func lettersOrDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if !letter(s[i]) && !digit(s[i]) {
			return false
		}
	}
	return true
}

// splitURL gives the host and the words of a web address; they are marked, since a path is no sentence.
func splitURL(dst []word, s string, at int) []word {
	dst = splitPlain(dst, s[:at], true)
	s = s[at+3:]
	return splitPlain(dst, s, true)
}

// isAddress reports whether s looks like local@domain.
func isAddress(s string) bool {
	at := strings.IndexByte(s, '@')
	return at > 0 && at < len(s)-1 && wordByte(s[at+1])
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

// splitPlain takes apart letters, digits and the dots between them.
func splitPlain(dst []word, s string, url bool) []word {
	for i := 0; i < len(s) && len(dst) < maxWords; {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		if wide(r) {
			dst = append(dst, word{text: s[i : i+n], url: url})
			i += n
			continue
		}
		if !wordRune(r) {
			i += n
			continue
		}
		j := runEnd(s, i)
		dst = appendRun(dst, s[i:j], url)
		i = j
	}
	return dst
}

// runEnd is the end of the run of letters, digits, inner dots, hyphens before a dot and apostrophes that starts at i.
func runEnd(s string, i int) int {
	end := i // after the last letter or digit
	for j := i; j < len(s); {
		if c := s[j]; letter(c) || digit(c) {
			j++
			end = j
			continue
		} else if inRun(c) {
			j++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[j:])
		if !wordRune(r) || wide(r) {
			break
		}
		j += n
		end = j
	}
	return end
}

// inRun reports whether c may stand between the letters of a run.
func inRun(c byte) bool { return c == '.' || c == '-' || c == '\'' }

// appendRun classifies a run: numbers, addresses of hosts, names of hosts, or words.
func appendRun(dst []word, s string, url bool) []word {
	if s == "" {
		return dst
	}
	if !hasInRun(s) {
		return append(dst, plain(s, url))
	}
	if strings.IndexByte(s, '.') >= 0 {
		switch kind := dotted(s); kind {
		case ipWord, enhancedWord, numberWord, hostWord:
			return append(dst, word{text: s, kind: kind, url: url})
		}
	}
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '.' || r == '-' }) {
		dst = appendPart(dst, strings.ReplaceAll(part, "'", ""), url)
	}
	return dst
}

func hasInRun(s string) bool {
	for i := 0; i < len(s); i++ {
		if inRun(s[i]) {
			return true
		}
	}
	return false
}

// appendPart appends one word of a run; "e-mail" is "email".
func appendPart(dst []word, s string, url bool) []word {
	if s == "" {
		return dst
	}
	if n := len(dst); n > 0 && dst[n-1].text == "e" && strings.HasPrefix(s, "mail") {
		dst[n-1].text = "e" + s
		return dst
	}
	return append(dst, plain(s, url))
}

func plain(s string, url bool) word {
	for i := 0; i < len(s); i++ {
		if !digit(s[i]) {
			return word{text: s, url: url}
		}
	}
	return word{text: s, kind: numberWord, url: url}
}

// dotted classifies a run with dots in it; plainWord when it is a sentence that lacks a space.
func dotted(s string) wordKind {
	digits, labels := true, 1
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
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
	if labels > 2 && len(last) >= 2 || topLevel(last) {
		return hostWord
	}
	return plainWord
}

// topLevel reports whether a name of two labels that ends in s is a host rather than two sentences without a space.
func topLevel(s string) bool {
	switch s {
	case "com", "net", "org", "edu", "gov", "mil", "int", "info", "biz", "example", "invalid", "test", "local", "lan":
		return true
	case "it", "is", "in", "at", "no", "me", "my", "be", "so", "to", "as", "do", "us", "if", "or", "an", "by", "we", "id", "ip", "mx":
		return false
	}
	return len(s) == 2 && letter(s[0]) && letter(s[1])
}

// wordRune reports whether r is part of a word.
func wordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return digit(byte(r)) || letter(byte(r))
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r)
}

// wide reports whether r belongs to a script that puts no spaces between words, or glues particles to them.
func wide(r rune) bool {
	return r >= 0x2e80 && (r < 0xa000 || 0xac00 <= r && r < 0xd7b0 || 0xf900 <= r && r < 0xfb00 || 0xff60 <= r && r < 0xffe0)
}

package diagnose

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// wordKind separates plain words from the things that a wording names.
type wordKind uint8

const (
	plainWord    wordKind = iota
	addressWord           // user@example.com
	hostWord              // mx.example.com
	ipWord                // 192.0.2.1, 2001:db8::1
	numberWord            // 300
	enhancedWord          // 5.1.1
	linkWord              // a word of the path of a web address
	nameWord              // a name of something: ABC-quota-12, /var/spool/quota, DKIM-Signature
	kinds
)

// word is one word of a wording: lower case, accents folded, no punctuation. All kinds but plainWord and
// numberWord are facts: they are what the wording is about, never what it says. A phrase finds a fact
// only by its whole name.
type word struct {
	text string
	kind wordKind
	url  bool // it stands in a web address
}

// wording reports whether w is a word that somebody should have understood. A word with a digit is a
// reference.
func (w word) wording() bool { return w.kind == plainWord && !hasDigit(w.text) }

// key is the form of w that phrases are compared by: a plain word without the s of a plural or of a genitive
// ("recipient's" has become "recipients" by then), and in one spelling ("authorised" is "authorized").
func (w word) key() string {
	n := len(w.text)
	if w.kind != plainWord || n < 4 {
		return w.text
	}
	if w.text[n-1] != 's' {
		return withZ(w.text)
	}
	switch w.text[n-2] {
	case 's', 'u', 'i', 'a', 'o':
		return w.text
	}
	return withZ(w.text[:n-1])
}

// withZ writes the British endings -ise, -ised, -ising and -isation with a z. Whether the result is a word
// does not matter, since phrases are compared by the same form.
func withZ(s string) string {
	n := len(s)
	var at int // of the s, from the end
	switch s[n-1] {
	case 'e':
		at = 2
	case 'd', 'r':
		at = 3
	case 'g':
		at = 4
	case 'n':
		at = 6
	default:
		return s
	}
	if n < at+4 || s[n-at] != 's' || s[n-at-1] != 'i' || !izes(s[n-at+1:]) {
		return s
	}
	return s[:n-at] + "z" + s[n-at+1:]
}

// izes reports whether s is what follows the s of such an ending.
func izes(s string) bool {
	switch s {
	case "e", "ed", "er", "ing", "ation":
		return true
	}
	return false
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
		i = chunkEnd(s, i)
		switch chunk := s[start:i]; {
		case chunk == "unknown" && i < len(s) && s[i] == '[': // unknown[192.0.2.1]: Postfix's nameless host
		case quotedName(dst, s, start, i):
			dst = append(dst, word{text: strings.Trim(chunk, "'"), kind: nameWord})
		default:
			dst = splitChunk(dst, chunk)
		}
	}
	return dst
}

// chunkEnd is where the chunk that starts at s[i] ends. A web address ends only at white space, quotes and
// brackets.
func chunkEnd(s string, i int) int {
	start := i
	for {
		for i++; i < len(s) && separator(s, i) == 0; i++ {
		}
		if i == len(s) || !inLink(s, i) || !strings.Contains(s[start:i], "//") {
			return i
		}
	}
}

// separator is the length of the character at s[i] if it always ends a chunk of words, else 0. s is valid
// UTF-8.
func separator(s string, i int) int {
	c := s[i]
	if letter(c) {
		return 0
	}
	switch c {
	case ' ', '<', '>', '(', ')', '[', ']', '{', '}', '"', ',', ';', '|', '!', '*', '`':
		return 1
	case 0xe3:
		r, n := utf8.DecodeRuneInString(s[i:])
		if '\u3000' <= r && r <= '\u3002' { // ideographic space, comma and full stop
			return n
		}
	}
	if c < ' ' {
		return 1
	}
	return 0
}

// splitChunk takes apart what stands between two separators.
func splitChunk(dst []word, s string) []word {
	raw := s
	s = trimChunk(s)
	simple := lettersOrDigits(s)
	if simple && len(s) == len(raw) { // most words of a sentence
		return append(dst, plain(s))
	}
	slash := strings.IndexByte(raw, '/')
	switch {
	case s == "":
		return dst
	case slash < 0 && simple:
		return append(dst, plain(s))
	case isPath(raw, slash):
		return append(dst, word{text: s, kind: nameWord})
	case slash >= 0:
		if start, host := findLink(s); host >= 0 {
			return splitURL(splitPlain(dst, s[:start]), s[host:])
		}
	}
	if isAddress(s) {
		return splitAddress(dst, s)
	}
	if isIPv6(s) {
		return append(dst, word{text: strings.TrimPrefix(s, "ipv6:"), kind: ipWord})
	}
	return splitPlain(dst, s)
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

// splitPlain takes apart letters, digits and the dots between them.
func splitPlain(dst []word, s string) []word {
	for i := 0; i < len(s) && len(dst) < maxWords; {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		if wide(r) {
			dst = append(dst, word{text: s[i : i+n]})
			i += n
			continue
		}
		if !wordRune(r) {
			i += n
			continue
		}
		j := runEnd(s, i)
		if j < len(s) && s[j] == '=' && isProperty(s[i:j]) {
			dst = append(dst, word{text: s[i:j], kind: nameWord})
		} else {
			dst = appendRun(dst, s[i:j])
		}
		i = j
	}
	return dst
}

// runEnd is the end of the run of letters, digits, inner dots, hyphens before a dot and apostrophes that
// starts at i.
func runEnd(s string, i int) int {
	end := i // after the last letter or digit
	for j := i; j < len(s); {
		c := s[j]
		if letter(c) || digit(c) {
			j++
			end = j
			continue
		}
		if inRun(c) && !strings.HasPrefix(s[j:], "..") { // "denied...7d39d529" is two runs
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
func inRun(c byte) bool { return c == '.' || c == '-' || c == '_' || c == '\'' }

// appendRun classifies a run: numbers, addresses of hosts, names of hosts and other things, or words.
func appendRun(dst []word, s string) []word {
	if n := codePrefix(s); n > 0 {
		dst, s = append(dst, plain(s[:n])), s[n+1:]
	}
	if !hasInRun(s) {
		return append(dst, plain(s))
	}
	if strings.IndexByte(s, '.') >= 0 {
		if kind := dotted(s); kind != plainWord {
			return append(dst, word{text: s, kind: kind})
		}
	}
	if isName(s) {
		return append(dst, word{text: s, kind: nameWord})
	}
	mark := func(r rune) bool { return r == '.' || r == '-' || r == '_' }
	for part := range strings.FieldsFuncSeq(s, mark) {
		if front, back, ok := strings.Cut(part, "'"); ok && elided(front) && len(back) > 2 {
			dst, part = append(dst, plain(front)), back
		}
		dst = appendPart(dst, strings.ReplaceAll(part, "'", ""))
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

// elided reports whether s is a word of French or Italian that loses its vowel before another: d'adresse.
func elided(s string) bool {
	switch s {
	case "l", "d", "n", "s", "c", "j", "m", "t", "qu", "un", "all", "dell", "nell", "dall", "sull":
		return true
	}
	return false
}

// appendPart appends one word of a run; "e-mail" is "email".
func appendPart(dst []word, s string) []word {
	if s == "" {
		return dst
	}
	if n := len(dst); n > 0 && dst[n-1].text == "e" && strings.HasPrefix(s, "mail") {
		dst[n-1].text = "e" + s
		return dst
	}
	return append(dst, plain(s))
}

func plain(s string) word {
	for i := 0; i < len(s); i++ {
		if !digit(s[i]) {
			return word{text: s}
		}
	}
	return word{text: s, kind: numberWord}
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
	return 0x2e80 <= r && r < 0xa000 || 0xac00 <= r && r < 0xd7b0 || 0xf900 <= r && r < 0xfb00 ||
		0xff60 <= r && r < 0xffe0
}

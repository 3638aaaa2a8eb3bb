package diagnose

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// fold lowers the case and strips accents, so that a phrase written either way is found. Bytes that are not
// UTF-8 are read as Latin-1, which is what old mailers send.
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

// speller finds the word that a misspelt one was meant for, among the words of the class "spell". Two words
// that are one edit apart (a letter left out, added, replaced or swapped with its neighbour) become the same
// when one letter is left out of each, so the candidates are found by look-up.
type speller struct {
	words   []string
	without map[string][]int32 // a word, or one with a letter left out -> words
}

// Words shorter than minSpelled are too alike, longer ones than maxSpelled are not words.
const minSpelled, maxSpelled = 5, 16

func newSpeller(words []string) *speller {
	s := &speller{words: words, without: make(map[string][]int32, 12*len(words))}
	for i, w := range words {
		for k := -1; k < len(w); k++ {
			key := string(leaveOut(nil, w, k))
			s.without[key] = append(s.without[key], int32(i))
		}
	}
	return s
}

// leaveOut appends w without the letter at k to buf; without none when k < 0.
func leaveOut(buf []byte, w string, k int) []byte {
	if k < 0 {
		return append(buf, w...)
	}
	return append(append(buf, w[:k]...), w[k+1:]...)
}

// meant gives the one word that w is a misspelling of.
func (s *speller) meant(w string) (string, bool) {
	if len(w) < minSpelled || len(w) > maxSpelled || s == nil {
		return "", false
	}
	var buf [maxSpelled]byte
	found := ""
	for k := -1; k < len(w); k++ {
		for _, i := range s.without[string(leaveOut(buf[:0], w, k))] {
			if c := s.words[i]; c != found && c[0] == w[0] && edits(w, c) == 1 {
				if found != "" {
					return "", false
				}
				found = c
			}
		}
	}
	return found, found != ""
}

// edits counts the insertions, deletions, replacements and swaps of neighbours between two short names.
func edits(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	var rows [3][64]int
	before, prev, cur := &rows[0], &rows[1], &rows[2]
	for j := 0; j <= len(b); j++ {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

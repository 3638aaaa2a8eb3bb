package diagnose

// speller finds the word that a misspelt one was meant for, among the words of the class "spell". Two words at one edit
// (a letter left out, added, replaced or swapped with its neighbour) become the same when one letter is left out of
// each, so the candidates are found by look-up.
type speller struct {
	words   []string
	without map[string][]int32 // a word, or one with a letter left out -> words
}

// Words shorter than minSpelled are too alike, longer ones than maxSpelled are no words.
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

package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// A phrase of the rules is words with a few signs:
//
//	unknown {who}         {who} is any word of the class who
//	block* by             the star ends a word early
//	no (such)? user       the question mark makes a word optional; "such?" for short
//	mailbox .. full       up to gapWords words may stand between
//	{addr} {host} {ip} {n}  an address, a host name, an IP address, a number
//	/6596                 the slash makes it a word of the path of a web address
//
// Words of the class "skip" (articles and the like) and facts (addresses, hosts, codes, names, web addresses)
// may stand anywhere between the words of a phrase without being written. A fact is found only by a phrase
// that writes it whole, as "ou-001", "dkim-signature" or "zen.spamhaus.org"; a beginning finds it if a digit,
// a dot or a hyphen is part of it.
const (
	gapWords = 8
	maxSkips = 4 // in a row
	maxHits  = 6 // of one segment that are remembered
)

// builtin ids stand for a kind of word; the ids of words and classes follow.
var builtinNames = [kinds]string{addressWord: "addr", hostWord: "host", ipWord: "ip", numberWord: "n",
	enhancedWord: "code", linkWord: "link", nameWord: "name"}

// index finds all phrases in a row of words in one pass. It is immutable once built.
type index struct {
	ids        map[string]int32 // of words, classes ("{who}") and beginnings ("block*")
	members    [][]int32        // by id of a word: every id that it answers to
	begins     []int            // lengths of the beginnings, ascending
	hosts      map[string]int32 // hosts that phrases name; they match their subdomains too
	links      map[string]int32 // words of web addresses that phrases name
	skip       int32            // of the class skip
	checks     checkClasses
	trie       trie
	phrases    []phrase
	segments   []int32 // of phrases that have several: all but the last
	closes     []int32 // by segment: the newest phrase whose last segment it is, counted from 1
	stocks     []int32 // the same for boilerplate and pointers, which closes leaves out
	classWords map[string][]string
	spelling   *speller
	pieces     map[string][]int32 // ids of the pieces of phrases seen so far, while the index is built
	variants   [][]int32          // memory of compile
	words      []word             // memory of piece
}

// phrase is a list of segments that must follow each other with at most gapWords words between two. A phrase
// is noted at its last segment; those before it are index.segments[from:to].
type phrase struct {
	from, to int32
	next     int32 // the phrase of the same last segment that was added before, counted from 1
	owner    int32
	slot     int32 // of its condition in the owner
	words    int32 // that are written in it, for the weight
	role     role
}

// role is what a phrase means to its owner.
type role uint8

const (
	roleAny role = iota
	roleAll
	roleNone
	roleProvider
	roleBlocklist
	roleStock   // boilerplate: it says nothing beside other words
	rolePointer // it says where to read more, and nothing else
)

// hit is a segment found at the words [start, end); prev is the hit of the same segment before it, counted
// from 1.
type hit struct{ segment, start, end, prev int32 }

func newIndex(classes map[string][]string) *index {
	x := &index{ids: make(map[string]int32, 1<<12), hosts: map[string]int32{}, links: map[string]int32{},
		trie:       newTrie(),
		classWords: classes, members: make([][]int32, 1), pieces: make(map[string][]int32, 1<<12)}
	for _, name := range builtinNames[1:] {
		x.id("{" + name + "}")
	}
	return x
}

// id gives the id of a word, class or beginning, a new one when it has none.
func (x *index) id(s string) int32 {
	if n, ok := x.ids[s]; ok {
		return n
	}
	n := int32(len(x.members))
	x.ids[s] = n
	x.members = append(x.members, nil)
	return n
}

// add puts a phrase in. finish must be called after the last one.
func (x *index) add(text string, p phrase) error {
	variants, err := x.compile(text)
	if err != nil {
		return fmt.Errorf("phrase %q: %w", text, err)
	}
	for _, row := range variants {
		q := p
		q.from, q.words = int32(len(x.segments)), 0
		for {
			n := slices.Index(row, gap)
			if n < 0 {
				break
			}
			x.segments = append(x.segments, x.segment(row[:n]))
			q.words += int32(n)
			row = row[n+1:]
		}
		last := x.segment(row)
		q.words += int32(len(row))
		closes := x.closes
		if q.role >= roleStock {
			closes = x.stocks
		}
		q.to, q.next = int32(len(x.segments)), closes[last]
		x.phrases = append(x.phrases, q)
		closes[last] = int32(len(x.phrases))
	}
	return nil
}

// segment puts a row of ids into the trie.
func (x *index) segment(row []int32) int32 {
	s := x.trie.add(row)
	if int(s) == len(x.closes) {
		x.closes, x.stocks = append(x.closes, 0), append(x.stocks, 0)
	}
	return s
}

// gap stands between two segments in the variants of a phrase; no id is zero.
const gap = 0

// compile turns a phrase into its variants, each a row of ids with gaps. They are good until the next call.
func (x *index) compile(text string) ([][]int32, error) {
	variants := append(x.variants[:0], x.spare(0))
	for piece := range strings.FieldsSeq(text) {
		row := []int32{gap}
		if piece != ".." {
			var err error
			if row, err = x.pieceOnce(piece); err != nil {
				return nil, err
			}
		}
		n := len(variants)
		if piece != ".." && strings.HasSuffix(piece, "?") {
			for _, v := range variants[:n] {
				variants = append(variants, append(x.spare(len(variants)), v...))
			}
		}
		for i, v := range variants[:n] {
			variants[i] = append(v, row...)
		}
		if len(variants) > 16 {
			return nil, fmt.Errorf("more than four optional words")
		}
	}
	x.variants = variants
	for _, v := range variants {
		prev := int32(gap)
		for _, id := range append(v, gap) {
			if id == gap && prev == gap {
				return nil, fmt.Errorf("no words beside a gap")
			}
			prev = id
		}
	}
	return variants, nil
}

// spare gives the memory of the i-th variant of the phrase before, empty.
func (x *index) spare(i int) []int32 {
	if i < cap(x.variants) {
		return x.variants[:i+1][i][:0]
	}
	return nil
}

// pieceOnce is piece for what stands in a phrase, with its signs of an optional word.
func (x *index) pieceOnce(s string) ([]int32, error) {
	if row, ok := x.pieces[s]; ok {
		return row, nil
	}
	row, err := x.piece(strings.Trim(strings.TrimSuffix(s, "?"), "()"))
	if err == nil {
		x.pieces[s] = row
	}
	return row, err
}

// piece gives the ids of what stands between two spaces of a phrase.
func (x *index) piece(s string) ([]int32, error) {
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		name := s[1 : len(s)-1]
		if _, ok := x.classWords[name]; !ok && !slices.Contains(builtinNames[1:], name) {
			return nil, fmt.Errorf("there is no class %q", name)
		}
		return []int32{x.id(s)}, nil
	}
	if begin, ok := strings.CutSuffix(s, "*"); ok {
		if len(begin) < 3 {
			return nil, fmt.Errorf("%q is too short for a star", s)
		}
		return []int32{x.id(fold(begin) + "*")}, nil
	}
	if link, ok := strings.CutPrefix(s, "/"); ok && len(link) > 1 && !strings.Contains(link, "/") {
		id := x.id(fold(s))
		x.links[fold(link)] = id
		return []int32{id}, nil
	}
	var row []int32
	x.words = splitWords(x.words[:0], s)
	for _, w := range x.words {
		id := x.id(w.key())
		if w.kind == hostWord {
			x.hosts[w.text] = id
		}
		row = append(row, id)
	}
	if row == nil {
		return nil, fmt.Errorf("%q holds no word", s)
	}
	return row, nil
}

// finish computes what every word answers to.
func (x *index) finish() error {
	for name, words := range x.classWords {
		class := x.id("{" + name + "}")
		if name == "skip" {
			x.skip = class
		}
		for _, w := range words {
			row, err := x.piece(w)
			if err != nil || len(row) != 1 {
				return fmt.Errorf("class %q: %q is not one word", name, w)
			}
			x.members[row[0]] = append(x.members[row[0]], class)
		}
	}
	x.pieces, x.variants, x.words = nil, nil, nil
	x.checks = newCheckClasses(x)
	x.findBegins()
	x.spelling = newSpeller(x.classWords["spell"])
	for s, id := range x.ids {
		if s[0] == '{' || strings.HasSuffix(s, "*") {
			continue
		}
		x.members[id] = x.begun(append([]int32{id}, x.members[id]...), s)
	}
	for id, m := range x.members {
		slices.Sort(m)
		x.members[id] = slices.Compact(m)
	}
	return nil
}

// findBegins notes how long the beginnings are.
func (x *index) findBegins() {
	for s, id := range x.ids {
		if b, ok := strings.CutSuffix(s, "*"); ok {
			x.begins = append(x.begins, len(b))
			x.members[id] = append(x.members[id], id)
		}
	}
	slices.Sort(x.begins)
	x.begins = slices.Compact(x.begins)
}

// begun appends the ids of the beginnings of s, and of the classes that hold them. The beginnings of a word
// or name with a digit must hold a digit or a mark themselves: "spam*" does not find spam7f3a.
func (x *index) begun(dst []int32, s string) []int32 {
	var buf [32]byte
	marked := hasDigit(s) || hasInRun(s)
	for _, n := range x.begins {
		if n > len(s) || n+1 > len(buf) {
			break
		}
		if marked && !hasDigit(s[:n]) && !hasInRun(s[:n]) {
			continue
		}
		key := append(buf[:0], s[:n]...)
		if id, ok := x.ids[string(append(key, '*'))]; ok {
			dst = append(dst, x.members[id]...)
		}
	}
	return dst
}

// answers gives the ids that w answers to, in buf where it is no known word.
func (x *index) answers(w word, buf []int32) []int32 {
	switch w.kind {
	case plainWord:
		return x.plainAnswers(w, buf)
	case linkWord:
		if id, ok := x.links[w.text]; ok {
			return append(buf[:0], id)
		}
		return nil
	}
	dst := append(buf[:0], int32(w.kind))
	if id, known := x.ids[w.text]; known {
		dst = append(dst, x.members[id]...)
	} else if w.kind == nameWord {
		dst = x.begun(dst, w.text)
	}
	if w.kind == hostWord {
		dst = x.hostAnswers(w, dst)
	}
	return dst
}

// plainAnswers gives the ids of a word, or of the one that it is a misspelling of.
func (x *index) plainAnswers(w word, buf []int32) []int32 {
	if id, known := x.ids[w.key()]; known {
		return x.members[id]
	}
	a := x.begun(buf[:0], w.text)
	if len(a) == 0 {
		if meant, ok := x.spelling.meant(w.text); ok {
			return x.members[x.ids[meant]]
		}
	}
	return a
}

// hostAnswers appends the ids of the domains above a host, which has at most 255 octets (RFC 1035, 2.3.4).
func (x *index) hostAnswers(w word, dst []int32) []int32 {
	if len(w.text) > maxNamed {
		return dst
	}
	for s := w.text; ; {
		if id, ok := x.hosts[s]; ok && s != w.text {
			dst = append(dst, x.members[id]...)
		}
		i := strings.IndexByte(s, '.')
		if i < 0 {
			return dst
		}
		s = s[i+1:]
	}
}

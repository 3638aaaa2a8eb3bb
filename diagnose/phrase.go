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
	roleRecipient   // it names the recipient, whatever is said of it
	roleOther       // it names somebody or something else
	roleDoubt       // beside it no address is given up
	roleBoilerplate // boilerplate: it says nothing beside other words
	rolePointer     // it says where to read more, and nothing else
)

// hit is a segment found at the words [start, end); prev is the hit of the same segment before it, counted
// from 1.
type hit struct{ segment, start, end, prev int32 }

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
		if q.role >= roleBoilerplate {
			closes = x.boilerplate
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
		x.closes, x.boilerplate = append(x.closes, 0), append(x.boilerplate, 0)
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

// maxPhrase is how many words of a wording Phrase takes.
const maxPhrase = 6

// Phrase writes the first words of a wording as a phrase of rules (phrase.go), without facts, boilerplate and
// articles; "" where no word is left. A rule with this phrase holds on the wording.
func (e *Engine) Phrase(text string) string {
	r := new(row)
	r.load(e.x, text)
	r.search(e.x)
	r.markBoilerplate(e.x)
	var phrase strings.Builder
	taken, number := 0, ""
	for i, w := range r.words {
		boilerplate := r.inBoilerplate(int32(i), int32(i)+1)
		switch {
		case taken == maxPhrase, taken > 0 && boilerplate:
			return phrase.String()
		case r.skips[i] || boilerplate, taken == 0 && !w.wording():
			continue
		case w.kind == numberWord && number == "":
			number = " {n}"
			continue
		case !w.wording():
			return phrase.String()
		}
		if taken++; taken > 1 {
			phrase.WriteString(number + " ")
		}
		phrase.WriteString(w.text)
		number = ""
	}
	return phrase.String()
}

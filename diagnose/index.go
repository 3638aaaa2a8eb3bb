package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// builtin ids stand for a kind of word; the ids of words and classes follow.
var builtinNames = [kinds]string{addressWord: "addr", hostWord: "host", ipWord: "ip", numberWord: "n",
	enhancedWord: "code", linkWord: "link", nameWord: "name"}

// index finds all phrases in a row of words in one pass. It is immutable once built.
type index struct {
	ids         map[string]int32 // of words, classes ("{who}") and beginnings ("block*")
	members     [][]int32        // by id of a word: every id that it answers to
	begins      []int            // lengths of the beginnings, ascending
	hosts       map[string]int32 // hosts that phrases name; they match their subdomains too
	links       map[string]int32 // words of web addresses that phrases name
	skip        int32            // of the class skip
	checks      checkClasses
	trie        trie
	phrases     []phrase
	segments    []int32 // of phrases that have several: all but the last
	closes      []int32 // by segment: the newest phrase whose last segment it is, counted from 1
	boilerplate []int32 // the same for boilerplate and pointers, which closes leaves out
	classWords  map[string][]string
	spelling    *speller
	pieces      map[string][]int32 // ids of the pieces of phrases seen so far, while the index is built
	variants    [][]int32          // memory of compile
	words       []word             // memory of piece
}

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
	} else if w.kind == nameWord || w.kind == hostWord { // RESOLVER.ADR.RecipientNotFound looks like a host
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

// trie holds rows of ids, the segments of phrases. Its edges are in one hash table with open addressing,
// since most look-ups of a search find nothing and must be cheap.
type trie struct {
	keys []uint64 // node<<32 | id; 0 where the slot is free, since no id is zero
	to   []int32  // by slot: the node that the edge leads to
	ends []int32  // by node: the segment that ends there, or -1
	rows int32    // segments so far
}

func newTrie() trie {
	const slots = 1 << 15 // our own rules need no more
	ends := append(make([]int32, 0, 3*slots/4), -1)
	return trie{keys: make([]uint64, slots), to: make([]int32, slots), ends: ends}
}

// slot is where the edge is, or where it would be put.
func (t *trie) slot(key uint64) int {
	mask := len(t.keys) - 1
	i := int(key*0x9e3779b97f4a7c15>>32) & mask // Knuth's multiplicative hashing
	for t.keys[i] != 0 && t.keys[i] != key {
		i = (i + 1) & mask
	}
	return i
}

// next is the node after node on the way of id, 0 when there is none.
func (t *trie) next(node, id int32) int32 {
	return t.to[t.slot(uint64(node)<<32|uint64(id))]
}

// add gives the number of the segment, a new one when it has none.
func (t *trie) add(row []int32) int32 {
	node := int32(0)
	for _, id := range row {
		key := uint64(node)<<32 | uint64(id)
		i := t.slot(key)
		if t.keys[i] == 0 {
			t.keys[i], t.to[i] = key, int32(len(t.ends))
			t.ends = append(t.ends, -1)
		}
		node = t.to[i]
		if 4*len(t.ends) > 3*len(t.keys) {
			t.grow()
		}
	}
	if t.ends[node] < 0 {
		t.ends[node] = t.rows
		t.rows++
	}
	return t.ends[node]
}

// grow doubles the table.
func (t *trie) grow() {
	keys, to := t.keys, t.to
	t.keys, t.to = make([]uint64, 2*len(keys)), make([]int32, 2*len(to))
	for i, key := range keys {
		if key != 0 {
			n := t.slot(key)
			t.keys[n], t.to[n] = key, to[i]
		}
	}
}

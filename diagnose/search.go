package diagnose

import "slices"

// row is a row of words made ready for the search, and the working memory of one.
type row struct {
	words       []word
	ids         []int32 // of all words, one after the other
	from        []int32 // by word: where its ids begin; one more at the end
	skips       []bool  // by word
	boilerplate []int32 // by word: where the boilerplate or pointer ends that it stands in, or one before it

	pointer []int32 // the same for pointers alone
	hits    []hit
	seen    []uint8 // by segment: how often it was found
	last    []int32 // by segment: its latest hit, counted from 1
	buf     [16]int32

	tallies []tally // by rule
	touched []int32 // the rules whose tally is not empty
	steps   int     // of the search so far, for the test that it is linear
}

// load splits s into words and looks each one up. The words of web addresses that no phrase names are left
// out, so that a long address does not part the words around it.
func (r *row) load(x *index, s string) {
	all := splitWords(r.words[:0], s)
	r.words = all[:0]
	r.ids, r.from, r.skips = r.ids[:0], r.from[:0], r.skips[:0]
	for _, w := range all {
		a := x.answers(w, r.buf[:0])
		if w.kind == linkWord && len(a) == 0 {
			continue
		}
		r.words = append(r.words, w)
		r.from = append(r.from, int32(len(r.ids)))
		r.ids = append(r.ids, a...)
		r.skips = append(r.skips, x.skippable(w, a))
	}
	r.from = append(r.from, int32(len(r.ids)))
}

// skippable reports whether w may stand between the words of a phrase: facts, codes, articles, references.
func (x *index) skippable(w word, answers []int32) bool {
	switch w.kind {
	case plainWord:
		return slices.Contains(answers, x.skip) || len(answers) == 0 && hasDigit(w.text)
	case numberWord:
		return len(w.text) == 3
	}
	return true
}

// search finds every segment in the row.
func (r *row) search(x *index) {
	if len(r.seen) < len(x.closes) {
		r.seen, r.last = make([]uint8, len(x.closes)), make([]int32, len(x.closes))
	}
	for _, h := range r.hits { // of the search before: all others are clear
		r.seen[h.segment], r.last[h.segment] = 0, 0
	}
	r.hits, r.steps = r.hits[:0], 0
	for i := range r.words {
		r.walk(x, 0, int32(i), int32(i), 0)
	}
}

// walk follows the trie from node with the word at i. Skippable words may be passed over inside a phrase.
func (r *row) walk(x *index, node, start, i int32, skipped int) {
	if int(i) >= len(r.words) {
		return
	}
	r.steps++
	for _, id := range r.ids[r.from[i]:r.from[i+1]] {
		n := x.trie.next(node, id)
		if n == 0 {
			continue
		}
		if s := x.trie.ends[n]; s >= 0 && r.seen[s] < maxHits {
			r.seen[s]++
			r.hits = append(r.hits, hit{s, start, i + 1, r.last[s]})
			r.last[s] = int32(len(r.hits))
		}
		r.walk(x, n, start, i+1, 0)
	}
	if node != 0 && r.skips[i] && skipped < maxSkips {
		r.walk(x, node, start, i+1, skipped+1)
	}
}

// complete reports whether the phrase of these segments, and a last one, ends with h: each earlier segment
// stands before the next one, within the gap. start is where the phrase does.
func (r *row) complete(before []int32, h hit) (start int32, ok bool) {
	start = h.start
	for k := len(before) - 1; k >= 0; k-- {
		best := int32(-1)
		for n := r.last[before[k]]; n > 0; n = r.hits[n-1].prev {
			r.steps++
			if e := r.hits[n-1]; e.end <= start && start-e.end <= gapWords && e.start > best {
				best = e.start
			}
		}
		if best < 0 {
			return 0, false
		}
		start = best
	}
	return start, true
}

// found calls do for every phrase that stands in the row, of those that are noted in closes.
func (r *row) found(x *index, closes []int32, do func(p *phrase, start, end int32)) {
	for _, h := range r.hits {
		for n := closes[h.segment]; n > 0; n = x.phrases[n-1].next {
			p := &x.phrases[n-1]
			if start, ok := r.complete(x.segments[p.from:p.to], h); ok {
				do(p, start, h.end)
			}
		}
	}
}

// markBoilerplate notes where boilerplate and pointers stand.
func (r *row) markBoilerplate(x *index) {
	r.boilerplate, r.pointer = reach(r.boilerplate, len(r.words)), reach(r.pointer, len(r.words))
	r.found(x, x.boilerplate, func(p *phrase, start, end int32) {
		r.boilerplate[start] = max(r.boilerplate[start], end)
		if p.role == rolePointer {
			r.pointer[start] = max(r.pointer[start], end)
		}
	})
	for i := 1; i < len(r.words); i++ {
		r.boilerplate[i] = max(r.boilerplate[i], r.boilerplate[i-1])
		r.pointer[i] = max(r.pointer[i], r.pointer[i-1])
	}
}

// reach gives n zeros in the memory of dst.
func reach(dst []int32, n int) []int32 {
	if cap(dst) < n {
		return make([]int32, n)
	}
	dst = dst[:n]
	clear(dst)
	return dst
}

// inBoilerplate reports whether the words [start, end) stand in one piece of boilerplate or one pointer.
func (r *row) inBoilerplate(start, end int32) bool { return r.boilerplate[start] >= end }

// fromBoilerplate reports whether a phrase with a gap takes its first words out of the middle of a piece of
// boilerplate, and the others from behind it: "mailbox .. exceeds" in "mailbox unavailable; message exceeds".
func (r *row) fromBoilerplate(p *phrase, start, end int32) bool {
	if p.from == p.to || start == 0 {
		return false
	}
	at := r.boilerplate[start]
	return at > start && at == r.boilerplate[start-1] && at < end
}

// inPointer reports whether the words [start, end) stand in one pointer.
func (r *row) inPointer(start, end int32) bool { return r.pointer[start] >= end }

// wording counts the words that say something: neither facts nor articles nor boilerplate.
func (r *row) wording() int {
	n := 0
	for i, w := range r.words {
		if w.wording() && !r.skips[i] && !r.inBoilerplate(int32(i), int32(i)+1) {
			n++
		}
	}
	return n
}

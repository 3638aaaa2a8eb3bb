package diagnose

// trie holds rows of ids, the segments of phrases. Its edges lie in one hash table with open addressing, since most
// look-ups of a search find nothing and must be cheap.
type trie struct {
	keys []uint64 // node<<32 | id; 0 where the slot is free, since no id is zero
	to   []int32  // by slot: the node that the edge leads to
	ends []int32  // by node: the segment that ends there, or -1
	rows int32    // segments so far
}

func newTrie() trie {
	const slots = 1 << 14 // our own rules need no more
	return trie{keys: make([]uint64, slots), to: make([]int32, slots), ends: append(make([]int32, 0, 3*slots/4), -1)}
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

package diagnose

import "testing"

// TestTrieGrows holds that segments keep their numbers, and stay to be found, when the table has become larger.
func TestTrieGrows(t *testing.T) {
	tr := newTrie()
	slots, segments := len(tr.keys), int32(len(tr.keys))
	row := func(n int32) []int32 { return []int32{1 + n%7, 1 + n/7, 1 + n} }
	for n := range segments {
		if got := tr.add(row(n)); got != n {
			t.Fatalf("segment %d is given the number %d", n, got)
		}
	}
	if len(tr.keys) <= slots {
		t.Fatalf("the table has still %d slots for %d nodes", len(tr.keys), len(tr.ends))
	}
	for n := range segments {
		node := int32(0)
		for _, id := range row(n) {
			node = tr.next(node, id)
		}
		if tr.ends[node] != n {
			t.Fatalf("segment %d is found as %d", n, tr.ends[node])
		}
		if got := tr.add(row(n)); got != n {
			t.Fatalf("segment %d is given the number %d the second time", n, got)
		}
	}
	if n := tr.next(0, 9); n != 0 {
		t.Errorf("an id that begins no segment leads to node %d", n)
	}
}

package diagnose

import (
	"slices"
	"strings"
	"testing"
)

// TestTrieGrows holds that segments keep their numbers, and stay to be found, when the table has become
// larger.
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

// TestSpelling holds that one wrong letter in a key word is read as that word, and that other words are left
// alone.
func TestSpelling(t *testing.T) {
	s := newSpeller([]string{"quota", "recipient", "mailbox"})
	for in, want := range map[string]string{
		"qouta": "quota", "quata": "quota", "quotaa": "quota", "recepient": "recipient",
		"recipent": "recipient", "mailbx": "mailbox",
		"qutoaa": "", "box": "", "kuota": "", "resilient": "", "": "",
	} {
		if got, _ := s.meant(in); got != want {
			t.Errorf("%q is read as %q, want %q", in, got, want)
		}
	}
	e := newEngine(t)
	for reply, want := range map[string]Category{
		"552 Over qouta": MailboxFull, "550 5.7.1 Blocked attachement": Blocked,
		"550 5.1.1 Recepient not found": InvalidAddress,
	} {
		if d := e.answer(reply); d.Category != want {
			t.Errorf("%q is %s by %s, want %s", reply, d.Category, d.Rule, want)
		}
	}
}

// TestRealWordsAreNeverCorrected holds for every word of the class "real" that it is read as itself, although
// one letter makes it a key word; and that the class holds nothing that needs no protection.
func TestRealWordsAreNeverCorrected(t *testing.T) {
	e := newEngine(t)
	keys := e.x.classWords["spell"]
	for _, w := range e.x.classWords["real"] {
		near := slices.IndexFunc(keys, func(k string) bool { return k[0] == w[0] && edits(k, w) == 1 })
		if near < 0 {
			t.Errorf("%q is not one edit from a word of the class spell", w)
			continue
		}
		for _, form := range []string{w, strings.TrimSuffix(w, "s") + "s"} {
			if got := e.x.answers(word{text: form}, nil); slices.Contains(got, e.x.ids[keys[near]]) {
				t.Errorf("%q is read as %q", form, keys[near])
			}
		}
	}
	for _, reply := range []string{
		"554 5.7.1 Message rejected. Please quote reference ABC123 when contacting support",
		"550 5.1.1 please see our price quote department", "550 5.7.1 Please quote this number",
	} {
		if d := e.answer(reply); d.Category == MailboxFull {
			t.Errorf("%q is %s by %s", reply, d.Category, d.Rule)
		}
	}
}

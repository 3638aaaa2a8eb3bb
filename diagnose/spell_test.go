package diagnose

import (
	"slices"
	"strings"
	"testing"
)

// TestSpelling holds that one wrong letter in a key word is read as that word, and that other words are left
// alone.
func TestSpelling(t *testing.T) {
	s := newSpeller([]string{"quota", "recipient", "mailbox"})
	for in, want := range map[string]string{
		"qouta": "quota", "quata": "quota", "quotaa": "quota", "recepient": "recipient", "recipent": "recipient", "mailbx": "mailbox",
		"qutoaa": "", "box": "", "kuota": "", "resilient": "", "": "",
	} {
		if got, _ := s.meant(in); got != want {
			t.Errorf("%q is read as %q, want %q", in, got, want)
		}
	}
	e := newEngine(t)
	for reply, want := range map[string]Category{"552 Over qouta": MailboxFull, "550 5.7.1 Blocked attachement": Blocked, "550 5.1.1 Recepient not found": InvalidAddress} {
		if d := e.Diagnose(Symptom{Reply: ParseReply(reply)}); d.Category != want {
			t.Errorf("%q is %s by %s, want %s", reply, d.Category, d.Rule, want)
		}
	}
}

// TestRealWordsAreNeverMended holds for every word of the class "real" that it is read as itself, although
// one letter makes it a key word; and that the class holds nothing that needs no protection.
func TestRealWordsAreNeverMended(t *testing.T) {
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
		if d := e.Diagnose(Symptom{Reply: ParseReply(reply)}); d.Category == MailboxFull {
			t.Errorf("%q is %s by %s", reply, d.Category, d.Rule)
		}
	}
}

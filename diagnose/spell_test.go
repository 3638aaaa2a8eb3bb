package diagnose

import "testing"

// TestSpelling holds that one wrong letter in a key word is read as that word, and that other words are left alone.
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

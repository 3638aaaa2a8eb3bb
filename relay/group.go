package relay

import (
	"strings"

	"mailwhy/diagnose"
)

// SameFailure is what recipients have in common that one sentence can describe: their state, the reply apart
// from their own address and the numbers in it, and the diagnosis. It is comparable.
type SameFailure struct {
	state     State
	uncertain bool
	stage     diagnose.Stage
	net       diagnose.NetKind
	reply     string
	category  diagnose.Category
	reason    diagnose.Reason
	rule      string
}

// SameFailureOf is what r has in common with others.
func SameFailureOf(r *Recipient) SameFailure {
	k := SameFailure{state: r.State}
	if a := r.Last; a != nil {
		k.uncertain, k.stage, k.net = a.Uncertain, a.Stage, a.NetErr.Kind
		k.reply = masked(a.Reply.Raw, r.Address)
		if k.net == diagnose.NetAPI {
			k.reply = masked(a.NetErr.Text, r.Address)
		}
	}
	if d := r.Diagnosis; d != nil {
		k.category, k.reason, k.rule = d.Category, d.Reason, d.Rule
	}
	return k
}

// masked is a reply without what differs from recipient to recipient: addresses, the recipient's name, and
// words with a digit in them, which may be a reference or a time. The codes at the beginning of a line stay.
func masked(raw, address string) string {
	local, _, _ := strings.Cut(strings.ToLower(address), "@")
	var b strings.Builder
	b.Grow(len(raw))
	for line := range strings.Lines(strings.ToLower(raw)) {
		for i, word := range strings.Fields(line) {
			switch {
			case strings.Contains(word, "@") || local != "" && strings.Trim(word, `<>"'():;,.`) == local:
				word = "@"
			case i > 1 && strings.ContainsAny(word, "0123456789"):
				word = "#"
			}
			b.WriteString(word)
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
	}
	return b.String()
}

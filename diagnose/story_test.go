package diagnose

import (
	"slices"
	"strings"
	"testing"
)

// TestOwnerActionAndFirstStepAgree holds over all reasons that an address is removed only for a fault of its
// own, and that the first step speaks to the one who is said to act.
func TestOwnerActionAndFirstStepAgree(t *testing.T) {
	theirs := []string{"recipient's administrator", "their administrator", "pass the reply on",
		"by another channel"}
	ours := []string{"blocklists", "the upstream's", "your spf", "the provider's console"}
	near := []Owner{OwnerApplication, OwnerRecipient, OwnerRecipientAdmin}
	for _, r := range newEngine(t).Reasons() {
		if r.Action == ActionRemoveAddress && (r.Scope != ScopeRecipient || !slices.Contains(near, r.Owner)) {
			t.Errorf("%s: the address is removed, but scope is %s and %s must act", r.ID, r.Scope, r.Owner)
		}
		for _, fix := range [][]string{r.Fix, r.FixFinal} {
			if len(fix) == 0 {
				continue
			}
			if r.Owner == OwnerOperator && names(fix[0], theirs) {
				t.Errorf("%s: the operator must act, but the first step asks the recipient's side: %q", r.ID, fix[0])
			}
			if r.Owner == OwnerRecipientAdmin && names(fix[0], ours) {
				t.Errorf("%s: the recipient's administrator must act, but the first step is ours: %q", r.ID, fix[0])
			}
		}
	}
}

func names(step string, those []string) bool {
	return slices.ContainsFunc(those, func(one string) bool {
		return strings.Contains(strings.ToLower(step), one)
	})
}

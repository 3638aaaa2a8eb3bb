package diagnose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestReasonConstants holds that the guide defines every reason that the code knows by name. It reads the
// source, so that no constant can be left out here.
func TestReasonConstants(t *testing.T) {
	known := newEngine(t).Reasons()
	constants := reasonConstants(t)
	for name, id := range constants {
		if !slices.ContainsFunc(known, func(r ReasonInfo) bool { return r.ID == id }) {
			t.Errorf("%s: the guide does not define the reason %q", name, id)
		}
	}
	if len(constants) < 20 {
		t.Errorf("only %d constants were seen", len(constants))
	}
}

// reasonConstants reads the constants of type Reason from the source, by name.
func reasonConstants(t *testing.T) map[string]Reason {
	t.Helper()
	out := map[string]Reason{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
				return false
			}
			id, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out[spec.Names[0].Name] = Reason(id)
			return false
		})
	}
	return out
}

// TestOwnerActionAndFirstStepAgree holds over all reasons that an address is removed only for a fault of its
// own, by the application; that whoever has to correct something and send again is on our side; and that the
// first step is for the one who must act, and does not contradict the action.
func TestOwnerActionAndFirstStepAgree(t *testing.T) {
	ours := []Owner{OwnerApplication, OwnerOperator, OwnerSenderDomain}
	corrections := []Action{ActionFixAndResend, ActionSlowDown}
	patient := []string{"wait", "leave it", "let ", "keep", "administrator"}
	for _, r := range newEngine(t).Reasons() {
		switch {
		case r.Action == ActionRemoveAddress && (r.Scope != ScopeRecipient || r.Owner != OwnerApplication):
			t.Errorf("%s: the address is removed, but scope is %s and %s must act", r.ID, r.Scope, r.Owner)
		case slices.Contains(corrections, r.Action) && !slices.Contains(ours, r.Owner):
			t.Errorf("%s: to be corrected here (%s), but %s must act", r.ID, r.Action, r.Owner)
		}
		for _, fix := range [][]string{r.Fix, r.FixFinal} {
			if len(fix) > 0 {
				checkFirstStep(t, string(r.ID), r.Owner, fix[0])
			}
		}
		if r.Action == ActionRetry && r.Owner == OwnerRecipientAdmin && !names(r.Fix[0], patient) {
			t.Errorf("%s: it is tried again by itself, but the first step is %q", r.ID, r.Fix[0])
		}
	}
}

// checkFirstStep holds a first step against who must act: some words show whose step it is.
func checkFirstStep(t *testing.T, what string, owner Owner, step string) {
	t.Helper()
	theirs := []string{"recipient's administrator", "their administrator", "pass the reply on",
		"by another channel"}
	ours := []string{"blocklists", "the upstream's", "your spf", "the provider's console"}
	if owner == OwnerOperator && names(step, theirs) {
		t.Errorf("%s: the operator must act, but the first step asks the recipient's side: %q", what, step)
	}
	if (owner == OwnerRecipientAdmin || owner == OwnerRecipient) && names(step, ours) {
		t.Errorf("%s: %s must act, but the first step is ours: %q", what, owner, step)
	}
}

// TestFirstStepOfEveryAnswer holds the same over the answers to all labelled replies, with the providers' own
// advice in front, at each stage.
func TestFirstStepOfEveryAnswer(t *testing.T) {
	e := newEngine(t)
	for _, file := range []string{"replies", "templates", "blind"} {
		for _, row := range labelledReplies(t, file) {
			for _, stage := range []Stage{StageHello, StageAuth, StageMail, StageRcpt, StageEndOfData} {
				s := symptomOf(row.Reply)
				s.Stage = stage
				d := e.Diagnose(s)
				checkFirstStep(t, row.Reply+" at "+string(stage)+" ("+string(d.Reason)+")", d.Owner, d.Fix[0])
			}
		}
	}
}

// names reports whether a step has one of these words.
func names(step string, those []string) bool {
	return slices.ContainsFunc(those, func(one string) bool {
		return strings.Contains(strings.ToLower(step), one)
	})
}

// TestFixFollowsWhetherItIsTriedAgain: nobody is told to wait for an attempt that will not come.
func TestFixFollowsWhetherItIsTriedAgain(t *testing.T) {
	e := newEngine(t)
	for _, tt := range []struct {
		name  string
		s     Symptom
		again bool
	}{
		{"temporary", Symptom{Reply: ParseReply("452 4.2.2 mailbox full")}, true},
		{"permanent", Symptom{Reply: ParseReply("552 5.2.2 mailbox full")}, false},
		{"expired", Symptom{Reply: ParseReply("452 4.2.2 mailbox full"), Final: true}, false},
	} {
		d := e.Diagnose(tt.s)
		if got := strings.Contains(strings.Join(d.Fix, " "), "tried again"); got != tt.again {
			t.Errorf("%s: fix %q", tt.name, d.Fix)
		}
	}
	for _, r := range e.Reasons() {
		if strings.Contains(strings.Join(r.FixFinal, " "), "tried again") {
			t.Errorf("%s: the final fix promises another attempt", r.ID)
		}
	}
}

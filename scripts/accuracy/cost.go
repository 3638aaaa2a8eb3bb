package main

import (
	"fmt"
	"io"
	"slices"

	"mailwhy/diagnose"
)

// What an error costs, in units of a report that sends a reader on the wrong way for a minute. An answer is
// an error only where the row does not accept it. docs/accuracy.md explains the table.
const (
	costRemove    = 20 // a good address is given up, often by a program, and hard to get back
	costBounce    = 10 // a fault of our own bounces mail that could have waited
	costHold      = 5  // mail waits for a fault that is not ours, and the sender is not told
	costOwner     = 2  // the wrong person is asked to act
	costAction    = 1  // another advice than the right one; waiting in place of removing among them
	mostHarmShown = 40
)

// cost is what an answer costs where it is wrong, and whether it harms: an address is given up, or mail is
// bounced, for a fault that is not the address's.
func cost(row labelled, d diagnose.Diagnosis) (units int, harm string) {
	permanent := len(row.Reply) > 0 && row.Reply[0] == '5'
	if len(row.Action) > 0 && !slices.Contains(row.Action, string(d.Action)) {
		units += costAction
		if d.Action == diagnose.ActionRemoveAddress {
			units, harm = units+costRemove, "removes the address"
		}
	}
	ours := slices.Equal(row.Scope, []string{string(diagnose.ScopeUpstream)})
	switch said := d.Scope == diagnose.ScopeUpstream; {
	case !permanent || len(row.Scope) == 0: // a 4yz is tried again, whatever its scope
	case ours && !said:
		units += costBounce
		if harm == "" {
			harm = "bounces for our fault"
		}
	case said && !slices.Contains(row.Scope, string(diagnose.ScopeUpstream)):
		units += costHold
	}
	if len(row.Owner) > 0 && !slices.Contains(row.Owner, string(d.Owner)) {
		units += costOwner
	}
	return units, harm
}

// printHarm adds up the cost of all answers and prints those that harm.
func printHarm(w io.Writer, rows []labelled, answers []diagnose.Diagnosis) {
	total, harmful, removed := 0, 0, 0
	for i, row := range rows {
		units, harm := cost(row, answers[i])
		total += units
		if harm == "" {
			continue
		}
		harmful++
		if answers[i].Action == diagnose.ActionRemoveAddress {
			removed++
		}
		if harmful <= mostHarmShown {
			fmt.Fprintf(w, "%s: %s by %s (%s, %s)\n     %.230s\n", harm, answers[i].Reason, answers[i].Rule,
				answers[i].Basis, answers[i].Confidence, row.Reply)
		}
	}
	fmt.Fprintf(w, "harm: %d of %d rows, %d of them remove the address; cost %d, %.2f a row\n",
		harmful, len(rows), removed, total, float64(total)/float64(max(1, len(rows))))
}

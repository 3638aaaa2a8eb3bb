package main

import (
	"fmt"
	"io"
	"slices"

	"mailwhy/diagnose"
)

// field gives what a row accepts in the field of a name, and what the answer says there.
func field(by string, row labelled, d diagnose.Diagnosis) (want []string, got string, ok bool) {
	switch by {
	case "reason":
		return row.Reason, string(d.Reason), true
	case "scope":
		return row.Scope, string(d.Scope), true
	case "owner":
		return row.Owner, string(d.Owner), true
	case "action":
		return row.Action, string(d.Action), true
	}
	return nil, "", false
}

// scoreField prints how often an answer is acceptable in one field, and what was said in place of what.
func scoreField(w io.Writer, o options, rows []labelled, answers []diagnose.Diagnosis) error {
	rowsLabelled, first, right := 0, 0, 0
	wrong := map[[2]string]int{}
	for i, row := range rows {
		want, got, ok := field(o.by, row, answers[i])
		if !ok {
			return fmt.Errorf("-by %s: not one of category, reason, scope, owner, action, harm", o.by)
		}
		if len(want) == 0 {
			continue
		}
		rowsLabelled++
		if want[0] == got {
			first++
		}
		if slices.Contains(want, got) {
			right++
			continue
		}
		wrong[[2]string{want[0], got}]++
		if o.misses {
			fmt.Fprintf(w, "want %v, got %s by %s (%s, %s)\n     %.230s\n",
				want, got, answers[i].Rule, answers[i].Basis, answers[i].Confidence, row.Reply)
		}
	}
	fmt.Fprintf(w, "%s: %d rows with a label\n  acceptable %s, the label itself %s\n",
		o.by, rowsLabelled, percent(right, rowsLabelled), percent(first, rowsLabelled))
	printWrong(w, wrong)
	return nil
}

// printWrong prints what was said in place of what, the most frequent first.
func printWrong(w io.Writer, wrong map[[2]string]int) {
	keys := make([][2]string, 0, len(wrong))
	for k := range wrong {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]string) int {
		if n := wrong[b] - wrong[a]; n != 0 {
			return n
		}
		return slices.Compare(a[:], b[:])
	})
	t := table(w)
	fmt.Fprintln(t, "\nlabel\tanswered\trows")
	for _, k := range keys {
		fmt.Fprintf(t, "%s\t%s\t%d\n", k[0], k[1], wrong[k])
	}
	t.Flush()
}

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mailwhy/config"
)

// maxNearest is how many names a wrong one is answered with.
const maxNearest = 3

// maxName is how much of a wrong name is looked at, bytes.
const maxName = 64

// resolve finds the category or reason that name stands for: the whole name in any case and spelling, or a beginning
// that only one of them has. Categories go before reasons.
func (g *guide) resolve(name string) (string, error) {
	var categories, reasons []string
	for _, c := range g.engine.Categories() {
		categories = append(categories, string(c.Name))
	}
	for _, r := range g.engine.Reasons() {
		reasons = append(reasons, string(r.ID))
	}
	wanted := squeezed(name)
	for _, names := range [][]string{categories, reasons} {
		if i := slices.IndexFunc(names, func(n string) bool { return squeezed(n) == wanted }); i >= 0 {
			return names[i], nil
		}
	}
	for _, names := range [][]string{categories, reasons} {
		begun := withPrefix(names, wanted)
		if len(begun) == 1 {
			return begun[0], nil
		}
		if len(begun) > 1 {
			return "", fmt.Errorf("%s could be: %s", printable(name), strings.Join(begun, ", "))
		}
	}
	return "", fmt.Errorf("the guide has no category or reason %s; the nearest are: %s", printable(name),
		strings.Join(nearest(append(categories, reasons...), wanted), ", "))
}

// withPrefix are the names that begin as wanted does.
func withPrefix(names []string, wanted string) []string {
	var out []string
	for _, n := range names {
		if wanted != "" && strings.HasPrefix(squeezed(n), wanted) {
			out = append(out, n)
		}
	}
	return out
}

// squeezed makes 'Mailbox Full', mailbox-full and mailboxfull the same.
func squeezed(s string) string { return strings.ReplaceAll(plainName(s), " ", "") }

// nearest are the names that are most like the wanted one, best first: those that hold it, then by edit distance.
func nearest(names []string, wanted string) []string {
	distance := func(n string) int {
		n = squeezed(n)
		if wanted != "" && strings.Contains(n, wanted) {
			return -1
		}
		return config.EditDistance(n, wanted[:min(len(wanted), maxName)])
	}
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
	return sorted[:min(maxNearest, len(sorted))]
}

package senders

import (
	"slices"
	"strings"
)

// including is an SPF record with an include. It comes first, so that whatever stands behind cannot use up
// the lookups before it. Without a record it is a new one.
func including(record, domain string) string {
	include := "include:" + domain
	if record == "" {
		return "v=spf1 " + include + " ~all"
	}
	terms := slices.DeleteFunc(strings.Fields(record)[1:], func(term string) bool {
		return strings.EqualFold(strings.TrimLeft(term, "+-~?"), include)
	})
	return strings.Join(append([]string{"v=spf1", include}, terms...), " ")
}

// merged is one SPF record with the terms of several: each once, and the first all at the end. A redirect
// becomes an include, because it would be ignored next to an all (RFC 7208, 6.1).
func merged(records []string) string {
	terms, all := []string{"v=spf1"}, ""
	for _, r := range records {
		for _, term := range strings.Fields(r)[1:] {
			if to, ok := strings.CutPrefix(term, "redirect="); ok {
				term = "include:" + to
			}
			switch {
			case strings.EqualFold(strings.TrimLeft(term, "+-~?"), "all"):
				if all == "" {
					all = term
				}
			case !slices.Contains(terms, term):
				terms = append(terms, term)
			}
		}
	}
	if all == "" {
		all = "~all"
	}
	return strings.Join(append(terms, all), " ")
}

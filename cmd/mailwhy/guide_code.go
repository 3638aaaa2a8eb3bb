package main

import (
	"fmt"
	"strconv"
	"strings"

	"mailwhy/diagnose"
)

// guideOrigin says what the categories are.
const guideOrigin = "The nine categories are those of the guide to bounce errors that a mail sending " +
	"service publishes for its customers; which category a reply gets, and the reasons below them, " +
	"are mailwhy's."

// parseCodes reads "550", "5.7.1" or "550 5.7.1"; ok is false where name holds anything else.
func parseCodes(name string) (code int, enhanced diagnose.Enhanced, ok bool) {
	for _, field := range strings.Fields(name) {
		if e, is := diagnose.ParseEnhanced(field); is && enhanced.IsZero() {
			enhanced = e
			continue
		}
		n, err := strconv.Atoi(field)
		if err != nil || n < 200 || n > 799 || code != 0 {
			return 0, diagnose.Enhanced{}, false
		}
		code = n
	}
	return code, enhanced, code != 0 || !enhanced.IsZero()
}

// codes prints what the tables say of codes alone.
func (g *guide) codes(code int, enhanced diagnose.Enhanced) error {
	m := g.engine.Codes(code, enhanced)
	if !m.Known() {
		return fmt.Errorf("the guide has no code %s", pairText(code, m.Enhanced))
	}
	if g.json {
		return g.object(m)
	}
	fmt.Fprintln(&g.out, pairText(code, m.Enhanced))
	for i, p := range m.Pairs {
		item(&g.out, first(i, "guide"), pairText(p.Code, p.Text)+": "+pairCategories(&p))
	}
	if len(m.Pairs) == 0 {
		item(&g.out, "guide", "does not name it")
	}
	g.codeReason(m.Enhanced, m.EnhancedReason)
	if code != 0 {
		g.codeReason(strconv.Itoa(code), m.CodeReason)
	}
	g.out.WriteString("\nThe wording of a reply says more than its codes: mailwhy diagnose 'REPLY'.\n")
	return nil
}

// codeReason prints what one code means alone.
func (g *guide) codeReason(code string, reason diagnose.Reason) {
	if info, ok := g.engine.Explain(reason); ok {
		item(&g.out, code, fmt.Sprintf("%s: %s", reason, info.Definition))
	}
}

// pairText writes a basic and an enhanced code, either of which may be missing.
func pairText(code int, enhanced string) string {
	switch {
	case code == 0:
		return enhanced
	case enhanced == "":
		return strconv.Itoa(code)
	}
	return strconv.Itoa(code) + " " + enhanced
}

// pairCategories lists the categories of a pair; those that stand only in the full table are marked.
func pairCategories(p *diagnose.Pair) string {
	names := make([]string, len(p.Categories))
	for i, c := range p.Categories {
		names[i] = string(c)
		for _, added := range p.Added {
			if added == c {
				names[i] += "*"
			}
		}
	}
	return strings.Join(names, ", ")
}

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/logview"
	"mailwhy/config/mistake"
	"mailwhy/diagnose"
)

func newGuideCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "guide [CATEGORY | REASON | CODE]",
		Short: "Print the guide: the categories, their codes, causes and fixes",
		Long: `Prints the guide by which refusals are explained: each category with its definition, codes,
cause and fix. With a CATEGORY, or the beginning of its name, it prints that category and its
reasons; with a REASON, that reason; with a CODE, basic or enhanced or both, what it means alone.

The nine categories are those of the guide to bounce errors that a mail sending service publishes
for its customers; which category a reply gets, and the reasons below them, are mailwhy's.

  mailwhy guide
  mailwhy guide 'Mailbox Full'
  mailwhy guide user_unknown
  mailwhy guide 550 5.7.1`,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := diagnose.New(diagnose.Options{})
			if err != nil {
				return err
			}
			g := guide{engine: e, json: asJSON}
			name := strings.TrimSpace(strings.Join(args, " "))
			if code, enhanced, ok := diagnose.ParseCodes(name); ok {
				err = g.codes(code, enhanced)
			} else if name != "" {
				err = g.named(name)
			} else {
				err = g.all()
			}
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			_, err = c.OutOrStdout().Write(g.out.Bytes())
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

// guideOrigin says what the categories are.
const guideOrigin = "The nine categories are those of the guide to bounce errors that a mail sending " +
	"service publishes for its customers; which category a reply gets, and the reasons below them, " +
	"are mailwhy's."

// guide prints the guide.
type guide struct {
	engine *diagnose.Engine
	json   bool
	out    bytes.Buffer
}

// guideEntry is a category with its codes and its reasons.
type guideEntry struct {
	diagnose.CategoryInfo
	InGuide bool                  `json:"in_guide"`
	Codes   []guideCode           `json:"codes,omitempty"`
	Reasons []diagnose.ReasonInfo `json:"reasons,omitempty"`
}

// guideCode is a code of a category. One of the guide's own stands in its text; the others only in its full
// table, for what the text calls a wide range.
type guideCode struct {
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced,omitempty"`
	Named    bool   `json:"named"`
}

// entry gathers what the guide says of a category.
func (g *guide) entry(info diagnose.CategoryInfo) guideEntry {
	e := guideEntry{CategoryInfo: info, InGuide: info.Name.InGuide()}
	for _, p := range g.engine.Pairs() {
		if slices.Contains(p.Categories, info.Name) {
			e.Codes = append(e.Codes, guideCode{p.Code, p.Text, !slices.Contains(p.Added, info.Name)})
		}
	}
	for _, r := range g.engine.Reasons() {
		if r.Category == info.Name {
			e.Reasons = append(e.Reasons, r)
		}
	}
	return e
}

// all prints every category.
func (g *guide) all() error {
	if !g.json {
		paragraph(&g.out, "", "", guideOrigin)
		g.out.WriteByte('\n')
	}
	for _, c := range g.engine.Categories() {
		e := g.entry(c)
		if g.json {
			if err := g.object(e); err != nil {
				return err
			}
			continue
		}
		g.category(&e)
		ids := make([]string, len(e.Reasons))
		for i := range e.Reasons {
			ids[i] = string(e.Reasons[i].ID)
		}
		item(&g.out, "reasons", strings.Join(ids, ", "))
		g.out.WriteByte('\n')
	}
	if !g.json {
		g.out.WriteString("A code marked * stands only in the guide's full table, " +
			"for what its text calls a wide range.\n")
	}
	return nil
}

// named prints the category or reason that name stands for.
func (g *guide) named(name string) error {
	id, err := g.resolve(name)
	if err != nil {
		return err
	}
	if info, ok := g.engine.Gloss(diagnose.Category(id)); ok {
		e := g.entry(info)
		if g.json {
			return g.object(e)
		}
		g.category(&e)
		for i := range e.Reasons {
			g.out.WriteByte('\n')
			g.reason(&e.Reasons[i])
		}
		return nil
	}
	info, _ := g.engine.Explain(diagnose.Reason(id))
	if g.json {
		return g.object(info)
	}
	g.reason(&info)
	return nil
}

// object prints v as one JSON object on a line.
func (g *guide) object(v any) error {
	b, err := safeJSON(v)
	g.out.Write(append(b, '\n'))
	return err
}

// category prints a category for a person.
func (g *guide) category(e *guideEntry) {
	fmt.Fprintln(&g.out, e.Name)
	if !e.InGuide {
		item(&g.out, "", "(not one of the guide's: for failures that came without a reply)")
	}
	item(&g.out, "means", e.Definition)
	item(&g.out, "codes", codesText(e.Codes))
	item(&g.out, "cause", e.Cause)
	steps(&g.out, "fix", e.Fix)
	for i, link := range e.Links {
		item(&g.out, first(i, "see"), link)
	}
}

// reason prints a reason for a person.
func (g *guide) reason(r *diagnose.ReasonInfo) {
	fmt.Fprintln(&g.out, r.ID)
	item(&g.out, "means", r.Definition)
	item(&g.out, "cause", r.Cause)
	steps(&g.out, "fix", r.Fix)
	item(&g.out, "who acts", fmt.Sprintf("%s: %s", r.Owner.Words(),
		strings.ReplaceAll(string(r.Action), "_", " ")))
	item(&g.out, "concerns", "this "+scopeWords(r.Scope))
	category := string(r.Category)
	if len(r.Alt) > 0 {
		category += "; at times " + joinNames(r.Alt)
	}
	item(&g.out, "category", category)
	for i, link := range r.Links {
		item(&g.out, first(i, "see"), link)
	}
}

// scopeWords say whom a diagnosis concerns.
func scopeWords(s diagnose.Scope) string {
	switch s {
	case diagnose.ScopeRecipient:
		return "recipient alone"
	case diagnose.ScopeMessage:
		return "message"
	case diagnose.ScopeSender:
		return "sender or its domain"
	case diagnose.ScopeUpstream:
		return "relay's account at the upstream, or its way there"
	}
	return string(s)
}

// joinNames writes names with commas.
func joinNames[S ~string](names []S) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = string(n)
	}
	return strings.Join(list, ", ")
}

// codesText writes codes in the order of the table, those of one basic code together: "450 4.1.1; 501
// 5.1.0*, 5.1.1*".
func codesText(codes []guideCode) string {
	var b strings.Builder
	last := 0
	for _, c := range codes {
		mark := ""
		if !c.Named {
			mark = "*"
		}
		enhanced := c.Enhanced
		if enhanced == "" {
			enhanced = "alone"
		}
		switch {
		case c.Code == last:
			b.WriteString(", ")
		case last != 0:
			b.WriteString("; " + strconv.Itoa(c.Code) + " ")
		default:
			b.WriteString(strconv.Itoa(c.Code) + " ")
		}
		b.WriteString(enhanced + mark)
		last = c.Code
	}
	return b.String()
}

// maxNearest is how many names a wrong one is answered with.
const maxNearest = 3

// maxName is how much of a wrong name is looked at, bytes.
const maxName = 64

// resolve finds the category or reason that name stands for: the whole name in any case and spelling, or a
// beginning that only one of them has. Categories go before reasons.
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
	if strings.Trim(name, "0123456789. ") == "" {
		return "", fmt.Errorf("%s is not a reply code: write one of three digits from 200 to 799, "+
			"an enhanced code such as 5.7.1, or both", printable(name))
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
func squeezed(s string) string { return strings.ReplaceAll(logview.Plain(s), " ", "") }

// nearest are the names that are most like the wanted one, best first: those that hold it, then by edit
// distance.
func nearest(names []string, wanted string) []string {
	distance := func(n string) int {
		n = squeezed(n)
		if wanted != "" && strings.Contains(n, wanted) {
			return -1
		}
		return mistake.EditDistance(n, wanted[:min(len(wanted), maxName)])
	}
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
	return sorted[:min(maxNearest, len(sorted))]
}

// codes prints what the tables say of codes alone.
func (g *guide) codes(code int, enhanced diagnose.Enhanced) error {
	m := g.engine.Codes(code, enhanced)
	if !m.Known() {
		return fmt.Errorf("the guide has no code %s", m.Pair())
	}
	if g.json {
		return g.object(m)
	}
	fmt.Fprintln(&g.out, m.Pair())
	for i, p := range m.Pairs {
		item(&g.out, first(i, "guide"), p.String()+": "+pairCategories(&p))
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

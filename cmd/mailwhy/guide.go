package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/diagnose"
)

func newGuideCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "guide [CATEGORY]",
		Short: "Print the guide: the categories, their codes, causes and fixes",
		Long: `Prints the guide by which refusals are explained: each category with its definition, its codes, its cause and its
fix. With a CATEGORY, or the beginning of its name, it prints that one with its reasons; with a reason, that reason.

  mailwhy guide
  mailwhy guide 'Mailbox Full'
  mailwhy guide user_unknown`,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := diagnose.New(diagnose.Options{})
			if err != nil {
				return err
			}
			g := guide{engine: e, json: asJSON}
			if err := g.find(strings.Join(args, " ")); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			_, err = c.OutOrStdout().Write(g.out.Bytes())
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

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

// guideCode is a code of a category.
type guideCode struct {
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced,omitempty"`
}

// entry gathers what the guide says of a category.
func (g *guide) entry(info diagnose.CategoryInfo) guideEntry {
	e := guideEntry{CategoryInfo: info, InGuide: info.Name.InGuide()}
	for _, p := range g.engine.Pairs() {
		if slices.Contains(p.Categories, info.Name) {
			e.Codes = append(e.Codes, guideCode{p.Code, p.Text})
		}
	}
	for _, r := range g.engine.Reasons() {
		if r.Category == info.Name {
			e.Reasons = append(e.Reasons, r)
		}
	}
	return e
}

// find prints what name stands for: everything, a category or a reason.
func (g *guide) find(name string) error {
	if name == "" {
		for _, c := range g.engine.Categories() {
			e := g.entry(c)
			if err := g.category(&e, false); err != nil {
				return err
			}
		}
		return nil
	}
	for _, c := range g.engine.Categories() {
		if plainName(string(c.Name)) == plainName(name) {
			e := g.entry(c)
			return g.category(&e, true)
		}
	}
	return fmt.Errorf("the guide has no category or reason %q", name)
}

// category prints one category.
func (g *guide) category(e *guideEntry, whole bool) error {
	if g.json {
		b, err := safeJSON(e)
		g.out.Write(append(b, '\n'))
		return err
	}
	if g.out.Len() > 0 {
		g.out.WriteByte('\n')
	}
	fmt.Fprintln(&g.out, e.Name)
	item(&g.out, "means", e.Definition)
	item(&g.out, "cause", e.Cause)
	steps(&g.out, "fix", e.Fix)
	return nil
}

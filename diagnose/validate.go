package diagnose

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// guideCategories are the nine names, in the guide's order.
var guideCategories = [...]Category{Blocked, DMARCErrors, InvalidAddress, MailboxIssues, MailboxFull,
	RateLimitIssues, RecipientError, RejectionErrors, SenderReputation}

func knownCategory(c Category) bool {
	return c == ConnectionFailure || slices.Contains(guideCategories[:], c)
}

// checker collects what is wrong with a file of rules.
type checker struct {
	f       *file
	reasons map[Reason]bool
	ids     map[string]bool
	user    []byte // the user's file, to find lines
	errs    []error
}

func (f *file) check(user []byte) error {
	c := checker{f: f, reasons: map[Reason]bool{"": true}, ids: map[string]bool{}, user: user}
	for i := range f.Reasons {
		c.reason(&f.Reasons[i])
	}
	for i := range f.Rules {
		c.rule(&f.Rules[i])
	}
	c.beats()
	for _, rows := range [][]codeRow{f.Enhanced, f.Codes} {
		for _, r := range rows {
			c.refer("code "+r.Code, r.Reason, r.Category, r.Alt)
		}
	}
	for i := range f.Advice {
		for _, r := range f.Advice[i].Reasons {
			c.refer("advice", r, "", nil)
		}
	}
	c.told()
	return errors.Join(c.errs...)
}

// checkIDs reports rules of one id in a user's file, where the later would silently replace the earlier.
func (f *file) checkIDs(name string, data []byte) error {
	var errs []error
	seen := map[string]bool{}
	for i := range f.Rules {
		id := f.Rules[i].ID
		if seen[id] {
			err := fmt.Errorf("%s:%d: rule %q: there are two of this id", name, lineOf(data, id), id)
			errs = append(errs, err)
		}
		seen[id] = true
	}
	return errors.Join(errs...)
}

func (c *checker) errorf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// refer checks that a reason and categories exist.
func (c *checker) refer(where string, r Reason, cat Category, alt []Category) {
	if !c.reasons[r] {
		c.errorf("%s: there is no reason %q", where, r)
	}
	for _, a := range append([]Category{cat}, alt...) {
		if a != "" && !knownCategory(a) {
			c.errorf("%s: there is no category %q", where, a)
		}
	}
}

func (c *checker) reason(r *ReasonInfo) {
	where := fmt.Sprintf("reason %q", r.ID)
	if c.reasons[r.ID] {
		c.errorf("%s: there are two, or it has no id", where)
	}
	c.reasons[r.ID] = true
	c.refer(where, r.ID, r.Category, r.Alt)
	if r.Cause == "" || len(r.Fix) == 0 || r.Definition == "" {
		c.errorf("%s: definition, cause and fix must be set", where)
	}
	if !slices.Contains([]Scope{ScopeRecipient, ScopeMessage, ScopeSender, ScopeUpstream}, r.Scope) {
		c.errorf("%s: scope %q is not one of recipient, message, sender, upstream", where, r.Scope)
	}
	owners := Owners()
	if !slices.Contains(owners, r.Owner) {
		c.errorf("%s: owner %q is not one of %v", where, r.Owner, owners)
	}
	actions := []Action{ActionRetry, ActionWait, ActionFixAndResend, ActionRemoveAddress, ActionSlowDown}
	if !slices.Contains(actions, r.Action) {
		c.errorf("%s: action %q is not one of %v", where, r.Action, actions)
	}
}

// where names a rule in errors: file, line and id.
func (c *checker) where(r *rule) string {
	if r.from == builtinRules {
		return fmt.Sprintf("%s: rule %q", r.from, r.ID)
	}
	return fmt.Sprintf("%s:%d: rule %q", r.from, lineOf(c.user, r.ID), r.ID)
}

func (c *checker) rule(r *rule) {
	where := c.where(r)
	switch {
	case r.ID == "":
		c.errorf("%s: it has no id", where)
	case c.ids[r.ID]:
		c.errorf("%s: there are two of this id", where)
	}
	c.ids[r.ID] = true
	if r.Disabled {
		return
	}
	if r.Reason == "" {
		c.errorf("%s: it names no reason", where)
	}
	c.refer(where, r.Reason, r.Category, r.Alt)
	if len(r.Any) == 0 && len(r.All) == 0 {
		c.errorf("%s: it has no phrase in any or all", where)
	}
	if len(r.All) > 32 {
		c.errorf("%s: more than 32 phrases in all", where)
	}
	c.weight(where, r.Weight)
	if r.When != "" && r.When != "reply" && r.When != "no_reply" {
		c.errorf("%s: when %q is neither reply nor no_reply", where, r.When)
	}
	if r.Confidence != "" && r.Confidence != High && r.Confidence != Medium && r.Confidence != Low {
		c.errorf("%s: confidence %q is not one of high, medium, low", where, r.Confidence)
	}
	for _, p := range r.Code {
		if len(p) != 3 || strings.Trim(p, "0123456789x") != "" {
			c.errorf("%s: code %q is not three digits or x", where, p)
		}
	}
	for _, p := range r.Enhanced {
		if strings.Count(p, ".") != 2 || strings.Trim(p, "0123456789x.") != "" {
			c.errorf("%s: enhanced %q is not like 5.1.1 or x.7.x", where, p)
		}
	}
}

// weight checks that a rule names a band.
func (c *checker) weight(where string, weight any) {
	switch w := weight.(type) {
	case nil:
	case string:
		if _, ok := bandWeight(w); !ok || w == "" {
			c.errorf("%s: there is no weight %q: write %s", where, w, bandNames)
		}
	case int64:
		c.errorf("%s: weight %v is a number: write weight = %q", where, w, bandOf(float64(w)))
	case float64:
		c.errorf("%s: weight %v is a number: write weight = %q", where, w, bandOf(w))
	default:
		c.errorf("%s: weight %v is not a string: write %s", where, w, bandNames)
	}
}

// bandOf is the band of a weight as earlier versions wrote it.
func bandOf(weight float64) string {
	switch {
	case weight >= 9:
		return certain
	case weight >= 8:
		return strong
	case weight >= 6:
		return normal
	case weight >= 5:
		return hint
	}
	return vague
}

// beats checks that every rule that is beaten exists, and that no rule beats itself by way of others.
func (c *checker) beats() {
	rules := map[string]*rule{}
	for i := range c.f.Rules {
		r := &c.f.Rules[i]
		rules[r.ID] = r
		for _, id := range r.Beats {
			if !c.ids[id] {
				c.errorf("%s: beats %q, but there is no rule of this id: correct the id or take it out",
					c.where(r), id)
			}
		}
	}
	done := map[string]bool{}
	for i := range c.f.Rules {
		c.circle(rules, &c.f.Rules[i], nil, done)
	}
}

// circle follows beats from r, which path led to, and reports where it comes back to a rule of path.
func (c *checker) circle(rules map[string]*rule, r *rule, path []string, done map[string]bool) {
	if at := slices.Index(path, r.ID); at >= 0 {
		way := strings.Join(append(path[at:], r.ID), " beats ")
		c.errorf("%s: %s: take one of these beats out", c.where(r), way)
		return
	}
	if done[r.ID] {
		return
	}
	for _, id := range r.Beats {
		if beaten := rules[id]; beaten != nil {
			c.circle(rules, beaten, append(path, r.ID), done)
		}
	}
	done[r.ID] = true
}

// Package policy has what the operator ordered for refusals: rules that say which refusals, and a lane's
// Ruling for them. relay/app makes a Set of the configuration, and each lane asks it about each refusal.
//
// What always holds: the first rule of which every key that is given fits decides; without a fitting rule the
// reply does. A Set never changes; a reload makes another one, which then holds for waiting mail too. It is
// safe for concurrent use, and does no I/O.
package policy

import (
	"errors"
	"fmt"
	"slices"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/address/pattern"
	"mailwhy/relay/lane"
)

// Rule is one policy. A key without entries fits everything.
type Rule struct {
	Categories []diagnose.Category
	Reasons    []diagnose.Reason
	Upstreams  []string // names
	Recipients []string // patterns, see package pattern
	Clients    []string // names of client networks or users
	Attempts   int      // it fits from the recipient's attempt with this number on, counted from 1

	Ruling lane.Ruling
	// SendersOfUpstream are the domains, as patterns, that Ruling.Upstream may send for; empty: all. Mail of
	// other senders never goes there, so the rule does not fit it.
	SendersOfUpstream []string
}

// Set is a list of rules.
type Set struct{ rules []rule }

type rule struct {
	Rule
	recipients, senders *pattern.Set
}

// New makes a Set. The error lists the rules that no refusal can reach, because the ones before take them.
func New(rules []Rule) (*Set, error) {
	s := &Set{}
	var errs []error
	for i := range rules {
		for j := range rules[:i] {
			if covers(&rules[j], &rules[i]) {
				errs = append(errs, fmt.Errorf("policy %s is never used: policy %s before it takes all that "+
					"it fits; put it first", rules[i].Ruling.Policy, rules[j].Ruling.Policy))
				break
			}
		}
		r := rule{Rule: rules[i], recipients: pattern.New(rules[i].Recipients)}
		r.senders = pattern.New(rules[i].SendersOfUpstream)
		s.rules = append(s.rules, r)
	}
	return s, errors.Join(errs...)
}

// Ruling is that of the first rule that fits a refusal of m to r, which d explains; nil when none does. r is
// the recipient before the attempt.
func (s *Set) Ruling(m *relay.Message, r *relay.Recipient, d *diagnose.Diagnosis) *lane.Ruling {
	if s == nil {
		return nil
	}
	for i := range s.rules {
		if s.rules[i].fits(m, r, d) {
			return &s.rules[i].Ruling
		}
	}
	return nil
}

// fits reports whether every key of the rule does.
func (u *rule) fits(m *relay.Message, r *relay.Recipient, d *diagnose.Diagnosis) bool {
	return among(u.Categories, d.Category) && among(u.Reasons, d.Reason) && among(u.Upstreams, m.Lane) &&
		r.Attempts+1 >= u.Attempts && among(u.Clients, m.Client.Name) &&
		(len(u.Recipients) == 0 || u.recipients.Has(r.Address)) &&
		(len(u.SendersOfUpstream) == 0 || m.Envelope.From == "" || u.senders.Has(m.Envelope.From))
}

// among reports whether v is in a key's entries, or the key has none.
func among[T comparable](entries []T, v T) bool {
	return len(entries) == 0 || slices.Contains(entries, v)
}

// covers reports whether a fits everything that b does. What a pattern of recipients contains is not looked
// into: only equal entries count.
func covers(a, b *Rule) bool {
	return all(a.Categories, b.Categories) && all(a.Reasons, b.Reasons) && all(a.Upstreams, b.Upstreams) &&
		all(a.Recipients, b.Recipients) && all(a.Clients, b.Clients) && a.Attempts <= max(b.Attempts, 1) &&
		all(a.SendersOfUpstream, b.SendersOfUpstream)
}

// all reports whether the entries of a key of one rule take in those of another's.
func all[T comparable](of, taken []T) bool {
	if len(of) == 0 {
		return true
	}
	return len(taken) > 0 && !slices.ContainsFunc(taken, func(v T) bool { return !slices.Contains(of, v) })
}

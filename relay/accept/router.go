package accept

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/address/pattern"
)

// Rule is one route. A message and recipient take the first rule that fits: every key that is given must. A
// rule without keys fits all.
type Rule struct {
	Name       string            // for people; unique
	Senders    []string          // patterns of the envelope sender, see package pattern
	Recipients []string          // patterns of the recipient
	Clients    []string          // names of client networks or users
	Users      []string          // names that authenticated
	Headers    map[string]string // header field: text that its value contains, without case; "" is any value
	Upstreams  []string          // in order of preference
}

// Candidate is an upstream as far as the Router is concerned.
type Candidate struct {
	Name    string
	Domains []string // domains of the senders that it may send for, as patterns; empty: all
	Weight  int      // its part of a split; 0: it takes what those with a weight do not
}

// Route is the answer for one recipient.
type Route struct {
	Upstreams []string // in the order in which they are tried; none: no upstream may send for the sender
	Rule      string   // "" when there is only one
	Reason    string   // which key of the rule fitted, for people
	Fallback  string   // takes mail whose upstream is no longer configured, where Upstreams has none
}

// Router says which upstreams a mail may go to. It never changes; a reload makes another one. Safe for
// concurrent use.
type Router struct {
	rules   []rule
	headers []string
}

type rule struct {
	Rule
	reason              string // which keys it has, for people
	senders, recipients *pattern.Set
	candidates          []candidate
}

type candidate struct {
	Candidate
	domains *pattern.Set
}

// NewRouter makes a Router of rules, the last of which must be without keys, so that all mail has a way.
func NewRouter(rules []Rule, upstreams []Candidate) (*Router, error) {
	known := map[string]candidate{}
	for _, u := range upstreams {
		known[u.Name] = candidate{u, pattern.New(u.Domains)}
	}
	r := &Router{}
	var errs []error
	for i, one := range rules {
		compiled := rule{Rule: one, reason: one.reason(), senders: pattern.New(one.Senders),
			recipients: pattern.New(one.Recipients)}
		if one.conditional() == (i == len(rules)-1) {
			errs = append(errs, placeError(one.Name, i == len(rules)-1))
		}
		if len(one.Upstreams) == 0 {
			errs = append(errs, fmt.Errorf("%s: name at least one upstream", one.Name))
		}
		for _, name := range one.Upstreams {
			c, ok := known[name]
			if !ok {
				errs = append(errs, fmt.Errorf("%s: there is no upstream %q", one.Name, name))
			}
			compiled.candidates = append(compiled.candidates, c)
		}
		for name := range one.Headers {
			if !slices.Contains(r.headers, name) {
				r.headers = append(r.headers, name)
			}
		}
		r.rules = append(r.rules, compiled)
	}
	if len(rules) == 0 {
		errs = append(errs, errors.New("there is no route"))
	}
	slices.Sort(r.headers)
	return r, errors.Join(errs...)
}

// placeError is the error of a rule that is not where it must be.
func placeError(name string, last bool) error {
	if last {
		return fmt.Errorf("%s: the last route must have no conditions, so that all mail has a way", name)
	}
	return fmt.Errorf("%s: a route without conditions takes all mail, so none after it is ever used; "+
		"put it last", name)
}

// conditional reports whether the rule has a key.
func (r *Rule) conditional() bool {
	return len(r.Senders)+len(r.Recipients)+len(r.Clients)+len(r.Users)+len(r.Headers) > 0
}

// Headers are the header fields that rules look at, in lower case: the front door keeps their values with the
// message.
func (r *Router) Headers() []string { return r.headers }

// Route says where a message goes for one of its recipients.
func (r *Router) Route(m *relay.Message, recipient int) Route {
	q := query{m: m, to: m.Recipients[recipient].Address, from: m.Envelope.From}
	q.fromKey, q.toKey = pattern.KeyOf(q.from), pattern.KeyOf(q.to)
	for i := range r.rules {
		one := &r.rules[i]
		if !one.fits(&q) {
			continue
		}
		if names := one.order(&q); len(names) > 0 {
			if len(r.rules) == 1 {
				return Route{Upstreams: names}
			}
			return Route{Upstreams: names, Rule: one.Name, Reason: one.reason}
		}
	}
	return Route{
		Reason:   "no upstream of its routes has the domain of " + m.Envelope.From + " among its domains",
		Fallback: r.rules[len(r.rules)-1].Upstreams[0],
	}
}

// reason names the keys of the rule.
func (r *Rule) reason() string {
	var keys []string
	for _, key := range []struct {
		name  string
		given int
	}{
		{"senders", len(r.Senders)}, {"recipients", len(r.Recipients)}, {"clients", len(r.Clients)},
		{"users", len(r.Users)}, {"headers", len(r.Headers)},
	} {
		if key.given > 0 {
			keys = append(keys, key.name)
		}
	}
	if len(keys) == 0 {
		return "takes all mail"
	}
	return "matches " + strings.Join(keys, " and ")
}

// query is a message and a recipient on their way through the rules.
type query struct {
	m              *relay.Message
	from, to       string
	fromKey, toKey pattern.Key
}

// fits reports whether every key that the rule has fits.
func (r *rule) fits(q *query) bool {
	return (len(r.Senders) == 0 || r.senders.HasKey(q.fromKey)) &&
		(len(r.Recipients) == 0 || r.recipients.HasKey(q.toKey)) &&
		(len(r.Clients) == 0 || slices.Contains(r.Clients, q.m.Client.Name)) &&
		(len(r.Users) == 0 || slices.Contains(r.Users, q.m.Client.User)) &&
		(len(r.Rule.Headers) == 0 || r.headersFit(q.m.Headers))
}

// headersFit reports whether all header fields that the rule names are as it says.
func (r *rule) headersFit(have map[string]string) bool {
	for name, want := range r.Rule.Headers {
		value, there := have[name]
		if !there || !strings.Contains(strings.ToLower(value), strings.ToLower(want)) {
			return false
		}
	}
	return true
}

// order are the rule's upstreams that may send for the sender, in the order in which they are tried: those
// with a weight first, as the hash of the two domains has it, then the others as they are listed.
func (r *rule) order(q *query) []string {
	var names []string
	var split []weighed
	for i := range r.candidates {
		c := &r.candidates[i]
		if len(c.Domains) > 0 && q.from != "" && !c.domains.HasKey(q.fromKey) {
			continue
		}
		if c.Weight > 0 {
			split = append(split, weighed{c.Name, c.score(q.from, q.to)})
		} else {
			names = append(names, c.Name)
		}
	}
	if len(split) == 0 {
		return names
	}
	slices.SortStableFunc(split, func(a, b weighed) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	ordered := make([]string, 0, len(split)+len(names))
	for _, w := range split {
		ordered = append(ordered, w.name)
	}
	return append(ordered, names...)
}

// weighed is an upstream in a split.
type weighed struct {
	name  string
	score float64
}

// score is the upstream's in weighted rendezvous hashing: the highest takes the mail, in proportion to the
// weights, and a change of one weight moves only what that one gains or loses. What decides are the two
// domains, so that a recipient's domain sees the same sender at the same upstream.
func (c *candidate) score(from, to string) float64 {
	h := fnv.New64a()
	h.Write([]byte(c.Name))
	h.Write([]byte{0})
	h.Write([]byte(strings.ToLower(address.Domain(from))))
	h.Write([]byte{0})
	h.Write([]byte(strings.ToLower(address.Domain(to))))
	x := h.Sum64()
	x ^= x >> 33 // FNV alone leaves the high bits of short texts alike
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return -float64(c.Weight) / math.Log((float64(x>>11)+0.5)/(1<<53))
}

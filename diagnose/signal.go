package diagnose

import "slices"

// Weights. A wording of the band hint or a higher one decides against every code: the tables of codes weigh
// so little that only vague wordings ("rejected") lose to them.
const (
	vagueWeight       = 4.6
	hintWeight        = 5.6
	normalWeight      = 6.8
	strongWeight      = 8.2
	certainWeight     = 9.2
	pairWeight        = 3.5 // a pair with one category
	sharedWeight      = 3.3 // a pair with several
	enhancedWeight    = 3.2
	preciseWeight     = 5.1 // an enhanced code of one meaning beside a wording, as "5.1.1 rejected"
	exactWeight       = 7.7 // an enhanced code that a provider made up: it means one thing, in any language
	ownDetail         = 100 // from this detail on an enhanced code is a provider's own (RFC 5248 has none)
	codeWeight        = 2.0
	support           = 0.15 // of each further signal that points the same way
	supportCap        = 0.4  // for all wordings together
	wordWeight        = 0.1  // for each word of a phrase: of two wordings the longer one says more
	maxWordWeight     = 0.8
	codeLead          = 0.9 // of a provider's own code: over any wording of its band
	sureWeight        = 6.5 // from here on, and with sureMargin, confidence is high
	fairWeight        = 4.5
	sureMargin        = 1.0
	manyOthers        = 3   // words beside the phrase that decides: contradicted, it is doubtful then
	specificWeight    = 5.0 // from here on a wording names a cause, beside which boilerplate is silent
	boilerplateWeight = 5.0 // boilerplate alone weighs no more: less than an enhanced code of one meaning
)

// finding is everything that one text showed.
type finding struct {
	words     int      // in the text, facts too
	wording   int      // of them those that are wording, neither articles nor boilerplate
	unread    bool     // there are words that are neither read by a rule nor facts, articles or boilerplate
	signals   []signal // rules that hold, in the order of the rules
	provider  int      // -1 when none
	blocklist int
	recipient bool // the words name the recipient
	other     bool // they name somebody or something else: the sender, a host, the message
	doubt     bool // they are of a kind beside which no address is given up
}

// signal is a rule that holds.
type signal struct {
	rule        *compiled
	weight      float64
	words       int  // of its longest phrase that was found
	boilerplate bool // by boilerplate alone
	beaten      bool // by another that holds too
}

// tally is what the phrases found so far say about one rule: those outside boilerplate, and all of them.
type tally struct{ own, all said }

// said is what phrases say about a rule.
type said struct {
	words int
	any   bool
	none  bool
	all   uint32
}

// read finds the signals in a text.
func (e *Engine) read(r *row, text string, s *Symptom) finding {
	r.load(e.x, text)
	r.quiet(e.x, s.Reply.Enhanced)
	r.search(e.x)
	r.markBoilerplate(e.x)
	f := finding{words: len(r.words), provider: -1, blocklist: -1}
	r.clearTallies(len(e.rules))
	r.found(e.x, e.x.closes, func(p *phrase, start, end int32) {
		if !r.inPointer(start, end) {
			f.note(p, r, r.inBoilerplate(start, end) || r.fromBoilerplate(p, start, end))
		}
	})
	slices.Sort(r.touched)
	f.signals = e.signals(r, s)
	understood := slices.ContainsFunc(f.signals, func(g signal) bool { return !g.boilerplate })
	f.wording = r.wording()
	f.unread = !understood && f.wording > 0
	return f
}

// signals gives the rules that hold. Beside one that holds by words outside boilerplate, boilerplate says
// nothing.
func (e *Engine) signals(r *row, s *Symptom) (out []signal) {
	boilerplate := !slices.ContainsFunc(r.touched, func(o int32) bool {
		return e.rules[o].weight >= specificWeight && e.rules[o].holds(r.tallies[o].specific(), s)
	})
	for _, o := range r.touched {
		c, t := &e.rules[o], r.tallies[o].all
		if !boilerplate {
			t = r.tallies[o].specific()
		}
		if c.holds(t, s) {
			out = append(out, c.signal(t, boilerplate && !c.holds(r.tallies[o].own, s)))
		}
	}
	return withoutBeaten(out)
}

// withoutBeaten leaves the rules out that another one beats. Boilerplate beats boilerplate only.
func withoutBeaten(signals []signal) []signal {
	for _, g := range signals {
		if !g.rule.own && g.rule.beats == nil { // as most
			continue
		}
		for k := range signals {
			if o := &signals[k]; g.rule.over(o.rule) && (o.boilerplate || !g.boilerplate) {
				o.beaten = true
			}
		}
	}
	return slices.DeleteFunc(signals, func(g signal) bool { return g.beaten })
}

// over reports whether o says nothing where c holds: c says so, or c is a user's and o a built-in rule of no
// higher band. A built-in rule is never over a user's.
func (c *compiled) over(o *compiled) bool {
	if c.own != o.own && (o.own || c.weight >= o.weight) {
		return c.own
	}
	return slices.Contains(c.beats, o)
}

// signal weighs what is said. boilerplate means that only boilerplate says it.
func (c *compiled) signal(t said, boilerplate bool) signal {
	weight := c.weight + min(maxWordWeight, wordWeight*float64(t.words))
	if boilerplate {
		weight = min(weight, boilerplateWeight)
	}
	return signal{rule: c, weight: weight, words: t.words, boilerplate: boilerplate}
}

// specific is what is said where boilerplate is silent. It counts for a rule that something outside
// supports, since the rule was written for both: "access denied" with "try again later".
func (t *tally) specific() said {
	if !t.own.any && t.own.all == 0 {
		return said{}
	}
	return said{words: t.own.words, any: t.all.any, none: t.own.none, all: t.all.all}
}

// holds reports whether what is said makes the rule hold.
func (c *compiled) holds(t said, s *Symptom) bool {
	said := t.any || t.all != 0
	return said && !t.none && (len(c.Any) == 0 || t.any) && t.all == 1<<len(c.All)-1 && c.applies(s)
}

// clearTallies makes the tallies of n rules empty: only those touched by the search before are not.
func (r *row) clearTallies(n int) {
	if len(r.tallies) < n {
		r.tallies = make([]tally, n)
	}
	for _, o := range r.touched {
		r.tallies[o] = tally{}
	}
	r.touched = r.touched[:0]
}

// note records that a phrase was found, in boilerplate or outside.
func (f *finding) note(p *phrase, r *row, boilerplate bool) {
	switch p.role {
	case roleProvider:
		if f.provider < 0 || int(p.owner) < f.provider {
			f.provider = int(p.owner)
		}
		return
	case roleBlocklist:
		if f.blocklist < 0 || int(p.owner) < f.blocklist {
			f.blocklist = int(p.owner)
		}
		return
	case roleRecipient:
		f.recipient = f.recipient || !boilerplate
		return
	case roleOther:
		f.other = f.other || !boilerplate
		return
	case roleDoubt:
		f.doubt = true
		return
	}
	t := &r.tallies[p.owner]
	if *t == (tally{}) {
		r.touched = append(r.touched, p.owner)
	}
	t.all.note(p)
	if !boilerplate {
		t.own.note(p)
	}
}

// note records a phrase of a rule.
func (t *said) note(p *phrase) {
	switch p.role {
	case roleAny:
		t.any = true
		t.words = max(t.words, int(p.words))
	case roleAll:
		t.all |= 1 << p.slot
		t.words = max(t.words, int(p.words))
	case roleNone:
		t.none = true
	}
}

// applies reports whether the conditions besides the wording hold.
func (c *compiled) applies(s *Symptom) bool {
	hasReply := s.Reply.Code != 0
	switch {
	case c.When == "reply" && !hasReply, c.When == "no_reply" && hasReply:
		return false
	case len(c.Code) > 0 && !matchesAny(c.Code, s.Reply.Code):
		return false
	case len(c.enhanced) > 0 && !slices.ContainsFunc(c.enhanced, s.Reply.Enhanced.matches):
		return false
	case len(c.Stage) > 0 && !slices.Contains(c.Stage, s.Stage):
		return false
	}
	return true
}

// matchesAny compares a code with several patterns.
func matchesAny(patterns []string, code int) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchCode(p, code) })
}

// matchCode compares a code with a pattern such as "55x".
func matchCode(p string, code int) bool {
	for i, div := range [3]int{100, 10, 1} {
		if p[i] != 'x' && int(p[i]-'0') != code/div%10 {
			return false
		}
	}
	return code != 0
}

// matches compares e with a pattern in which -1 stands for any number.
func (e Enhanced) matches(p [3]int) bool {
	fits := func(p, n int) bool { return p < 0 || p == n }
	return !e.IsZero() && fits(p[0], e.Class) && fits(p[1], e.Subject) && fits(p[2], e.Detail)
}

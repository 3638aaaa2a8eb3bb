package diagnose

import (
	"slices"
	"strings"
)

// Weights. A wording of defaultWeight or more decides against every code; the tables of codes weigh so much
// that only vague wordings ("rejected") lose to them.
const (
	vagueWeight    = 4.6
	hintWeight     = 5.6
	normalWeight   = 6.8
	strongWeight   = 8.2
	certainWeight  = 9.2
	pairWeight     = 3.5 // a pair with one category
	sharedWeight   = 3.3 // a pair with several
	enhancedWeight = 3.2
	preciseWeight  = 5.1 // an enhanced code of one meaning beside a wording: "5.1.1 rejected" is about the address
	codeWeight     = 2.0
	support        = 0.15 // of each further signal that points the same way
	supportCap     = 0.4  // for all wordings together
	wordWeight     = 0.1  // for each word of a phrase: of two wordings the longer one says more
	maxWordWeight  = 0.8
	sureWeight     = 6.5 // from here on, and with sureMargin, a wording is sure
	fairWeight     = 4.5
	sureMargin     = 1.0
	specificWeight = 5.0 // from here on a wording names a cause, beside which boilerplate is silent
	stockWeight    = 5.0 // boilerplate alone weighs no more: less than an enhanced code of one meaning
)

// finding is everything that one text showed.
type finding struct {
	words     int      // in the text, facts too
	unread    bool     // there are words that are neither read by a rule nor facts, articles or boilerplate
	signals   []signal // rules that hold, in the order of the rules
	provider  int      // -1 when none
	blocklist int
}

// signal is a rule that holds.
type signal struct {
	rule   *compiled
	weight float64
	stock  bool // by boilerplate alone
	beaten bool // by another that holds too
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
	r.markStock(e.x)
	f := finding{words: len(r.words), provider: -1, blocklist: -1}
	r.clearTallies(len(e.rules))
	r.found(e.x, e.x.closes, func(p *phrase, start, end int32) {
		if !r.inPointer(start, end) {
			f.note(p, r, r.inStock(start, end) || r.fromStock(p, start, end))
		}
	})
	slices.Sort(r.touched)
	f.signals = e.signals(r, s)
	understood := slices.ContainsFunc(f.signals, func(g signal) bool { return !g.stock })
	f.unread = !understood && r.unread() > 0
	return f
}

// signals gives the rules that hold. Beside one that holds by words outside boilerplate, boilerplate says
// nothing.
func (e *Engine) signals(r *row, s *Symptom) (out []signal) {
	stock := !slices.ContainsFunc(r.touched, func(o int32) bool {
		return e.rules[o].weight >= specificWeight && e.rules[o].holds(r.tallies[o].specific(), s)
	})
	for _, o := range r.touched {
		c, t := &e.rules[o], r.tallies[o].all
		if !stock {
			t = r.tallies[o].specific()
		}
		if c.holds(t, s) {
			out = append(out, c.signal(t, stock && !c.holds(r.tallies[o].own, s)))
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
			if o := &signals[k]; g.rule.over(o.rule) && (o.stock || !g.stock) {
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

// signal weighs what is said. stock tells that only boilerplate says it.
func (c *compiled) signal(t said, stock bool) signal {
	weight := c.weight + min(maxWordWeight, wordWeight*float64(t.words))
	if stock {
		weight = min(weight, stockWeight)
	}
	return signal{rule: c, weight: weight, stock: stock}
}

// specific is what is said where boilerplate is silent. It counts for a rule that something outside speaks
// for, since the rule was written for both: "access denied" with "try again later".
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
func (f *finding) note(p *phrase, r *row, stock bool) {
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
	}
	t := &r.tallies[p.owner]
	if *t == (tally{}) {
		r.touched = append(r.touched, p.owner)
	}
	t.all.note(p)
	if !stock {
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
	case len(c.Code) > 0 && !slices.ContainsFunc(c.Code, func(p string) bool { return matchCode(p, s.Reply.Code) }):
		return false
	case len(c.enhanced) > 0 && !slices.ContainsFunc(c.enhanced, s.Reply.Enhanced.matches):
		return false
	case len(c.Stage) > 0 && !slices.Contains(c.Stage, s.Stage):
		return false
	}
	return true
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
	return !e.IsZero() && (p[0] < 0 || p[0] == e.Class) && (p[1] < 0 || p[1] == e.Subject) && (p[2] < 0 || p[2] == e.Detail)
}

// vote is what speaks for one category.
type vote struct {
	category Category
	score    float64
	basis    Basis
	top      signal // the strongest wording, if any
	reason   Reason // from a table, when no wording is stronger
	row      string // id of the table row
	conf     Confidence
	alt      []Category
}

// ballot gathers votes in a fixed order.
type ballot []vote

func (b *ballot) of(c Category) *vote {
	for i := range *b {
		if (*b)[i].category == c {
			return &(*b)[i]
		}
	}
	*b = append(*b, vote{category: c})
	return &(*b)[len(*b)-1]
}

// add lets a signal of the given weight speak for v: the strongest counts whole, the others a little.
func (v *vote) add(weight float64, basis Basis) (strongest bool) {
	if weight > v.score {
		v.score = weight + support*v.score
		v.basis = basis
		return true
	}
	v.score += support * weight
	return false
}

// count weighs all signals. Wordings go first, so that tables only win where wordings are vaguer.
func (e *Engine) count(s *Symptom, f *finding) ballot {
	var b ballot
	signals := slices.Clone(f.signals)
	slices.SortStableFunc(signals, func(x, y signal) int {
		switch {
		case x.weight > y.weight:
			return -1
		case x.weight < y.weight:
			return 1
		}
		return 0
	})
	for _, g := range signals {
		v := b.of(g.rule.category)
		if v.top.rule == nil {
			v.top = g
			v.add(g.weight, BasisText)
		} else if g.weight >= sureWeight { // hints add nothing to what is said plainly
			v.score = min(v.score+support*g.weight, v.top.weight+supportCap)
		}
	}
	if s.Reply.Code != 0 || !s.Reply.Enhanced.IsZero() { // a report may hold a status alone (RFC 3464, 2.3.4)
		e.countTables(&b, s, f)
	}
	return b
}

// countTables lets the pair, the enhanced code and the basic code speak.
func (e *Engine) countTables(b *ballot, s *Symptom, f *finding) {
	r, key := s.Reply, ""
	unknown := len(f.signals) == 0 && f.words > 0
	if unknown {
		key = pairKey(r.Code, r.Enhanced)
	}
	if unknown && slices.Contains(e.unread, key) {
		b.table(SenderReputation, sharedWeight, BasisCode, refusedUnexplained, "unread words beside "+key, Low, []Category{RecipientError, Blocked})
	} else if p := e.pairs[pair{r.Code, r.Enhanced}]; p != nil && !(unknown && slices.Contains(e.unreadCode, key)) {
		order := e.byStage(p.Categories, s.Stage)
		for i, c := range order {
			weight := sharedWeight - 0.1*float64(i)
			if len(order) == 1 {
				weight = pairWeight
			}
			b.table(c, weight, BasisPair, p.Reason, p.row, "", nil)
		}
	}
	if row := e.enhancedRow(r.Enhanced); row != nil {
		weight := enhancedWeight
		if len(f.signals) > 0 && row.Confidence != Low {
			weight = preciseWeight
		}
		b.table(e.rowCategory(row), weight, BasisEnhanced, row.Reason, row.row, row.Confidence, row.Alt)
	}
	if row := e.codes[r.Code]; row != nil {
		b.table(e.rowCategory(row), codeWeight, BasisCode, row.Reason, row.row, Low, row.Alt)
	}
}

// table lets a row of a table speak for a category.
func (b *ballot) table(c Category, weight float64, basis Basis, reason Reason, id string, conf Confidence, alt []Category) {
	v := b.of(c)
	if v.add(weight, basis) {
		v.row, v.conf, v.alt = id, conf, alt
	}
	if v.reason == "" {
		v.reason = reason
	}
}

func (e *Engine) rowCategory(r *codeRow) Category {
	if r.Category != "" {
		return r.Category
	}
	return e.reasons[r.Reason].Category
}

// enhancedRow finds what an enhanced code means, with its own class first.
func (e *Engine) enhancedRow(c Enhanced) *codeRow {
	if c.IsZero() {
		return nil
	}
	if row := e.enhanced[c]; row != nil {
		return row
	}
	return e.enhanced[Enhanced{0, c.Subject, c.Detail}]
}

// byStage orders the categories of a pair by what the stage of the exchange makes likely.
func (e *Engine) byStage(cats []Category, stage Stage) []Category {
	prefer := e.stages[stage]
	if len(cats) < 2 || prefer == nil {
		return cats
	}
	out := make([]Category, 0, len(cats))
	for _, c := range prefer {
		if slices.Contains(cats, c) {
			out = append(out, c)
		}
	}
	for _, c := range cats {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// winner is the vote with the highest score; the earlier one on a tie.
func (b ballot) winner() *vote {
	var best *vote
	for i := range b {
		if best == nil || b[i].score > best.score {
			best = &b[i]
		}
	}
	return best
}

// quotesAnother reports whether a text is one server's report of what another one said.
func quotesAnother(text string) bool {
	return strings.Contains(text, " said: ") || strings.Contains(text, "remote server returned") ||
		strings.Contains(text, "Remote Server returned") || strings.Contains(text, " returned '")
}

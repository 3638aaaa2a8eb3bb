package diagnose

import "slices"

// vote is the support for one category.
type vote struct {
	category Category
	score    float64
	basis    Basis
	top      signal // the strongest wording, if any
	reason   Reason // from a table, when no wording is stronger
	row      string // id of the table row
	exact    bool   // the row is of a provider's own code, and decides
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

// add counts a signal of the given weight for v: the strongest counts in full, the others a little.
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

// countTables counts what the tables say of the pair, the enhanced code and the basic code.
func (e *Engine) countTables(b *ballot, s *Symptom, f *finding) {
	r, key := s.Reply, ""
	unknown := len(f.signals) == 0 && f.words > 0
	if unknown {
		key = pairKey(r.Code, r.Enhanced)
	}
	if unknown && slices.Contains(e.unread, key) {
		b.table(SenderReputation, sharedWeight, BasisCode, unreadRow(key))
	} else if p := e.pairOf(r); p != nil && !(unknown && slices.Contains(e.unreadCode, key)) {
		row, order := &codeRow{Reason: p.Reason, row: p.row}, e.byStage(p.Categories, s.Stage)
		for i, c := range order {
			weight := sharedWeight - 0.1*float64(i)
			if len(order) == 1 {
				weight = pairWeight
			}
			b.table(c, weight, BasisPair, row)
		}
	}
	if row := e.enhancedRow(r.Enhanced); row != nil {
		weight := enhancedWeight
		exact := f.words > 0 && r.Enhanced.Detail >= ownDetail && row.Confidence != Low
		switch {
		case exact:
			weight = exactWeight
		case len(f.signals) > 0 && row.Confidence != Low:
			weight = preciseWeight
		}
		v := b.table(e.rowCategory(row), weight, BasisEnhanced, row)
		if exact && v.basis == BasisEnhanced {
			v.exact, v.reason = true, row.Reason
		}
	}
	if row := e.codes[r.Code]; row != nil {
		low := *row
		low.Confidence = Low
		b.table(e.rowCategory(row), codeWeight, BasisCode, &low)
	}
}

// unreadRow stands for the words that no rule knows beside the codes of key.
func unreadRow(key string) *codeRow {
	return &codeRow{Reason: refusedUnexplained, Confidence: Low, Alt: []Category{RecipientError, Blocked},
		row: unreadBeside + key}
}

// unreadBeside begins the name of a rule that stands for words that no rule knows.
const unreadBeside = "unread words beside "

// pairOf finds the row of the guide's table for the codes of a reply.
func (e *Engine) pairOf(r Reply) *Pair { return e.pairs[pair{r.Code, r.Enhanced}] }

// table counts a row of a table for a category, and gives the vote for it.
func (b *ballot) table(c Category, weight float64, basis Basis, row *codeRow) *vote {
	v := b.of(c)
	if v.add(weight, basis) {
		v.row, v.conf, v.alt = row.row, row.Confidence, row.Alt
	}
	if v.reason == "" {
		v.reason = row.Reason
	}
	return v
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

// reasonOf names the reason of the winning vote, the rule that decided and what it rests on.
func (e *Engine) reasonOf(v *vote) (Reason, string, Basis) {
	if v.basis == BasisText {
		return v.top.rule.Reason, v.top.rule.ID, BasisText
	}
	if v.top.rule != nil && v.top.weight >= codeWeight && !v.exact {
		return v.top.rule.Reason, v.row, v.basis
	}
	if info := e.reasons[v.reason]; info != nil && info.Category == v.category {
		return v.reason, v.row, v.basis
	}
	if info, ok := e.Gloss(v.category); ok && v.reason == "" {
		return info.Reason, v.row, v.basis
	}
	if v.reason == "" {
		return unknownReason, v.row, v.basis
	}
	return e.fitting(v), v.row, v.basis
}

// fitting gives the reason of a table where it belongs to the category, else the category's own.
func (e *Engine) fitting(v *vote) Reason {
	info := e.reasons[v.reason]
	if info.Category == v.category || slices.Contains(info.Alt, v.category) {
		return v.reason
	}
	gloss, _ := e.Gloss(v.category)
	return gloss.Reason
}

// confidence says how sure the winner is. Where a table decided although the reply has words, no rule knows
// them, and the guide's pair is then right less than half of the time.
func (e *Engine) confidence(v *vote, b ballot, f *finding) Confidence {
	if v.basis != BasisText {
		if v.conf != "" {
			return v.conf
		}
		if v.exact {
			return Medium
		}
		if v.basis == BasisPair && v.score >= pairWeight && f.words == 0 {
			return Medium
		}
		return Low
	}
	got, against := Low, b.against(v)
	contested := against > 0 && f.wording-v.top.words >= manyOthers
	switch {
	case v.top.weight >= sureWeight && v.top.weight-against >= sureMargin && !contested:
		got = High
	case v.top.weight >= fairWeight:
		got = Medium
	}
	return lesser(got, v.top.rule.Confidence)
}

// against is the weight of the strongest wording that speaks against v. A refusal without a reason does not.
func (b ballot) against(v *vote) float64 {
	second := 0.0
	for i := range b {
		o := &b[i]
		if o.category != v.category && o.top.rule != nil && o.top.rule.Reason != refusedUnexplained &&
			!slices.Contains(v.top.rule.Alt, o.category) {
			second = max(second, o.top.weight)
		}
	}
	return second
}

// lesser gives the lower of two confidences; limit may be empty.
func lesser(c, limit Confidence) Confidence {
	if limit == Low || limit == Medium && c == High {
		return limit
	}
	return c
}

// maxAlternatives bounds the list of alternatives.
const maxAlternatives = 5

// alternatives lists what else the answer could be: what the rule allows, what other signals say, what the
// guide's table names for the pair, and, where the answer is not sure, what its category is mistaken for.
func (e *Engine) alternatives(s *Symptom, v *vote, b ballot, d *Diagnosis) []Category {
	var out []Category
	add := func(cats ...Category) {
		for _, c := range cats {
			if c != d.Category && c.InGuide() && !slices.Contains(out, c) && len(out) < maxAlternatives {
				out = append(out, c)
			}
		}
	}
	add(v.category)
	if p := e.pairOf(s.Reply); p != nil && v.basis != BasisText {
		add(p.Categories...)
	}
	if v.basis == BasisText {
		add(v.top.rule.Alt...)
		if len(v.top.rule.Alt) == 0 && v.top.rule.Category == "" {
			add(e.reasons[v.top.rule.Reason].Alt...)
		}
	} else {
		add(v.alt...)
	}
	for i := range b {
		if o := &b[i]; o.top.rule != nil && o.top.weight >= v.score-3 {
			add(o.category)
		}
	}
	if d.Confidence != High {
		if info, ok := e.Gloss(d.Category); ok {
			add(info.Confused...)
		}
	}
	if p := e.pairOf(s.Reply); p != nil {
		add(p.Categories...)
	}
	return out
}

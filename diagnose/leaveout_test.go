package diagnose

import (
	"slices"
	"testing"
)

// phraseKey is a phrase of a rule, whichever of its optional words stand.
type phraseKey struct {
	owner int32
	role  role
	slot  int32
}

// TestLeaveOut guards against wordings written for a single reply: each labelled reply is diagnosed anew
// without the phrases (of any, all and none) that stand in no other reply of the collection. What remains is
// what the rules know of a reply that they were not written by.
func TestLeaveOut(t *testing.T) {
	e := newEngine(t)
	rows := labelledReplies(t, "testdata/replies.jsonl")
	others := append(labelledReplies(t, "testdata/templates.jsonl"), labelledReplies(t, "testdata/blind.jsonl")...)
	for _, c := range []struct {
		name            string
		support         []labelled
		strict, lenient float64
	}{
		{"a phrase must stand in another real reply", rows, 84, 90},
		{"or in a wording written down from practice", slices.Concat(rows, others), 90, 94},
	} {
		strict, lenient := leaveOutScore(e, rows, c.support)
		t.Logf("%s: strict %.1f %%, lenient %.1f %%", c.name, strict, lenient)
		if strict < c.strict || lenient < c.lenient {
			t.Errorf("%s: strict %.1f %%, lenient %.1f %%, want at least %v and %v", c.name, strict, lenient, c.strict, c.lenient)
		}
	}
}

// leaveOutScore scores rows, each without the phrases that only it holds among the rows of support.
func leaveOutScore(e *Engine, rows, support []labelled) (strict, lenient float64) {
	uses := map[phraseKey]int{}
	for _, row := range support {
		for k := range e.phrasesIn(row.Reply) {
			uses[k]++
		}
	}
	var named, right, accepted int
	for _, row := range rows {
		d := e.without(row.Reply, uses).Diagnose(Symptom{Reply: ParseReply(row.Reply)})
		if row.accepts(d.Category) {
			accepted++
		}
		if row.Category != nil {
			named++
			if *row.Category == d.Category {
				right++
			}
		}
	}
	return 100 * float64(right) / float64(named), 100 * float64(accepted) / float64(len(rows))
}

// phrasesIn gives the phrases of rules that stand in a reply.
func (e *Engine) phrasesIn(reply string) map[phraseKey]bool {
	r, found := new(row), map[phraseKey]bool{}
	r.load(e.x, ParseReply(reply).Text)
	r.search(e.x)
	r.found(e.x, e.x.closes, func(p *phrase, _, _ int32) {
		if p.role != roleProvider && p.role != roleBlocklist {
			found[phraseKey{p.owner, p.role, p.slot}] = true
		}
	})
	return found
}

// without is the engine less the phrases of a reply that are used once.
func (e *Engine) without(reply string, uses map[phraseKey]int) *Engine {
	in := e.phrasesIn(reply)
	x := *e.x
	x.phrases = slices.Clone(x.phrases)
	never := int32(len(x.closes)) // a segment that no text holds
	x.closes, x.segments = append(slices.Clone(x.closes), 0), append(slices.Clone(x.segments), never)
	x.stocks = append(slices.Clone(x.stocks), 0)
	for i := range x.phrases {
		k := phraseKey{x.phrases[i].owner, x.phrases[i].role, x.phrases[i].slot}
		if in[k] && uses[k] < 2 {
			x.phrases[i].from, x.phrases[i].to = int32(len(x.segments)-1), int32(len(x.segments))
		}
	}
	less := &Engine{categories: e.categories, reasonList: e.reasonList, reasons: e.reasons, pairs: e.pairs, unread: e.unread, unreadCode: e.unreadCode, enhanced: e.enhanced,
		codes: e.codes, network: e.network, stages: e.stages, providers: e.providers, blocklists: e.blocklists, advice: e.advice, rules: e.rules, x: &x}
	less.rows.New = func() any { return new(row) }
	return less
}

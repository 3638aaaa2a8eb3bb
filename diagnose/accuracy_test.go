package diagnose

import (
	"hash/fnv"
	"slices"
	"testing"
)

// counts says how answers compare with labels.
type counts struct{ rows, named, strict, lenient, high, acceptable int }

// add counts the answer to a row.
func (c *counts) add(row *labelled, d *Diagnosis) {
	ok := row.accepts(d.Category)
	c.rows++
	c.lenient += one(ok)
	c.named += one(row.Category != nil)
	c.strict += one(row.Category != nil && *row.Category == d.Category)
	c.high += one(d.Confidence == High)
	c.acceptable += one(d.Confidence == High && ok)
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// atLeast fails where fewer than least percent were reached.
func atLeast(t *testing.T, what string, n, of int, least float64) {
	t.Helper()
	got := 100 * float64(n) / float64(of)
	t.Logf("%s: %.1f %%", what, got)
	if !(got >= least) {
		t.Errorf("%s: %.1f %% (%d of %d), want at least %.0f %%", what, got, n, of, least)
	}
}

// TestAccuracy holds what was reached on the labelled replies: those that the rules were written by, those
// set aside (the split of scripts/accuracy), and the answers called high. docs/accuracy.md has the figures.
func TestAccuracy(t *testing.T) {
	e := newEngine(t)
	var work, aside, all counts
	for _, row := range labelledReplies(t, "replies") {
		h := fnv.New32a()
		h.Write([]byte(row.Reply))
		part := &work
		if h.Sum32()%10 < 3 {
			part = &aside
		}
		d := e.answer(row.Reply)
		part.add(&row, &d)
		all.add(&row, &d)
	}
	atLeast(t, "strict on the rows that the rules were written by", work.strict, work.named, 98)
	atLeast(t, "strict on the rows set aside", aside.strict, aside.named, 90)
	atLeast(t, "lenient on the rows set aside", aside.lenient, aside.rows, 95)
	atLeast(t, "acceptable among those called high", all.acceptable, all.high, 97)
}

// TestBlind holds what is reached on the wordings that were labelled before the engine was asked. What
// counts is the score at first sight, which is in docs/accuracy.md.
func TestBlind(t *testing.T) {
	e := newEngine(t)
	var c counts
	for _, row := range labelledReplies(t, "blind") {
		d := e.Diagnose(symptomOf(row.Reply))
		c.add(&row, &d)
	}
	atLeast(t, "strict", c.strict, c.named, 97)
	atLeast(t, "lenient", c.lenient, c.rows, 98)
	atLeast(t, "acceptable among those called high", c.acceptable, c.high, 99)
}

// public is a reply that was found in public, labelled before the engine was asked. Each list has what a
// careful operator would accept; an address is given up only where remove_address is among the actions.
type public struct {
	labelled
	Stage  Stage    `json:"stage"`
	Source string   `json:"source"`
	Reason []Reason `json:"reason"`
	Scope  []Scope  `json:"scope"`
	Owner  []Owner  `json:"owner"`
	Action []Action `json:"action"`
}

// TestPublic holds what is reached on public replies after their study, and that none of them makes an
// address be given up without need. The scores at first sight are in docs/accuracy.md.
func TestPublic(t *testing.T) {
	e := newEngine(t)
	for _, set := range []struct {
		name                                  string
		lenient, reason, scope, owner, action float64
	}{
		{"public", 99, 96, 99, 98, 98},
		{"public-aside", 98, 93, 97, 97, 97},
		{"public-later", 96, 94, 96, 96, 96},
		{"public-rare", 98, 94, 97, 98, 98},
		{"public-sources", 98, 92, 98, 97, 97},
	} {
		t.Run(set.name, func(t *testing.T) {
			var c counts
			var reason, scope, owner, action int
			for _, row := range jsonRows[public](t, set.name, 200) {
				d := e.Diagnose(Symptom{Stage: row.Stage, Reply: ParseReply(row.Reply)})
				c.add(&row.labelled, &d)
				reason += one(slices.Contains(row.Reason, d.Reason))
				scope += one(slices.Contains(row.Scope, d.Scope))
				owner += one(slices.Contains(row.Owner, d.Owner))
				action += one(slices.Contains(row.Action, d.Action))
				if d.Action == ActionRemoveAddress && !slices.Contains(row.Action, d.Action) {
					t.Errorf("%q gives up the address: %s by %s", row.Reply, d.Reason, d.Rule)
				}
				if row.Source == "" {
					t.Errorf("%q has no source", row.Reply)
				}
			}
			atLeast(t, "lenient", c.lenient, c.rows, set.lenient)
			atLeast(t, "acceptable among those called high", c.acceptable, c.high, 97)
			atLeast(t, "reason", reason, c.rows, set.reason)
			atLeast(t, "scope", scope, c.rows, set.scope)
			atLeast(t, "owner", owner, c.rows, set.owner)
			atLeast(t, "action", action, c.rows, set.action)
		})
	}
}

// TestUnread holds the level on public replies that were scored once and are not studied, so that no rule is
// written by them: docs/accuracy.md has the scores.
func TestUnread(t *testing.T) {
	e := newEngine(t)
	var c counts
	var owner, action int
	rows := append(jsonRows[public](t, "public-unread", 100), jsonRows[public](t, "public-sealed", 100)...)
	for _, row := range rows {
		d := e.Diagnose(Symptom{Stage: row.Stage, Reply: ParseReply(row.Reply)})
		c.add(&row.labelled, &d)
		owner += one(slices.Contains(row.Owner, d.Owner))
		action += one(slices.Contains(row.Action, d.Action))
	}
	atLeast(t, "strict", c.strict, c.named, 86)
	atLeast(t, "lenient", c.lenient, c.rows, 93)
	atLeast(t, "owner", owner, c.rows, 90)
	atLeast(t, "action", action, c.rows, 90)
}

// TestFresh holds the level on replies that others collected.
func TestFresh(t *testing.T) {
	e := newEngine(t)
	var c counts
	for _, row := range labelledReplies(t, "fresh") {
		d := e.answer(row.Reply)
		c.add(&row, &d)
	}
	atLeast(t, "strict", c.strict, c.named, 90)
	atLeast(t, "lenient", c.lenient, c.rows, 97)
	atLeast(t, "acceptable among those called high", c.acceptable, c.high, 98)
}

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
	rows := labelledReplies(t, "replies")
	others := append(labelledReplies(t, "templates"), labelledReplies(t, "blind")...)
	for _, c := range []struct {
		name            string
		support         []labelled
		strict, lenient float64
	}{
		{"a phrase must stand in another real reply", rows, 84, 90},
		{"or in a wording written down from practice", slices.Concat(rows, others), 90, 94},
	} {
		score := leaveOutScore(e, rows, c.support)
		atLeast(t, c.name+": strict", score.strict, score.named, c.strict)
		atLeast(t, c.name+": lenient", score.lenient, score.rows, c.lenient)
	}
}

// leaveOutScore scores rows, each without the phrases that only it holds among the rows of support.
func leaveOutScore(e *Engine, rows, support []labelled) (score counts) {
	uses := map[phraseKey]int{}
	for _, row := range support {
		for k := range e.phrasesIn(row.Reply) {
			uses[k]++
		}
	}
	for _, row := range rows {
		d := e.without(row.Reply, uses).answer(row.Reply)
		score.add(&row, &d)
	}
	return score
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
	x.boilerplate = append(slices.Clone(x.boilerplate), 0)
	for i := range x.phrases {
		k := phraseKey{x.phrases[i].owner, x.phrases[i].role, x.phrases[i].slot}
		if in[k] && uses[k] < 2 {
			x.phrases[i].from, x.phrases[i].to = int32(len(x.segments)-1), int32(len(x.segments))
		}
	}
	less := &Engine{categories: e.categories, reasonList: e.reasonList, reasons: e.reasons, pairs: e.pairs,
		unread: e.unread, unreadCode: e.unreadCode, enhanced: e.enhanced, codes: e.codes, network: e.network,
		stages: e.stages, providers: e.providers, blocklists: e.blocklists, advice: e.advice, rules: e.rules,
		x: &x}
	less.rows.New = func() any { return new(row) }
	return less
}

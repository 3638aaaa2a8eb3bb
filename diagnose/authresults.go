package diagnose

import "slices"

// A check that a reply names (SPF, DKIM, DMARC) is a fact with its result, in the forms of RFC 8601 and of
// sentences: "spf=pass", "SPF (pass)", "SPF and DKIM checks passed", "passed SPF". A check that passed says
// nothing about the cause, so its words become a name. The words of one that failed stay words; so do those
// of one without a result ("none") where nothing passed and the enhanced code is about security (RFC 3463,
// 3.8).

// checkClasses are the ids of the classes that name checks and results.
type checkClasses struct {
	check, passed, absent int32 // "spf"; "pass"; "none"
	beside                int32 // words that may stand between a check and its result
	against               int32 // words that deny or demand a pass
}

// How far a result may stand from its check, and a denial from what it denies.
const (
	maxBeside  = 8
	maxAgainst = 4
)

func newCheckClasses(x *index) checkClasses {
	return checkClasses{check: x.id("{check}"), passed: x.id("{passed}"), absent: x.id("{absent}"),
		beside: x.id("{beside}"), against: x.id("{against}")}
}

// quiet makes names of the checks that passed, and of those without a result.
func (r *row) quiet(x *index, e Enhanced) {
	if !slices.Contains(r.ids, x.checks.check) { // as in most replies
		return
	}
	passed := false
	for i := range r.words {
		if r.is(i, x.checks.passed) {
			passed = r.bindLeft(x, i) || r.bindRight(x, i) || passed
		}
	}
	if !passed && e.Subject == 7 {
		return
	}
	for i := range r.words {
		if r.is(i, x.checks.absent) {
			r.bindLeft(x, i)
		}
	}
}

// is reports whether the word at i answers to id.
func (r *row) is(i int, id int32) bool {
	return i >= 0 && i < len(r.words) && r.words[i].kind == plainWord &&
		slices.Contains(r.ids[r.from[i]:r.from[i+1]], id)
}

// bindLeft takes the result at i for the checks in front of it: "SPF and DKIM checks have passed".
func (r *row) bindLeft(x *index, i int) bool {
	first := -1
	for k := i - 1; k >= max(0, i-maxBeside); k-- {
		if r.is(k, x.checks.check) {
			first = k
		} else if !r.passes(x, k) {
			break
		}
	}
	if first < 0 || r.denied(x, first) || r.is(i+1, x.checks.against) {
		return false
	}
	r.name(first, i+1)
	return true
}

// bindRight takes the result at i for the checks behind it: "passed the SPF and DKIM checks".
func (r *row) bindRight(x *index, i int) bool {
	last := -1
	for k := i + 1; k < min(len(r.words), i+1+maxBeside); k++ {
		if r.is(k, x.checks.check) {
			last = k
		} else if r.is(k, x.checks.passed) || r.is(k, x.checks.absent) || !r.passes(x, k) {
			break
		}
	}
	if last < 0 || r.denied(x, i) || r.is(last+1, x.checks.against) {
		return false
	}
	r.name(i, last+1)
	return true
}

// passes reports whether the word at k may stand between a check and its result.
func (r *row) passes(x *index, k int) bool {
	switch r.words[k].kind {
	case plainWord:
		return r.is(k, x.checks.beside)
	case linkWord, numberWord:
		return false
	}
	return true
}

// denied reports whether the words in front of i deny or demand what follows: "does not pass", "must pass",
// "without SPF".
func (r *row) denied(x *index, i int) bool {
	for k := i - 1; k >= max(0, i-maxAgainst); k-- {
		if r.is(k, x.checks.against) {
			return true
		}
		if r.words[k].kind != plainWord || r.is(k, x.checks.check) { // "failed DKIM but passed SPF"
			return false
		}
	}
	return false
}

// name makes names of the words [i, j), which no phrase finds or passes over.
func (r *row) name(i, j int) {
	for ; i < j; i++ {
		if r.words[i].kind == plainWord {
			r.words[i].kind, r.skips[i] = nameWord, false
			clear(r.ids[r.from[i]:r.from[i+1]])
		}
	}
}

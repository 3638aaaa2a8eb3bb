package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// tally is what the ledgers add up to. Recipients are counted, not messages, but for Acked and Unanswered.
type tally struct {
	Acked      int // messages answered with 250
	Refused    int // messages answered with 4yz or 5yz after the final dot
	Unanswered int // messages whose final dot met no answer
	Arrived    int // recipients that got their message
	Bounced    int // recipients reported as failed
	Lost       int // of acknowledged messages: neither, and nobody was told
	Named      int // of acknowledged messages: destroyed by damage to the files, and named in the log
	Duplicates int // arrivals beyond the first
	Worst      int // most of them at one crash
	Damaged    int // arrivals with another content
	Unasked    int // messages that arrived though they were never acknowledged
	Crashes    int
}

func (t tally) String() string {
	return fmt.Sprintf("acked %d, refused %d, unanswered %d; arrived %d, bounced %d, lost %d, named lost %d, duplicates %d (most at one fault %d), damaged %d, arrived unacked %d",
		t.Acked, t.Refused, t.Unanswered, t.Arrived, t.Bounced, t.Lost, t.Named, t.Duplicates, t.Worst, t.Damaged, t.Unasked)
}

func (t *tally) add(o *tally) {
	t.Acked += o.Acked
	t.Refused += o.Refused
	t.Unanswered += o.Unanswered
	t.Arrived += o.Arrived
	t.Bounced += o.Bounced
	t.Lost += o.Lost
	t.Named += o.Named
	t.Duplicates += o.Duplicates
	t.Worst = max(t.Worst, o.Worst)
	t.Damaged += o.Damaged
	t.Unasked += o.Unasked
	t.Crashes += o.Crashes
}

// rules say what a trial permits.
type rules struct {
	concurrency int                     // messages in flight at a crash, at most
	ambiguous   map[string]int          // by queue id: ends of data that the relay itself called uncertain
	named       func(queue string) bool // the relay's logs name this message as lost; nil where nothing may be lost
	refusedMay  bool                    // a message that was refused for a disk error may arrive all the same
}

// verdict is a tally and what did not hold.
type verdict struct {
	tally
	broken []string
}

// fate is all that is known of one message.
type fate struct {
	began, dotted, acked, refused bool

	from     string
	to       []string
	sum      string
	queue    string
	arrivals []record
	bounces  []record
}

// check compares the ledgers. It is pure: records are those of all ledgers, oldest first.
func check(records []record, rules rules) *verdict {
	v := &verdict{}
	fates := map[string]*fate{}
	var order []string
	var crashes []time.Time
	for _, r := range records {
		if r.What == crashed {
			crashes = append(crashes, r.Time)
			continue
		}
		f := fates[r.ID]
		if f == nil {
			f = &fate{}
			fates[r.ID] = f
			order = append(order, r.ID)
		}
		f.enter(r)
	}
	v.Crashes = len(crashes)
	blame := make([]map[int]bool, len(crashes)) // by crash: the arrivals that it doubled
	for _, id := range order {
		f := fates[id]
		v.count(f)
		v.checkArrivals(id, f, rules)
		v.checkFate(id, f, rules)
		v.checkReports(id, f)
		v.checkDuplicates(id, f, rules, crashes, blame)
	}
	for i, doubled := range blame {
		v.Worst = max(v.Worst, len(doubled))
		if len(doubled) > rules.concurrency {
			v.fail("I2 crash %d of %d doubled %d messages, with %d connections", i+1, len(crashes), len(doubled), rules.concurrency)
		}
	}
	return v
}

func (v *verdict) fail(format string, args ...any) {
	v.broken = append(v.broken, fmt.Sprintf(format, args...))
}

// enter takes in a record. Arrivals get a place of their own by their index, since one record may stand for several
// recipients.
func (f *fate) enter(r record) {
	switch r.What {
	case began:
		f.began, f.from, f.to, f.sum = true, r.From, r.To, r.Sum
	case dotted:
		f.dotted = true
	case acked:
		f.acked, f.queue = true, r.Queue
	case refused:
		f.refused = true
	case arrived:
		f.arrivals = append(f.arrivals, r)
	case bounced:
		f.bounces = append(f.bounces, r)
	}
}

// count counts what the client heard.
func (v *verdict) count(f *fate) {
	switch {
	case f.acked:
		v.Acked++
	case f.refused:
		v.Refused++
	case f.dotted:
		v.Unanswered++
	}
	if len(f.arrivals) > 0 && !f.acked {
		v.Unasked++
	}
}

// checkArrivals holds what arrived against what was offered: I3 and I4.
func (v *verdict) checkArrivals(id string, f *fate, rules rules) {
	for _, a := range f.arrivals {
		switch {
		case !f.began:
			v.fail("I3 %s arrived, and nobody ever offered it", id)
			continue
		case !f.dotted:
			v.fail("I4 %s arrived, and its content was never finished", id)
		case f.refused && !f.acked && !rules.refusedMay:
			v.fail("I4 %s arrived, and it was refused", id)
		}
		if a.Sum != f.sum || a.Note != "" {
			v.Damaged++
			v.fail("I3 %s arrived with another content %s", id, a.Note)
		}
		if a.From != f.from {
			v.fail("I3 %s arrived from <%s>, and was from <%s>", id, a.From, f.from)
		}
		for _, to := range a.To {
			if !slices.Contains(f.to, to) {
				v.fail("I3 %s arrived for %s, who is none of its recipients", id, to)
			}
		}
	}
}

// checkFate sees that each recipient of an acknowledged message is accounted for: I1.
func (v *verdict) checkFate(id string, f *fate, rules rules) {
	for _, to := range f.to {
		got, told := holds(f.arrivals, to), holds(f.bounces, to)
		if got > 0 {
			v.Arrived++
		}
		if told > 0 {
			v.Bounced++
		}
		switch {
		case got > 0 && told > 0:
			v.fail("I5 %s for %s arrived, and was reported as failed", id, to)
		case got > 0 || told > 0 || !f.acked:
		case rules.named != nil && rules.named(f.queue):
			v.Named++
		default:
			v.Lost++
			v.fail("I1 %s (queued as %s) for %s is lost", id, f.queue, to)
		}
	}
}

// holds counts the records that concern a recipient.
func holds(records []record, to string) (n int) {
	for _, r := range records {
		if slices.Contains(r.To, to) {
			n++
		}
	}
	return n
}

// checkReports sees that nobody is told twice, and the null sender never: I5. The same report may arrive twice after a
// crash; that is a duplicate like any other.
func (v *verdict) checkReports(id string, f *fate) {
	if len(f.bounces) > 0 && f.from == "" {
		v.fail("I5 %s is from the null sender, and was reported as failed", id)
	}
	for _, to := range f.to {
		var reports []string
		for _, b := range f.bounces {
			if slices.Contains(b.To, to) && !slices.Contains(reports, b.Report) {
				reports = append(reports, b.Report)
			}
		}
		if len(reports) > 1 {
			v.fail("I5 %s for %s was reported %d times: %s", id, to, len(reports), strings.Join(reports, ", "))
		}
	}
}

// checkDuplicates charges each further arrival, of the message or of a report on it, to the first crash after the
// arrival before it, since that is the crash that lost the settlement; or to an end of data that was ambiguous: I2.
func (v *verdict) checkDuplicates(id string, f *fate, rules rules, crashes []time.Time, blame []map[int]bool) {
	excused := rules.ambiguous[f.queue]
	for _, records := range [][]record{f.arrivals, f.bounces} {
		last := map[string]time.Time{}
		for _, a := range records {
			doubled := time.Time{}
			for _, to := range a.To {
				if before, ok := last[to]; ok {
					v.Duplicates++
					if doubled.IsZero() || before.After(doubled) {
						doubled = before
					}
				}
				last[to] = a.Time
			}
			if doubled.IsZero() {
				continue
			}
			i := firstAfter(crashes, doubled)
			switch {
			case i < len(crashes) && crashes[i].Before(a.Time):
				if blame[i] == nil {
					blame[i] = map[int]bool{}
				}
				blame[i][int(a.Time.UnixNano())] = true
			case excused > 0:
				excused--
			default:
				v.fail("I2 %s arrived again for %v, without a crash between", id, a.To)
			}
		}
	}
}

// firstAfter is the index of the first crash after t.
func firstAfter(crashes []time.Time, t time.Time) int {
	i, _ := slices.BinarySearchFunc(crashes, t, func(c, t time.Time) int {
		if c.After(t) {
			return 1
		}
		return -1
	})
	return i
}

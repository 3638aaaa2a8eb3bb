package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Tally is what the records add up to.
type Tally struct {
	Offered    int // messages that a client began
	Acked      int // messages answered with 250
	Refused    int // messages answered with 4xx or 5xx after the final dot
	Unanswered int // messages whose final dot met no answer
	Arrived    int // recipients that got their message
	Bounced    int // recipients reported as failed
	Lost       int // recipients of acknowledged messages: neither, and nothing was said
	Named      int // the same, but destroyed by damage to the files, and named in the log
	Duplicates int // recipients that got the message, or the report, again
	Worst      int // most of them at one crash
	Damaged    int // arrivals with another content
	Unasked    int // messages that arrived though they were never acknowledged
	Stray      int // contents that are neither a message of ours nor a report of failure
	Crashes    int
}

// String is the tally on one line.
func (t Tally) String() string {
	return fmt.Sprintf(
		"acked %d, refused %d, unanswered %d; arrived %d, bounced %d, lost %d, named lost %d, "+
			"duplicates %d (most at one fault %d), damaged %d, arrived unacked %d",
		t.Acked,
		t.Refused,
		t.Unanswered,
		t.Arrived,
		t.Bounced,
		t.Lost,
		t.Named,
		t.Duplicates,
		t.Worst,
		t.Damaged,
		t.Unasked,
	)
}

// Add adds another tally.
func (t *Tally) Add(o *Tally) {
	t.Offered += o.Offered
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
	t.Stray += o.Stray
	t.Crashes += o.Crashes
}

// Rules say what a test permits.
type Rules struct {
	Concurrency int                     // messages in flight at a crash, at most
	Ambiguous   map[string]int          // by queue id: ends of data that the relay itself called uncertain
	Named       func(queue string) bool // the logs name this message as lost; nil where nothing may be lost
	RefusedMay  bool                    // a message that was refused for a disk error may arrive all the same
}

// Verdict is a Tally and what did not hold.
type Verdict struct {
	Tally
	Broken []string
}

// fate is all that is known of one message.
type fate struct {
	began, dotted, acked, refused bool

	from     string
	to       []string
	sum      string
	queue    string
	arrivals []Record
	bounces  []Record
}

// Check compares what was offered and answered with what arrived. Records are in order of time. What it holds
// are the first five of the invariants in docs/reliability.md:
//
//	I1 every recipient of an acknowledged message got it, or its sender got a bounce
//	I2 duplicates only after a crash or an ambiguous end of data, and for one crash at most Concurrency
//	I3 contents arrive byte for byte, and nothing arrives that nobody offered
//	I4 what was not acknowledged need not arrive, but never arrives truncated
//	I5 at most one report for each recipient, none to the null sender, none for mail that arrived
func Check(records []Record, rules Rules) *Verdict {
	v := &Verdict{}
	fates := map[string]*fate{}
	var order []string
	var crashes []time.Time
	for _, r := range records {
		switch r.What {
		case Crashed:
			crashes = append(crashes, r.Time)
			continue
		case Stray:
			v.Stray++
			v.Failf(
				"I3 a content that is neither a message nor a report of failure came from <%s> for %v: %s",
				r.From,
				r.To,
				r.Note,
			)
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
		if len(doubled) > rules.Concurrency {
			v.Failf("I2 crash %d of %d doubled %d messages, with %d connections",
				i+1, len(crashes), len(doubled), rules.Concurrency)
		}
	}
	return v
}

// Failf enters something that did not hold.
func (v *Verdict) Failf(format string, args ...any) {
	v.Broken = append(v.Broken, fmt.Sprintf(format, args...))
}

// enter takes in a record.
func (f *fate) enter(r Record) {
	switch r.What {
	case Began:
		f.began, f.from, f.to, f.sum = true, r.From, r.To, r.Sum
	case Dotted:
		f.dotted = true
		if r.Sum != "" {
			f.sum = r.Sum
		}
	case Acked:
		f.acked, f.queue = true, r.Queue
	case Refused:
		f.refused = true
	case Arrived:
		f.arrivals = append(f.arrivals, r)
	case Bounced:
		f.bounces = append(f.bounces, r)
	}
}

// count counts what the client heard.
func (v *Verdict) count(f *fate) {
	if f.began {
		v.Offered++
	}
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
func (v *Verdict) checkArrivals(id string, f *fate, rules Rules) {
	for _, a := range f.arrivals {
		switch {
		case !f.began:
			v.Failf("I3 %s arrived, and nobody ever offered it", id)
			continue
		case !f.dotted:
			v.Failf("I4 %s arrived, and its content was never finished", id)
		case f.refused && !f.acked && !rules.RefusedMay:
			v.Failf("I4 %s arrived, and it was refused", id)
		}
		if a.Sum != f.sum || a.Note != "" {
			v.Damaged++
			v.Failf("I3 %s arrived with another content %s", id, a.Note)
		}
		if a.From != f.from {
			v.Failf("I3 %s arrived from <%s>, and was from <%s>", id, a.From, f.from)
		}
		for _, to := range a.To {
			if !slices.Contains(f.to, to) {
				v.Failf("I3 %s arrived for %s, who is not one of its recipients", id, to)
			}
		}
	}
}

// checkFate sees that each recipient of an acknowledged message is accounted for: I1.
func (v *Verdict) checkFate(id string, f *fate, rules Rules) {
	for _, to := range f.to {
		got, reported := holds(f.arrivals, to), holds(f.bounces, to)
		if got > 0 {
			v.Arrived++
		}
		if reported > 0 {
			v.Bounced++
		}
		switch {
		case got > 0 && reported > 0:
			v.Failf("I5 %s for %s arrived, and was reported as failed", id, to)
		case got > 0 || reported > 0 || !f.acked:
		case rules.Named != nil && rules.Named(f.queue):
			v.Named++
		default:
			v.Lost++
			v.Failf("I1 %s (queued as %s) for %s is lost", id, f.queue, to)
		}
	}
}

// holds counts the records that concern a recipient.
func holds(records []Record, to string) (n int) {
	for _, r := range records {
		if slices.Contains(r.To, to) {
			n++
		}
	}
	return n
}

// checkReports sees that a failure is reported once at most, and never to the null sender: I5. The same
// report may arrive twice after a crash; that is a duplicate like any other.
func (v *Verdict) checkReports(id string, f *fate) {
	if len(f.bounces) > 0 && f.from == "" {
		v.Failf("I5 %s is from the null sender, and was reported as failed", id)
	}
	for _, to := range f.to {
		var reports []string
		for _, b := range f.bounces {
			if slices.Contains(b.To, to) && !slices.Contains(reports, b.Report) {
				reports = append(reports, b.Report)
			}
		}
		if len(reports) > 1 {
			v.Failf(
				"I5 %s for %s was reported %d times: %s",
				id,
				to,
				len(reports),
				strings.Join(reports, ", "),
			)
		}
	}
}

// checkDuplicates charges each further arrival, of the message or of a report on it, to the first crash after
// the arrival before it, since that is the crash that lost the settlement; or to an end of data that was
// ambiguous: I2.
func (v *Verdict) checkDuplicates(
	id string,
	f *fate,
	rules Rules,
	crashes []time.Time,
	blame []map[int]bool,
) {
	excused := rules.Ambiguous[f.queue]
	for _, records := range [][]Record{f.arrivals, f.bounces} {
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
				v.Failf("I2 %s arrived again for %v, without a crash between", id, a.To)
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

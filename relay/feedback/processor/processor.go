package processor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
)

// Options configure a Processor. All fields are required unless they say otherwise. Functions are called
// again each time, so that a changed configuration also applies to what already waits.
type Options struct {
	Store    *recall.Store
	Spool    Spool
	Source   func(name string) (Source, bool) // by its name in the configuration
	Settings func() Settings
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
	Record   relay.Recorder
	Log      *slog.Logger
	Now      func() time.Time // wall clock

	Count      func(Counted) // hears what became of each report, for metrics; optional
	NoticesDue func()        // called when notices are owed; optional
	// Owe says what webhooks are owed of what came back. EntriesDue is called after an effect that left such
	// entries in the Store. Both are optional, and go together.
	Owe        relay.Owe
	EntriesDue func()
	// Busy reports whether there is mail to relay: what came back then takes a twentieth of a processor at
	// most.
	// Optional.
	Busy func() bool
}

// Spool is the part of a relay.Spool that is asked about messages that are not settled yet.
type Spool interface {
	relay.Lister
	relay.Editor
}

// Source is a configured webhook, or a way of bounce mail.
type Source struct {
	// Read returns the events of a report. Where a part of it cannot be read, the error says so and the
	// events are those of the rest.
	Read func(*feedback.Raw) ([]feedback.Event, error)
	// Prove checks the origin of a report that is marked Unproven: nil if it is proved, an error that wraps
	// feedback.ErrUndecided if that is not known now. Nil for a source whose reports are never marked.
	Prove func(ctx context.Context, raw *feedback.Raw, now time.Time) error
	// Evidence says who wrote a report: it may ask DNS, until ctx ends. It is called once the report is in
	// the journal, and only where it matters. Nil for a source whose reports are not mail.
	Evidence func(ctx context.Context, raw *feedback.Raw) feedback.Evidence
	// Proven reports whether the origin of what it journals is proved, as that of a webhook's reports is.
	// Bounce mail is proved by the message that it names, if at all.
	Proven bool
	// Lanes are the upstreams whose mail it tells of; none: any.
	Lanes []string
	// SenderHas reports that what comes from here has come to the senders of the mail too, as in a mailbox of
	// theirs, so that NoticeAuto owes them nothing.
	SenderHas bool
}

// Notice says for what the original sender gets a notice.
type Notice string

// The settings of Notice.
const (
	NoticeAuto   Notice = "auto"   // for failures that have not come to the sender otherwise
	NoticeAlways Notice = "always" // for all failures
	NoticeNever  Notice = "never"
)

// Settings are looked up again each time.
type Settings struct {
	Notice    Notice
	Collect   time.Duration // for which the notices of a message are gathered into one
	Delivered bool          // deliveries are recorded; a recipient's state comes to them anyway
}

// Result is what became of a report.
type Result string

// The results.
const (
	ResultMatched    Result = "matched"
	ResultUnmatched  Result = "unmatched"
	ResultDuplicate  Result = "duplicate"
	ResultUnproven   Result = "unproven"
	ResultUnreadable Result = "unreadable"
)

// Counted is what became of a report, or of an event of it.
type Counted struct {
	Source   string          // as configured
	Provider string          // the kind of that source
	Way      feedback.Source // of an event; empty for a report that could not be read
	Result   Result
	Time     time.Time // when it came
	// Delay is how long after it was relayed the message came back; of a match.
	Delay time.Duration
}

// The housekeeping.
const (
	dueMost      = 512             // reports that are read at a time
	batchMost    = 512             // events of one transaction, or those of one report
	yields       = 19              // times as long as a batch took, where mail goes first
	longestYield = 3 * time.Second // so that what is owed is never long in coming
	lookAgain    = time.Minute     // longest wait, whatever the clocks say
	pauseOnError = 5 * time.Second
)

// Processor works through what came back. One goroutine runs it; Kick is safe for concurrent use.
type Processor struct {
	o         Options
	kick      chan struct{}
	wait      func(context.Context, time.Duration)
	undecided map[string]bool // sources whose proof is out of reach now; of one round
	asked     time.Duration   // for which evidence was looked for; likewise
}

// New makes a processor. It does nothing until Run.
func New(o Options) *Processor {
	if o.Count == nil {
		o.Count = func(Counted) {}
	}
	if o.NoticesDue == nil {
		o.NoticesDue = func() {}
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	return &Processor{o: o, kick: make(chan struct{}, 1), wait: wait}
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Kick makes the processor look for reports now. It never blocks.
func (p *Processor) Kick() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (p *Processor) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
		timer.Reset(p.round(ctx))
	}
}

// round works on all that is due and returns how long to wait for the next round.
func (p *Processor) round(ctx context.Context) time.Duration {
	p.undecided, p.asked = map[string]bool{}, 0
	for ctx.Err() == nil {
		began := time.Now()
		due, next, err := p.o.Store.Due(ctx, p.o.Now(), dueMost)
		for left := due; err == nil && len(left) > 0; began = time.Now() {
			var done int
			done, err = p.batch(ctx, left)
			left = left[done:]
			if p.o.Busy() {
				p.wait(ctx, min(yields*time.Since(began), longestYield))
			}
		}
		switch {
		case err != nil:
			if ctx.Err() == nil {
				p.o.Log.Error("what came back cannot be worked on now; it is tried again", "err", err)
			}
			return pauseOnError
		case len(due) > 0: // what was read is due now
		case next.IsZero():
			return lookAgain
		default:
			return max(0, min(next.Sub(p.o.Now()), lookAgain))
		}
	}
	return lookAgain
}

// work is what becomes of a report.
type work struct {
	change recall.Change
	match  *match       // of an effect
	result Result       // of a report that goes or is kept without one
	record *relay.Event // of one that is kept
}

// keep keeps a report that can have no effect.
func (w *work) keep(as recall.State, why string) {
	w.change.Keep, w.change.Why = as, why
	w.result = map[recall.State]Result{
		recall.StateUnmatched: ResultUnmatched, recall.StateUnproven: ResultUnproven,
		recall.StateUnreadable: ResultUnreadable,
	}[as]
}

// batch works on the first of the reports that are due, and stores what becomes of them as one transaction.
// It returns how many that were.
func (p *Processor) batch(ctx context.Context, due []recall.Report) (done int, err error) {
	if slices.ContainsFunc(due, func(r recall.Report) bool { return r.Event != nil && r.Tries == 1 }) {
		// An event that came within a second of its message finds it now.
		if err := p.o.Store.Flush(ctx); err != nil {
			return 0, err
		}
	}
	var works []work
	for ; done < len(due) && len(works) < batchMost; done++ {
		w := p.work(ctx, &due[done])
		works = append(works, p.atOnce(ctx, &w)...)
		works = append(works, w)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx) // what it led to may be for that reason
		}
	}
	changes := make([]recall.Change, len(works))
	for i := range works {
		changes[i] = works[i].change
	}
	outcomes, err := p.o.Store.Apply(ctx, changes)
	if err != nil {
		return 0, err
	}
	for i := range works {
		p.conclude(&works[i], outcomes[i])
	}
	return done, nil
}

// work says what becomes of a report. One that makes a reader panic is kept: it would do so again.
func (p *Processor) work(ctx context.Context, r *recall.Report) (w work) {
	defer func() {
		if e := recover(); e != nil {
			p.o.Log.Error("panic while a report was worked on", "report", r.ID, "panic", e, "stack",
				string(debug.Stack()))
			w = work{change: recall.Change{Report: *r}}
			w.keep(recall.StateUnreadable, fmt.Sprintf("panic: %v", e))
		}
	}()
	source, ok := p.o.Source(r.Source)
	switch {
	case r.Damaged != "":
		w.change.Report = *r
		w.keep(recall.StateUnreadable, r.Damaged)
		return w
	case !ok:
		return p.again(r, recall.StateUnreadable, "no source "+r.Source+" is configured")
	case r.Raw != nil:
		return p.read(ctx, r, &source)
	}
	return p.event(ctx, r, &source, func() *feedback.Evidence { return r.Event.Evidence })
}

// waits are how long a report waits after each try.
func waits() []time.Duration {
	return []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour}
}

// giveUpAfter is how long a report is tried.
const giveUpAfter = 24 * time.Hour

// lastTry reports whether a report has waited long enough.
func (p *Processor) lastTry(r *recall.Report) bool {
	return r.Tries >= len(waits()) && p.o.Now().Sub(r.Came) >= giveUpAfter
}

// again lets a report wait for the next try, or keeps it when there is none.
func (p *Processor) again(r *recall.Report, kept recall.State, why string) work {
	w := work{change: recall.Change{Report: *r, Why: why}}
	if !p.lastTry(r) {
		w.change.Later = p.o.Now().Add(waits()[min(r.Tries, len(waits())-1)])
		return w
	}
	w.keep(kept, why)
	if r.Event != nil && kept == recall.StateUnmatched && !r.Recorded {
		if e, ok := p.stranger(r); ok {
			w.record, w.change.Recorded = &e, true
		}
	}
	return w
}

// conclude counts and records what was stored.
func (p *Processor) conclude(w *work, outcome recall.Outcome) {
	r := &w.change.Report
	c := Counted{Source: r.Source, Provider: r.Provider, Result: w.result, Time: r.Came}
	if r.Event != nil {
		c.Way = r.Event.Source
	}
	switch outcome {
	case recall.OutcomeTold, recall.OutcomeOwed:
		told := &w.change.Effect.Told
		c.Result = ResultMatched
		if at := w.match.relayedAt(); !at.IsZero() {
			c.Delay = max(0, told.Attempt.Time.Sub(at))
		}
		e := told.Event(w.match.message)
		if e.Owed = len(w.change.Effect.Owed) > 0; e.Owed {
			p.o.EntriesDue()
		}
		p.record(e)
		if outcome == recall.OutcomeOwed {
			p.o.NoticesDue()
		}
	case recall.OutcomeDuplicate:
		c.Result = ResultDuplicate
	}
	if c.Result == "" {
		return
	}
	p.o.Count(c)
	if w.record != nil {
		p.record(*w.record)
	}
	if w.result != "" {
		p.o.Log.Warn("a report has no effect", "report", r.ID, "source", r.Source, "result", string(w.result),
			"why", w.change.Why)
	}
}

// record hands an event to the recorders.
func (p *Processor) record(e relay.Event) {
	if p.recorded(e.Kind) {
		p.o.Record.Record(e)
	}
}

// recorded reports whether such events are recorded.
func (p *Processor) recorded(kind relay.EventKind) bool {
	return kind != relay.EventDelivered || p.o.Settings().Delivered
}

// owe are the entries by which webhooks get an event.
func (p *Processor) owe(e relay.Event) []relay.Entry {
	if p.o.Owe == nil || !p.recorded(e.Kind) {
		return nil
	}
	entry, ok := p.o.Owe(&e)
	if !ok {
		return nil
	}
	return []relay.Entry{entry}
}

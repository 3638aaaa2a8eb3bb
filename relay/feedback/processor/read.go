package processor

import (
	"context"
	"errors"
	"sync"
	"time"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
)

// proveFor bounds the proof of one report.
const proveFor = 10 * time.Second

// read proves a report if that is still to be done, and reads it.
func (p *Processor) read(ctx context.Context, r *recall.Report, source *Source) work {
	if r.Raw.Unproven {
		switch err := p.prove(ctx, r, source); {
		case errors.Is(err, feedback.ErrUndecided):
			return p.again(r, recall.StateUnproven, err.Error())
		case err != nil:
			return work{change: recall.Change{Report: *r, Why: err.Error()}, result: ResultUnproven}
		}
	}
	events, err := source.Read(r.Raw)
	w := work{change: recall.Change{Report: *r, Events: events}}
	if err != nil {
		w.keep(recall.StateUnreadable, err.Error())
	}
	return w
}

// atOnce takes those events out of a report that was just read that have their effect now. The others wait,
// each on its own: most find their message, and are spared that.
func (p *Processor) atOnce(ctx context.Context, read *work) (works []work) {
	of := &read.change.Report
	source, ok := p.o.Source(of.Source)
	if !ok {
		return nil
	}
	who := sync.OnceValue(func() *feedback.Evidence { return p.evidence(ctx, of, &source) })
	var rest []feedback.Event
	for i := range read.change.Events {
		e := &read.change.Events[i]
		if w, ok := p.part(ctx, of, e, &source, who); ok {
			works = append(works, w)
			continue
		}
		if confirmable(e) {
			e.Evidence = who() // what it rests on goes with the report
		}
		rest = append(rest, *e)
	}
	read.change.Events = rest
	return works
}

// part says what an event of a report leads to; ok is false if that is no effect. One that makes it panic
// waits, and is kept when it does so again.
func (p *Processor) part(ctx context.Context, of *recall.Report, e *feedback.Event, source *Source,
	who func() *feedback.Evidence) (w work, ok bool) {
	defer func() { ok = recover() == nil && ok }()
	w = p.event(ctx, &recall.Report{
		ID: of.ID, Came: of.Came, Source: of.Source, Provider: of.Provider, Event: e,
	}, source, who)
	w.change.Part = true
	return w, w.change.Effect != nil
}

// prove checks the origin of a report. When that is out of reach for one report of a source, its others are
// not tried in this round: each may take its time.
func (p *Processor) prove(ctx context.Context, r *recall.Report, source *Source) error {
	if source.Prove == nil {
		return errors.New("nothing proves the reports of this source any more")
	}
	if p.undecided[r.Source] {
		return feedback.ErrUndecided
	}
	ctx, cancel := context.WithTimeout(ctx, proveFor)
	defer cancel()
	err := source.Prove(ctx, r.Raw, p.o.Now())
	p.undecided[r.Source] = errors.Is(err, feedback.ErrUndecided)
	return err
}

// The time that evidence may take.
const (
	evidenceFor   = 2 * time.Second // of one report
	evidenceRound = 10 * time.Second
)

// evidence says who wrote a report; nil for one that is no mail. When much time went into that in this round
// it is not asked any more: what came back is not held up by somebody's slow DNS.
func (p *Processor) evidence(ctx context.Context, r *recall.Report, source *Source) *feedback.Evidence {
	switch {
	case source.Evidence == nil:
		return nil
	case p.asked >= evidenceRound:
		return &feedback.Evidence{Unknown: true}
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceFor)
	defer cancel()
	began := time.Now()
	found := source.Evidence(ctx, r.Raw)
	p.asked += time.Since(began)
	return &found
}

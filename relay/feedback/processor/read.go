package processor

import (
	"context"
	"errors"
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

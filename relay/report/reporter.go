package report

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"mailwhy/relay"
)

// Options configure a Reporter. Functions are called again each time, so that a changed configuration also
// applies to notices that already wait.
type Options struct {
	Spool    relay.Outbox
	Composer relay.Composer
	Record   relay.Recorder
	Log      *slog.Logger
	Now      func() time.Time // wall clock

	// File writes a report durably into a maildir, under a name made of its id: the same id twice is one
	// file. Required for a Destination with a Maildir.
	File func(dir, id string, content []byte) error
	// Destination says where the reports about m go; nil means the zero Destination.
	Destination func(m *relay.Message) Destination
	// FallbackSender is a reverse-path that a lane's upstream is known to accept. Reports use it once the
	// upstream refused the null sender; "" or nil means none.
	FallbackSender func(lane string) string
	// Expires is when m will be given up, for the delay notice (RFC 3464, 2.3.9). Optional.
	Expires func(m *relay.Message) time.Time
	// Paused reports whether a lane is paused: delays of its messages are then not reported. Optional.
	Paused func(lane string) bool
	// EightBit reports whether a lane's upstream takes 8-bit content; nil means never.
	EightBit func(lane string) bool
	// Storm is the storm control; nil means none.
	Storm func() StormPolicy
	// Stored is called after a report was stored for a lane, so that the lane looks for it. Optional.
	Stored func(lane string)
}

// The reporter's own housekeeping.
const (
	noticeBatch  = 256                   // messages whose notices are planned together
	digestBatch  = 1000                  // the same with storm control: a digest covers many messages
	digestMax    = 1000                  // failures in one digest
	recipientMax = 1000                  // recipients in one DSN
	groupMax     = 100                   // ... with different failures, each of which takes about a page
	reportsOpen  = 32                    // reports composed and stored at a time: they share commits
	gatherKicks  = 50 * time.Millisecond // settlements come in bursts: one look serves many
	pauseOnError = 5 * time.Second
	postponeFor  = time.Minute // for a notice that cannot go out now
	claimFor     = 10 * time.Minute
	noticePoll   = time.Minute // longest wait, whatever the clocks say
)

// Reporter turns due notices into delivery status notifications and stores these as messages of their own.
// One goroutine runs it; its other methods are safe for concurrent use.
//
// A notice is consumed in the transaction that stores its DSN, so a crash neither loses nor doubles one. If
// the DSN goes into a maildir and not into the spool, the file's name is derived from the notices, so that a
// repetition after a crash writes the same file.
type Reporter struct {
	o    Options
	kick chan struct{}
	null nullRefusals

	storm storm // belongs to Run's goroutine
}

// New makes a reporter. It does nothing until Run.
func New(o Options) *Reporter {
	if o.Destination == nil {
		o.Destination = func(*relay.Message) Destination { return Destination{} }
	}
	if o.FallbackSender == nil {
		o.FallbackSender = func(string) string { return "" }
	}
	if o.Expires == nil {
		o.Expires = func(*relay.Message) time.Time { return time.Time{} }
	}
	if o.Paused == nil {
		o.Paused = func(string) bool { return false }
	}
	if o.EightBit == nil {
		o.EightBit = func(string) bool { return false }
	}
	if o.Storm == nil {
		o.Storm = func() StormPolicy { return StormPolicy{} }
	}
	if o.Stored == nil {
		o.Stored = func(string) {}
	}
	return &Reporter{
		o:     o,
		kick:  make(chan struct{}, 1),
		null:  nullRefusals{since: map[string]time.Time{}},
		storm: storm{windows: map[stormKey]*stormWindow{}},
	}
}

// Kick makes the reporter look for due notices soon. It never blocks.
func (r *Reporter) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Reports that are not stored by then are made by the next Run.
func (r *Reporter) Run(ctx context.Context) {
	r.restoreStorm(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	kicked := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
			if !kicked {
				kicked = true
				timer.Reset(gatherKicks)
			}
		case <-timer.C:
			kicked = false
			timer.Reset(r.round(ctx))
		}
	}
}

// round reports what is due now and returns how long to wait for the next round. While a batch of reports is
// being made the next notices are read.
func (r *Reporter) round(ctx context.Context) time.Duration {
	before := r.startBatch(ctx, &noticePlan{})
	for {
		now := r.o.Now()
		due, next, err := r.due(ctx, now)
		p := r.plan(now, r.o.Storm(), due)
		ok := err == nil && r.writeDown(ctx, p)
		if !r.endBatch(ctx, before, p) || !ok {
			r.o.Spool.GiveBack(p.claims...)
			return pauseOnError
		}
		before = r.startBatch(ctx, p)
		if !next.IsZero() && !next.After(now) && ctx.Err() == nil {
			continue
		}
		if !r.endBatch(ctx, before, p) {
			return pauseOnError
		}
		return untilNext(now, next, p.soonest)
	}
}

// due claims a batch of due notices: none of a message that the batch before is about.
func (r *Reporter) due(ctx context.Context, now time.Time) ([]relay.Claim, time.Time, error) {
	limit := noticeBatch
	if r.o.Storm().on() {
		limit = digestBatch
	}
	due, next, err := r.claim(ctx, now, limit)
	r.written(ctx, "cannot read the due notices", err)
	return due, next, err
}

// claim claims the notices that are due at a time, of at most so many messages.
func (r *Reporter) claim(ctx context.Context, at time.Time, limit int) ([]relay.Claim, time.Time, error) {
	return r.o.Spool.Claim(ctx, relay.ClaimQuery{
		Topic: relay.TopicReport, Now: at, Max: limit, For: claimFor,
	})
}

// untilNext is the time until the next notice, or the first of the postponed ones, is due.
func untilNext(now, next, soonest time.Time) time.Duration {
	if !soonest.IsZero() && (next.IsZero() || soonest.Before(next)) {
		next = soonest
	}
	if next.IsZero() {
		return noticePoll
	}
	return max(0, min(next.Sub(now), noticePoll))
}

// writeDown stores what p says about notices that are not reported now, and reports whether it could: if not,
// they would be due again at once. It comes before the reports, so that a crash while these are made cannot
// hide a storm.
func (r *Reporter) writeDown(ctx context.Context, p *noticePlan) bool {
	if len(p.withdrawn) > 0 &&
		!r.written(ctx, "cannot withdraw notices",
			r.o.Spool.Consume(ctx, relay.Answer{Entries: p.withdrawn})) {
		return false
	}
	return r.postpone(ctx, p.postponed)
}

// postpone stores the new times of notices.
func (r *Reporter) postpone(ctx context.Context, notices []relay.Notice) bool {
	if len(notices) == 0 {
		return true
	}
	return r.written(ctx, "cannot postpone notices", r.o.Spool.Postpone(ctx, relay.NoticeEntries(notices)))
}

// written logs err, if any, and reports whether there was none.
func (r *Reporter) written(ctx context.Context, what string, err error) bool {
	if err != nil && ctx.Err() == nil {
		r.o.Log.Error(what, "err", err)
	}
	return err == nil
}

// batch is a batch of reports being made.
type batch struct {
	claims []relay.Token
	done   chan struct{}
	failed []relay.Notice // those that could not be reported; valid once done is closed
}

// startBatch starts making the planned reports.
func (r *Reporter) startBatch(ctx context.Context, p *noticePlan) *batch {
	b := &batch{claims: p.claims, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.failed = r.writeAll(ctx, p.jobs)
	}()
	return b
}

// endBatch waits for a batch, postpones the notices that failed and gives back what it had claimed; p notes
// until when they are postponed. It reports whether that was stored.
func (r *Reporter) endBatch(ctx context.Context, b *batch, p *noticePlan) bool {
	<-b.done
	defer r.o.Spool.GiveBack(b.claims...)
	for i := range b.failed {
		b.failed[i].Due = r.o.Now().Add(postponeFor)
		p.note(b.failed[i].Due)
	}
	return r.postpone(ctx, b.failed)
}

// writeAll composes and stores the jobs, several at a time so that the store can join their transactions, and
// returns the notices of those that failed.
func (r *Reporter) writeAll(ctx context.Context, jobs []job) (failed []relay.Notice) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		work = make(chan *job)
	)
	// Each goroutine does many jobs: templates need deep stacks, which take time to grow.
	for range min(reportsOpen, len(jobs)) {
		wg.Go(func() {
			for j := range work {
				err := r.write(ctx, j)
				if errors.Is(err, relay.ErrStaleLease) {
					continue // it took too long, and another reporter has the notices now
				}
				if err != nil {
					if ctx.Err() == nil {
						r.o.Log.Error("cannot make a report; it will be tried again", "message", j.message.ID,
							"kind", j.kind, "err", err)
					}
					mu.Lock()
					failed = append(failed, j.notices...)
					mu.Unlock()
				}
			}
		})
	}
	for i := range jobs {
		work <- &jobs[i]
	}
	close(work)
	wg.Wait()
	return failed
}

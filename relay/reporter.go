package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// ReporterOptions are what a Reporter is made of. Functions are asked anew each time, so that a changed configuration
// governs notices that already wait.
type ReporterOptions struct {
	Spool    NoticeSpool
	Composer Composer
	Record   Recorder
	Log      *slog.Logger
	Now      func() time.Time // wall clock

	// File writes a report durably into a maildir, under a name made of its id: the same id twice is one file. Required
	// for a Route with a Maildir.
	File func(dir, id string, content []byte) error
	// Route says where the reports about m go; nil is the zero Route: to the envelope sender, through m's own lane.
	Route func(m *Message) Route
	// FallbackSender is a reverse-path that a lane's upstream is known to accept, taken for reports once it refused the
	// null sender; "" or nil is none.
	FallbackSender func(lane string) string
	// Expires is when m will be given up, for the delay notice (RFC 3464, 2.3.9). Optional.
	Expires func(m *Message) time.Time
	// Paused reports whether a lane is paused: the senders of its messages are not told of delays. Optional.
	Paused func(lane string) bool
	// EightBit reports whether a lane's upstream takes 8-bit content; nil is never.
	EightBit func(lane string) bool
	// Storm is the storm control; nil is none.
	Storm func() StormPolicy
	// Stored is called after a report was stored for a lane, so that the lane looks for it. Optional.
	Stored func(lane string)
}

// The reporter's own housekeeping.
const (
	noticeBatch  = 256                   // messages whose notices are looked at together
	digestBatch  = 1000                  // the same with storm control: a digest tells of many messages
	digestMax    = 1000                  // failures in one digest
	recipientMax = 100                   // recipients in one DSN; RFC 5321, 4.5.3.1.8 has the same number for an envelope
	reportsOpen  = 32                    // reports composed and stored at a time: they share commits
	gatherKicks  = 50 * time.Millisecond // settlements come in bursts: one look serves many
	pauseOnError = 5 * time.Second
	postponeFor  = time.Minute // for a notice that cannot go out now
	noticePoll   = time.Minute // at the latest, whatever the clocks say
)

// Reporter turns due notices into delivery status notifications and stores these as messages of their own. One
// goroutine runs it; its other methods are safe for concurrent use.
//
// A notice is consumed in the transaction that stores its DSN, so a crash neither loses nor doubles one. Where the DSN
// does not go into the spool but into a maildir, the file's name is derived from what it reports, so a repetition
// after a crash writes the same file.
type Reporter struct {
	o    ReporterOptions
	kick chan struct{}
	null nullRefusals

	storm storm // belongs to Run's goroutine
}

// NewReporter makes a reporter. It does nothing until Run.
func NewReporter(o ReporterOptions) *Reporter {
	if o.Route == nil {
		o.Route = func(*Message) Route { return Route{} }
	}
	if o.FallbackSender == nil {
		o.FallbackSender = func(string) string { return "" }
	}
	if o.Expires == nil {
		o.Expires = func(*Message) time.Time { return time.Time{} }
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

// Run works until ctx ends. What is under way then is either stored or will be found again by the next Run.
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
			timer.Reset(r.turn(ctx))
		}
	}
}

// turn reports what is due now and returns how long nothing more is expected to be.
func (r *Reporter) turn(ctx context.Context) time.Duration {
	now := r.o.Now()
	policy := r.o.Storm()
	limit := noticeBatch
	if policy.on() {
		limit = digestBatch
	}
	due, next, err := r.o.Spool.DueNotices(ctx, now, limit)
	if err != nil {
		if ctx.Err() == nil {
			r.o.Log.Error("cannot read the due notices", "err", err)
		}
		return pauseOnError
	}
	p := r.plan(now, policy, due)
	if !r.carryOut(ctx, now, p) {
		return pauseOnError
	}
	if !p.soonest.IsZero() && (next.IsZero() || p.soonest.Before(next)) {
		next = p.soonest
	}
	if next.IsZero() {
		return noticePoll
	}
	return max(0, min(next.Sub(now), noticePoll))
}

// carryOut does what p says and reports whether all of it was written down: if not, the same notices would come at
// once again. What is put off is written first: a crash among the reports then cannot hide that a storm is on.
func (r *Reporter) carryOut(ctx context.Context, now time.Time, p *noticePlan) bool {
	if len(p.withdrawn) > 0 && !r.written(ctx, "cannot withdraw notices", r.o.Spool.Report(ctx, p.withdrawn, nil, nil)) {
		return false
	}
	if !r.putOff(ctx, p.postponed) {
		return false
	}
	failed := r.tellAll(ctx, p.parcels)
	for i := range failed {
		failed[i].Due = now.Add(postponeFor)
		p.note(failed[i].Due)
	}
	return r.putOff(ctx, failed)
}

// putOff stores the new times of notices.
func (r *Reporter) putOff(ctx context.Context, notices []Notice) bool {
	if len(notices) == 0 {
		return true
	}
	return r.written(ctx, "cannot postpone notices", r.o.Spool.Postpone(ctx, notices))
}

// written logs what went wrong, if anything, and reports whether nothing did.
func (r *Reporter) written(ctx context.Context, what string, err error) bool {
	if err != nil && ctx.Err() == nil {
		r.o.Log.Error(what, "err", err)
	}
	return err == nil
}

// tellAll composes and stores the parcels, a few at a time so that the store can join their transactions, and returns
// the notices of those that failed.
func (r *Reporter) tellAll(ctx context.Context, parcels []parcel) (failed []Notice) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		work = make(chan *parcel)
	)
	for range min(reportsOpen, len(parcels)) { // each for many parcels: templates need deep stacks, which take time to grow
		wg.Go(func() {
			for p := range work {
				if err := r.tell(ctx, p); err != nil {
					if ctx.Err() == nil {
						r.o.Log.Error("cannot make a report; it will be tried again", "message", p.message.ID, "kind", p.kind, "err", err)
					}
					mu.Lock()
					failed = append(failed, p.notices...)
					mu.Unlock()
				}
			}
		})
	}
	for i := range parcels {
		work <- &parcels[i]
	}
	close(work)
	wg.Wait()
	return failed
}

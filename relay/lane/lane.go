// Package lane is the work for one upstream. relay/app makes a Lane for each configured upstream and runs it.
//
// The life of a message:
//
//	fill       lane.go     leases what is due, as far as the pace allows, and puts it into the work channel
//	sieve      suppressed.go takes out the recipients that are suppressed
//	worker     worker.go   takes a leased message and gives it to the upstream, which offers it
//	conclude   worker.go   gets an Attempt for each recipient, or a fault met before MAIL
//	diagnose   outcome.go  explains each refusal
//	decide     decide.go   says what becomes of the recipient: relayed, failed, expired, held or deferred
//	NoticesFor notices.go  says which reports the sender is owed for that
//	settle     worker.go   writes the recipients' new state and the notices, in one transaction
//	record     worker.go   hands the events to the recorders, only now
//	note       signal.go   handles what the attempt says beyond its own message: a limit, our account
//	pause      outage.go   stops the lane while the upstream is unreachable or refuses us, and probes it
//
// A message may also come from the session that brought it, before it is stored (offer.go): it takes the same
// way from the work channel on, and its session settles it, or is given it back.
//
// What always holds:
//   - One goroutine owns the lane's state; workers talk to it through signals.
//   - A connection's outcome is settled before its next content is sent, so a crash duplicates at most one
//     message for each connection.
//   - No message is bounced for a fault of our own. While the lane is paused mail waits, until its own expiry
//     (expiry.go).
//   - A throttled recipient, domain or sender does not slow the mail of others (limit.go, senders.go).
//   - Lanes of one account stay together within its connections and its rate (account.go).
//   - Lanes of one name in several relays divide the account (share.go), and pause, probe and resume as one
//     (replicas.go).
//   - The sending rate adapts to what the upstream says (pace.go), and is never above the configured one in
//     any span of its time, if that is a minute or longer (package rate).
//
// The class of a reply decides a recipient's fate (RFC 5321, 4.2.1). A message is given up when the
// configured time is over (RFC 5321, 4.5.4.1).
package lane

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/lane/rate"
)

// Rate is an upper bound on messages over time; the zero Rate means no bound.
type Rate = rate.Rate

// Settings are looked up again each time the lane acts, so a reload takes effect at once.
type Settings struct {
	Policy      Policy
	Concurrency int    // most connections
	Rate        Rate   // most messages
	Probe       Bounds // interval between attempts to reach a failing upstream, growing from Min to Max
	ProbeAuth   Bounds // the same after refused credentials: providers lock accounts that try too often
	ProbeToken  Bounds // the same while the endpoint that gives access tokens fails
}

// Options configure a lane. All fields are required unless they say otherwise.
type Options struct {
	Name     string
	Spool    relay.Spool
	Upstream relay.Upstream
	Settings func() Settings
	Diagnose func(diagnose.Symptom) diagnose.Diagnosis
	Record   relay.Recorder
	Log      *slog.Logger
	Now      func() time.Time // wall clock

	// ReversePath is the reverse-path to use for a transaction, whose recipients are known; nil means the
	// envelope's. NullSenderRefused is called when the upstream refuses a report's null sender. It returns
	// whether another reverse-path is now in use, so that another attempt at once is worthwhile. Both are
	// optional.
	ReversePath       func(*relay.Transaction) string
	NullSenderRefused func(lane string, a relay.Attempt) bool
	// Ruling is what the operator ordered for a refusal of m to r, which d explains; nil is nothing. r is the
	// recipient before the attempt. It is called by workers and returns at once; optional.
	Ruling func(m *relay.Message, r *relay.Recipient, d *diagnose.Diagnosis) *Ruling
	// Moved is called after a settlement by which a ruling moved so many recipients to a lane. Optional.
	Moved func(lane string, recipients int)
	// Alike reports whether the recipients i and j of m can be offered in one transaction; nil: all can.
	// Those that are not like the first one that is due are offered after it.
	Alike func(m *relay.Message, i, j int) bool
	// NoticesDue is called after a settlement that left notices; optional.
	NoticesDue func()
	// Owe says what webhooks are owed of what an attempt leads to. Mail that was relayed is none of it, so
	// that its settlement stays as cheap as it is. EntriesDue is called after a settlement that left such
	// entries. Both are optional, and go together.
	Owe        relay.Owe
	EntriesDue func()
	// Relayed is called after a settlement by which recipients of m were relayed, or may have been: those
	// without an answer to the final dot (Attempt.Uncertain). It comes again when more is known of them.
	// It returns at once and does not change m; optional.
	Relayed func(m *relay.Message)
	// Suppressions says which recipients are not offered; optional.
	Suppressions relay.Suppressions
	// Account is what the lane shares with others, looked up each time it acts. Both it and its result are
	// optional.
	Account func() *Account
	// Cluster is what other relays with a lane of this name share with this one; nil when there are none.
	// SharedSpool says that they have the spool in common too, so that one of them looks for expired mail.
	Cluster     relay.Coordination
	SharedSpool bool
	// Spread gives random numbers from 0 to 1; optional.
	Spread func() float64
}

// Constants of the lane's housekeeping.
const (
	leaseFor    = 15 * time.Minute // extended while an exchange lasts
	leaseRenew  = 5 * time.Minute
	lookAgain   = time.Minute     // longest wait, whatever the clocks say
	fillAgain   = time.Second     // after the spool could not be read
	maxWaiting  = 1024            // most messages leased ahead of a connection
	drainMargin = 2 * time.Second // beyond the upstream's own grace, for the settlement
)

// Lane is the work for one upstream: it leases what is due, offers it over a few connections, settles and
// records each outcome, and pauses while the upstream is out of reach. Run it once; its other methods are
// safe for concurrent use.
type Lane struct {
	o       Options
	kick    chan struct{}
	signals chan signal
	work    chan *leased // leased, waiting for a connection
	offers  chan Offer
	over    chan struct{} // closed when no more offers are taken
	state   atomic.Pointer[relay.LaneState]
	halted  atomic.Bool  // workers take no further work
	more    atomic.Bool  // the spool may have more that is due than was leased
	low     atomic.Int32 // ... which is leased when so few messages wait for a connection

	// The rest belongs to Run's goroutine.
	out       map[relay.Token]*leased // leased or offered, and not yet settled
	offered   []Offer                 // handed in, for the next step
	reported  map[string]time.Time    // when the operator last heard of a state, by state and reason
	ctx       context.Context         // of Run
	draining  bool
	workers   int
	account   *Account // as Options.Account gave it last
	pace      pace
	slowness  slowness
	limits    limits
	senders   pausedSenders
	ordered   ordered
	inquiries inquiries
	taken     uint64 // messages leased so far
	later     int    // of these, being postponed
	outage    outage
	joint     replicas
	next      time.Time // when the earliest message not leased is due
	failed    time.Time // when the spool could not be read
	renewed   time.Time
}

// leased is one message on its way: a leased one, or one that was handed in by Offer.
type leased struct {
	holder
	token   relay.Token // of its own, and of the lease if it is leased
	offer   bool
	seq     uint64 // in the order of leasing
	tx      relay.Transaction
	account *Account // that granted it

	suppressed []suppressed // recipients that are not offered
	asks       []string     // addresses that have yet to answer, to which it is offered
}

// New makes a lane. It does nothing until Run.
func New(o Options) *Lane {
	if o.Spread == nil {
		o.Spread = rand.Float64
	}
	if o.ReversePath == nil {
		o.ReversePath = func(t *relay.Transaction) string { return t.Message.Envelope.From }
	}
	if o.Alike == nil {
		o.Alike = func(*relay.Message, int, int) bool { return true }
	}
	if o.Account == nil {
		o.Account = func() *Account { return nil }
	}
	if o.NullSenderRefused == nil {
		o.NullSenderRefused = func(string, relay.Attempt) bool { return false }
	}
	if o.Moved == nil {
		o.Moved = func(string, int) {}
	}
	if o.NoticesDue == nil {
		o.NoticesDue = func() {}
	}
	l := &Lane{
		o:        o,
		kick:     make(chan struct{}, 1),
		signals:  make(chan signal, 256),
		work:     make(chan *leased, maxWaiting+maxParked),
		offers:   make(chan Offer),
		over:     make(chan struct{}),
		out:      map[relay.Token]*leased{},
		reported: map[string]time.Time{},
		joint:    replicas{Coordination: o.Cluster},
	}
	l.state.Store(&relay.LaneState{Name: o.Name})
	return l
}

// Kick makes the lane look for due messages now. It never blocks.
func (l *Lane) Kick() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// State is how the lane stands.
func (l *Lane) State() relay.LaneState { return *l.state.Load() }

// Waiting is how many messages are leased and wait for a connection.
func (l *Lane) Waiting() int { return len(l.work) }

// Run works until ctx ends, and returns when the exchanges under way then are over: the upstream gives the
// transaction in progress its grace, and grace bounds the wait.
func (l *Lane) Run(ctx context.Context, grace time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	l.ctx = ctx
	defer l.watchReplicas()()
	for ctx.Err() == nil {
		timer.Reset(l.step(ctx))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-l.kick:
		case o := <-l.offers:
			l.gatherOffers(o)
		case s := <-l.signals:
			l.note(s)
			l.noteAll()
		}
	}
	l.account.leave(l)
	l.drain(grace)
	l.account.quit(l)
}

// step does what can be done now and returns how long to wait for the next step.
func (l *Lane) step(ctx context.Context) time.Duration {
	now := l.o.Now()
	s := l.o.Settings()
	l.share()
	l.pace.configure(s.Concurrency, l.ordered.limit(now, s.Rate))
	l.low.Store(int32(l.pace.limit / 2))
	l.renewLeases(ctx, now)
	wait := l.stepReplicas(ctx, now)
	if l.outage.paused {
		if l.joint.probing == nil {
			l.account.leave(l)
		}
		l.account.enough(l)
		l.sweep(ctx, now, s.Policy)
		wait = min(wait, l.probe(ctx, now))
		l.takeOffers(now)
	} else {
		if l.untilLate(now) <= time.Millisecond {
			l.letGo(now)
		}
		wait = min(wait, l.fill(ctx, now), l.doubt(now), l.untilLate(now))
		l.takeOffers(now)
		l.startWorkers(ctx)
	}
	l.noteFullSpeed(now)
	l.publish()
	return wait
}

// share joins the account in force.
func (l *Lane) share() {
	if a := l.o.Account(); a != l.account {
		l.account.quit(l)
		l.account = a
		a.join(l)
	}
}

// fill leases due messages while there is room, and returns how long until there may be more.
func (l *Lane) fill(ctx context.Context, now time.Time) time.Duration {
	if since := now.Sub(l.failed); since >= 0 && since < fillAgain {
		return fillAgain - since
	}
	for {
		want := l.ahead() - len(l.work)
		n, wait := l.pace.room(now, min(want, maxWaiting-l.later))
		if n > 0 {
			n, wait = l.account.grant(l, now, n)
		}
		l.more.Store(n <= 0)
		if n <= 0 {
			if wait == 0 {
				wait = lookAgain // a worker that takes work kicks
			}
			return wait
		}
		leases, next, err := l.o.Spool.Lease(ctx,
			relay.LeaseQuery{Lane: l.o.Name, Now: now, Max: n, For: leaseFor})
		if err != nil {
			l.account.giveBack(n)
			if ctx.Err() == nil {
				l.o.Log.Error("cannot read the spool", "lane", l.o.Name, "err", err)
			}
			l.failed = now
			return fillAgain
		}
		l.next = next
		taken := 0
		for i := range leases {
			if l.take(&leases[i], now) {
				taken++
			}
		}
		l.pace.spend(now, taken, len(leases) < n)
		l.account.giveBack(n - taken)
		if len(leases) < n {
			l.account.enough(l)
			return l.untilNext(now)
		}
	}
}

// ahead is how many messages may wait for a connection: enough for each connection to find its next envelope,
// few enough that a pause gives little back.
func (l *Lane) ahead() int {
	if l.outage.canary {
		return 1 - len(l.out)
	}
	return min(max(l.pace.limit, 1), maxWaiting)
}

// untilNext is the time to the next due message. A due time beyond lookAgain is not trusted to a timer: the
// wall clock may jump.
func (l *Lane) untilNext(now time.Time) time.Duration {
	if l.next.IsZero() {
		return lookAgain
	}
	return max(time.Millisecond, min(l.next.Sub(now), lookAgain))
}

// take queues a message for a connection, or postpones it while its sender's mail waits. It reports whether
// the message will be offered.
func (l *Lane) take(le *relay.Lease, now time.Time) bool {
	m := le.Message
	lm := &leased{token: le.Token, account: l.account, holder: &lease{l.o.Spool, le.Token, m},
		tx: relay.Transaction{Message: m}}
	policy := l.o.Settings().Policy
	lm.tx.Recipients = l.together(m, now, &policy)
	lm.tx.From = l.o.ReversePath(&lm.tx)
	lm.tx.Open = func() (io.ReadCloser, error) { return l.o.Spool.Content(context.Background(), m.ID) }
	l.taken++
	lm.seq = l.taken
	l.out[lm.token] = lm
	if !now.Before(m.Arrived.Add(policy.Expiry)) {
		return l.admit(lm, now, true) // its last attempt, even if its sender is paused
	}
	if until, waits := l.senders.hold(senderOf(&lm.tx), lm.token, now); waits {
		l.postpone(lm, until)
		return false
	}
	return l.admit(lm, now, false)
}

// together are the recipients that are offered now: those that are due and like the first of them.
func (l *Lane) together(m *relay.Message, now time.Time, p *Policy) (list []int) {
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if due := r.DueAt(now) || r.Waiting() && farAway(r, now, p); due &&
			(len(list) == 0 || l.o.Alike(m, list[0], i)) {
			list = append(list, i)
		}
	}
	return list
}

// farAway reports whether a next attempt lies further ahead than any policy puts it, because the clock was
// set back.
func farAway(r *relay.Recipient, now time.Time, p *Policy) bool {
	return r.NextAttempt.Sub(now) > p.Expiry+p.RetryAfter.Max
}

// startWorkers starts as many workers as there is work and room for.
func (l *Lane) startWorkers(ctx context.Context) {
	limit := l.connections()
	for n := len(l.work); n > 0 && l.workers < limit; n-- {
		if !l.account.connect(l, min(n, limit-l.workers)) {
			return
		}
		l.workers++
		go l.worker(ctx, l.account)
	}
	l.account.leave(l)
}

// connections is how many the lane may have now.
func (l *Lane) connections() int {
	limit := l.pace.limit
	if l.outage.canary {
		limit = 1
	}
	if l.pace.crowdedAt(l.o.Now()) {
		limit = min(limit, l.workers)
	}
	return limit
}

// ended says that a leased message is no longer under way, and whether it was offered.
func (l *Lane) ended(lm *leased, now time.Time, offered bool) {
	l.pace.ended(now, offered)
	lm.account.ended(now, offered)
}

// renewLeases extends the leases of exchanges that take long.
func (l *Lane) renewLeases(ctx context.Context, now time.Time) {
	if since := now.Sub(l.renewed); since >= 0 && since < leaseRenew {
		return
	}
	l.renewed = now
	for _, lm := range l.out {
		if err := lm.Extend(ctx, leaseFor); err != nil && ctx.Err() == nil {
			l.o.Log.Warn("cannot extend a lease", "lane", l.o.Name, "err", err)
		}
	}
}

// drain gives back what was not begun, and waits for the exchanges under way; the end of ctx has asked them
// to finish. Their outcomes are settled as usual.
func (l *Lane) drain(grace time.Duration) {
	l.draining = true
	l.halted.Store(true)
	close(l.over)
	l.takeOffers(l.o.Now())
	l.giveBack()
	deadline := time.NewTimer(grace + drainMargin)
	defer deadline.Stop()
	for l.workers > 0 || l.later > 0 {
		select {
		case s := <-l.signals:
			l.note(s)
		case <-deadline.C:
			l.o.Log.Warn("exchanges were cut off; their messages are tried again", "lane", l.o.Name,
				"exchanges", l.workers)
			return
		}
	}
}

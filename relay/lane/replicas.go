package lane

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// replicas is what a lane has in common with the lanes of its name in other relays. They pause and resume
// together, for one cause, with one event; one of them at a time probes the upstream, or lets its one message
// through. All talk with the cluster is done by goroutines of its own, which hand back what follows; the lane
// never waits for it. While the cluster does not answer a lane acts, and reports, by itself.
//
// Every relay keeps the pace of its own that its upstream's replies suggest, but hears which limits others
// meet (Account.tell). It belongs to the lane's goroutine, but for the mailbox.
type replicas struct {
	relay.Coordination // nil: there are no others
	mailbox            mailbox

	version  int64         // of the board's entry of the pause that is known here; 0: none is in force
	seen     int64         // the highest version known, also of a removal
	changed  bool          // the entry has yet to be brought to the state of this lane
	writing  bool          // that is under way
	writeAt  time.Time     // when it is tried again
	paused   *refusal      // what the pause event is to be about, once it is certain that it is ours to tell
	resumed  time.Duration // how long the pause was, whose end is to be told; 0: none is
	senders  bool          // the refused senders that are known here are to be told
	duty     int64         // the epoch of the duty to probe; 0: another relay has it, or nobody
	asking   bool          // for the duty
	askAt    time.Time     // when the duty is asked for again
	renewAt  time.Time     // when it is prolonged
	worked   time.Time     // when the lane that lets one message through last had one
	probing  *Account      // of which a connection for the probe is held, or waited for
	sweeping bool          // this relay searches for expired mail
	sweepAt  time.Time     // when that was last asked for
}

// The times of what replicas have in common.
const (
	boardTimeout = 5 * time.Second  // for one answer
	boardRetry   = 5 * time.Second  // after none came
	pauseLasts   = 48 * time.Hour   // for which a pause is remembered beyond its next probe
	dutyFor      = time.Minute      // for which the duty to probe is held ...
	dutyRenew    = 20 * time.Second // ... and after which it is prolonged
	dutyAgain    = 5 * time.Second  // after which one that another has is asked for again
	idleCanary   = 15 * time.Second // without a message to let through, the duty goes to another relay
	refusedFor   = time.Hour        // for which a refused sender is remembered
)

// maxQuoted is how much of a reply is told to others.
const maxQuoted = 4096

// pauseNews is the entry of the board while a lane is paused.
type pauseNews struct {
	Tried          *relay.Attempt      `json:"tried,omitempty"`
	Meaning        *diagnose.Diagnosis `json:"meaning"`
	Fault          *relay.Attempt      `json:"fault,omitempty"`
	AccountRefused bool                `json:"account_refused,omitempty"`
	Policy         string              `json:"policy,omitempty"`
	Since          time.Time           `json:"since"`
	Wait           time.Duration       `json:"wait"` // until the next probe
	Interval       time.Duration       `json:"interval"`
}

// mailbox keeps the last entry of each name that the board told of, until the lane reads them.
type mailbox struct {
	mu   sync.Mutex
	news map[string]relay.BoardEntry
}

func (m *mailbox) put(e relay.BoardEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.news == nil {
		m.news = map[string]relay.BoardEntry{}
	}
	m.news[e.Name] = e
}

func (m *mailbox) take() []relay.BoardEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Collect(maps.Values(m.news))
	clear(m.news)
	return list
}

func (l *Lane) pauseName() string   { return "pause/" + l.o.Name }
func (l *Lane) refusedName() string { return "refused/" + l.o.Name }
func (l *Lane) probeDuty() string   { return "probe/" + l.o.Name }

// watchReplicas hears what other relays tell, until stop.
func (l *Lane) watchReplicas() (stop func()) {
	if l.joint.Coordination == nil {
		return func() {}
	}
	hear := func(e relay.BoardEntry) {
		l.joint.mailbox.put(e)
		l.Kick()
	}
	stops := []func(){l.joint.Watch(l.pauseName(), hear), l.joint.Watch(l.refusedName(), hear)}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// ask runs what waits for the cluster, and hands what it returns to the lane's goroutine, if that still runs.
func (l *Lane) ask(ctx context.Context, work func(context.Context) (then func(now time.Time))) {
	go func() {
		limited, cancel := context.WithTimeout(ctx, boardTimeout)
		defer cancel()
		then := work(limited)
		select {
		case l.signals <- signal{then: then}:
		case <-ctx.Done():
		}
	}()
}

// stepReplicas does what is due, and returns how long until there is more.
func (l *Lane) stepReplicas(ctx context.Context, now time.Time) time.Duration {
	j := &l.joint
	if j.Coordination == nil {
		return lookAgain
	}
	for _, e := range j.mailbox.take() {
		switch e.Name {
		case l.pauseName():
			l.hearPause(e, now)
		case l.refusedName():
			l.hearRefused(e)
		}
	}
	l.tellRefused(ctx)
	l.watchCanary(now)
	if j.changed && !j.writing {
		if wait := j.writeAt.Sub(now); wait > 0 && wait <= boardRetry {
			return wait
		}
		l.writePause(ctx)
	}
	return l.keepDuty(ctx, now)
}

// writePause brings the board's entry to the state of this lane.
func (l *Lane) writePause(ctx context.Context) {
	j, o := &l.joint, &l.outage
	old, body, lasts := j.version, []byte(nil), time.Duration(0)
	if o.paused || o.canary && o.reported {
		lasts = pauseLasts + o.wait
		body = l.pauseBody()
	} else if old == 0 {
		j.changed = false // nobody else knows of the pause
		l.tellResumed()
		return
	}
	j.changed, j.writing = false, true
	l.ask(ctx, func(ctx context.Context) func(time.Time) {
		e, ok, err := j.Coordination.Write(ctx, l.pauseName(), old, body, lasts)
		return func(now time.Time) { l.wrote(old, len(body) > 0, e, ok, err, now) }
	})
}

// pauseBody is the pause as it is told.
func (l *Lane) pauseBody() []byte {
	o := &l.outage
	n := pauseNews{Meaning: o.meaning, Fault: quoted(o.fault), AccountRefused: o.accountRefused,
		Policy: o.policy, Since: o.since, Wait: o.wait, Interval: o.interval, Tried: quoted(o.tried)}
	body, err := json.Marshal(n)
	if err != nil { // the parts are plain data, which are stored in the same form
		l.o.Log.Error("cannot tell other relays of a pause", "lane", l.o.Name, "err", err)
		body = []byte("{}")
	}
	return body
}

// quoted is an attempt with a reply of bounded length.
func quoted(a *relay.Attempt) *relay.Attempt {
	if a == nil || len(a.Reply.Raw)+len(a.NetErr.Text) <= maxQuoted {
		return a
	}
	short := *a
	short.Reply.Raw, short.Reply.Text = cut(a.Reply.Raw, maxQuoted), cut(a.Reply.Text, maxQuoted)
	short.NetErr.Text = cut(a.NetErr.Text, maxQuoted)
	return &short
}

// wrote handles the answer to writePause.
func (l *Lane) wrote(old int64, pause bool, e relay.BoardEntry, ok bool, err error, now time.Time) {
	j := &l.joint
	j.writing = false
	switch {
	case err != nil:
		j.changed, j.writeAt = true, now.Add(boardRetry)
		l.tellPaused()
		l.tellResumed()
	case !ok:
		j.paused, j.resumed = nil, 0
		l.inForce(e, now)
	case pause:
		j.version, j.seen = e.Version, max(j.seen, e.Version)
		if old == 0 {
			l.tellPaused()
		}
		j.paused = nil
	default:
		j.version, j.seen = 0, max(j.seen, e.Version)
		l.tellResumed()
	}
}

// tellPaused records the pause that this relay is the one to tell of, once.
func (l *Lane) tellPaused() {
	if why := l.joint.paused; why != nil {
		l.joint.paused = nil
		l.recordPause(*why)
	}
}

// tellResumed records the end of a pause that this relay is the one to tell of.
func (l *Lane) tellResumed() {
	if after := l.joint.resumed; after > 0 {
		l.joint.resumed = 0
		l.recordResume(after)
	}
}

// hearPause handles an entry of which the board told.
func (l *Lane) hearPause(e relay.BoardEntry, now time.Time) {
	j := &l.joint
	if e.Version <= j.seen {
		return
	}
	if e.By == j.Self() { // also one of which it was not known whether it was written
		j.seen, j.version = e.Version, e.Version
		if len(e.Body) == 0 {
			j.version = 0
		}
		return
	}
	l.inForce(e, now)
}

// inForce brings this lane to the state of the entry, which another relay has written. An entry without a
// body says that there is no pause.
func (l *Lane) inForce(e relay.BoardEntry, now time.Time) {
	j := &l.joint
	j.seen, j.changed = max(j.seen, e.Version), false
	if len(e.Body) == 0 {
		j.version, j.paused, j.resumed = 0, nil, 0
		if o := &l.outage; o.paused || o.canary && o.reported {
			l.endOutage()
			l.Kick()
		}
		return
	}
	j.version, j.paused, j.resumed = e.Version, nil, 0
	var n pauseNews
	if err := json.Unmarshal(e.Body, &n); err != nil || n.Meaning == nil {
		l.o.Log.Warn("cannot read why another relay is paused", "lane", l.o.Name, "by", e.By, "err", err)
		n.Meaning, n.Since = &diagnose.Diagnosis{}, now
	}
	l.pauseQuietly(&n, e.Age, now)
}

// pauseQuietly pauses this lane as another relay told so long ago. That one has recorded it.
func (l *Lane) pauseQuietly(n *pauseNews, age time.Duration, now time.Time) {
	o := &l.outage
	o.paused, o.canary, o.reported = true, false, true
	o.accountRefused, o.sure, o.offered = n.AccountRefused, n.AccountRefused, l.taken
	o.meaning, o.reply, o.fault, o.policy, o.tried = n.Meaning, saidIn(n.Tried), n.Fault, n.Policy, n.Tried
	o.since, o.interval = n.Since, n.Interval
	late := time.Duration(l.o.Spread() * float64(min(time.Second, n.Wait/10))) // who probed last is the first
	o.wait = max(n.Wait-age, 0) + late
	o.nextProbe = now.Add(o.wait)
	l.halted.Store(true)
	l.giveBack()
}

// mayProbe reports whether this relay has the duty to probe, and asks for it otherwise; wait is when to look
// again.
func (l *Lane) mayProbe(ctx context.Context, now time.Time) (ok bool, wait time.Duration) {
	j := &l.joint
	switch {
	case j.Coordination == nil || j.duty != 0:
		return true, 0
	case j.asking || j.writing || j.changed:
		return false, lookAgain
	}
	if wait := j.askAt.Sub(now); wait > 0 && wait <= dutyAgain+idleCanary {
		return false, wait
	}
	j.asking = true
	l.ask(ctx, func(ctx context.Context) func(time.Time) {
		epoch, mine, err := j.Hold(ctx, l.probeDuty(), dutyFor)
		if err != nil || !mine {
			return func(now time.Time) { j.asking, j.askAt = false, now.Add(dutyAgain) }
		}
		e, err := j.Read(ctx, l.pauseName())
		return func(now time.Time) { l.hold(epoch, e, err, now) }
	})
	return false, lookAgain
}

// hold takes the duty to probe, and what is known of the pause since, which another may have ended.
func (l *Lane) hold(epoch int64, e relay.BoardEntry, err error, now time.Time) {
	j := &l.joint
	j.asking, j.duty, j.renewAt, j.worked = false, epoch, now.Add(dutyRenew), now
	switch {
	case err != nil:
		j.askAt = now.Add(dutyAgain)
		l.outage.nextProbe = now.Add(dutyAgain)
	case e.Version != j.version && !j.writing && !j.changed:
		l.inForce(e, now)
	}
}

// keepDuty prolongs the duty while it is needed and gives it back when it is not, and returns how long until
// there is something to do.
func (l *Lane) keepDuty(ctx context.Context, now time.Time) time.Duration {
	j, o := &l.joint, &l.outage
	if j.duty == 0 {
		return lookAgain
	}
	epoch := j.duty
	due := o.paused && !now.Before(o.nextProbe)
	if !o.probing && !o.canary && !j.writing && !j.changed && !due {
		j.duty = 0
		l.ask(ctx, func(ctx context.Context) func(time.Time) {
			j.Drop(ctx, l.probeDuty(), epoch) // else it lapses
			return nil
		})
		return lookAgain
	}
	if wait := j.renewAt.Sub(now); wait > 0 && wait <= dutyRenew {
		return wait
	}
	j.renewAt = now.Add(dutyRenew)
	l.ask(ctx, func(ctx context.Context) func(time.Time) {
		_, mine, err := j.Hold(ctx, l.probeDuty(), dutyFor)
		return func(now time.Time) {
			if err == nil && !mine && j.duty == epoch { // another has it
				j.duty = 0
				l.pauseAgain(now)
			}
		}
	})
	return dutyRenew
}

// watchCanary lets another relay try a message when this one has none.
func (l *Lane) watchCanary(now time.Time) {
	j := &l.joint
	if !l.outage.canary || j.duty == 0 {
		return
	}
	if len(l.out) > 0 {
		j.worked = now
	}
	if since := now.Sub(j.worked); since < 0 || since >= idleCanary {
		j.askAt = now.Add(idleCanary + time.Duration(l.o.Spread()*float64(dutyAgain)))
		l.pauseAgain(now)
	}
}

// pauseAgain ends the attempt with one message, of which nothing is known.
func (l *Lane) pauseAgain(now time.Time) {
	o := &l.outage
	if !o.canary || !o.reported {
		return
	}
	o.paused, o.canary, o.wait = true, false, max(l.joint.askAt.Sub(now), dutyAgain)
	o.nextProbe = now.Add(o.wait)
	l.halted.Store(true)
	l.giveBack()
}

// hearRefused adds the senders for which other relays had the account refused, or forgets them all when one
// had a message taken.
func (l *Lane) hearRefused(e relay.BoardEntry) {
	o := &l.outage
	if e.By == l.joint.Self() {
		return
	}
	if len(e.Body) == 0 {
		clear(o.senders)
		l.joint.senders = false
		return
	}
	var told []string
	if json.Unmarshal(e.Body, &told) != nil {
		return
	}
	known := len(o.senders)
	for _, sender := range told {
		l.refusedFor(sender)
	}
	l.joint.senders = known > 0 && len(o.senders) > len(told) // they do not know all
}

// tellRefused tells the senders for which the account was refused, or that none is any more.
func (l *Lane) tellRefused(ctx context.Context) {
	if !l.joint.senders {
		return
	}
	l.joint.senders = false
	var body []byte
	if senders := slices.Sorted(maps.Keys(l.outage.senders)); len(senders) > 0 {
		body, _ = json.Marshal(senders)
	}
	l.ask(ctx, func(ctx context.Context) func(time.Time) {
		// Where it fails the others count without these.
		l.joint.Coordination.Write(ctx, l.refusedName(), relay.AnyVersion, body, refusedFor)
		return nil
	})
}

// maySweep reports whether it falls to this relay to give up expired mail, and asks for that otherwise.
func (l *Lane) maySweep(ctx context.Context, now time.Time) bool {
	j := &l.joint
	if j.Coordination == nil || !l.o.SharedSpool || j.sweeping {
		return true
	}
	if since := now.Sub(j.sweepAt); since >= 0 && since < sweepEvery {
		return false
	}
	j.sweepAt = now
	l.ask(ctx, func(ctx context.Context) func(time.Time) {
		_, mine, err := j.Hold(ctx, "sweep/"+l.o.Name, sweepEvery)
		return func(time.Time) { j.sweeping = mine && err == nil }
	})
	return false
}

// once runs tell, which records an event, if no other relay has recorded the same within reportEvery.
func (l *Lane) once(what string, tell func()) {
	if l.joint.Coordination == nil {
		tell()
		return
	}
	l.ask(l.ctx, func(ctx context.Context) func(time.Time) {
		first, err := relay.Once(ctx, l.joint.Coordination, l.o.Name+"/"+what, reportEvery)
		return func(time.Time) {
			if first || err != nil {
				tell()
			}
		}
	})
}

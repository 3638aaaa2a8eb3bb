package lane

import (
	"time"

	bucket "golang.org/x/time/rate"

	"mailwhy/relay/lane/rate"
)

// The constants by which a lane finds the rate that its upstream accepts. The scheme is that of TCP's
// congestion control (RFC 5681): a multiplicative decrease, then a slow start that doubles up to the rate
// known to be good, and from there a growth that is slow at first.
const (
	paceDecrease  = 0.85        // of the rate, at most once per paceWindow, if mail was taken since
	paceClosed    = 0.7         // the same when none was taken: the rate is then not the cause
	paceGood      = 0.95        // this part of the rate taken before a throttling reply is known to be good
	paceGrowth    = 0.0005      // of the rate, each second, per second since the last throttling ...
	paceGrowthMax = 0.1         // ... up to this
	paceWindow    = time.Second // replies to messages already under way count as one
	paceDouble    = 100 * time.Millisecond
	paceMeasure   = 5 * time.Second // over which the accepted rate is measured
	paceForget    = 10 * time.Minute
	paceMinRate   = 0.05 // messages a second
	paceMost      = 1e4  // the same, more than any lane can send
	paceSample    = 3    // messages needed to estimate a rate
	paceFree      = 50.0 // messages a second: without a known bound, unlimited from here after ...
	paceFreeAfter = 10 * time.Second

	limitGrowEvery = 5 * time.Second
	crowdedFor     = 5 * time.Second // for which no additional connection is tried
)

// pace is how many connections a lane uses and how many messages a second it sends: upper bounds from the
// configuration, lowered by throttling replies, raised again by success. It belongs to the lane's goroutine.
type pace struct {
	maxLimit int          // configured connections
	maxRate  float64      // configured messages a second; 0 means no limit
	window   *rate.Window // holds the configured rate; nil where it is a matter of seconds

	limit     int     // connections now
	rate      float64 // messages a second now; 0 means no limit
	good      float64 // messages a second that the upstream was seen to accept; 0: not known
	bucket    *bucket.Limiter
	crowded   time.Time // when an additional connection was last refused
	throttled time.Time // when the rate was last lowered for a throttling reply
	grown     time.Time // when limit or rate were last raised
	closed    bool      // nothing was taken since throttled
	reopened  time.Time // when something was, the first time after
	recent    measure   // what the upstream takes
	bound     measure   // what it takes while this pace is the limit
}

// measure counts messages from a time on.
type measure struct {
	from  time.Time
	taken int
	last  float64 // messages a second, of the last whole paceMeasure
}

// configure sets the upper bounds. Values that were never lowered follow them.
func (p *pace) configure(maxLimit int, most Rate) {
	p.setWindow(most)
	maxRate := most.PerSecond()
	if maxLimit == p.maxLimit && maxRate == p.maxRate {
		return
	}
	if p.limit == 0 || p.limit == p.maxLimit || p.limit > maxLimit {
		p.limit = maxLimit
	}
	if p.rate == 0 || p.rate == p.maxRate || (maxRate > 0 && p.rate > maxRate) {
		p.rate = maxRate
	}
	p.maxLimit, p.maxRate = maxLimit, maxRate
	p.setBucket()
}

// setWindow makes the window follow the configured rate. A new one knows of nothing that was sent before.
func (p *pace) setWindow(most Rate) {
	switch {
	case most.Messages <= 0 || most.Per < rate.From:
		p.window = nil
	case p.window == nil || p.window.Rate != most:
		p.window = &rate.Window{Rate: most}
	}
}

// lowered reports whether less is sent than the configuration allows, because the upstream asked for it.
func (p *pace) lowered() bool { return p.rate != p.maxRate || p.limit < p.maxLimit }

// setBucket makes the token bucket follow the rate. A tenth of a second of burst evens out timers without
// letting a burst reach the upstream.
func (p *pace) setBucket() {
	if p.rate == 0 {
		p.bucket = nil
		return
	}
	burst := max(1, int(p.rate/10))
	if p.bucket == nil {
		p.bucket = bucket.NewLimiter(bucket.Limit(p.rate), burst)
		return
	}
	p.bucket.SetLimit(bucket.Limit(p.rate))
	p.bucket.SetBurst(burst)
}

// room is how many of up to want messages may be started now. wait is how long until more may be; 0 if that
// does not depend on time.
func (p *pace) room(now time.Time, want int) (n int, wait time.Duration) {
	if p.bucket == nil || want <= 0 {
		return want, 0
	}
	if p.window != nil {
		free, until := p.window.Free(now)
		if free == 0 {
			return 0, until
		}
		want = min(want, free)
	}
	tokens := p.bucket.TokensAt(now)
	n = min(want, int(tokens))
	if n < want {
		wait = time.Duration((float64(n+1) - tokens) / p.rate * float64(time.Second))
		wait = max(wait, time.Millisecond)
	}
	return max(n, 0), wait
}

// spend takes the tokens of n messages. all says that no other message waited, so that the pace is not what
// limits the lane.
func (p *pace) spend(now time.Time, n int, all bool) {
	if p.bucket == nil {
		return
	}
	if all {
		p.bound = measure{}
	} else if p.bound.from.IsZero() {
		p.bound.from = now
	}
	if n > 0 {
		p.bucket.AllowN(now, n)
	}
	if p.window != nil {
		p.window.Begin(n)
	}
}

// ended says that a message is no longer under way, and whether it was offered.
func (p *pace) ended(now time.Time, offered bool) {
	if p.window != nil {
		p.window.End(now, offered)
	}
}

// success notes a message that the upstream took, and raises what was lowered.
func (p *pace) success(now time.Time) {
	p.recent.count(now)
	p.bound.taken++
	if p.limit < p.maxLimit && now.Sub(p.crowded) > limitGrowEvery && now.Sub(p.grown) > limitGrowEvery {
		p.limit++
		p.grown = now
	}
	if p.rate != p.maxRate {
		if p.closed {
			p.closed, p.reopened, p.grown = false, now, time.Time{}
		}
		p.grow(now)
	}
}

// grow raises the rate after a success.
func (p *pace) grow(now time.Time) {
	since, quiet := now.Sub(p.grown), now.Sub(p.throttled)
	switch {
	case since < 0 || quiet < 0: // the clock was set back
		p.grown, p.throttled = now, now
		return
	case quiet > paceForget:
		p.rate = p.maxRate
	case p.good == 0 || p.rate < p.good:
		if since < paceDouble {
			return
		}
		p.double(now)
	case since < paceWindow:
		return
	default:
		share := min(paceGrowth*quiet.Seconds(), paceGrowthMax)
		p.rate += p.rate * share * min(since.Seconds(), 5)
	}
	if p.maxRate > 0 {
		p.rate = min(p.rate, p.maxRate)
	}
	p.grown = now
	p.setBucket()
}

// double is a step of the slow start. If no bound shows for a while the rate becomes the configured one.
func (p *pace) double(now time.Time) {
	p.rate *= 2
	switch {
	case p.good > 0:
		p.rate = min(p.rate, p.good)
	case p.rate >= paceFree && now.Sub(p.reopened) >= paceFreeAfter:
		p.rate = p.maxRate
	default:
		p.rate = min(p.rate, paceMost)
	}
}

// throttle handles a reply that asks for less, and reports whether the rate was lowered. The first one lowers
// it to what the upstream was seen to take; each further one, window by window, by one more step.
func (p *pace) throttle(now time.Time) bool {
	if since := now.Sub(p.throttled); since >= 0 && since < paceWindow {
		return false
	}
	switch {
	case p.rate == p.maxRate:
		p.rate, p.good = p.observed(now), 0
		if p.maxRate > 0 {
			p.rate = min(p.rate, p.maxRate*paceDecrease)
		}
		p.bound = measure{from: now}
	case p.closed:
		p.rate *= paceClosed
	default:
		p.rate *= paceDecrease
		p.estimate(now)
	}
	p.throttled, p.grown, p.closed = now, now, true
	if p.rate = max(p.rate, paceMinRate); p.maxRate > 0 {
		p.rate = min(p.rate, p.maxRate)
	}
	p.setBucket()
	return true
}

// estimate takes the rate at which mail was taken since the last time as what the upstream accepts, if the
// lane could have sent more: the rate of a lane with little to do says nothing about its upstream.
func (p *pace) estimate(now time.Time) {
	since := now.Sub(p.bound.from).Seconds()
	if !p.bound.from.IsZero() && since >= 1 && p.bound.taken >= paceSample {
		seen := float64(p.bound.taken) / since
		p.good = max(seen*paceGood, paceMinRate)
		p.rate = min(p.rate, seen)
		p.bound = measure{from: now}
	}
}

// crowd handles a reply that refuses an additional connection, and reports whether the limit was lowered.
func (p *pace) crowd(now time.Time, inUse int) bool {
	p.crowded, p.grown = now, now
	before := p.limit
	p.limit = max(1, min(p.limit, inUse))
	return p.limit < before
}

// crowdedAt reports whether an additional connection was refused a moment ago.
func (p *pace) crowdedAt(now time.Time) bool {
	since := now.Sub(p.crowded)
	return since >= 0 && since < crowdedFor
}

// observed is the accepted rate, as far as it is known.
func (p *pace) observed(now time.Time) float64 { return max(p.recent.last, p.recent.rate(now), 1) }

// count counts a message and measures the rate.
func (m *measure) count(now time.Time) {
	switch since := now.Sub(m.from); {
	case since < 0 || since > 2*paceMeasure:
		*m = measure{from: now}
	case since >= paceMeasure:
		*m = measure{from: now, last: float64(m.taken) / since.Seconds()}
	}
	m.taken++
}

// rate is the rate since the count began.
func (m *measure) rate(now time.Time) float64 {
	since := now.Sub(m.from).Seconds()
	if since <= 0 {
		return 0
	}
	return float64(m.taken) / max(since, 1)
}

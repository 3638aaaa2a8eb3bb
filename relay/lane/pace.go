package lane

import (
	"time"

	"golang.org/x/time/rate"
)

// The constants by which a lane finds the rate that its upstream bears. The scheme is that of TCP's
// congestion control (RFC 5681): a multiplicative decrease, after it a slow start that doubles up to the rate
// that is known to be good, and from there a growth that is slow at first.
const (
	paceDecrease  = 0.85        // of the rate, at most once a paceWindow, if mail was taken since the last time
	paceClosed    = 0.7         // the same when it took none: it is not the rate then
	paceGood      = 0.95        // of the rate that was taken before a throttling reply is known to be good
	paceGrowth    = 0.0005      // of the rate, each second, for each second since the last throttling reply ...
	paceGrowthMax = 0.1         // ... until here
	paceWindow    = time.Second // replies to what was already under way are one signal, not many
	paceDouble    = 100 * time.Millisecond
	paceMeasure   = 5 * time.Second // over which the accepted rate is measured
	paceForget    = 10 * time.Minute
	paceMinRate   = 0.05 // messages a second
	paceMost      = 1e4  // the same, beyond what any lane does
	paceLearn     = 3    // messages from which a rate is learned
	paceFree      = 50.0 // messages a second: from here a rate without a known bound is none, after ...
	paceFreeAfter = 10 * time.Second

	limitGrowEvery = 5 * time.Second
	crowdedFor     = 5 * time.Second // for which no further connection is tried
)

// pace is how much a lane sends at once and a second: upper bounds from the configuration, lowered by
// throttling replies, raised again by success. It belongs to the lane's goroutine.
type pace struct {
	maxLimit int     // configured connections
	maxRate  float64 // configured messages a second; 0 is no bound

	limit     int     // connections now
	rate      float64 // messages a second now; 0 is no bound
	good      float64 // messages a second that the upstream was seen to bear; 0: not known
	bucket    *rate.Limiter
	crowded   time.Time // when a connection was last refused as one too many
	throttled time.Time // when a throttling reply was last acted on
	grown     time.Time // when limit or rate were last raised
	closed    bool      // nothing was taken since throttled
	reopened  time.Time // when something was, the first time after
	recent    measure   // what is taken, whoever bounds it
	bound     measure   // what is taken while it is this pace that bounds it
}

// measure counts messages from a time on.
type measure struct {
	from  time.Time
	taken int
	last  float64 // messages a second, of the last whole paceMeasure
}

// configure sets the upper bounds. Values that were never lowered follow them.
func (p *pace) configure(maxLimit int, maxRate float64) {
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
		p.bucket = rate.NewLimiter(rate.Limit(p.rate), burst)
		return
	}
	p.bucket.SetLimit(rate.Limit(p.rate))
	p.bucket.SetBurst(burst)
}

// room is how many of up to want messages may be started at now; wait is when more may be, 0 if time does not
// matter.
func (p *pace) room(now time.Time, want int) (n int, wait time.Duration) {
	if p.bucket == nil || want <= 0 {
		return want, 0
	}
	tokens := p.bucket.TokensAt(now)
	n = min(want, int(tokens))
	if n < want {
		wait = time.Duration((float64(n+1) - tokens) / p.rate * float64(time.Second))
		wait = max(wait, time.Millisecond)
	}
	return max(n, 0), wait
}

// spend takes the tokens of n messages. all says that these are all that waited, so that it is not the pace
// by which the lane is bound.
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

// double is a step of the slow start. Where no bound shows for a while it ends with none.
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

// throttle acts on a reply that asks for less, and reports whether the rate was lowered. The first one brings
// it down to what the upstream was seen to take; each further one, window by window, a step below.
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
		p.learn(now)
	}
	p.throttled, p.grown, p.closed = now, now, true
	if p.rate = max(p.rate, paceMinRate); p.maxRate > 0 {
		p.rate = min(p.rate, p.maxRate)
	}
	p.setBucket()
	return true
}

// learn takes the rate at which mail was taken since the last time for what the upstream bears, if the lane
// could have sent more: what a lane with little to do sends says nothing about its upstream.
func (p *pace) learn(now time.Time) {
	since := now.Sub(p.bound.from).Seconds()
	if !p.bound.from.IsZero() && since >= 1 && p.bound.taken >= paceLearn {
		seen := float64(p.bound.taken) / since
		p.good = max(seen*paceGood, paceMinRate)
		p.rate = min(p.rate, seen)
		p.bound = measure{from: now}
	}
}

// crowd acts on a reply that refuses one connection more than those in use, and reports whether the limit was
// lowered.
func (p *pace) crowd(now time.Time, inUse int) bool {
	p.crowded, p.grown = now, now
	before := p.limit
	p.limit = max(1, min(p.limit, inUse))
	return p.limit < before
}

// crowdedAt reports whether a connection was refused as one too many a moment ago.
func (p *pace) crowdedAt(now time.Time) bool {
	since := now.Sub(p.crowded)
	return since >= 0 && since < crowdedFor
}

// observed is the accepted rate as well as it is known.
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

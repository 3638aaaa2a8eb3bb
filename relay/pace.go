package relay

import (
	"time"

	"golang.org/x/time/rate"
)

// The constants of the additive increase and multiplicative decrease (the scheme of TCP's congestion avoidance) by
// which a lane finds what its upstream bears.
const (
	paceDecrease   = 0.85            // of the rate, at most once a paceWindow
	paceIncrease   = 0.03            // of the rate, a second without a throttling reply
	paceWindow     = time.Second     // replies to what was already under way are one signal, not many
	paceMeasure    = 5 * time.Second // over which the accepted rate is measured
	paceForget     = 10 * time.Minute
	paceMinRate    = 0.05 // messages a second
	limitGrowEvery = 5 * time.Second
	crowdedFor     = 5 * time.Second // for which no further connection is tried
)

// pace is how much a lane sends at once and a second: upper bounds from the configuration, lowered by throttling
// replies, raised again by success. It belongs to the lane's goroutine.
type pace struct {
	maxLimit int     // configured connections
	maxRate  float64 // configured messages a second; 0 is no bound

	limit      int     // connections now
	rate       float64 // messages a second now; 0 is no bound
	bucket     *rate.Limiter
	crowded    time.Time // when a connection was last refused as one too many
	throttled  time.Time // when a throttling reply was last acted on
	grown      time.Time // when limit or rate were last raised
	windowFrom time.Time
	accepted   int     // since windowFrom
	measured   float64 // messages a second, of the last whole window
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

// setBucket makes the token bucket follow the rate. A tenth of a second of burst evens out timers without letting a
// burst reach the upstream.
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

// room is how many of up to want messages may be started at now; wait is when more may be, 0 if time does not matter.
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

// spend takes n tokens.
func (p *pace) spend(now time.Time, n int) {
	if p.bucket != nil && n > 0 {
		p.bucket.AllowN(now, n)
	}
}

// success notes a message that the upstream took, and raises what was lowered, slowly.
func (p *pace) success(now time.Time) {
	p.count(now)
	if p.limit < p.maxLimit && now.Sub(p.crowded) > limitGrowEvery && now.Sub(p.grown) > limitGrowEvery {
		p.limit++
		p.grown = now
	}
	if p.rate == p.maxRate {
		return
	}
	if now.Sub(p.throttled) > paceForget && p.maxRate == 0 {
		p.rate = 0
		p.setBucket()
		return
	}
	if since := now.Sub(p.grown); since > paceWindow {
		p.rate += max(p.rate*paceIncrease, paceMinRate) * min(since.Seconds(), 5)
		if p.maxRate > 0 {
			p.rate = min(p.rate, p.maxRate)
		}
		p.grown = now
		p.setBucket()
	}
}

// count measures the rate at which messages are taken.
func (p *pace) count(now time.Time) {
	switch since := now.Sub(p.windowFrom); {
	case since < 0 || since > 2*paceMeasure:
		p.windowFrom, p.accepted, p.measured = now, 0, 0
	case since >= paceMeasure:
		p.measured = float64(p.accepted) / since.Seconds()
		p.windowFrom, p.accepted = now, 0
	}
	p.accepted++
}

// throttle acts on a reply that asks for less, and reports whether the rate was lowered. The first one brings it
// down to what the upstream was seen to take; each further one, window by window, a step below.
func (p *pace) throttle(now time.Time) bool {
	if since := now.Sub(p.throttled); since >= 0 && since < paceWindow {
		return false
	}
	p.throttled, p.grown = now, now
	if p.rate == 0 || p.rate == p.maxRate {
		p.rate = p.observed(now)
	} else {
		p.rate *= paceDecrease
	}
	p.rate = max(p.rate, paceMinRate)
	if p.maxRate > 0 {
		p.rate = min(p.rate, p.maxRate)
	}
	p.setBucket()
	return true
}

// crowd acts on a reply that refuses one connection more than those in use, and reports whether the limit was lowered.
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
func (p *pace) observed(now time.Time) float64 {
	current := 0.0
	if since := now.Sub(p.windowFrom).Seconds(); since > 0 {
		current = float64(p.accepted) / max(since, 1)
	}
	return max(p.measured, current, 1)
}

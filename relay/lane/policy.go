package lane

import "time"

// Policy is how long and how often a lane tries. It is plain data, read again for each decision, so that a
// changed configuration also applies to mail that already waits.
type Policy struct {
	Schedule   []time.Duration // delay after the first, second ... attempt; the last one repeats
	Expiry     time.Duration   // from arrival until a message is given up (RFC 5321, 4.5.4.1)
	Jitter     float64         // part of a delay that is random, 0 to 1: 0.1 spreads it by +-10 %
	RetryAfter Bounds          // limits of a delay that the upstream asks for
	DelayAfter time.Duration   // from arrival until a delay notice; 0 means none
	Collect    time.Duration   // for which the notices of a message are gathered into one DSN
}

// Bounds is a closed interval of durations.
type Bounds struct{ Min, Max time.Duration }

// clamp returns the value of b nearest to d.
func (b Bounds) clamp(d time.Duration) time.Duration {
	return max(b.Min, min(d, b.Max))
}

// uncertainFactor lengthens the delay after an end of data that was not answered: the message may have
// arrived, and a server that was only slow should have finished before it is offered again.
const uncertainFactor = 3

// delay is the time from attempt number n, counted from 1, to the next one. spread is a random number from 0
// to 1.
func (p *Policy) delay(n int, spread float64) time.Duration {
	if len(p.Schedule) == 0 {
		return time.Minute
	}
	d := p.Schedule[min(max(n, 1), len(p.Schedule))-1]
	return d + time.Duration(float64(d)*p.Jitter*(2*spread-1))
}

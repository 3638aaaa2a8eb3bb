package oauth

import "time"

// notices are how long before its end a client secret or certificate is warned of, once each.
func notices() []time.Duration {
	const day = 24 * time.Hour
	return []time.Duration{30 * day, 7 * day, day, 0}
}

// given is how many notices are due of something that ends at a time; none if that is zero.
func given(end, now time.Time) (n int) {
	for _, before := range notices() {
		if !end.IsZero() && !now.Before(end.Add(-before)) {
			n++
		}
	}
	return n
}

// watch remembers how many notices were given of a secret or certificate.
type watch struct{ given int }

// due reports whether another notice is due. It forgets the old ones once the end is farther away: what was
// about to expire has been replaced.
func (w *watch) due(end, now time.Time) bool {
	n := given(end, now)
	due := n > w.given
	w.given = n
	return due
}

// expiring is a Source that knows when its client secret and certificate expire; zero: there is none, or
// nobody knows.
type expiring interface {
	expiries() (secret, certificate time.Time)
}

// expiries are those of the source.
func (c *Cached) expiries() (secret, certificate time.Time) {
	if e, ok := c.source.(expiring); ok {
		return e.expiries()
	}
	return time.Time{}, time.Time{}
}

// warnExpiry gives the notices that are due. It is called after each fetch, and never by two at once.
func (c *Cached) warnExpiry() {
	now := time.Now()
	secret, certificate := c.expiries()
	for _, x := range []struct {
		what string
		end  time.Time
		*watch
	}{{"client secret", secret, &c.secret}, {"client certificate", certificate, &c.certificate}} {
		if x.due(x.end, now) {
			c.log.Warn("the OAuth "+x.what+" expires; replace it", "upstream", c.name, "expires", x.end)
		}
	}
}

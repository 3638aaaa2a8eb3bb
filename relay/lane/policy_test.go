package lane

import "time"

// testPolicy is like the policy of a relay with the default configuration.
func testPolicy() Policy {
	return Policy{
		Schedule: []time.Duration{
			time.Minute, 5 * time.Minute, 5 * time.Minute, 30 * time.Minute,
			time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour, 4 * time.Hour,
		},
		Expiry:     5 * 24 * time.Hour,
		Jitter:     0.1,
		RetryAfter: Bounds{Min: time.Second, Max: 4 * time.Hour},
		DelayAfter: 4 * time.Hour,
		Collect:    5 * time.Second,
	}
}

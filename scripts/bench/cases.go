package main

import (
	"strings"
	"time"
)

// testCase is one kind of load.
type testCase struct {
	name          string
	about         string
	sessions      int
	messages      int // in all
	size          int // bytes
	perConnection int // 0 is all
	roundTrip     time.Duration
	refused       bool          // every recipient, so that each message comes back as a bounce
	lasts         time.Duration // in place of messages; it is run only if it is asked for
}

// allCases are those of the performance goals.
func allCases() []testCase {
	const k = 1 << 10
	return []testCase{
		{name: "4k-1", about: "4 KiB, 1 session", sessions: 1, messages: 1000, size: 4 * k},
		{name: "4k-10", about: "4 KiB, 10 sessions", sessions: 10, messages: 5000, size: 4 * k},
		{name: "4k-50", about: "4 KiB, 50 sessions", sessions: 50, messages: 5000, size: 4 * k},
		{
			name:          "4k-50-one",
			about:         "4 KiB, 50 sessions, one message a connection",
			sessions:      50,
			messages:      5000,
			size:          4 * k,
			perConnection: 1,
		},
		{name: "100k-10", about: "100 KiB, 10 sessions", sessions: 10, messages: 1500, size: 100 * k},
		{name: "10m-20", about: "10 MiB, 20 sessions", sessions: 20, messages: 60, size: 10 * k * k},
		{
			name:      "rtt-50",
			about:     "4 KiB, 50 sessions, upstream 20 ms away",
			sessions:  50,
			messages:  3000,
			size:      4 * k,
			roundTrip: 20 * time.Millisecond,
		},
		{
			name:     "refused",
			about:    "4 KiB, 10 sessions, each refused with 550 and bounced",
			sessions: 10,
			messages: 10_000,
			size:     4 * k,
			refused:  true,
		},
		{
			name:     "minute",
			about:    "4 KiB, 10 sessions, for a minute",
			sessions: 10,
			size:     4 * k,
			lasts:    time.Minute,
		},
	}
}

// caseNames are the names of all cases.
func caseNames() string {
	var names []string
	for _, c := range allCases() {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

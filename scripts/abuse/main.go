// Command abuse attacks the front door of a whole relay in every way at once, while an honest client sends
// mail through it.
//
//	go run ./scripts/abuse          the full size: 500 slow clients, 50,000 RCPT, a line of 100 MB; a minute
//	go run ./scripts/abuse quick    the same with fewer of each; seconds
//
// It builds the real command and runs `mailwhy serve`, with a spool and an upstream behind it, in a scratch
// directory. All of it stays on loopback: the attackers come from 127.0.0.2 and 127.0.0.3, the honest client
// from 127.0.0.1. At the end it holds that
//
//   - the relay never took more than 150 MB of memory;
//   - each message of the honest client was acknowledged, its 99th percentile (connect, send, QUIT) within a
//     second;
//   - what was acknowledged arrived at the upstream once, and what was neither acknowledged nor whole did
//     not, nor is in the queue;
//   - the first login of an honest client takes a second at most while hundreds guess passwords, from other
//     addresses and from its own;
//   - the limits were met: of connections, commands, recipients, errors and failed passwords.
//
// The exit status is 0 when all held, and 1 when something did not.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"mailwhy/relay/smtptest/ledger"
)

// What is held.
const (
	maxMemory = 150_000_000 // bytes
	maxP99    = time.Second
	maxLogin  = time.Second // for the reply to an honest client's first AUTH, or
	slowdown  = 20          // times what it takes without guessers, on a machine that is busy anyway
	settleIn  = time.Minute // for what was acknowledged to arrive
	maxShown  = 25          // of what does not hold
)

func main() {
	s := full()
	switch {
	case len(os.Args) == 2 && os.Args[1] == "quick":
		s = quick()
	case len(os.Args) > 1:
		fmt.Fprintln(os.Stderr, "usage: abuse [quick]")
		os.Exit(2)
	}
	broken, err := run(s, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "abuse:", err)
		os.Exit(1)
	}
	for _, b := range broken[:min(len(broken), maxShown)] {
		fmt.Println("does not hold:", b)
	}
	if len(broken) > 0 {
		os.Exit(1)
	}
	fmt.Println("all of it holds")
}

// run makes the attack and returns what did not hold.
func run(s size, out io.Writer) (broken []string, err error) {
	dir, err := os.MkdirTemp("", "abuse")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r, err := startRelay(dir, s)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	a := &attack{relay: r, size: s, end: time.Now().Add(s.last)}
	waits := a.run()
	logins := a.crowds()
	p50, p99 := waits[len(waits)/2], waits[len(waits)*99/100]
	v, err := settled(r.ledger)
	if err != nil {
		return nil, err
	}
	broken = append(a.complaints, v.Broken...)
	queue, err := r.queue()
	if err != nil {
		return nil, err
	}
	peak := r.proc.PeakMemory()
	hold := func(holds bool, format string, args ...any) {
		if !holds {
			broken = append(broken, fmt.Sprintf(format, args...))
		}
	}
	hold(p99 <= maxP99, "the honest client's p99 is %v", p99)
	hold(peak > 0 && peak < maxMemory, "the relay took %d bytes of memory", peak)
	for _, l := range logins {
		hold(l.worst <= max(maxLogin, slowdown*l.alone),
			"beside guessers %s an honest first login took %v, and %v without them", l.crowd.where, l.worst,
			l.alone)
		hold(l.guesses > 0, "no password was guessed at %s", l.crowd.where)
		fmt.Fprintf(out, "%d guessers %s: %d guesses answered, %d honest first logins, the slowest %v\n",
			s.crowd, l.crowd.where, l.guesses, s.logins, l.worst.Round(time.Millisecond))
	}
	hold(len(queue) == 0, "the queue holds %q", queue)
	hold(a.turnedAway.Load() > 0, "the flood of connections met no limit")
	hold(a.guesses.Load() > 0, "no password was guessed at")
	fmt.Fprintf(out, "honest client: %d messages, p50 %v, p99 %v, worst %v\n", len(waits), p50, p99,
		slices.Max(waits))
	fmt.Fprintf(out, "attackers: %d connections turned away, %d passwords guessed\n", a.turnedAway.Load(),
		a.guesses.Load())
	fmt.Fprintf(out,
		"messages: %d acknowledged, %d whole with the reply not read, %d refused, %d cut; %d arrived\n",
		v.Acked, v.Unanswered, v.Refused, v.Offered-v.Acked-v.Unanswered-v.Refused, v.Arrived)
	fmt.Fprintf(out, "the relay's peak memory: %.0f MB\n", float64(peak)/1e6)
	return broken, nil
}

// settled waits until all that was acknowledged has arrived, and a little longer for what should not.
func settled(l *ledger.Ledger) (*ledger.Verdict, error) {
	ctx, cancel := context.WithTimeout(context.Background(), settleIn)
	defer cancel()
	l.Settled(ctx) // what is missing is in the verdict too
	time.Sleep(time.Second)
	return l.Check(ledger.Rules{})
}

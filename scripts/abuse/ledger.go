package main

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"mailwhy/relay/smtptest"
)

// mark begins the first line of each message that is sent here; its name follows.
const mark = "X-Abuse: "

// fate is how far a message came, as its client saw it.
type fate int

const (
	cut     fate = iota // its final dot was never sent
	refused             // answered, and not with 250
	whole               // sent with its final dot, the reply not read
	acked               // answered with 250
)

// ledger compares what clients saw with what came to the upstream. It is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	fates   map[string]fate
	arrived map[string]int
}

func newLedger() *ledger { return &ledger{fates: map[string]fate{}, arrived: map[string]int{}} }

// open enters a message that is about to be sent and returns its first line.
func (l *ledger) open(name string) string {
	l.note(name, cut)
	return mark + name + "\r\n"
}

// note enters how far a message came.
func (l *ledger) note(name string, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fates[name] = f
}

// deliver is the upstream's smtptest.Options.Deliver.
func (l *ledger) deliver(m *smtptest.Message) error {
	name := "without a mark"
	if _, rest, ok := bytes.Cut(m.Content, []byte("\r\n"+mark)); ok {
		line, _, _ := bytes.Cut(rest, []byte("\r\n"))
		name = string(line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrived[name]++
	return nil
}

// tally counts the messages of each kind.
type tally struct{ acked, whole, refused, cut, arrived int }

func (t tally) String() string {
	return fmt.Sprintf("%d acknowledged, %d whole with the reply not read, %d refused, %d cut; %d arrived", t.acked, t.whole, t.refused, t.cut, t.arrived)
}

// settle waits until all that was acknowledged has arrived, and a little longer for what should not.
func (l *ledger) settle(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end) && l.missing() > 0; {
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(time.Second)
}

// compare counts the messages and says what is amiss.
func (l *ledger) compare() (t tally, amiss []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range l.fates {
		n := l.arrived[name]
		switch f {
		case acked:
			t.acked++
		case whole:
			t.whole++
		case refused:
			t.refused++
		case cut:
			t.cut++
		}
		if n > 1 || f == acked && n == 0 || f < whole && n > 0 {
			amiss = append(amiss, fmt.Sprintf("message %s (%s) arrived %d times", name, [...]string{"cut", "refused", "whole", "acknowledged"}[f], n))
		}
	}
	for name := range l.arrived {
		t.arrived++
		if _, known := l.fates[name]; !known {
			amiss = append(amiss, fmt.Sprintf("message %s arrived, and nobody sent it", name))
		}
	}
	return t, amiss
}

// missing is the number of messages that were acknowledged and have not arrived.
func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range l.fates {
		if f == acked && l.arrived[name] == 0 {
			n++
		}
	}
	return n
}

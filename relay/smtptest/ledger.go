package smtptest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"strconv"
	"sync"
	"time"
)

// Ledger holds what a Load offered and was acknowledged against what arrived at a Server, by an id in each message's
// header and a checksum of everything from that line on. It is safe for concurrent use. One Ledger serves one Load and
// one Server; mail of other origin, and of other Ledgers, is counted apart.
type Ledger struct {
	mark []byte // what the id's header line begins with
	seed maphash.Seed

	mu      sync.Mutex
	entries []entry // by id
	acked   int
	settled int // acknowledged, and arrived or returned
	other   int
	last    time.Time
}

// entry is the story of one message.
type entry struct {
	sum           uint64
	acked         bool
	refused       bool
	damaged       bool
	got, returned int
}

// Tally is what a Ledger adds up to. Nothing was lost when Lost is 0; everything came exactly once when Duplicated is
// 0 as well.
type Tally struct {
	Offered       int // messages whose content was sent
	Acked         int // answered with 2yz
	Refused       int // answered with 4yz or 5yz
	Arrived       int // different messages that came to the Server
	Returned      int // different messages whose bounce came to the Server
	Lost          int // acknowledged, and neither arrived nor returned
	Duplicated    int // arrived more than once
	ReturnedTwice int // returned more than once
	Damaged       int // arrived with another content
	Unasked       int // arrived without having been acknowledged, as after a reply that was lost
	Other         int // contents without an id of this Ledger, bounces left out
}

// String is the tally on one line.
func (t Tally) String() string {
	return fmt.Sprintf("offered %d, acked %d, refused %d, arrived %d, returned %d, lost %d, duplicated %d, returned twice %d, damaged %d, not acked %d, other %d",
		t.Offered, t.Acked, t.Refused, t.Arrived, t.Returned, t.Lost, t.Duplicated, t.ReturnedTwice, t.Damaged, t.Unasked, t.Other)
}

// NewLedger opens a Ledger.
func NewLedger() *Ledger {
	return &Ledger{mark: []byte("X-Load-Id: " + rand.Text()[:10] + "-"), seed: maphash.MakeSeed()}
}

// issue gives out the next id.
func (l *Ledger) issue() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{})
	return len(l.entries) - 1
}

// header is the line that carries the id.
func (l *Ledger) header(id int) []byte {
	return append(strconv.AppendInt(bytes.Clone(l.mark), int64(id), 10), "\r\n"...)
}

// offered notes the checksum of a message that is about to be sent.
func (l *Ledger) offered(id int, sum uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[id].sum = sum
}

// answered notes the reply to a message.
func (l *Ledger) answered(id, code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[id]
	if code/100 != 2 {
		e.refused = true
		return
	}
	e.acked = true
	l.acked++
	if e.got > 0 || e.returned > 0 {
		l.settled++
	}
}

// arrival reads one content line by line.
type arrival struct {
	ledger   *Ledger
	body     bool // past the header
	id       int  // -1 until it is found
	returned int  // id of the message that this one returns, or -1
	sum      maphash.Hash
}

// arrive begins a content.
func (l *Ledger) arrive() *arrival {
	a := &arrival{ledger: l, id: -1, returned: -1}
	a.sum.SetSeed(l.seed)
	return a
}

// line takes the next piece, at most one line.
func (a *arrival) line(b []byte) {
	switch {
	case a.id >= 0:
	case bytes.HasPrefix(b, a.ledger.mark):
		id, err := strconv.Atoi(string(bytes.TrimRight(b[len(a.ledger.mark):], "\r\n")))
		if err != nil || id < 0 {
			return
		}
		if a.body {
			a.returned = id
			return
		}
		a.id = id
	case len(b) <= 2 && bytes.HasSuffix(b, []byte("\n")):
		a.body = true
		return
	default:
		return
	}
	a.sum.Write(b)
}

// end enters the content into the Ledger.
func (a *arrival) end() {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
	id := max(a.id, a.returned)
	if id < 0 || id >= len(l.entries) {
		l.other++
		return
	}
	e := &l.entries[id]
	if e.acked && e.got == 0 && e.returned == 0 {
		l.settled++
	}
	if a.id < 0 {
		e.returned++
		return
	}
	e.got++
	e.damaged = e.damaged || e.sum != a.sum.Sum64()
}

// Settled returns once every acknowledged message has arrived or was returned, or with the error of ctx. It says
// when the last content came.
func (l *Ledger) Settled(ctx context.Context) (last time.Time, err error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		acked, settled, last := l.acked, l.settled, l.last
		l.mu.Unlock()
		if settled >= acked {
			return last, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("%d of %d acknowledged messages arrived: %w", settled, acked, ctx.Err())
		}
	}
}

// Tally adds up.
func (l *Ledger) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := Tally{Offered: len(l.entries), Acked: l.acked, Other: l.other}
	for i := range l.entries {
		e := &l.entries[i]
		count(&t.Refused, e.refused)
		count(&t.Arrived, e.got > 0)
		count(&t.Returned, e.returned > 0)
		count(&t.Lost, e.acked && e.got == 0 && e.returned == 0)
		count(&t.Duplicated, e.got > 1)
		count(&t.ReturnedTwice, e.returned > 1)
		count(&t.Damaged, e.damaged)
		count(&t.Unasked, e.got > 0 && !e.acked)
	}
	return t
}

// count adds one to n if it holds.
func count(n *int, holds bool) {
	if holds {
		*n++
	}
}

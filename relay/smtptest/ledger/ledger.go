// Package ledger compares mail that clients offered with mail that arrived at a server, and checks what a
// relay between them promises.
//
// A client writes a Record before it says MAIL, before it says the final dot, and when it reads the answer. A
// server (smtptest.Options.Ledger) writes one for each message before it says 250: an Arrived, or a Bounced
// where the message is a delivery status notification (RFC 3464) about a failure. Check then adds the records
// up: what was lost, doubled, damaged, invented or reported twice.
//
// A message is known by the line that begins with Mark in its header. Everything from that line on must
// arrive byte for byte; in front of it a relay may put Received fields (RFC 5321, 4.4) and signatures only.
//
// The load generator of package smtptest and scripts/bench use a Ledger in memory (New), scripts/abuse too;
// scripts/faults, which kills processes and cuts the power, uses one that is on disk before anybody goes on
// (Open).
//
// What always holds: Write returns when the record is kept; Check is pure, and depends on the records alone.
package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Kind says what a Record is about.
type Kind string

// The kinds of records.
const (
	Began   Kind = "began"   // client: MAIL is about to be said
	Dotted  Kind = "dotted"  // client: the final dot is about to be said
	Acked   Kind = "acked"   // client: 250 was read
	Refused Kind = "refused" // client: a 4xx or 5xx was read in answer to the final dot
	Arrived Kind = "arrived" // server: a message of ours came whole, and 250 follows
	Bounced Kind = "bounced" // server: a report of failure came, and 250 follows
	Stray   Kind = "stray"   // server: a content came that is neither, and 250 follows
	Crashed Kind = "crashed" // harness: the relay is dead, and what it had under way has ended
)

// Record is one entry.
type Record struct {
	Time   time.Time `json:"time"`
	What   Kind      `json:"what"`
	ID     string    `json:"id,omitempty"`
	From   string    `json:"from,omitempty"`
	To     []string  `json:"to,omitempty"`
	Sum    string    `json:"sum,omitempty"`    // of the content: with Began, or with Dotted
	Queue  string    `json:"queue,omitempty"`  // queue id, from the 250
	Code   int       `json:"code,omitempty"`   // of a refusal
	Report string    `json:"report,omitempty"` // Message-ID of the report
	Note   string    `json:"note,omitempty"`
}

// Recipient is one recipient of one message.
type Recipient struct{ ID, To string }

// state is what is known of a recipient so far.
type state struct{ acked, settled bool }

// Ledger keeps records. It is safe for concurrent use.
type Ledger struct {
	series string           // of the ids that it gives out
	hash   func() hash.Hash // makes the checksum of a content
	files  *files           // nil: records are kept in memory

	mu          sync.Mutex
	blocks      [][]Record // when there are no files; never moved, since copying would slow the load
	ids         int        // given out
	recipients  map[Recipient]state
	outstanding int // recipients acknowledged and not settled
	acked       int // messages
	refused     map[int]int
	last        time.Time // of the last arrival
}

// New opens a Ledger in memory. Its checksums are fast, and only good within this process.
func New() *Ledger {
	seed := maphash.MakeSeed()
	return newLedger(func() hash.Hash {
		h := new(maphash.Hash)
		h.SetSeed(seed)
		return h
	})
}

func newLedger(hash func() hash.Hash) *Ledger {
	return &Ledger{
		series: rand.Text()[:10] + "-", hash: hash,
		recipients: make(map[Recipient]state), refused: make(map[int]int),
	}
}

// NewID gives out an id that no other Ledger gives out.
func (l *Ledger) NewID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids++
	return l.series + strconv.Itoa(l.ids)
}

// Sum is the checksum of a content, given in parts, from the Mark on.
func (l *Ledger) Sum(content ...[]byte) string {
	h := l.hash()
	for _, part := range content {
		h.Write(part)
	}
	return sumText(h)
}

// sumText is a checksum as records have it: 96 bits at most.
func sumText(h hash.Hash) string {
	b := h.Sum(nil)
	return hex.EncodeToString(b[:min(12, len(b))])
}

// Write stamps a record with the time and keeps it.
func (l *Ledger) Write(r Record) error {
	r.Time = time.Now()
	if l.files != nil {
		if err := l.files.write(&r); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil {
		l.keep(r)
	}
	l.follow(&r)
	return nil
}

// block is how many records are kept in one piece.
const block = 1024

// keep keeps a record in memory. l.mu is held.
func (l *Ledger) keep(r Record) {
	last := len(l.blocks) - 1
	if last < 0 || len(l.blocks[last]) == block {
		l.blocks = append(l.blocks, make([]Record, 0, block))
		last++
	}
	l.blocks[last] = append(l.blocks[last], r)
}

// follow keeps count of what is still to come. l.mu is held.
func (l *Ledger) follow(r *Record) {
	switch r.What {
	case Acked:
		l.acked++
	case Refused:
		l.refused[r.Code]++
		return
	case Arrived, Bounced, Stray:
		l.last = r.Time
	default:
		return
	}
	for _, to := range r.To {
		key := Recipient{r.ID, to}
		was := l.recipients[key]
		now := state{was.acked || r.What == Acked, was.settled || r.What == Arrived || r.What == Bounced}
		l.outstanding += now.open() - was.open()
		l.recipients[key] = now
	}
}

// open is 1 for a recipient that was acknowledged and not settled.
func (s state) open() int {
	if s.acked && !s.settled {
		return 1
	}
	return 0
}

// Records are all records, oldest first. In a Ledger on disk they are read from the files.
func (l *Ledger) Records() ([]Record, error) {
	if l.files != nil {
		return l.files.read()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.blocks...), nil
}

// Check reads the records and holds them to the rules.
func (l *Ledger) Check(rules Rules) (*Verdict, error) {
	records, err := l.Records()
	if err != nil {
		return nil, err
	}
	return Check(records, rules), nil
}

// Outstanding is how many recipients of acknowledged messages have neither arrived nor bounced.
func (l *Ledger) Outstanding() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outstanding
}

// Waiting are the recipients that Outstanding counts.
func (l *Ledger) Waiting() (all []Recipient) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, s := range l.recipients {
		if s.open() == 1 {
			all = append(all, key)
		}
	}
	return all
}

// Unsettled is how many of the recipients have neither arrived nor bounced.
func (l *Ledger) Unsettled(recipients []Recipient) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range recipients {
		if !l.recipients[key].settled {
			n++
		}
	}
	return n
}

// Acked is how many messages were acknowledged so far.
func (l *Ledger) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// RefusedWith is how many messages were refused with a code so far.
func (l *Ledger) RefusedWith(code int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused[code]
}

// Settled returns once every recipient of an acknowledged message has arrived or bounced, or with the error
// of ctx. It says when the last content came.
func (l *Ledger) Settled(ctx context.Context) (last time.Time, err error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		acked, outstanding, last := l.acked, l.outstanding, l.last
		l.mu.Unlock()
		if outstanding == 0 {
			return last, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("%d recipients of %d acknowledged messages have not arrived: %w",
				outstanding, acked, ctx.Err())
		}
	}
}

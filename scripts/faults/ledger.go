package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind says what a record tells.
type kind string

// The kinds of records, by ledger.
const (
	began   kind = "began"   // client: MAIL is about to be said
	dotted  kind = "dotted"  // client: the final dot is about to be said
	acked   kind = "acked"   // client: 250 was read
	refused kind = "refused" // client: 4yz or 5yz was read to the final dot
	arrived kind = "arrived" // sink: a content came whole, and 250 follows
	bounced kind = "bounced" // bounce ledger: a report of failure came
	crashed kind = "crashed" // harness: the relay is dead, and what it had under way has ended
)

// record is one line of a ledger.
type record struct {
	Time   time.Time `json:"time"`
	What   kind      `json:"what"`
	ID     string    `json:"id,omitempty"`
	From   string    `json:"from,omitempty"`
	To     []string  `json:"to,omitempty"`
	Sum    string    `json:"sum,omitempty"`    // of the content
	Queue  string    `json:"queue,omitempty"`  // queue id, from the 250
	Code   int       `json:"code,omitempty"`   // of a refusal
	Report string    `json:"report,omitempty"` // Message-ID of the report
	Note   string    `json:"note,omitempty"`
}

// ledger is the three ledgers of a trial and the harness's own notes on crashes, each a file of its own.
type ledger struct {
	dir      string
	journals map[kind]*journal

	mu   sync.Mutex
	open map[string]bool // id and recipient: acknowledged true, arrived or bounced before that false
	done map[string]bool
	left int // acknowledged, neither arrived nor bounced
	acks int
	code map[int]int // of refusals
}

// openLedger opens the ledgers in dir.
func openLedger(dir string) (*ledger, error) {
	l := &ledger{dir: dir, journals: map[kind]*journal{}, open: map[string]bool{}, done: map[string]bool{}, code: map[int]int{}}
	for name, kinds := range map[string][]kind{
		"client": {began, dotted, acked, refused}, "sink": {arrived}, "bounces": {bounced}, "crashes": {crashed},
	} {
		f, err := os.OpenFile(filepath.Join(dir, name+".jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		j := &journal{f: f}
		j.moved.L = &j.mu
		for _, k := range kinds {
			l.journals[k] = j
		}
	}
	return l, nil
}

// write enters a record, durably.
func (l *ledger) write(r record) error {
	r.Time = time.Now()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := l.journals[r.What].write(append(b, '\n')); err != nil {
		return fmt.Errorf("the ledger cannot be written: %w", err)
	}
	l.follow(&r)
	return nil
}

// follow keeps count of what is still to come.
func (l *ledger) follow(r *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, to := range r.To {
		key := r.ID + " " + to
		switch r.What {
		case acked:
			if !l.open[key] && !l.done[key] {
				l.left++
			}
			l.open[key] = true
		case arrived, bounced:
			if l.open[key] && !l.done[key] {
				l.left--
			}
			l.done[key] = true
		}
	}
	switch r.What {
	case acked:
		l.acks++
	case refused:
		l.code[r.Code]++
	}
}

// outstanding is how many recipients of acknowledged messages nothing is known of yet.
func (l *ledger) outstanding() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left
}

// waiting are the outstanding recipients, without those that the sink refuses for good, whose senders are told later.
func (l *ledger) waiting() (keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, was := range l.open {
		if was && !l.done[key] && !strings.Contains(key, " "+badUser+".") {
			keys = append(keys, key)
		}
	}
	return keys
}

// stillWaiting is how many of keys nothing is known of yet.
func (l *ledger) stillWaiting(keys []string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if !l.done[key] {
			n++
		}
	}
	return n
}

// ackedSoFar is how many messages were acknowledged, and refusedWith how many refused with a code.
func (l *ledger) ackedSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

func (l *ledger) refusedWith(code int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code[code]
}

// close closes the files.
func (l *ledger) close() {
	for _, j := range l.journals {
		j.f.Close()
	}
}

// read returns all records, oldest first, from the files.
func (l *ledger) read() ([]record, error) {
	var all []record
	for _, name := range []string{"client", "sink", "bounces", "crashes"} {
		f, err := os.Open(filepath.Join(l.dir, name+".jsonl"))
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bufio.NewReaderSize(f, 1<<16))
		for d.More() {
			var r record
			if err := d.Decode(&r); err != nil {
				f.Close()
				return nil, fmt.Errorf("%s: %w", f.Name(), err)
			}
			all = append(all, r)
		}
		f.Close()
	}
	slices.SortStableFunc(all, func(a, b record) int { return a.Time.Compare(b.Time) })
	return all, nil
}

// journal is a file of lines, each on disk before write returns. Writers at the same time share an fsync.
type journal struct {
	f *os.File

	mu      sync.Mutex
	moved   sync.Cond
	pending []byte
	in, out int // batches begun and finished
	busy    bool
	err     error
}

// write appends b.
func (j *journal) write(b []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, b...)
	mine := j.in + 1 // the batch that is going to take it
	for j.busy && j.out < mine {
		j.moved.Wait()
	}
	if j.out >= mine {
		return j.err
	}
	batch := j.pending
	j.pending, j.busy, j.in = nil, true, j.in+1
	j.mu.Unlock()
	_, err := j.f.Write(batch)
	if err == nil {
		err = j.f.Sync()
	}
	j.mu.Lock()
	if err != nil {
		j.err = err
	}
	j.busy, j.out = false, j.out+1
	j.moved.Broadcast()
	return j.err
}

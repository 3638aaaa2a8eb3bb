package ledger

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// files are the files of a Ledger on disk: each side that writes has one of its own.
type files struct {
	dir  string
	logs map[Kind]*log
}

// fileNames are the names of the files.
func fileNames() []string { return []string{"client", "sink", "bounces", "crashes"} }

// fileOf is the file that takes a kind of record.
func fileOf(k Kind) string {
	switch k {
	case Arrived, Stray:
		return "sink"
	case Bounced:
		return "bounces"
	case Crashed:
		return "crashes"
	}
	return "client"
}

// Open opens a Ledger with files in dir: Write returns when the record is on disk. Its checksums are SHA-256,
// cut to 96 bits.
func Open(dir string) (*Ledger, error) {
	l := newLedger(sha256.New)
	l.files = &files{dir: dir, logs: make(map[Kind]*log)}
	open := make(map[string]*log)
	for _, name := range fileNames() {
		f, err := os.OpenFile(filepath.Join(dir, name+".jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		open[name] = newLog(f)
	}
	for _, k := range []Kind{Began, Dotted, Acked, Refused, Arrived, Bounced, Stray, Crashed} {
		l.files.logs[k] = open[fileOf(k)]
	}
	return l, nil
}

// Close closes the files, if there are any.
func (l *Ledger) Close() error {
	if l.files == nil {
		return nil
	}
	var errs []error
	for _, k := range []Kind{Began, Arrived, Bounced, Crashed} { // one of each file
		errs = append(errs, l.files.logs[k].f.Close())
	}
	return errors.Join(errs...)
}

// write appends a record to its file, durably.
func (s *files) write(r *Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := s.logs[r.What].write(append(b, '\n')); err != nil {
		return fmt.Errorf("the ledger cannot be written: %w", err)
	}
	return nil
}

// read returns all records, oldest first.
func (s *files) read() ([]Record, error) {
	var all []Record
	for _, name := range fileNames() {
		records, err := readFile(filepath.Join(s.dir, name+".jsonl"))
		if err != nil {
			return nil, err
		}
		all = append(all, records...)
	}
	slices.SortStableFunc(all, func(a, b Record) int { return a.Time.Compare(b.Time) })
	return all, nil
}

func readFile(name string) (records []Record, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for d := json.NewDecoder(bufio.NewReaderSize(f, 1<<16)); d.More(); {
		var r Record
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// log is a file of lines, each on disk before write returns. Writers at the same time share an fsync.
type log struct {
	f *os.File

	mu      sync.Mutex
	moved   sync.Cond
	pending []byte
	in, out int // batches begun and finished
	busy    bool
	err     error
}

func newLog(f *os.File) *log {
	j := &log{f: f}
	j.moved.L = &j.mu
	return j
}

// write appends b.
func (j *log) write(b []byte) error {
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

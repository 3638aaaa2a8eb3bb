// Package eventlog keeps events in files that are only ever appended to, so that each reader may be at a
// place of its own: whoever is late, or wants to hear again, reads from an older one.
//
// Package webhook appends to it from one goroutine and reads from several.
//
// # The files
//
// A segment holds events one after the other, each with a header: a magic number, the length of the event and
// its CRC-32C (4 bytes each, little-endian). Its name is the position of its first byte, counted over all
// segments that there ever were, so that a position means the same for ever.
//
// # What always holds
//
//   - After Append with sync returned nil the events are on the disk. Without, they outlive the process.
//   - A crash may leave part of the last Append. Open cuts it off.
//   - An event that cannot be read costs the rest of its segment, and Read says so.
package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailwhy/relay/internal/durable"
)

// Pos is a place in the log.
type Pos int64

// Log is an open log. Its methods are safe for concurrent use, but Append, Sync and RemoveOldest are for one
// goroutine.
type Log struct {
	dir string
	max int64  // of a segment, bytes
	buf []byte // what is being appended

	mu       sync.Mutex
	segments []segment // the last one is written to; never empty
	file     *os.File
	broken   bool // the end of the last segment is not known
}

// segment is one file.
type segment struct {
	base Pos
	size int64
	last time.Time // when it was written to
}

func (s *segment) end() Pos { return s.base + Pos(s.size) }

// Stored is an event and where it is.
type Stored struct {
	Event
	At, Next Pos
}

const (
	suffix     = ".events"
	header     = 12
	magic      = 0x3145574d // "MWE1"
	maxEvent   = 16 << 20   // longer ones are damage
	chunkBytes = 256 << 10
	bufferMost = 1 << 20 // is kept for the next Append
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Open opens the log in dir, or makes one. A segment has segmentBytes or somewhat more.
func Open(dir string, segmentBytes int64) (*Log, error) {
	if err := durable.MkdirAll(durable.OS{}, dir, 0o700); err != nil {
		return nil, err
	}
	l := &Log{dir: dir, max: segmentBytes}
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), suffix), 10, 64)
		if err != nil {
			continue // not ours
		}
		fi, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		l.segments = append(l.segments, segment{Pos(base), fi.Size(), fi.ModTime()})
	}
	slices.SortFunc(l.segments, func(a, b segment) int { return int(min(max(a.base-b.base, -1), 1)) })
	if len(l.segments) == 0 {
		return l, l.begin(0)
	}
	return l, l.resume()
}

func (l *Log) name(base Pos) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d%s", int64(base), suffix))
}

// begin begins a segment.
func (l *Log) begin(base Pos) error {
	f, err := os.OpenFile(l.name(base), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = durable.SyncDir(l.dir)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.broken = f, false
	l.segments = append(l.segments, segment{base: base, last: time.Now()})
	return nil
}

// resume opens the last segment, and cuts off what a crash left of the last write.
func (l *Log) resume() error {
	s := &l.segments[len(l.segments)-1]
	f, err := os.OpenFile(l.name(s.base), os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	whole, err := wholeBytes(f)
	if err == nil && whole < s.size {
		err = errors.Join(f.Truncate(whole), f.Sync())
	}
	if err != nil {
		f.Close()
		return err
	}
	s.size, l.file = whole, f
	return nil
}

// wholeBytes is up to where a segment can be read.
func wholeBytes(f *os.File) (int64, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	at := 0
	for {
		_, n, ok := cut(b[at:])
		if !ok {
			return int64(at), nil
		}
		at += n
	}
}

// cut reads the event that b begins with, and how long it is there. If b ends before, n is how many bytes
// are wanted; 0 if it is damaged.
func cut(b []byte) (body []byte, n int, ok bool) {
	if len(b) < header {
		return nil, header, false
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if binary.LittleEndian.Uint32(b) != magic || length > maxEvent {
		return nil, 0, false
	}
	n = header + int(length)
	if n > len(b) {
		return nil, n, false
	}
	body = b[header:n]
	if crc32.Checksum(body, castagnoli()) != binary.LittleEndian.Uint32(b[8:]) {
		return nil, 0, false
	}
	return body, n, true
}

// Append appends events, whole or not at all, and has them on the disk if sync is set.
func (l *Log) Append(events []Event, sync bool) error {
	b := l.buf[:0]
	for i := range events {
		at := len(b)
		b = events[i].Append(append(b, make([]byte, header)...))
		binary.LittleEndian.PutUint32(b[at:], magic)
		binary.LittleEndian.PutUint32(b[at+4:], uint32(len(b)-at-header))
		binary.LittleEndian.PutUint32(b[at+8:], crc32.Checksum(b[at+header:], castagnoli()))
	}
	if l.buf = b; cap(b) > bufferMost {
		l.buf = nil // a rare one was as large
	}
	s := l.current()
	if s.size >= l.max || l.broken {
		if err := l.next(s); err != nil {
			return err
		}
		s = l.current()
	}
	_, err := l.file.WriteAt(b, s.size)
	if err == nil && sync {
		err = l.file.Sync()
	}
	if err != nil {
		l.broken = true // a retry goes into a new segment: what this one holds now is not known
		return errors.Join(err, l.file.Truncate(s.size))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	last := &l.segments[len(l.segments)-1]
	last.size += int64(len(b))
	last.last = time.Now()
	return nil
}

// next begins another segment. One that is empty is used again.
func (l *Log) next(s segment) error {
	if s.size > 0 {
		if err := l.file.Sync(); err != nil && !l.broken {
			return err
		}
		return l.begin(s.end())
	}
	l.mu.Lock()
	l.segments = l.segments[:len(l.segments)-1]
	l.mu.Unlock()
	return l.begin(s.base)
}

// Sync brings what was appended onto the disk. After an error none of it may be there.
func (l *Log) Sync() error {
	err := l.file.Sync()
	l.broken = l.broken || err != nil
	return err
}

func (l *Log) current() segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1]
}

// Start and End are the place of the oldest event and the one after the newest.
func (l *Log) Start() Pos {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].base
}

// End is the place after the newest event.
func (l *Log) End() Pos { s := l.current(); return s.end() }

// Read reads events from a place on: some 256 KiB of them, at least one if there is one. next is where to go
// on. From a place that is there no more it begins at the oldest event. skipped are bytes that cannot be read
// and are passed over.
func (l *Log) Read(from Pos) (events []Stored, next Pos, skipped int64, err error) {
	s, from, more := l.at(from)
	if !more {
		return nil, from, 0, nil
	}
	f, err := os.Open(l.name(s.base))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.end(), 0, nil // removed meanwhile
	}
	if err != nil {
		return nil, from, 0, err
	}
	defer f.Close()
	size := int64(chunkBytes)
	for {
		b := make([]byte, min(size, int64(s.end()-from)))
		if _, err := f.ReadAt(b, int64(from-s.base)); err != nil {
			return nil, s.end(), int64(s.end() - from), nil // the file has lost its end
		}
		events, want := parse(b, from)
		switch {
		case len(events) > 0:
			return events, events[len(events)-1].Next, 0, nil
		case want == 0 || int64(want) > int64(s.end()-from):
			return nil, s.end(), int64(s.end() - from), nil
		}
		size = int64(want)
	}
}

// parse reads the events of b, which begins at from. want is how many bytes the first needs that is not
// whole.
func parse(b []byte, from Pos) (events []Stored, want int) {
	at := 0
	for {
		body, n, ok := cut(b[at:])
		if !ok {
			return events, n
		}
		next := from + Pos(at+n)
		if e, err := Decode(body); err == nil {
			events = append(events, Stored{e, from + Pos(at), next})
		}
		at += n
	}
}

// at is the segment that has a place, and the place, which is the next one where it is not there any more.
func (l *Log) at(from Pos) (segment, Pos, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if from < s.end() {
			return s, max(from, s.base), true
		}
	}
	return segment{}, l.segments[len(l.segments)-1].end(), false
}

// Since is a place before which nothing was appended at t or later.
func (l *Log) Since(t time.Time) Pos {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.size > 0 && !s.last.Before(t) {
			return s.base
		}
	}
	return l.segments[len(l.segments)-1].end()
}

// Oldest is the oldest segment that may be removed: from where to where it goes, when it was written to last,
// and how many bytes all segments have. ok is false while only the one that is written to is left.
func (l *Log) Oldest() (from, to Pos, last time.Time, bytes int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		bytes += s.size
	}
	s := &l.segments[0]
	return s.base, s.end(), s.last, bytes, len(l.segments) > 1
}

// Rotate has the next Append begin a segment, if the one that is written to has events.
func (l *Log) Rotate() error {
	if s := l.current(); s.size > 0 {
		return l.next(s)
	}
	return nil
}

// RemoveOldest removes the segment that Oldest tells of.
func (l *Log) RemoveOldest() error {
	l.mu.Lock()
	s := l.segments[0]
	l.segments = l.segments[1:]
	l.mu.Unlock()
	return os.Remove(l.name(s.base))
}

// Close closes the log, with all of it on the disk.
func (l *Log) Close() error {
	return errors.Join(l.file.Sync(), l.file.Close())
}

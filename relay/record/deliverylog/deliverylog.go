// Package deliverylog writes what became of each message: a line for each event and recipient, for people
// to read and for programs to count. relay/app makes a Log and hands it to whoever has events; `mailwhy
// log` shows what it wrote.
//
// A Log is a relay.Recorder. Record encodes the line in the caller and leaves the writing to one goroutine,
// so that under load many lines share a write. What waits is bounded: while the output takes nothing,
// Record blocks, and with it accepting.
//
// What always holds: a line is one JSON object of package record, or the same in words or in the terms of
// package conventions; lines stand in the
// order in which Record was called; nothing is left out but what could not be written, and that is counted
// and reported in the operational log. No secret and no content gets here: an Event has none.
package deliverylog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/record/conventions"
)

// maxWaiting is how many bytes may wait for the output before Record blocks.
const maxWaiting = 256 << 10

// closing is how long Close waits for a blocked output.
const closing = 5 * time.Second

// Options say where a Log writes, and how.
type Options struct {
	File   string       // appended to, and made if need be; "" or "-" writes to Out
	Out    io.Writer    // used when there is no File
	Format Format       // "" is JSON
	Log    *slog.Logger // for lines that cannot be written; nil is none

	// Redact treats the addresses of an event before it is written; nil leaves them.
	Redact func(*record.Event)
}

// Format is the form of the lines.
type Format string

// The formats.
const (
	JSON Format = "json" // package record; others cannot be read back
	Text Format = "text" // for people
	ECS  Format = "ecs"  // package conventions, as the next
	OTel Format = "otel"
)

// Formats are all of them.
func Formats() []string { return []string{string(JSON), string(Text), string(ECS), string(OTel)} }

// Append appends an event, with a line end.
func (f Format) Append(b []byte, e *record.Event) []byte {
	switch f {
	case Text:
		return AppendText(b, e)
	case ECS:
		b = conventions.AppendECS(b, e)
	case OTel:
		b = conventions.AppendOTel(b, e)
	default:
		b = e.AppendJSON(b)
	}
	return append(b, '\n')
}

// Log is a delivery log. Its methods are safe for concurrent use.
type Log struct {
	o    Options
	done chan struct{} // closed when the writing goroutine ends

	mu      sync.Mutex
	changed *sync.Cond // any of the fields below
	waiting []byte
	spare   []byte // the buffer written last, to be used again
	writing bool
	closed  bool

	outMu   sync.Mutex // held for each write, and to change out
	out     io.Writer
	file    *os.File // out, when it is a file of ours
	failing bool     // the last write failed
	torn    bool     // the output ends inside a line

	written, lost atomic.Int64
}

var _ relay.Recorder = (*Log)(nil)

// buffers are the lines in the making.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// New opens a Log. Close ends it.
func New(o Options) (*Log, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{o: o, out: o.Out, done: make(chan struct{})}
	l.changed = sync.NewCond(&l.mu)
	if l.toFile() {
		f, err := l.openFile()
		if err != nil {
			return nil, err
		}
		l.out, l.file = f, f
	}
	if l.out == nil {
		return nil, errors.New("the delivery log has no output")
	}
	go l.write()
	return l, nil
}

func (l *Log) toFile() bool { return l.o.File != "" && l.o.File != "-" }

// filePerm is the mode of a log file. It holds addresses: the world may not read it.
const filePerm = 0o640

// openFile opens a log file for appending, and narrows one that is wider than filePerm.
func (l *Log) openFile() (*os.File, error) {
	f, err := os.OpenFile(l.o.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, filePerm)
	if err != nil {
		return nil, fmt.Errorf("delivery log: %w", err)
	}
	l.narrow(f)
	return f, nil
}

// narrow takes the permissions of others away from the file, and warns of it.
func (l *Log) narrow(f *os.File) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&^filePerm == 0 {
		return
	}
	was := fmt.Sprintf("%04o", info.Mode().Perm())
	if err := f.Chmod(info.Mode().Perm() & filePerm); err != nil {
		l.o.Log.Warn("other users can read or change the delivery log, and its mode cannot be changed",
			"file",
			l.o.File, "mode", was, "err", err)
		return
	}
	l.o.Log.Warn("other users could read or change the delivery log; its mode was changed", "file", l.o.File,
		"mode",
		was)
}

// Record implements relay.Recorder. It blocks while more than the bound waits for the output.
func (l *Log) Record(e relay.Event) {
	b := buffers.Get().(*[]byte)
	line := record.New(&e)
	if l.o.Redact != nil {
		l.o.Redact(&line)
	}
	*b = l.o.Format.Append((*b)[:0], &line)
	l.mu.Lock()
	for len(l.waiting) > maxWaiting && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		l.lost.Add(1)
		l.o.Log.Error("an event was recorded after the delivery log was closed", "event", string(e.Kind),
			"id", e.ID)
	} else {
		if len(l.waiting) == 0 {
			l.changed.Broadcast()
		}
		l.waiting = append(l.waiting, *b...)
	}
	l.mu.Unlock()
	if cap(*b) <= 64<<10 {
		buffers.Put(b)
	}
}

// write is the writing goroutine.
func (l *Log) write() {
	defer close(l.done)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.waiting) == 0 && !l.closed {
			l.changed.Wait()
		}
		if len(l.waiting) == 0 {
			return
		}
		b := l.waiting
		l.waiting, l.writing = l.spare[:0], true
		l.changed.Broadcast()
		l.mu.Unlock()
		l.put(b)
		l.mu.Lock()
		l.writing = false
		if l.spare = b; cap(b) > 2*maxWaiting {
			l.spare = nil
		}
		l.changed.Broadcast()
	}
}

// put writes whole lines, and counts those that the output refused.
func (l *Log) put(b []byte) {
	l.outMu.Lock()
	defer l.outMu.Unlock()
	if l.torn { // what follows must not be part of the broken line
		if _, err := l.out.Write([]byte("\n")); err == nil {
			l.torn = false
		}
	}
	n, err := l.out.Write(b)
	if err == nil {
		l.written.Add(int64(l.lines(b)))
		if l.failing {
			l.o.Log.Info("the delivery log can be written again", "lost", l.lost.Load())
		}
		l.failing = false
		return
	}
	written := l.lines(b[:n])
	l.torn = l.torn || (n > 0 && b[n-1] != '\n')
	l.written.Add(int64(written))
	lost := l.lost.Add(int64(l.lines(b) - written))
	if !l.failing {
		l.o.Log.Error("the delivery log cannot be written: lines are lost", "err", err, "lost", lost)
	}
	l.failing = true
}

// lines counts the events that end in b.
func (l *Log) lines(b []byte) int {
	n := bytes.Count(b, []byte("\n"))
	if l.o.Format == Text { // the lines of detail begin with a space
		n -= bytes.Count(b, []byte("\n "))
	}
	return n
}

// Flush returns when everything recorded so far was handed to the output.
func (l *Log) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 || l.writing {
		l.changed.Wait()
	}
}

// Reopen opens the file again, for programs that rotate logs by renaming them. After an error the old file
// is still written. A Log without a file does nothing.
func (l *Log) Reopen() error {
	if !l.toFile() {
		return nil
	}
	l.Flush()
	f, err := l.openFile()
	if err != nil {
		return err
	}
	l.outMu.Lock()
	old := l.file
	l.out, l.file, l.torn = f, f, false
	l.outMu.Unlock()
	return old.Close()
}

// Close writes what waits and closes the file. It gives a blocked output a few seconds.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.changed.Broadcast()
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(closing):
		return errors.New("delivery log: the output is blocked; the last lines are lost")
	}
	if l.file != nil {
		return l.file.Close()
	}
	return nil
}

// Stats count the lines of a Log.
type Stats struct {
	Written int64 // handed to the output
	Lost    int64 // refused by the output
}

// Stats are the counts so far.
func (l *Log) Stats() Stats { return Stats{Written: l.written.Load(), Lost: l.lost.Load()} }

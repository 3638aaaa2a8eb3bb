package sqlite

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// contents are the contents of messages: small ones in the database, larger ones in files of their own.
type contents struct {
	s       *Spool
	scratch sync.Pool // of *[]byte, into which contents are read
}

func newContents(s *Spool) *contents {
	return &contents{s: s, scratch: sync.Pool{New: newScratch}}
}

// open opens the content of a message.
func (c *contents) open(id string) (io.ReadCloser, error) {
	if data, ok := c.s.queue.Content(id); ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	r, err := c.locate(id)
	if err != nil {
		return nil, err
	}
	var rc io.ReadCloser
	if r.File != "" {
		rc, err = openFile(c.s.dir.File(files.Contents, r.File), r)
	} else if err = r.CheckContent(); err == nil {
		rc = io.NopCloser(bytes.NewReader(r.Data))
	}
	if errors.Is(err, relay.ErrCorrupt) {
		c.s.o.Log.Error("a content is damaged", "id", id, "err", err)
	}
	return rc, err
}

// locate finds the content of a message, and reads it if it is in the database.
func (c *contents) locate(id string) (r *spool.Record, err error) {
	err = c.s.read(func(c *database.Conn) (err error) {
		r, err = c.FindContent(id)
		return err
	})
	return r, err
}

// openFile opens the content of r, which is in the file name.
func openFile(name string, r *spool.Record) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its file is missing", relay.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() != r.Size {
		err = fmt.Errorf("%w: its file has %d bytes of %d", relay.ErrCorrupt, fi.Size(), r.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &verifier{f: f, left: r.Size, want: r.Sum, sum: crc32.New(spool.Castagnoli())}, nil
}

// verifier reads a content file and ends in relay.ErrCorrupt when it is not what was stored. An error of
// the disk is given as it is: the message is tried again.
type verifier struct {
	f    *os.File
	left int64
	want uint32
	sum  hash.Hash32
}

// Read implements io.Reader.
func (v *verifier) Read(b []byte) (int, error) {
	n, err := v.f.Read(b)
	v.sum.Write(b[:n])
	v.left -= int64(n)
	switch {
	case v.left < 0, err == io.EOF && v.left > 0:
		return 0, fmt.Errorf("%w: its length changed", relay.ErrCorrupt)
	case err == io.EOF && v.sum.Sum32() != v.want:
		return 0, fmt.Errorf("%w: wrong checksum", relay.ErrCorrupt)
	}
	// Any other error is the disk's, and may pass: the content is not known to be damaged.
	return n, err
}

// Close implements io.Closer.
func (v *verifier) Close() error { return v.f.Close() }

// received is a content that was read and is not durable. Exactly one of its data and its file is there.
type received struct {
	*spool.Record               // what is known of the content, and nothing else
	f             *durable.File // nil for a content in memory
}

// keep makes the content's file durable, if it has one. After an error it is gone.
func (r *received) keep() error {
	f := r.f
	if r.f = nil; f == nil {
		return nil
	}
	if err := f.Commit(); err != nil {
		return diskError(err)
	}
	return nil
}

// receive reads a content, into memory or, when it is large, into a file. bounded says that the limits hold
// for it.
func (c *contents) receive(id string, from io.Reader, bounded bool) (*received, error) {
	scratch := c.scratch.Get().(*[]byte)
	defer c.scratch.Put(scratch)
	data, err := readUpTo(from, scratch, c.s.o.Limits.InlineLimit)
	if err != nil {
		return nil, err
	}
	if size := int64(len(data)); size <= c.s.o.Limits.InlineLimit {
		sum := crc32.Checksum(data, spool.Castagnoli())
		// no longer than it has to be
		return &received{Record: &spool.Record{Size: size, Sum: sum, Data: bytes.Clone(data)}}, nil
	}
	return c.receiveFile(id, data, from, bounded)
}

// readError is an error of the reader that Put was given.
func readError(err error) error { return fmt.Errorf("reading the content: %w", err) }

// readUpTo reads r to its end, or somewhat more than limit bytes of it, into buf, which it enlarges as
// needed.
func readUpTo(r io.Reader, buf *[]byte, limit int64) ([]byte, error) {
	b := (*buf)[:0]
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, readError(err)
		case int64(len(b)) > limit:
			return b, nil
		case len(b) == cap(b):
			b = append(make([]byte, 0, min(2*cap(b), int(limit)+1+512)), b...)
			*buf = b
		}
	}
}

// newScratch makes a buffer for readUpTo.
func newScratch() any {
	b := make([]byte, 0, 8<<10)
	return &b
}

// receiveFile writes head, and what follows of the content, to a file of its own.
func (c *contents) receiveFile(id string, head []byte, rest io.Reader, bounded bool) (*received, error) {
	name := id + "-" + rand.Text()[:8] + files.ContentSuffix
	f, err := durable.CreateIn(c.s.dir.Disk(), c.s.dir.File(files.Contents, name), files.Perm)
	if err != nil {
		return nil, diskError(err)
	}
	w := &contentWriter{s: c.s, f: f, sum: crc32.New(spool.Castagnoli()), bounded: bounded}
	_, err = w.Write(head)
	if err == nil {
		err = w.readFrom(rest)
	}
	if err != nil {
		f.Abort()
		return nil, err
	}
	return &received{&spool.Record{Size: w.size, Sum: w.sum.Sum32(), File: name}, f}, nil
}

// contentWriter writes a content file.
type contentWriter struct {
	s       *Spool
	f       *durable.File
	sum     hash.Hash32
	size    int64
	bounded bool
	checked int64 // size when the limits were last looked at
}

// Write implements io.Writer. Its errors are relay's.
func (w *contentWriter) Write(b []byte) (int, error) {
	if w.bounded && w.size-w.checked >= 1<<20 {
		w.checked = w.size
		if err := w.s.admit(w.size); err != nil {
			return 0, err
		}
	}
	n, err := w.f.Write(b)
	w.sum.Write(b[:n])
	w.size += int64(n)
	if err != nil {
		err = diskError(err)
	}
	return n, err
}

// readFrom copies r to its end.
func (w *contentWriter) readFrom(r io.Reader) error {
	b := make([]byte, 64<<10)
	for {
		n, err := r.Read(b)
		if n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readError(err)
		}
	}
}

// tidy does what need not be done at once: it removes content files that nothing refers to any more, and
// has the database give back pages that it does not use.
type tidy struct {
	dir   files.Dir
	woken chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	files   []string
	closing bool
}

// tidyEvery is how often the database is looked at.
const tidyEvery = 10 * time.Second

func newTidy(dir files.Dir) *tidy {
	return &tidy{dir: dir, woken: make(chan struct{}, 1), ended: make(chan struct{})}
}

// remove has content files removed.
func (t *tidy) remove(files []string) {
	if len(files) == 0 {
		return
	}
	t.mu.Lock()
	t.files = append(t.files, files...)
	t.mu.Unlock()
	t.wake()
}

func (t *tidy) wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// run is the goroutine. It calls housekeep for the database, now and then.
func (t *tidy) run(housekeep func()) {
	defer close(t.ended)
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		t.mu.Lock()
		names, closing := t.files, t.closing
		t.files = nil
		t.mu.Unlock()
		for _, name := range names {
			err := os.Remove(t.dir.File(files.Contents, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.dir.Log.Warn("cannot remove a content file", "file", name, "err", err)
			}
		}
		if closing {
			return
		}
		select {
		case <-t.woken:
		case <-ticker.C:
			housekeep()
		}
	}
}

// close removes what is to be removed and ends the goroutine.
func (t *tidy) close() {
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.wake()
	<-t.ended
}

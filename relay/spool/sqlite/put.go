package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
)

// Put implements relay.Spool. When ctx ends before the writer has taken the message nothing is stored; after that Put
// waits for the commit, so that an error always means that nothing was stored. A message may be stored again once it has
// gone and many others have gone since; our own reports (Message.Report) are known for a week.
func (s *Spool) Put(ctx context.Context, m *relay.Message, content io.Reader) error {
	p, err := s.receive(m, content, true)
	if err != nil {
		return err
	}
	s.brake(ctx, m.Lane)
	op := &operation{apply: p.apply, journal: p.journal, after: p.after, size: p.bytes(), grows: true, put: p}
	err = s.w.do(ctx, op)
	p.finish(op, err)
	return err
}

// putting is a message on its way into the spool.
type putting struct {
	s       *Spool
	r       *record
	report  bool
	bounded bool           // the limits hold for it
	m       *relay.Message // as it is to be leased
	stored  bool           // by the last run of apply
}

// receive reads the content of m, into memory or, when it is large, into a file that is durable when receive returns.
func (s *Spool) receive(m *relay.Message, content io.Reader, bounded bool) (*putting, error) {
	if !relay.ValidID(m.ID) {
		return nil, fmt.Errorf("%q is not a queue id", m.ID)
	}
	if bounded {
		if err := s.admit(0); err != nil {
			return nil, err
		}
	}
	p := &putting{s: s, report: m.Report, bounded: bounded}
	scratch := s.scratch.Get().(*[]byte)
	defer s.scratch.Put(scratch)
	data, err := readUpTo(content, scratch, s.o.Limits.InlineLimit)
	sum, size, file := crc32.Checksum(data, castagnoli()), int64(len(data)), ""
	if err == nil && size > s.o.Limits.InlineLimit {
		file, sum, size, err = s.receiveFile(m.ID, data, content, bounded)
		data = nil
	}
	if err != nil {
		return nil, err
	}
	m.Size = size
	p.m = fresher(m)
	if p.r, err = encode(m); err == nil {
		p.r.file, p.r.sum, p.r.data = file, sum, bytes.Clone(data) // no longer than it has to be
		p.r.headSum = p.r.sumHead()
		return p, nil
	}
	if file != "" {
		s.tidy.remove([]string{file})
	}
	return nil, err
}

// readError is an error of the reader that Put was given.
func readError(err error) error { return fmt.Errorf("reading the content: %w", err) }

// readUpTo reads r to its end, or somewhat more than limit bytes of it, into buf, which it enlarges as needed.
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
func (s *Spool) receiveFile(id string, head []byte, content io.Reader, bounded bool) (name string, sum uint32, size int64, err error) {
	name = id + "-" + rand.Text()[:8] + contentSuffix
	f, err := durable.Create(s.path(contentDir, name), filePerm)
	if err != nil {
		return "", 0, 0, s.diskError(err)
	}
	w := &contentWriter{s: s, f: f, sum: crc32.New(castagnoli()), bounded: bounded}
	_, err = w.Write(head)
	if err == nil {
		err = w.readFrom(content)
	}
	if err != nil {
		f.Abort()
		return "", 0, 0, err
	}
	if err := f.Commit(); err != nil {
		return "", 0, 0, s.diskError(err)
	}
	return name, w.sum.Sum32(), w.size, nil
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
		err = w.s.diskError(err)
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

// bytes is how much the message adds to a batch.
func (p *putting) bytes() int { return len(p.r.data) + len(p.r.head) + len(p.r.recipients) }

// apply stores the message within a transaction. An id that is known already is no error, and stores nothing.
func (p *putting) apply(t *tx) error {
	p.stored = false
	if p.bounded {
		if err := p.s.room(t.n, p.r.size); err != nil {
			return err
		}
	}
	known, err := p.known(t)
	if err != nil || known {
		return err
	}
	p.s.turn(p.r)
	p.stored, err = t.insert(p.r, p.r.data)
	return err
}

// journal stores the message in the journal, if its lane is going to get it from memory.
func (p *putting) journal(j *journaling) (bool, error) {
	p.stored = false
	if p.report || !p.fitsJournal() {
		return false, nil
	}
	if p.bounded {
		if err := p.s.room(j.n, p.r.size); err != nil {
			return true, err
		}
	}
	if known, err := j.knows(p.r.id); known || err != nil || p.gone() {
		return err == nil, nil
	}
	if p.s.turn(p.r); p.r.turn == 0 {
		return false, nil
	}
	j.put(p.r)
	p.stored = true
	return true, nil
}

// fitsJournal reports whether the journal may have the message: its content is small, and its lane is going to get it from memory.
func (p *putting) fitsJournal() bool { return p.r.file == "" && p.s.keepsUp(p.r.lane) }

// gone reports whether the message was here before and has gone.
func (p *putting) gone() bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.s.gone.has(p.r.id)
}

// known is gone, and more certain for our own reports.
func (p *putting) known(t *tx) (bool, error) {
	if p.gone() {
		return true, nil
	}
	if !p.report {
		return false, nil
	}
	return t.remember(p.r.id, nanos(p.s.o.Now()))
}

// remember remembers the id of a report of our own, and reports whether it was known.
func (t *tx) remember(id string, at int64) (known bool, err error) {
	n, err := t.exec("INSERT INTO reported (id, at) VALUES (?,?) ON CONFLICT (id) DO NOTHING", id, at)
	return n == 0, err
}

// after tells the lane's line of the message.
func (p *putting) after(err error) {
	if err != nil || !p.stored {
		return
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.s.arriveNew(p.r, p.m)
}

// finish removes the content file of a message that was not stored. Where that is in doubt the writer does it.
func (p *putting) finish(op *operation, err error) {
	if p.r.file != "" && !op.doubt && (err != nil || !p.stored) {
		p.s.tidy.remove([]string{p.r.file})
	}
}

// Content implements relay.Spool. Small contents are verified before Content returns, those in files as they are read.
func (s *Spool) Content(_ context.Context, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	data, ok := s.cache.get(id)
	s.mu.Unlock()
	if ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	at, err := s.locate(id)
	if err != nil {
		return nil, err
	}
	rc, err := at.open(s)
	if errors.Is(err, relay.ErrCorrupt) {
		s.o.Log.Error("a content is damaged", "id", id, "err", err)
	}
	return rc, err
}

package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/internal/readfull"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
)

// received is a content that was read: a small one is in memory, the parts of a large one are in the
// database.
type received struct {
	s    *Spool
	size int64
	sum  uint32
	data []byte       // of a small one, never nil
	key  string       // of a large one
	inc  *incarnation // which its parts belong to, until a message does
	once sync.Once
}

// receiveContent reads a content to its end.
func (s *Spool) receiveContent(ctx context.Context, mail string, from io.Reader) (*received, error) {
	head, err := io.ReadAll(io.LimitReader(from, database.InlineLimit+1))
	if err != nil {
		return nil, readError(err)
	}
	if len(head) <= database.InlineLimit {
		data := append(make([]byte, 0, len(head)), head...) // no longer than it has to be
		return &received{s: s, size: int64(len(data)), sum: crc32.Checksum(data, spool.Castagnoli()),
			data: data}, nil
	}
	c := &received{s: s, key: mail + "-" + rand.Text()[:8], inc: s.inc.Load()}
	if err := c.upload(ctx, io.MultiReader(bytes.NewReader(head), from)); err != nil {
		c.discard()
		return nil, err
	}
	return c, nil
}

// readError is an error of the reader that Put was given.
func readError(err error) error { return fmt.Errorf("reading the content: %w", err) }

// upload stores a content in parts.
func (c *received) upload(ctx context.Context, from io.Reader) error {
	buf := make([]byte, database.PartSize)
	for part := 0; ; part++ {
		n, err := readfull.Fill(buf, from)
		if n > 0 {
			if err := c.uploadPart(ctx, part, buf[:n]); err != nil {
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

// uploadPart stores one part. It belongs to nothing yet, so it need not be durable.
func (c *received) uploadPart(ctx context.Context, part int, b []byte) error {
	if err := c.s.Admit(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.s.o.CommitTimeout)
	defer cancel()
	c.sum = crc32.Update(c.sum, spool.Castagnoli(), b)
	c.size += int64(len(b))
	p := database.Part{Sum: crc32.Checksum(b, spool.Castagnoli()), Body: b}
	err := c.s.pool.with(ctx, func(conn *postgres.Conn) error {
		return c.s.db.StagePart(ctx, conn, c.inc.id, c.key, part, p)
	})
	if err != nil {
		return storeError(unavailable(err))
	}
	return nil
}

// discard removes the parts, unless a message has them.
func (c *received) discard() {
	if c.key == "" {
		return
	}
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.s.o.CommitTimeout)
		defer cancel()
		err := c.s.pool.with(ctx, func(conn *postgres.Conn) error {
			return c.s.db.Unstage(ctx, conn, c.inc.id, c.key)
		})
		if err != nil { // they go with this process
			c.s.o.Log.Warn("the parts of a content that is not wanted could not be removed yet", "err", err)
		}
	})
}

// open opens the content.
func (c *received) open() io.ReadCloser {
	if c.key == "" {
		return io.NopCloser(bytes.NewReader(c.data))
	}
	return newReader(c.s, "", &database.Content{Key: c.key, Size: c.size, Sum: c.sum}, 0)
}

// Content implements relay.Spool. Small contents are verified before Content returns, others as they are
// read.
func (s *Spool) Content(ctx context.Context, id string) (io.ReadCloser, error) {
	if data, ok := s.memory.content(id); ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	var c *database.Content
	err := s.pool.read(ctx, func(conn *postgres.Conn) (err error) {
		c, err = s.db.FindContent(ctx, conn, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := newReader(s, id, c, 1)
	if c.First == nil {
		return nil, r.missing()
	}
	if err := r.next(c.First); err != nil {
		return nil, err
	}
	return r, nil
}

// reader reads the parts of a content, and ends in relay.ErrCorrupt when they are not what was stored.
type reader struct {
	s    *Spool
	id   string // of the message; "" while it has none
	c    *database.Content
	part int    // the next one
	b    []byte // what is left of the last one
	left int64  // behind that
	sum  hash.Hash32
}

func newReader(s *Spool, id string, c *database.Content, part int) *reader {
	return &reader{s: s, id: id, c: c, part: part, left: c.Size, sum: crc32.New(spool.Castagnoli())}
}

// next takes in a part.
func (r *reader) next(p *database.Part) error {
	r.sum.Write(p.Body)
	r.b, r.left = p.Body, r.left-int64(len(p.Body))
	switch {
	case crc32.Checksum(p.Body, spool.Castagnoli()) != p.Sum, r.left < 0, len(p.Body) == 0 && r.left > 0,
		r.left == 0 && r.sum.Sum32() != r.c.Sum:
		return r.corrupt("wrong checksum or length")
	}
	return nil
}

// corrupt is the error of a content that is not what was stored.
func (r *reader) corrupt(why string) error {
	r.s.o.Log.Error("a content is damaged", "id", r.id, "why", why)
	return fmt.Errorf("%w: %s", relay.ErrCorrupt, why)
}

// missing is the error of a part that is not there: the message may have gone since.
func (r *reader) missing() error {
	ctx, cancel := context.WithTimeout(context.Background(), r.s.o.CommitTimeout)
	defer cancel()
	err := r.s.pool.read(ctx, func(conn *postgres.Conn) error {
		_, err := r.s.db.FindContent(ctx, conn, r.id)
		return err
	})
	if err != nil {
		return err
	}
	return r.corrupt("a part of it is missing")
}

// readWithin is how long the database may take for a part.
const readWithin = time.Minute

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	for len(r.b) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		if err := r.readPart(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.b)
	r.b = r.b[n:]
	return n, nil
}

// readPart reads the next part.
func (r *reader) readPart() error {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	var p *database.Part
	err := r.s.pool.read(ctx, func(conn *postgres.Conn) (err error) {
		p, err = r.s.db.ReadPart(ctx, conn, r.c.Key, r.part)
		return err
	})
	if err != nil {
		return err
	}
	if p == nil {
		return r.missing()
	}
	r.part++
	return r.next(p)
}

// Close implements io.Closer.
func (r *reader) Close() error { return nil }

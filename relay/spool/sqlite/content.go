package sqlite

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"

	"mailwhy/relay"
)

// contentSuffix ends the names of content files: id-random.eml.
const contentSuffix = ".eml"

// located is where a content is, and how it is known to be whole.
type located struct {
	size int64
	sum  uint32
	file string
	data []byte // nil when the content is in a file, or missing
}

// locate finds the content of a message, and reads it if it is in the database. A damaged index can lead to the row of
// another message, whose content is whole and not for these recipients: that the row is the one that was asked for shows
// its checksum, which has the id in it. On a mismatch this message is the damaged one, whatever the cause.
func (s *Spool) locate(id string) (at located, err error) {
	found := false
	err = s.read(func(c *conn) error {
		return c.query(func(row []driver.Value) error {
			found = true
			r := record{id: id}
			r.size, _ = row[0].(int64)
			sum, _ := row[1].(int64)
			r.sum = uint32(sum)
			r.file, _ = row[2].(string)
			r.head, _ = row[4].(string)
			if headSum, _ := row[5].(int64); uint32(headSum) != r.sumHead() {
				return fmt.Errorf("%w: its row is damaged, or another's", relay.ErrCorrupt)
			}
			at = located{size: r.size, sum: r.sum, file: r.file}
			at.data, _ = row[3].([]byte)
			return errStop
		}, "SELECT m.size, m.sum, m.file, c.data, m.head, m.head_sum FROM message m LEFT JOIN content c ON c.seq=m.seq WHERE m.id=?", id)
	})
	if err == nil && !found {
		err = relay.ErrNotFound
	}
	return at, err
}

// open opens a content.
func (at *located) open(s *Spool) (io.ReadCloser, error) {
	if at.file != "" {
		return at.openFile(s.path(contentDir, at.file))
	}
	if err := at.check(); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(at.data)), nil
}

// check compares a content from the database with what was stored.
func (at *located) check() error {
	switch {
	case at.data == nil && at.size > 0:
		return fmt.Errorf("%w: it is missing", relay.ErrCorrupt)
	case int64(len(at.data)) != at.size:
		return fmt.Errorf("%w: %d bytes of %d", relay.ErrCorrupt, len(at.data), at.size)
	case crc32.Checksum(at.data, castagnoli()) != at.sum:
		return fmt.Errorf("%w: wrong checksum", relay.ErrCorrupt)
	}
	return nil
}

// openFile opens a content that is in a file.
func (at *located) openFile(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its file is missing", relay.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() != at.size {
		err = fmt.Errorf("%w: its file has %d bytes of %d", relay.ErrCorrupt, fi.Size(), at.size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &verifier{f: f, left: at.size, want: at.sum, sum: crc32.New(castagnoli())}, nil
}

// verifier reads a content file and ends in relay.ErrCorrupt when it is not what was stored. An error of the disk is given as
// it is: the message is tried again.
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

// cache keeps the small contents of the newest leases in memory, so that a lane need not read them back. Its owner guards it.
type cache struct {
	max, size int64
	data      map[string][]byte
	order     []string // as added; holds ids that were dropped since
}

func newCache(max int64) *cache { return &cache{max: max, data: map[string][]byte{}} }

// overhead is what an entry costs beside its bytes.
const overhead = 128

// add keeps the content of id; the oldest ones make room.
func (c *cache) add(id string, data []byte) {
	cost := int64(cap(data)) + overhead
	if cost > c.max/4 {
		return
	}
	c.data[id] = data
	c.order = append(c.order, id)
	c.size += cost
	for c.size > c.max {
		oldest := c.order[0]
		c.order = c.order[1:]
		c.drop(oldest)
	}
	if len(c.order) > 64+4*len(c.data) {
		c.order = slices.DeleteFunc(c.order, func(id string) bool { return c.data[id] == nil })
	}
}

// addRead keeps the content that was read with r, if it was and is whole.
func (c *cache) addRead(r *record) {
	if at := (located{size: r.size, sum: r.sum, data: r.data}); r.data != nil && at.check() == nil {
		c.add(r.id, r.data)
	}
}

// get returns the content of id, which must not be written to.
func (c *cache) get(id string) ([]byte, bool) {
	data, ok := c.data[id]
	return data, ok
}

// drop forgets id.
func (c *cache) drop(id string) {
	if data, ok := c.data[id]; ok {
		c.size -= int64(cap(data)) + overhead
		delete(c.data, id)
	}
}

// recent is a set of the ids that were added last. Its owner guards it.
type recent struct {
	ids  map[string]struct{}
	ring []string
	next int
}

// recentMax is how many ids of messages that have gone are known: some two megabytes.
const recentMax = 16384

func newRecent(max int) *recent {
	return &recent{ids: map[string]struct{}{}, ring: make([]string, 0, max)}
}

func (r *recent) add(id string) {
	if len(r.ring) < cap(r.ring) {
		r.ring = append(r.ring, id)
	} else {
		delete(r.ids, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % len(r.ring)
	}
	r.ids[id] = struct{}{}
}

func (r *recent) has(id string) bool {
	_, ok := r.ids[id]
	return ok
}

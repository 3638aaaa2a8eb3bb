package queue

import (
	"slices"

	"mailwhy/relay/spool"
)

// cache keeps the small contents of the newest leases in memory, so that a lane need not read them back.
// Its owner guards it.
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
func (c *cache) addRead(r *spool.Record) {
	if r.Data != nil && r.CheckContent() == nil {
		c.add(r.ID, r.Data)
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

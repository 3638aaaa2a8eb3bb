package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

const (
	blockSize  = 4096
	sectorSize = 512
	stale      = 0xa5 // what another file left in a block
)

// content is what is in a file.
type content struct {
	seen []byte // by programs

	blocks map[int64][]byte // on the disk, each blockSize long; one that is missing is a hole
	size   int64            // on the disk

	dirty   map[int64]bool // blocks that have to be written
	resized bool           // and whether the length has
}

// newContent makes an empty content.
func newContent() *content {
	return &content{blocks: make(map[int64][]byte), dirty: make(map[int64]bool)}
}

// writeAt writes b.
func (c *content) writeAt(b []byte, off int64) {
	c.touch(off, off+int64(len(b)))
	if end := off + int64(len(b)); len(b) > 0 && end > int64(len(c.seen)) {
		c.resize(end)
	}
	copy(c.seen[min(off, int64(len(c.seen))):], b)
}

// resize changes the length.
func (c *content) resize(size int64) {
	old := int64(len(c.seen))
	if size == old {
		return
	}
	c.resized = true
	c.touch(min(old, size), max(old, size))
	if size > old {
		c.seen = append(c.seen, make([]byte, size-old)...)
		return
	}
	c.seen = c.seen[:size:size]
}

// touch has the blocks from a byte to another one differ.
func (c *content) touch(from, to int64) {
	for b := from / blockSize; b*blockSize < to; b++ {
		c.dirty[b] = true
	}
}

// dirtyBlocks are the numbers of the blocks that have to be written, in order: chance has to be the same in
// each run.
func (c *content) dirtyBlocks() []int64 { return slices.Sorted(maps.Keys(c.dirty)) }

// block is a block as programs see it.
func (c *content) block(n int64) []byte {
	b := make([]byte, blockSize)
	if at := n * blockSize; at < int64(len(c.seen)) {
		copy(b, c.seen[at:])
	}
	return b
}

// flush brings a block to the disk.
func (c *content) flush(n int64) {
	c.blocks[n] = c.block(n)
	delete(c.dirty, n)
}

// flushSize brings the length to the disk.
func (c *content) flushSize() {
	c.size, c.resized = int64(len(c.seen)), false
	maps.DeleteFunc(c.blocks, func(n int64, _ []byte) bool { return n*blockSize >= c.size })
}

// sync brings everything to the disk.
func (c *content) sync() {
	for _, n := range c.dirtyBlocks() {
		c.flush(n)
	}
	if c.resized {
		c.flushSize()
	}
}

// writeBack brings about percent of what has to be written to the disk, as the kernel does at any time.
func (c *content) writeBack(rng *rand.Rand, percent int) {
	for _, n := range c.dirtyBlocks() {
		if rng.IntN(100) < percent {
			c.flush(n)
		}
	}
	if c.resized && rng.IntN(100) < percent {
		c.flushSize()
	}
}

// failSync is a sync that fails.
func (c *content) failSync(rng *rand.Rand) {
	for _, n := range c.dirtyBlocks() {
		switch rng.IntN(3) {
		case 0:
			c.flush(n)
		case 1:
			delete(c.dirty, n)
		}
	}
	if c.resized && rng.IntN(2) == 0 {
		c.flushSize()
	}
}

// crash is the content after a power cut.
func (c *content) crash(rng *rand.Rand) *content {
	for _, n := range c.dirtyBlocks() {
		switch rng.IntN(4) {
		case 0:
			c.flush(n)
		case 1:
			c.tear(rng, n)
		case 2:
			if c.blocks[n] == nil {
				c.blocks[n] = slices.Repeat([]byte{stale}, blockSize)
			}
		}
	}
	if c.resized && rng.IntN(2) == 0 {
		c.flushSize()
	}
	after := newContent()
	after.seen, after.size = make([]byte, c.size), c.size
	for n, b := range c.blocks {
		if at := n * blockSize; at < c.size {
			copy(after.seen[at:], b)
			after.blocks[n] = b
		}
	}
	return after
}

// tear brings some sectors of a block to the disk.
func (c *content) tear(rng *rand.Rand, n int64) {
	torn := make([]byte, blockSize)
	copy(torn, c.blocks[n])
	whole := c.block(n)
	for at := 0; at < blockSize; at += sectorSize {
		if rng.IntN(2) == 0 {
			copy(torn[at:at+sectorSize], whole[at:])
		}
	}
	c.blocks[n] = torn
}

package repair

import (
	"database/sql/driver"
	"encoding/binary"
	"io"
	"math"
	"os"
	"slices"

	"mailwhy/relay/spool/database"
)

// pages reads the pages of a damaged database without SQLite (https://www.sqlite.org/fileformat2.html).
// Where an inner page of a tree is damaged SQLite finds none of the leaves below it; they are there all the
// same, and each says by itself what rows it holds. Pages on the list of free pages hold rows that were
// deleted, and are left out.
type pages struct {
	f    io.ReaderAt
	n    uint32            // number of pages
	log  map[uint32][]byte // pages that are newer in the log
	free map[uint32]bool
}

// The parts of a page (section 1.6 of the format).
const (
	leafOfTable   = 0x0d
	leafHeader    = 8
	maxLocal      = database.PageSize - 35
	minLocal      = (database.PageSize-12)*32/255 - 23
	overflowBytes = database.PageSize - 4
)

// openPages reads the pages of the database in f, and of its log, which may be nil.
func openPages(f *os.File, log *walFile) (*pages, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p := &pages{f: f, n: uint32(fi.Size() / database.PageSize), log: map[uint32][]byte{},
		free: map[uint32]bool{}}
	if log != nil {
		_, read, _ := log.walk(log.round())
		for i := range read {
			frame := log.frame(i)
			n := binary.BigEndian.Uint32(frame)
			p.log[n] = frame[walFrameHeader:]
			p.n = max(p.n, n)
		}
	}
	p.findFree()
	return p, nil
}

// page returns page n; nil when it cannot be read.
func (p *pages) page(n uint32) []byte {
	if b := p.log[n]; b != nil {
		return b
	}
	b := make([]byte, database.PageSize)
	if _, err := p.f.ReadAt(b, int64(n-1)*database.PageSize); n == 0 || err != nil {
		return nil
	}
	return b
}

// findFree walks the list of free pages: trunk pages with the number of the next one, a count, and so many
// numbers.
func (p *pages) findFree() {
	first := p.page(1)
	if first == nil {
		return
	}
	for n := binary.BigEndian.Uint32(first[headerFreelist:]); n != 0 && !p.free[n]; {
		b := p.page(n)
		if b == nil {
			return
		}
		p.free[n] = true
		count := min(binary.BigEndian.Uint32(b[4:]), database.PageSize/4-2)
		for i := range count {
			p.free[binary.BigEndian.Uint32(b[8+4*i:])] = true
		}
		n = binary.BigEndian.Uint32(b)
	}
}

// rows calls each for every row in every leaf of a table that has as many columns as one of lengths, which
// rise; the columns up to the last of lengths are NULL. The key of the row stands in place of its first
// column, where SQLite has NULL for it. Rows that make no sense are passed over.
func (p *pages) rows(lengths []int, each func(row []driver.Value) error) error {
	for n := uint32(2); n <= p.n; n++ {
		b := p.page(n)
		if b == nil || b[0] != leafOfTable || p.free[n] {
			continue
		}
		cells := min(int(binary.BigEndian.Uint16(b[3:])), (database.PageSize-leafHeader)/2)
		for i := range cells {
			at := int(binary.BigEndian.Uint16(b[leafHeader+2*i:]))
			row := p.row(b, at, lengths[len(lengths)-1])
			if row == nil || !slices.Contains(lengths, len(row)) {
				continue
			}
			row = append(row, make([]driver.Value, lengths[len(lengths)-1]-len(row))...)
			if err := each(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// row reads the cell at offset at of page b; nil when it is none of up to so many columns.
func (p *pages) row(b []byte, at, columns int) []driver.Value {
	if at < leafHeader || at >= database.PageSize {
		return nil
	}
	size, n := varint(b[at:])
	key, m := varint(b[at+n:])
	if n == 0 || m == 0 || size > database.BatchBytes*4 {
		return nil
	}
	row := decodeRow(p.payload(b[at+n+m:], int(size)), columns)
	if len(row) > 0 && row[0] == nil {
		row[0] = int64(key)
	}
	return row
}

// payload gathers size bytes that begin at b and go on in overflow pages.
func (p *pages) payload(b []byte, size int) []byte {
	local := size
	if size > maxLocal {
		if local = minLocal + (size-minLocal)%overflowBytes; local > maxLocal {
			local = minLocal
		}
	}
	if local > len(b) {
		return nil
	}
	if local == size {
		return b[:size]
	}
	if len(b) < local+4 {
		return nil
	}
	whole := append(make([]byte, 0, size), b[:local]...)
	for next := binary.BigEndian.Uint32(b[local:]); len(whole) < size; {
		page := p.page(next)
		if page == nil {
			return nil
		}
		whole = append(whole, page[4:4+min(overflowBytes, size-len(whole))]...)
		next = binary.BigEndian.Uint32(page)
	}
	return whole
}

// varint reads a variable-length integer; n is 0 when there is none.
func varint(b []byte) (v uint64, n int) {
	for i := range min(9, len(b)) {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// decodeRow reads a record (section 2.1 of the format) of up to so many columns; nil when b is none.
func decodeRow(b []byte, columns int) []driver.Value {
	size, n := varint(b)
	if n == 0 || size > uint64(len(b)) || size < uint64(n) {
		return nil
	}
	head, body := b[n:size], b[size:]
	var row []driver.Value
	for len(head) > 0 {
		kind, n := varint(head)
		if n == 0 || len(row) == columns {
			return nil
		}
		head = head[n:]
		v, used := decodeValue(kind, body)
		if used < 0 {
			return nil
		}
		row, body = append(row, v), body[used:]
	}
	return row
}

// decodeValue reads a value of a serial type; used is negative when b holds none.
func decodeValue(kind uint64, b []byte) (v driver.Value, used int) {
	switch {
	case kind == 0:
		return nil, 0
	case kind == 8 || kind == 9:
		return int64(kind - 8), 0
	case kind >= 12:
		size := (kind - 12) / 2
		if size > uint64(len(b)) || size > math.MaxInt32 {
			return nil, -1
		}
		if kind%2 == 0 {
			return append([]byte{}, b[:size]...), int(size)
		}
		return string(b[:size]), int(size)
	case kind > 6:
		return nil, -1 // no table of ours has real numbers
	}
	size := []int{0, 1, 2, 3, 4, 6, 8}[kind]
	if size > len(b) {
		return nil, -1
	}
	n := int64(int8(b[0]))
	for _, c := range b[1:size] {
		n = n<<8 | int64(c)
	}
	return n, size
}

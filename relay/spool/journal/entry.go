package journal

import (
	"encoding/binary"
	"hash/crc32"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// PageSize is what the first page, and each transaction, takes a multiple of.
const PageSize = 4096

// The magic numbers of entries, how long their header is, and where in it their checksum is.
const (
	entryMagic  = 0x334a574d // "MWJ3"
	entryMagic2 = 0x324a574d // "MWJ2", in format 2
	entryMagic1 = 0x314a574d // "MWJ1", in format 1
	entryHeader = 48
	entrySum    = 40
)

// The kinds of entries.
const (
	entryPut = 1 // a message
	entryEnd = 2 // the id of one that has gone
	// entries of the outbox that were answered, and the report: the one does not count without the other
	entryReport = 3
	entryLast   = 0x80 // set in the last entry of a transaction
)

// entry is an entry that was read; the package's comment has the fields.
type entry struct {
	salt   uint64
	base   int64
	commit int64
	no     uint32
	kind   byte
	old    bool // of format 1 or 2
	last   bool
	body   []byte
	length int // in the file
	whole  bool
}

// parseEntry reads what begins with b, if it can be an entry.
func parseEntry(b []byte) (e entry, ok bool) {
	n := uint64(binary.LittleEndian.Uint32(b[4:])) + entryHeader
	magic := binary.LittleEndian.Uint32(b)
	old := magic == entryMagic1 || magic == entryMagic2
	if magic != entryMagic && !old || n > uint64(len(b)) {
		return e, false
	}
	e = entry{
		salt:   binary.LittleEndian.Uint64(b[8:]),
		base:   int64(binary.LittleEndian.Uint64(b[16:])),
		commit: int64(binary.LittleEndian.Uint64(b[24:])),
		no:     binary.LittleEndian.Uint32(b[32:]),
		kind:   b[36] &^ entryLast,
		old:    old,
		last:   b[36]&entryLast != 0,
		body:   b[entryHeader:n],
		length: int(n+7) &^ 7,
		whole:  binary.LittleEndian.Uint32(b[entrySum:]) == sumEntry(b[:n]),
	}
	return e, true
}

// parseFirstPage reads a journal's first page; ok is false when it is damaged.
func parseFirstPage(b []byte) (version int64, salt uint64, ok bool) {
	if len(b) < PageSize {
		return 0, 0, false
	}
	if binary.LittleEndian.Uint32(b[entrySum:]) != crc32.Checksum(b[:entrySum], spool.Castagnoli()) {
		return 0, 0, false
	}
	if version = int64(binary.LittleEndian.Uint32(b[4:])); binary.LittleEndian.Uint32(b) == entryMagic1 {
		version = 1
	}
	return version, binary.LittleEndian.Uint64(b[8:]), true
}

// entryLength is the length of the entry that begins with h.
func entryLength(h []byte) int { return entryHeader + int(binary.LittleEndian.Uint32(h[4:])) }

// sumEntry is the checksum of an entry.
func sumEntry(e []byte) uint32 {
	sum := crc32.Checksum(e[:entrySum], spool.Castagnoli())
	return crc32.Update(sum, spool.Castagnoli(), e[entrySum+4:])
}

// cutAnswered reads the entries of the outbox at the beginning of the entry of a report.
func (e *entry) cutAnswered() (answered []relay.Entry, rest []byte, ok bool) {
	b := e.body
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)) {
		return nil, nil, false
	}
	b = b[used:]
	cut := cutOwed
	if e.old {
		cut = cutNotice
	}
	for range n {
		var owed relay.Entry
		if owed, b, ok = cut(b); !ok {
			return nil, nil, false
		}
		answered = append(answered, owed)
	}
	return answered, b, true
}

// cutOwed reads an entry of the outbox, as far as it says which one it is.
func cutOwed(b []byte) (e relay.Entry, rest []byte, ok bool) {
	var topic string
	for _, p := range []*string{&e.Message, &topic, &e.Key} {
		if *p, b, ok = cutText(b); !ok {
			return e, nil, false
		}
	}
	e.Topic = relay.Topic(topic)
	return e, b, true
}

// cutNotice reads a notice of an earlier format.
func cutNotice(b []byte) (e relay.Entry, rest []byte, ok bool) {
	recipient, used := binary.Uvarint(b)
	if used <= 0 {
		return e, nil, false
	}
	b = b[used:]
	var id, kind string
	for _, p := range []*string{&id, &kind} {
		if *p, b, ok = cutText(b); !ok {
			return e, nil, false
		}
	}
	n := relay.Notice{Message: id, Recipient: int(recipient), Kind: relay.NoticeKind(kind)}
	return n.Entry(), b, true
}

// cutText reads a text that has its length before it.
func cutText(b []byte) (text string, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil, false
	}
	return string(b[used : used+int(n)]), b[used+int(n):], true
}

// record is the message of an entry, read from b; nil when that makes no sense. Its texts and its content
// have checksums of their own.
func (e *entry) record(b []byte) *spool.Record {
	r := new(spool.Record)
	var sum, headSum, stateSum int64
	for _, p := range []*int64{&r.Seq, &r.Arrived, &r.Size, &sum, &r.Slot, &r.Due, &r.Open, &headSum,
		&stateSum} {
		if len(b) < 8 {
			return nil
		}
		*p, b = int64(binary.LittleEndian.Uint64(b)), b[8:]
	}
	r.Sum, r.HeadSum, r.StateSum = uint32(sum), uint32(headSum), uint32(stateSum)
	for _, p := range []*string{&r.ID, &r.Lane, &r.Sender, &r.Head, &r.Recipients} {
		var ok bool
		if *p, b, ok = cutText(b); !ok {
			return nil
		}
	}
	r.Data = b
	if !relay.ValidID(r.ID) {
		return nil
	}
	if !e.whole {
		r.Slot, r.Due = 0, min(max(r.Arrived, 0), spool.Never-1) // these have no checksum of their own
	}
	return r
}

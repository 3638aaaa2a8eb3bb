package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/files"
)

// journal is a file for messages that come and go while their lane keeps up (young.go): they are written to it, with one plain write
// and one fdatasync for all that wait, and never reach the database. It is as large as it ever gets, so that a write
// changes no metadata and needs no room, and is written from its beginning again after each transaction of the database.
//
// The file: a page with the format and the salt, and transactions, each beginning at a page. A transaction is
// entries one after the other, padded
// to eight bytes; the rest of its last page is zero. An entry is a header and a body:
//
//	offset  0  magic, with the format
//	        4  length of the body
//	        8  salt: random, new whenever the journal is opened. No content can imitate an entry.
//	       16  base: the number of the last transaction of the database (meta.commits)
//	       24  number of this transaction, counted on from there
//	       32  number of the entry since base, from 1
//	       36  kind, and whether it is the last one of its transaction
//	       40  CRC-32C of all the rest
//
// Numbers are little-endian. Entries count as long as the database has no later transaction than their base: with the next one all
// that is in the journal is in the database too. That this was the database's own journal it knows by the
// salt (counts.journal): none is written to before a transaction has noted its salt.
type journal struct {
	f    *os.File
	salt uint64
	size int64
	at   int64  // where the next transaction goes
	base int64  // see above
	no   uint32 // of the last entry written
	buf  []byte // the transaction that is being put together
	n    uint32 // entries in buf
	last int    // where the last of them begins

	noted bool // the database has noted the salt: entries may be written
}

const (
	journalPage   = 4096
	journalMagic  = 0x324a574d // "MWJ2"
	journalMagic1 = 0x314a574d // "MWJ1", in format 1
	entryHeader   = 48
	entrySum      = 40
)

// The kinds of entries.
const (
	entryPut    = 1 // a message
	entryEnd    = 2 // the id of one that has gone
	entryReport = 3 // the notices that a report of ours tells, and the report: the one does not count without the other
	entryLast   = 0x80
)

// openJournal opens the journal, or makes it, and gives it a salt. What was in it counts no more. It takes size bytes of the disk.
func openJournal(name string, size int64) (*journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, files.Perm)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, salt: rand.Uint64(), size: size}
	if err := j.prepare(); err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

// prepare gives the file its size and its first page, durably.
func (j *journal) prepare() error {
	fi, err := j.f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := fi.Size(); at < j.size; at += int64(len(zeros)) {
		if _, err := j.f.WriteAt(zeros[:min(int64(len(zeros)), j.size-at)], at); err != nil {
			// What it took of a full disk others need more.
			return errors.Join(err, os.Remove(j.f.Name()))
		}
	}
	var page [journalPage]byte
	binary.LittleEndian.PutUint32(page[:], journalMagic)
	binary.LittleEndian.PutUint32(page[4:], files.Format)
	binary.LittleEndian.PutUint64(page[8:], j.salt)
	binary.LittleEndian.PutUint32(page[entrySum:], crc32.Checksum(page[:entrySum], spool.Castagnoli()))
	if _, err := j.f.WriteAt(page[:], 0); err != nil {
		return err
	}
	return errors.Join(j.f.Sync(), durable.SyncDir(filepath.Dir(j.f.Name())))
}

// restart begins the journal anew, after transaction base of the database.
func (j *journal) restart(base int64) { j.at, j.base, j.no = journalPage, base, 0 }

// clear begins a transaction.
func (j *journal) clear() {
	j.buf, j.n = j.buf[:0], 0
	if cap(j.buf) > 1<<20 {
		j.buf = nil // a rare one was as large
	}
}

// put adds a message to the transaction, with its content.
func (j *journal) put(r *spool.Record) {
	start := j.open()
	j.record(r)
	j.close(start, entryPut)
}

// report adds to the transaction that notices are told, by the report r unless that is nil.
func (j *journal) report(told []relay.Notice, r *spool.Record) {
	start := j.open()
	j.buf = binary.AppendUvarint(j.buf, uint64(len(told)))
	for _, n := range told {
		j.buf = binary.AppendUvarint(j.buf, uint64(n.Recipient))
		j.text(n.Message)
		j.text(string(n.Kind))
	}
	if r != nil {
		j.record(r)
	}
	j.close(start, entryReport)
}

// record appends a message.
func (j *journal) record(r *spool.Record) {
	for _, n := range []int64{r.Seq, r.Arrived, r.Size, int64(r.Sum), r.Slot, r.Due, r.Open, int64(r.HeadSum), int64(r.StateSum)} {
		j.buf = binary.LittleEndian.AppendUint64(j.buf, uint64(n))
	}
	for _, s := range []string{r.ID, r.Lane, r.Sender, r.Head, r.Recipients} {
		j.text(s)
	}
	j.buf = append(j.buf, r.Data...)
}

// text appends a text and its length.
func (j *journal) text(s string) {
	j.buf = append(binary.AppendUvarint(j.buf, uint64(len(s))), s...)
}

// end adds to the transaction that a message has gone.
func (j *journal) end(id string) {
	start := j.open()
	j.buf = append(j.buf, id...)
	j.close(start, entryEnd)
}

// open begins an entry.
func (j *journal) open() (start int) {
	start = len(j.buf)
	j.buf = append(j.buf, make([]byte, entryHeader)...)
	return start
}

// close ends an entry, but for what write adds.
func (j *journal) close(start int, kind byte) {
	j.n++
	j.last = start
	h := j.buf[start:]
	binary.LittleEndian.PutUint32(h, journalMagic)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(h)-entryHeader))
	binary.LittleEndian.PutUint64(h[8:], j.salt)
	binary.LittleEndian.PutUint64(h[16:], uint64(j.base))
	binary.LittleEndian.PutUint32(h[32:], j.no+j.n)
	h[36] = kind
	for len(j.buf)%8 != 0 {
		j.buf = append(j.buf, 0)
	}
}

// fits reports whether there is room for the transaction.
func (j *journal) fits() bool { return j.at+int64(len(j.buf))+journalPage <= j.size }

// write writes the transaction under its number, and returns when it is on the disk.
func (j *journal) write(commit int64) error {
	j.buf[j.last+36] |= entryLast
	for at := 0; at < len(j.buf); {
		h := j.buf[at:]
		binary.LittleEndian.PutUint64(h[24:], uint64(commit))
		n := entryLength(h)
		binary.LittleEndian.PutUint32(h[entrySum:], sumEntry(h[:n]))
		at += (n + 7) &^ 7
	}
	if rest := len(j.buf) % journalPage; rest != 0 {
		j.buf = append(j.buf, make([]byte, journalPage-rest)...)
	}
	if _, err := j.f.WriteAt(j.buf, j.at); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(j.f.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", j.f.Name(), err)
	}
	j.at += int64(len(j.buf))
	j.no += j.n
	return nil
}

// entryLength is the length of the entry that begins with h.
func entryLength(h []byte) int { return entryHeader + int(binary.LittleEndian.Uint32(h[4:])) }

// sumEntry is the checksum of an entry.
func sumEntry(e []byte) uint32 {
	sum := crc32.Checksum(e[:entrySum], spool.Castagnoli())
	return crc32.Update(sum, spool.Castagnoli(), e[entrySum+4:])
}

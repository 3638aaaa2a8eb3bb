package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/files"
)

// File is a journal that is written to: one transaction at a time is put together (Clear, Put, End, Report),
// and written at once (Write). It is as large as it ever gets, so that a write changes no metadata and needs
// no room, and is written from its beginning again after each transaction of the database. It is for one
// goroutine.
type File struct {
	fs    durable.FS
	f     durable.Handle
	salt  uint64
	size  int64
	at    int64  // where the next transaction goes
	base  int64  // the number of the last transaction of the database
	no    uint32 // of the last entry written
	buf   []byte // the transaction that is being put together
	n     uint32 // entries in buf
	start int    // of the last of them
}

// Open opens the journal, or makes it, and gives it a salt. What was in it counts no more. It takes size
// bytes of the disk.
func Open(fsys durable.FS, name string, size int64) (*File, error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, files.Perm)
	if err != nil {
		return nil, err
	}
	j := &File{fs: fsys, f: f, salt: rand.Uint64(), size: size}
	if err := j.prepare(); err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

// prepare gives the file its size and its first page, durably.
func (j *File) prepare() error {
	fi, err := j.f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := fi.Size(); at < j.size; at += int64(len(zeros)) {
		if _, err := j.f.WriteAt(zeros[:min(int64(len(zeros)), j.size-at)], at); err != nil {
			// What it took of a full disk others need more.
			return errors.Join(err, j.fs.Remove(j.f.Name()))
		}
	}
	var page [PageSize]byte
	binary.LittleEndian.PutUint32(page[:], entryMagic)
	binary.LittleEndian.PutUint32(page[4:], files.Format)
	binary.LittleEndian.PutUint64(page[8:], j.salt)
	binary.LittleEndian.PutUint32(page[entrySum:], crc32.Checksum(page[:entrySum], spool.Castagnoli()))
	if _, err := j.f.WriteAt(page[:], 0); err != nil {
		return err
	}
	return errors.Join(j.f.Sync(), j.fs.SyncDir(filepath.Dir(j.f.Name())))
}

// Restart begins the journal anew, after transaction base of the database.
func (j *File) Restart(base int64) { j.at, j.base, j.no = PageSize, base, 0 }

// Clear begins a transaction.
func (j *File) Clear() {
	j.buf, j.n = j.buf[:0], 0
	if cap(j.buf) > 1<<20 {
		j.buf = nil // a rare one was as large
	}
}

// Put adds a message to the transaction, with its content.
func (j *File) Put(r *spool.Record) {
	start := j.openEntry()
	j.record(r)
	j.closeEntry(start, entryPut)
}

// Report adds to the transaction that entries of the outbox are answered, by the report r unless that is nil.
func (j *File) Report(answered []relay.Entry, r *spool.Record) {
	start := j.openEntry()
	j.buf = binary.AppendUvarint(j.buf, uint64(len(answered)))
	for _, e := range answered {
		j.text(e.Message)
		j.text(string(e.Topic))
		j.text(e.Key)
	}
	if r != nil {
		j.record(r)
	}
	j.closeEntry(start, entryReport)
}

// record appends a message.
func (j *File) record(r *spool.Record) {
	for _, n := range []int64{r.Seq, r.Arrived, r.Size, int64(r.Sum), r.Slot, r.Due, r.Open, int64(r.HeadSum),
		int64(r.StateSum)} {
		j.buf = binary.LittleEndian.AppendUint64(j.buf, uint64(n))
	}
	for _, s := range []string{r.ID, r.Lane, r.Sender, r.Head, r.Recipients} {
		j.text(s)
	}
	j.buf = append(j.buf, r.Data...)
}

// text appends a text and its length.
func (j *File) text(s string) {
	j.buf = append(binary.AppendUvarint(j.buf, uint64(len(s))), s...)
}

// End adds to the transaction that a message has gone.
func (j *File) End(id string) {
	start := j.openEntry()
	j.buf = append(j.buf, id...)
	j.closeEntry(start, entryEnd)
}

// openEntry begins an entry.
func (j *File) openEntry() (start int) {
	start = len(j.buf)
	j.buf = append(j.buf, make([]byte, entryHeader)...)
	return start
}

// closeEntry ends an entry, but for what write adds.
func (j *File) closeEntry(start int, kind byte) {
	j.n++
	j.start = start
	h := j.buf[start:]
	binary.LittleEndian.PutUint32(h, entryMagic)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(h)-entryHeader))
	binary.LittleEndian.PutUint64(h[8:], j.salt)
	binary.LittleEndian.PutUint64(h[16:], uint64(j.base))
	binary.LittleEndian.PutUint32(h[32:], j.no+j.n)
	h[36] = kind
	for len(j.buf)%8 != 0 {
		j.buf = append(j.buf, 0)
	}
}

// Close closes the file.
func (j *File) Close() error { return j.f.Close() }

// Salt is the salt, as the database notes it.
func (j *File) Salt() int64 { return int64(j.salt) }

// Empty reports whether the transaction has no entries.
func (j *File) Empty() bool { return j.n == 0 }

// Fits reports whether there is room for the transaction.
func (j *File) Fits() bool { return j.at+int64(len(j.buf))+PageSize <= j.size }

// Write writes the transaction under its number, and returns when it is on the disk.
func (j *File) Write(commit int64) error {
	j.buf[j.start+36] |= entryLast
	for at := 0; at < len(j.buf); {
		h := j.buf[at:]
		binary.LittleEndian.PutUint64(h[24:], uint64(commit))
		n := entryLength(h)
		binary.LittleEndian.PutUint32(h[entrySum:], sumEntry(h[:n]))
		at += (n + 7) &^ 7
	}
	if rest := len(j.buf) % PageSize; rest != 0 {
		j.buf = append(j.buf, make([]byte, PageSize-rest)...)
	}
	if _, err := j.f.WriteAt(j.buf, j.at); err != nil {
		return err
	}
	if err := j.f.SyncData(); err != nil {
		return err
	}
	j.at += int64(len(j.buf))
	j.no += j.n
	return nil
}

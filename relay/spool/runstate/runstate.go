// Package runstate is a small file beside a spool's database for what must survive the end of the process
// but is not worth a transaction: how many transactions were committed, whether the spool was closed in
// order, and which messages are leased. The engine opens it before anything else, reads what the last run
// left, and keeps it up to date.
//
// It is written with plain writes: the kernel keeps those through kill -9. Through a power cut it may keep
// none of them, or some. Only Begin and a Close in order are durable when they return nil. So after a power
// cut the file says "closed in order" only if the spool was, and never more commits than there were; of the
// leases it may know some that had ended, and lack some that had not.
//
// From the number of commits an opening spool sees that the end of its log is missing; from the leases it
// sees what was being tried when the process ended, and does not try it again in a tight loop.
//
// The file: a header of four numbers of eight bytes (magic, commits, 1 if closed in order, checksum), and
// from 4096 on rows of 32 bytes (id, its checksum, padding), free ones zero or with the id of a message
// that has gone.
package runstate

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/files"
)

// File is the run state of this process. It is safe for concurrent use.
type File struct {
	mu   sync.Mutex
	f    durable.Handle
	free []int64       // rows in use before and free now
	rows int64         // rows in use or in free
	n    int64         // commits
	buf  [rowSize]byte // what is being written
}

const (
	magic      = 0x6d77687900000001
	headerSize = 4096
	rowSize    = 32
)

// Last is what the last run left.
type Last struct {
	Commits int64
	Clean   bool
	Leased  []string
	Known   bool // there was a file with a valid header
}

// Open reads the run state of the previous process from the file name, and starts that of this one.
func Open(name string) (*File, Last, error) { return open(durable.OS{}, name, "") }

// OpenFrom is Open, but while name says nothing yet what old says counts: the run state of an earlier format.
func OpenFrom(name, old string) (*File, Last, error) { return open(durable.OS{}, name, old) }

// open is OpenFrom on a given file system; old may be empty.
func open(fsys durable.FS, name, old string) (*File, Last, error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, files.Perm)
	if err != nil {
		return nil, Last{}, err
	}
	was, err := read(f)
	if err == nil && !was.Known {
		err = fsys.SyncDir(filepath.Dir(name)) // it may be new
	}
	if err == nil && !was.Known && old != "" {
		was, err = readOld(fsys, old, was)
	}
	if err != nil {
		f.Close()
		return nil, Last{}, err
	}
	return &File{f: f}, was, nil
}

// readOld reads the run state of an earlier format. Without one it is was.
func readOld(fsys durable.FS, name string, was Last) (Last, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return was, files.IgnoreMissing(err)
	}
	defer f.Close()
	return read(f)
}

// read reads a file; an unreadable header or row says nothing.
func read(r io.ReaderAt) (was Last, err error) {
	var h [32]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return was, err
	}
	if binary.LittleEndian.Uint64(h[:]) == magic && binary.LittleEndian.Uint64(h[24:]) == headerSum(h[:24]) {
		was.Known = true
		was.Commits = int64(binary.LittleEndian.Uint64(h[8:]))
		was.Clean = h[16] == 1
	}
	rows := io.NewSectionReader(r, headerSize, 1<<30)
	for {
		var b [rowSize]byte
		if _, err := io.ReadFull(rows, b[:]); err != nil {
			return was, nil
		}
		if id := string(b[:24]); relay.ValidID(id) &&
			binary.LittleEndian.Uint32(b[24:]) == crc32.Checksum(b[:24], spool.Castagnoli()) {
			was.Leased = append(was.Leased, id)
		}
	}
}

func headerSum(b []byte) uint64 { return uint64(crc32.Checksum(b, spool.Castagnoli())) }

// Begin clears the rows and says that the spool is open, durably: if a power cut took that back, a spool that
// was open would pass for one that was closed in order, and not be checked.
func (f *File) Begin(commits int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.f.Truncate(headerSize); err != nil {
		return err
	}
	f.free, f.rows = nil, 0
	f.n = commits
	if err := f.header(false); err != nil {
		return err
	}
	return f.f.Sync()
}

// header writes the header.
func (f *File) header(clean bool) error {
	f.buf = [rowSize]byte{}
	h := f.buf[:]
	binary.LittleEndian.PutUint64(h, magic)
	binary.LittleEndian.PutUint64(h[8:], uint64(f.n))
	if clean {
		h[16] = 1
	}
	binary.LittleEndian.PutUint64(h[24:], headerSum(h[:24]))
	_, err := f.f.WriteAt(h, 0)
	return err
}

// Committed records the number of a commit. A write that fails is left out: it would only have helped to
// tell of a loss.
func (f *File) Committed(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n = n
	f.header(false)
}

// Add marks id as leased and returns its row.
func (f *File) Add(id string) (row int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.free); n > 0 {
		row = f.free[n-1]
		f.free = f.free[:n-1]
	} else {
		row = f.rows
		f.rows++
	}
	f.buf = [rowSize]byte{}
	copy(f.buf[:24], id)
	binary.LittleEndian.PutUint32(f.buf[24:], crc32.Checksum(f.buf[:24], spool.Castagnoli()))
	f.f.WriteAt(f.buf[:], headerSize+row*rowSize)
	return row
}

// Clear frees a row. That of a message that has gone need not be overwritten: nobody will find the message.
func (f *File) Clear(row int64, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !gone {
		f.buf = [rowSize]byte{}
		f.f.WriteAt(f.buf[:], headerSize+row*rowSize)
	}
	f.free = append(f.free, row)
}

// Close ends the run state. clean says that all was written that had to be.
func (f *File) Close(clean bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if clean {
		err = errors.Join(f.f.Truncate(headerSize), f.header(true), f.f.Sync())
	}
	return errors.Join(err, f.f.Close())
}

package sqlite

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"mailwhy/relay"
)

// marks is a small file beside the database for what must survive the end of the process but is not worth a
// transaction: how many transactions were committed, whether the spool was closed in order, and which messages are leased.
// It is written with plain writes: the kernel keeps those through kill -9. Through a power cut it may keep none of them,
// and then the file says less than was, never more.
//
// From the number of commits an opening spool sees that the end of its log is missing; from the leases it sees what was
// being tried when the process ended, and does not try it again in a tight loop.
//
// The file: a header of four numbers of eight bytes (magic, commits, 1 if closed in order, checksum), and from 4096
// on slots of 32 bytes (id, its checksum, padding), free ones zero or with the id of a message that has gone.
type marks struct {
	mu    sync.Mutex
	f     *os.File
	free  []int64 // slots in use before and free now
	slots int64   // slots in use or in free
	n     int64   // commits
}

const (
	marksMagic  = 0x6d77687900000001
	marksHeader = 4096
	marksSlot   = 32
)

// marked is what a marks file says.
type marked struct {
	commits int64
	clean   bool
	leased  []string
	known   bool // there was a file with a valid header
}

// openMarks reads the marks of the previous process and starts its own.
func openMarks(name string) (*marks, marked, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, marked{}, err
	}
	was, err := readMarks(f)
	if err != nil {
		f.Close()
		return nil, marked{}, err
	}
	return &marks{f: f}, was, nil
}

// openMarks opens the marks. While there are none of this format yet those of format 1 count.
func (s *Spool) openMarks() (*marks, marked, error) {
	m, was, err := openMarks(s.path(marksName))
	if err != nil || was.known {
		return m, was, err
	}
	f, err := os.Open(s.path(marksName1))
	if err != nil {
		err = ignoreMissing(err)
	} else {
		was, err = readMarks(f)
		f.Close()
	}
	if err != nil {
		return nil, was, errors.Join(err, m.f.Close())
	}
	return m, was, nil
}

// readMarks reads a marks file; an unreadable header or slot says nothing.
func readMarks(r io.ReaderAt) (was marked, err error) {
	var h [32]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return was, err
	}
	if binary.LittleEndian.Uint64(h[:]) == marksMagic && binary.LittleEndian.Uint64(h[24:]) == headerSum(h[:24]) {
		was.known = true
		was.commits = int64(binary.LittleEndian.Uint64(h[8:]))
		was.clean = h[16] == 1
	}
	slots := io.NewSectionReader(r, marksHeader, 1<<30)
	for {
		var b [marksSlot]byte
		if _, err := io.ReadFull(slots, b[:]); err != nil {
			return was, nil
		}
		if id := string(b[:24]); relay.ValidID(id) && binary.LittleEndian.Uint32(b[24:]) == crc32.Checksum(b[:24], castagnoli()) {
			was.leased = append(was.leased, id)
		}
	}
}

func headerSum(b []byte) uint64 { return uint64(crc32.Checksum(b, castagnoli())) }

// begin clears the slots and says that the spool is open.
func (m *marks) begin(commits int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.f.Truncate(marksHeader); err != nil {
		return err
	}
	m.free, m.slots = nil, 0
	m.n = commits
	return m.header(false)
}

// header writes the header.
func (m *marks) header(clean bool) error {
	var h [32]byte
	binary.LittleEndian.PutUint64(h[:], marksMagic)
	binary.LittleEndian.PutUint64(h[8:], uint64(m.n))
	if clean {
		h[16] = 1
	}
	binary.LittleEndian.PutUint64(h[24:], headerSum(h[:24]))
	_, err := m.f.WriteAt(h[:], 0)
	return err
}

// committed records the number of a commit. A write that fails is left out: it would only have helped to tell of a loss.
func (m *marks) committed(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n = n
	m.header(false)
}

// add marks id as leased and returns its slot.
func (m *marks) add(id string) (slot int64) {
	var b [marksSlot]byte
	copy(b[:24], id)
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli()))
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.free); n > 0 {
		slot = m.free[n-1]
		m.free = m.free[:n-1]
	} else {
		slot = m.slots
		m.slots++
	}
	m.f.WriteAt(b[:], marksHeader+slot*marksSlot)
	return slot
}

// clear frees a slot. That of a message that has gone need not be overwritten: nobody will find the message.
func (m *marks) clear(slot int64, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !gone {
		var b [marksSlot]byte
		m.f.WriteAt(b[:], marksHeader+slot*marksSlot)
	}
	m.free = append(m.free, slot)
}

// close ends the marks. clean says that all was written that had to be.
func (m *marks) close(clean bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if clean {
		err = errors.Join(m.f.Truncate(marksHeader), m.header(true), m.f.Sync())
	}
	return errors.Join(err, m.f.Close())
}

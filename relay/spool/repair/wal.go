package repair

import (
	"encoding/binary"
	"math/bits"
	"os"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// SQLite's write-ahead log (https://www.sqlite.org/fileformat2.html#the_write_ahead_log): a header and
// frames, each a page with the running checksum of all before it. SQLite takes everything from the first
// frame whose checksum is wrong for what a power cut left of a transaction that was never acknowledged,
// and drops it without a word. A single flipped bit so undoes every later transaction. MendLog finds that
// case and gives the frames new checksums, so that SQLite reads them all; what the flipped bit hit is
// then found by the checksums of our own. maxGrowth is more pages than one transaction adds.
const maxGrowth = (2*database.BatchBytes + 64<<20) / database.PageSize

const (
	walHeader      = 32
	walFrameHeader = 24
	walMagic       = 0x377f0682 // the lowest bit set: checksums are over big-endian words
	walVersion     = 3007000
)

// walFile is a log in memory.
type walFile struct {
	b     []byte
	order binary.ByteOrder // of the checksums' words
	size  int              // of a frame with its header
}

// parseWAL takes b for a log. ok is false when it holds no frame.
func parseWAL(b []byte) (w *walFile, ok bool) {
	w = &walFile{b: b, order: binary.LittleEndian, size: walFrameHeader + database.PageSize}
	if len(b) < walHeader+w.size {
		return w, false
	}
	if magic := binary.BigEndian.Uint32(b); magic == walMagic|1 {
		w.order = binary.BigEndian
	}
	return w, true
}

// frames is how many whole frames the file has room for; those at its end may be of an earlier round.
func (w *walFile) frames() int { return (len(w.b) - walHeader) / w.size }

func (w *walFile) frame(i int) []byte {
	at := walHeader + i*w.size
	return w.b[at : at+w.size]
}

// sum continues a checksum over b, whose length is a multiple of eight.
func (w *walFile) sum(s [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += w.order.Uint32(b) + s[1]
		s[1] += w.order.Uint32(b[4:]) + s[0]
	}
	return s
}

// sumAt reads the checksum that ends at offset end of b.
func sumAt(b []byte, end int) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b[end-8:]), binary.BigEndian.Uint32(b[end-4:])}
}

// headerGood reports whether SQLite will accept the header.
func (w *walFile) headerGood() bool {
	return binary.BigEndian.Uint32(w.b)&^1 == walMagic && binary.BigEndian.Uint32(w.b[4:]) == walVersion &&
		binary.BigEndian.Uint32(w.b[8:]) == database.PageSize &&
		w.sum([2]uint32{}, w.b[:24]) == sumAt(w.b, walHeader)
}

// salts are the eight bytes that mark the frames of the current round.
func salts(b []byte) string { return string(b[8:16]) }

// near reports whether two salts are the same but for a damaged byte or so. Those of the round before
// differ in half of their bits.
func near(a, b string) bool {
	n := 0
	for i := range len(a) {
		n += bits.OnesCount8(a[i] ^ b[i])
	}
	return n <= 4
}

// commits reports whether frame f ends a transaction.
func commits(f []byte) bool { return binary.BigEndian.Uint32(f[4:]) != 0 }

// walk says how far SQLite will read: good is the number of frames with right checksums, read of those up
// to the last one that ends a transaction. live is the number of frames up to the last one of the current
// round.
func (w *walFile) walk(round string) (good, read, live int) {
	s := w.sum([2]uint32{}, w.b[:24])
	whole := w.headerGood()
	for i := range w.frames() {
		f := w.frame(i)
		if near(salts(f), round) {
			live = i + 1
		}
		if !whole {
			continue
		}
		s = w.sum(w.sum(s, f[:8]), f[walFrameHeader:])
		if whole = salts(f) == round && s == sumAt(f, walFrameHeader); whole {
			good = i + 1
			if commits(f) {
				read = good
			}
		}
	}
	return good, read, live
}

// round finds the salts of the current round: those of the header, unless that is damaged.
func (w *walFile) round() string {
	if w.headerGood() {
		return string(w.b[16:24])
	}
	votes := map[string]int{}
	for i := range min(8, w.frames()) {
		votes[salts(w.frame(i))]++
	}
	best := salts(w.frame(0))
	for s, n := range votes {
		if n > votes[best] {
			best = s
		}
	}
	return best
}

// broken reports whether a transaction that was committed is cut off: after the one in which the checksums
// end there is another one. What a power cut leaves is at most a part of the last.
func (w *walFile) broken(round string, good, live int) bool {
	if !w.headerGood() {
		return live > 0
	}
	ended := false
	for i := good; i < live; i++ {
		f := w.frame(i)
		if ended && salts(f) == round {
			return true
		}
		ended = ended || commits(f) && salts(f) == round
	}
	return false
}

// mend makes all frames of the current round valid, up to the last that ends a transaction. A frame whose
// page number cannot be right is made a copy of the one before it, which does no harm. It returns how many
// frames it changed.
func (w *walFile) mend(round string, live int) (changed int) {
	if !w.headerGood() {
		binary.BigEndian.PutUint32(w.b, walMagic)
		w.order = binary.LittleEndian
		binary.BigEndian.PutUint32(w.b[4:], walVersion)
		binary.BigEndian.PutUint32(w.b[8:], database.PageSize)
		copy(w.b[16:24], round)
		putSum(w.b, walHeader, w.sum([2]uint32{}, w.b[:24]))
	}
	limit := w.mendSize(round, live) + maxGrowth
	s := sumAt(w.b, walHeader)
	for i := range live {
		f := w.frame(i)
		before := string(f[:walFrameHeader])
		if page := binary.BigEndian.Uint32(f); (page == 0 || page > limit) && i > 0 {
			copy(f, w.frame(i - 1)[:4])
			copy(f[walFrameHeader:], w.frame(i - 1)[walFrameHeader:])
		}
		copy(f[8:16], round)
		s = w.sum(w.sum(s, f[:8]), f[walFrameHeader:])
		putSum(f, walFrameHeader, s)
		if string(f[:walFrameHeader]) != before {
			changed++
		}
	}
	return changed
}

// mendSize returns the size of the database in pages that the last transaction says, after putting it right
// if it is far from what the one before says.
func (w *walFile) mendSize(round string, live int) uint32 {
	var last []byte
	var size, before uint32
	for i := range live {
		if f := w.frame(i); salts(f) == round && commits(f) {
			before, size = size, binary.BigEndian.Uint32(f[4:])
			last = f
		}
	}
	if before != 0 && (size > before+maxGrowth || size+database.VacuumStep < before) {
		size = before
		binary.BigEndian.PutUint32(last[4:], size)
	}
	return size
}

// replaceFirst puts page in the place of the content of all frames of page number 1, and reports whether
// there are any.
func (w *walFile) replaceFirst(page []byte, round string, live int) (any bool) {
	for i := range live {
		if f := w.frame(i); salts(f) == round && binary.BigEndian.Uint32(f) == 1 {
			copy(f[walFrameHeader:], page)
			any = true
		}
	}
	return any
}

// putSum writes the checksum that ends at offset end of b.
func putSum(b []byte, end int, s [2]uint32) {
	binary.BigEndian.PutUint32(b[end-8:], s[0])
	binary.BigEndian.PutUint32(b[end-4:], s[1])
}

// walMendMax bounds the log that is mended, which is held in memory.
const walMendMax = 256 << 20

// MendLog repairs the log before SQLite opens it after a crash, if SQLite would drop committed
// transactions: some follow a damaged one, or behind says that there were more. It reports whether it did.
// The log as it was is set aside.
func MendLog(dir files.Dir, behind func() bool) (mended bool, err error) {
	w, err := readLog(dir)
	if err != nil || w == nil {
		return false, err
	}
	round := w.round()
	good, read, live := w.walk(round)
	if live <= read || !w.broken(round, good, live) && !behind() {
		return false, nil
	}
	aside, err := dir.SetAside(files.Database + "-wal")
	if err != nil {
		return false, err
	}
	changed := w.mend(round, live)
	dir.Log.Error("the spool's log is damaged: SQLite would drop transactions that were committed; they "+
		"are restored",
		"dir", dir.Path, "pages_read", read, "pages_restored", live-read, "checksums_made", changed,
		"original", aside)
	return true, durable.WriteFile(dir.File(files.Database+"-wal"), w.b, files.Perm)
}

// readLog reads the log; nil when there is none that holds anything.
func readLog(dir files.Dir) (*walFile, error) {
	name := dir.File(files.Database + "-wal")
	fi, err := os.Stat(name)
	if err != nil || fi.Size() > walMendMax {
		return nil, files.IgnoreMissing(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	w, ok := parseWAL(b)
	if !ok {
		return nil, nil
	}
	return w, nil
}

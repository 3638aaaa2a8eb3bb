package sqlite

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/files"
)

// journalled is what a journal holds: the entries after the last transaction of the database that it knows of.
type journalled struct {
	name    string // of its file, in the spool's directory
	salt    int64  // as the database notes it
	base    int64
	entries []entry // with right checksums, by number
	broken  []entry // with wrong ones, as far as they make sense
	newer   []entry // ... that say that their base is a later one, of which no entry is right
}

// entry is one of the journal's (see there for the fields).
type entry struct {
	salt   uint64
	base   int64
	commit int64
	no     uint32
	kind   byte
	last   bool
	body   []byte
	length int // in the file
	whole  bool
}

// readJournal reads the journal that the process before has left: until the files have their names of today,
// that of format 1.
func readJournal(dir string) (j journalled, err error) {
	for _, name := range []string{files.Journal, files.Journal1} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return j, err
		}
		j = parseJournal(b)
		j.name = name
		return j, nil
	}
	return j, nil
}

// parseJournal finds the entries in b.
func parseJournal(b []byte) (j journalled) {
	var all []entry
	for at := journalPage; at+entryHeader <= len(b); {
		e, ok := parseEntry(b[at:])
		if ok {
			all = append(all, e)
		}
		if ok && e.whole {
			at += e.length
		} else {
			at += 8 // what follows something damaged is found again by its magic number
		}
	}
	salt := saltOf(b, all)
	j.salt = int64(salt)
	for _, e := range all {
		if e.whole && e.salt == salt {
			j.base = max(j.base, e.base)
		}
	}
	for _, e := range all {
		switch {
		case e.salt == salt && e.base > j.base:
			j.newer = append(j.newer, e)
		case e.salt != salt || e.base != j.base:
		case e.whole:
			j.entries = append(j.entries, e)
		default:
			j.broken = append(j.broken, e)
		}
	}
	slices.SortStableFunc(j.entries, func(a, b entry) int { return cmp.Compare(a.no, b.no) })
	return j
}

// parseEntry reads what begins with b, if it can be an entry.
func parseEntry(b []byte) (e entry, ok bool) {
	n := uint64(binary.LittleEndian.Uint32(b[4:])) + entryHeader
	if magic := binary.LittleEndian.Uint32(b); magic != journalMagic && magic != journalMagic1 ||
		n > uint64(len(b)) {
		return e, false
	}
	e = entry{
		salt:   binary.LittleEndian.Uint64(b[8:]),
		base:   int64(binary.LittleEndian.Uint64(b[16:])),
		commit: int64(binary.LittleEndian.Uint64(b[24:])),
		no:     binary.LittleEndian.Uint32(b[32:]),
		kind:   b[36] &^ entryLast,
		last:   b[36]&entryLast != 0,
		body:   b[entryHeader:n],
		length: int(n+7) &^ 7,
		whole:  binary.LittleEndian.Uint32(b[entrySum:]) == sumEntry(b[:n]),
	}
	return e, true
}

// parseFirstPage reads a journal's first page; ok is false when it is damaged.
func parseFirstPage(b []byte) (version int64, salt uint64, ok bool) {
	if len(b) < journalPage || binary.LittleEndian.Uint32(b[entrySum:]) != crc32.Checksum(b[:entrySum],
		spool.Castagnoli()) {
		return 0, 0, false
	}
	if version = int64(binary.LittleEndian.Uint32(b[4:])); binary.LittleEndian.Uint32(b) == journalMagic1 {
		version = 1
	}
	return version, binary.LittleEndian.Uint64(b[8:]), true
}

// saltOf is the salt of the journal: that of its first page or, if that is damaged, of most entries.
func saltOf(b []byte, all []entry) (salt uint64) {
	if _, salt, ok := parseFirstPage(b); ok {
		return salt
	}
	votes := map[uint64]int{}
	for _, e := range all {
		if votes[e.salt]++; e.whole && votes[e.salt] > votes[salt] {
			salt = e.salt
		}
	}
	return salt
}

// counts reports whether the entries are newer than the database, which has had so many transactions.
func (j *journalled) counts(commits int64) bool { return len(j.entries) > 0 && j.base >= commits }

// last is the number of the last transaction that is known of.
func (j *journalled) last(commits int64) int64 {
	if !j.counts(commits) {
		return commits
	}
	return j.entries[len(j.entries)-1].commit
}

// onDisk is the number of the last entry that was on the disk for sure, and so may have been acknowledged, when transactions up to
// number marked are known to have been: a power cut may leave any part of the last one.
func (j *journalled) onDisk(marked int64) (no uint32) {
	last := j.entries[len(j.entries)-1]
	if marked >= last.commit {
		if !last.last {
			return last.no + 1 // and perhaps more
		}
		return last.no
	}
	for _, e := range j.entries {
		if e.commit < last.commit {
			no = e.no
		}
	}
	return no
}

// changes are what a journal adds to a database.
type changes struct {
	come     []*spool.Record // messages, in their order
	gone     []string        // ids of messages that have gone from the database
	reported []relay.Notice  // by reports
	reports  []*spool.Record // those that told them, whether they are among come or have gone since
	missing  int             // entries that were on the disk (see onDisk) and cannot be read
}

// none reports whether there are no changes.
func (c *changes) none() bool {
	return len(c.come) == 0 && len(c.gone) == 0 && len(c.reported) == 0 && len(c.reports) == 0
}

// changes are what the journal adds to a database that has had so many transactions. What can be made out of entries that cannot be
// read whole is among the messages all the same, but for reports: their notices are not told then, and each is made again.
func (j *journalled) changes(commits, marked int64) (c changes) {
	if !j.counts(commits) {
		return c
	}
	return j.read(j.onDisk(marked))
}

// all is what a journal holds, whatever the database has of it, and all that can be made out of damaged
// entries.
func (j *journalled) all() changes {
	whole := *j
	whole.broken = slices.Concat(j.broken, j.newer)
	return whole.read(math.MaxUint32)
}

// read reads the entries, of which those up to number sure were on the disk for sure.
func (j *journalled) read(sure uint32) (c changes) {
	c.missing = int(sure)
	read := map[uint32]bool{}
	ended := map[string]bool{}
	all := slices.Clone(j.entries)
	for _, e := range j.entries {
		if !read[e.no] && e.no <= sure {
			c.missing--
		}
		read[e.no] = true
		switch e.kind {
		case entryEnd:
			ended[string(e.body)] = true
		case entryPut, entryReport:
		default:
			c.missing++ // nothing of this format
		}
	}
	for _, e := range j.broken {
		if !read[e.no] && e.no <= sure {
			e.kind = entryPut // the kind may be what is damaged: whatever reads as a message is one
			all = append(all, e)
		}
	}
	seen := map[string]bool{}
	for i := range all {
		r := c.add(&all[i])
		if r == nil || seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		if !ended[r.ID] {
			c.come = append(c.come, r)
		}
	}
	slices.SortStableFunc(c.come, func(a, b *spool.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	for id := range ended {
		if !seen[id] {
			c.gone = append(c.gone, id)
		}
	}
	return c
}

// add takes in what an entry says beside its message, which it returns.
func (c *changes) add(e *entry) *spool.Record {
	switch e.kind {
	case entryPut:
		return e.record(e.body)
	case entryReport:
		told, rest, ok := cutReported(e.body)
		if !ok {
			return nil
		}
		c.reported = append(c.reported, told...)
		r := e.record(rest)
		if r != nil {
			c.reports = append(c.reports, r)
		}
		return r
	}
	return nil
}

// cutReported reads the notices at the beginning of a report's entry.
func cutReported(b []byte) (told []relay.Notice, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)) {
		return nil, nil, false
	}
	b = b[used:]
	for range n {
		recipient, used := binary.Uvarint(b)
		if used <= 0 {
			return nil, nil, false
		}
		b = b[used:]
		var id, kind string
		for _, p := range []*string{&id, &kind} {
			if *p, b, ok = cutText(b); !ok {
				return nil, nil, false
			}
		}
		told = append(told, relay.Notice{Message: id, Recipient: int(recipient), Kind: relay.NoticeKind(kind)})
	}
	return told, b, true
}

// cutText reads a text that has its length before it.
func cutText(b []byte) (text string, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil, false
	}
	return string(b[used : used+int(n)]), b[used+int(n):], true
}

// record is the message of an entry, read from b; nil when that makes no sense. Its texts and its content have checksums of their own.
func (e *entry) record(b []byte) *spool.Record {
	r := new(spool.Record)
	var sum, headSum, stateSum int64
	for _, p := range []*int64{&r.Seq, &r.Arrived, &r.Size, &sum, &r.Slot, &r.Due, &r.Open, &headSum, &stateSum} {
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

// empty reports whether a journal holds nothing.
func (j *journalled) empty() bool {
	return len(j.entries) == 0 && len(j.broken) == 0 && len(j.newer) == 0
}

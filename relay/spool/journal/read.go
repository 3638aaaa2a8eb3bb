package journal

import (
	"cmp"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"mailwhy/relay/spool/files"
)

// Journal is what a journal holds: the entries after the last transaction of the database that it knows of.
type Journal struct {
	Name    string  // of its file, in the spool's directory
	Salt    int64   // as the database notes it
	Base    int64   // the number of that last transaction
	entries []entry // with right checksums, by number
	broken  []entry // with wrong ones, as far as they make sense
	newer   []entry // ... that say that their base is a later one, of which no entry is right
}

// Read reads the journal that the process before has left: until the files have their names of today,
// that of format 1.
func Read(dir string) (j Journal, err error) {
	for _, name := range []string{files.Journal, files.Journal1} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return j, err
		}
		j = Parse(b)
		j.Name = name
		return j, nil
	}
	return j, nil
}

// Parse finds the entries in b.
func Parse(b []byte) (j Journal) {
	var all []entry
	for at := PageSize; at+entryHeader <= len(b); {
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
	j.Salt = int64(salt)
	for _, e := range all {
		if e.whole && e.salt == salt {
			j.Base = max(j.Base, e.base)
		}
	}
	for _, e := range all {
		switch {
		case e.salt == salt && e.base > j.Base:
			j.newer = append(j.newer, e)
		case e.salt != salt || e.base != j.Base:
		case e.whole:
			j.entries = append(j.entries, e)
		default:
			j.broken = append(j.broken, e)
		}
	}
	slices.SortStableFunc(j.entries, func(a, b entry) int { return cmp.Compare(a.no, b.no) })
	return j
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
func (j *Journal) counts(commits int64) bool { return len(j.entries) > 0 && j.Base >= commits }

// Last is the number of the last transaction that is known of.
func (j *Journal) Last(commits int64) int64 {
	if !j.counts(commits) {
		return commits
	}
	return j.entries[len(j.entries)-1].commit
}

// onDisk is the number of the last entry that was on the disk for sure, and so may have been acknowledged,
// when transactions up to number marked are known to have been: a power cut may leave any part of the last
// one.
func (j *Journal) onDisk(marked int64) (no uint32) {
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

// Changes are what the journal adds to a database that has had so many transactions. What can be made out of
// entries that cannot be read whole is among the messages all the same, but for reports: what they
// answer does not count as answered then, and each is made again.
func (j *Journal) Changes(commits, marked int64) (c Changes) {
	if !j.counts(commits) {
		return c
	}
	return j.read(j.onDisk(marked))
}

// All is what a journal holds, whatever the database has of it, and all that can be made out of damaged
// entries.
func (j *Journal) All() Changes {
	whole := *j
	whole.broken = slices.Concat(j.broken, j.newer)
	return whole.read(math.MaxUint32)
}

// Empty reports whether a journal holds nothing.
func (j *Journal) Empty() bool {
	return len(j.entries) == 0 && len(j.broken) == 0 && len(j.newer) == 0
}

// Damaged reports whether entries cannot be read whole.
func (j *Journal) Damaged() bool { return len(j.broken)+len(j.newer) > 0 }

// HasEntries reports whether it holds entries that can be read whole.
func (j *Journal) HasEntries() bool { return len(j.entries) > 0 }

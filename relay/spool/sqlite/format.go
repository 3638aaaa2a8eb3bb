package sqlite

import (
	"encoding/binary"
	"fmt"
	"io"
	"mailwhy/relay/spool/files"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A format has one number for all files of a spool: the database has it as PRAGMA user_version, the journal
// in its first page and in the magic number of its entries.
//
//	1  until 28 November 2026. The first releases had no journal, the ones after them a file "journal",
//	   in which reports came later. None of them looked whether another one had written to the spool
//	   since: going back lost what was in the journal.
//	2  the row of meta says which journal the database has taken in (counts.journal). The journal and the
//	   marks have names of their own, so that a release of format 1, which refuses the database, neither
//	   reads nor changes them before it does.
//
// A spool of an earlier format becomes one of this format when it is opened, with the one transaction that
// takes in its journal (replay.go). Before that commit it is of the earlier format, whole, and after it of
// this one; the files that are renamed afterwards have nothing in them that the database has not. A spool of
// a later format is refused before anything is changed.

// errNewer refuses a spool of a later format.
func errNewer(version int64) error {
	return fmt.Errorf("it was written by a newer release: its format is %d, and this release knows formats "+
		"up to %d; nothing was changed. Start the newer release again; to go back to this one, let the "+
		"newer one empty its queue first, and then give this one another, empty directory",
		version, schemaVersion)
}

// checkFormat refuses a spool of a later format. It only reads. A database that is damaged says nothing here:
// salvaging it comes later, and must not begin when the journal is of a later format.
func checkFormat(dir files.Dir) error {
	version, err := databaseVersion(dir)
	if err != nil {
		return err
	}
	journal, err := journalVersion(dir.Path)
	if err != nil {
		return err
	}
	if version = max(version, journal); version > schemaVersion {
		return errNewer(version)
	}
	return nil
}

// Where the first page of a database has the number of its format and the mark of the application
// (https://www.sqlite.org/fileformat2.html#the_database_header).
const (
	headerVersion     = 60
	headerApplication = 68
)

// databaseVersion is the format of the database: that of its first page in the file or, if the log has a
// newer one, there. It is 0 for a database that is not there, or not ours as far as can be seen.
func databaseVersion(dir files.Dir) (version int64, err error) {
	f, err := os.Open(dir.File(files.Database))
	if err != nil {
		return 0, files.IgnoreMissing(err)
	}
	defer f.Close()
	page := make([]byte, pageSize)
	if _, err := io.ReadFull(f, page); err != nil {
		return 0, nil
	}
	version = pageVersion(page)
	w, err := readLog(dir)
	if err != nil || w == nil {
		return version, err
	}
	_, read, _ := w.walk(w.round())
	for i := range read {
		if f := w.frame(i); binary.BigEndian.Uint32(f) == 1 {
			version = pageVersion(f[walFrameHeader:])
		}
	}
	return version, nil
}

// pageVersion is the format that the first page of a database says; 0 if it is not of ours.
func pageVersion(page []byte) int64 {
	if binary.BigEndian.Uint32(page[headerApplication:]) != applicationID {
		return 0
	}
	return int64(binary.BigEndian.Uint32(page[headerVersion:]))
}

// journalVersion is the latest format of a journal in dir, by its first page or, where that is damaged, its
// name.
func journalVersion(dir string) (version int64, err error) {
	names, err := filepath.Glob(filepath.Join(escapeGlob(dir), files.Journal1+"*"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		n, ok, err := firstPageVersion(name)
		if err != nil {
			return 0, err
		}
		if !ok {
			n = nameVersion(filepath.Base(name))
		}
		version = max(version, n)
	}
	return version, nil
}

// nameVersion is the format that the name of a journal says: journal-N. A large number is somebody's copy,
// with the date perhaps.
func nameVersion(name string) int64 {
	n, err := strconv.ParseInt(strings.TrimPrefix(name, files.Journal1+"-"), 10, 64)
	if err != nil || n > 1000 {
		return 0
	}
	return n
}

// escapeGlob escapes what a pattern would take for more than a letter.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// firstPageVersion is the format in the first page of a journal; ok is false when that is damaged.
func firstPageVersion(name string) (version int64, ok bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, false, files.IgnoreMissing(err)
	}
	defer f.Close()
	page := make([]byte, journalPage)
	if _, err := io.ReadFull(f, page); err != nil {
		return 0, false, nil
	}
	version, _, ok = parseFirstPage(page)
	return version, ok, nil
}

// migrate makes a database of format 1 one of this format, within the transaction under way.
func (t *tx) migrate() error {
	if _, err := t.exec("ALTER TABLE meta ADD COLUMN journal INTEGER NOT NULL DEFAULT 0"); err != nil {
		return err
	}
	return t.run(fmt.Sprintf("PRAGMA user_version=%d", schemaVersion))
}

package sqlite

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

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
	if version = max(version, journal); version > files.Format {
		return files.NewerFormat(version)
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
	page := make([]byte, database.PageSize)
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
	if binary.BigEndian.Uint32(page[headerApplication:]) != database.ApplicationID {
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

// nameVersion is the format that the name of a journal says: journal-N. A large number is somebody's copy, with
// the date perhaps.
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

package repair

import (
	"encoding/binary"
	"io"
	"os"

	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
)

// CheckFormat refuses a spool of a later format. It only reads. A database that is damaged says nothing here:
// salvaging it comes later, and must not begin when the journal is of a later format.
func CheckFormat(dir files.Dir) error {
	version, err := databaseVersion(dir)
	if err != nil {
		return err
	}
	ofJournal, err := journal.LatestVersion(dir.Path)
	if err != nil {
		return err
	}
	if version = max(version, ofJournal); version > files.Format {
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

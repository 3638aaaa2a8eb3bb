package repair

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// Where the counters stand in a database's header
// (https://www.sqlite.org/fileformat2.html#the_database_header).
const (
	// change counter; while it differs from headerValidFor the number of pages is not used
	headerChange   = 24
	headerFreelist = 32 // first page of the list of free pages, and how many these are
	headerValidFor = 92
)

// mendFirstPage puts the first page of a damaged database right if SQLite cannot read the schema from it.
// All spools of a format have the same schema, made by the same statements, so but for a few counters they
// have the same first page. The original is set aside. The log may hold the page anew; there, too, it is
// replaced when that helps.
func mendFirstPage(dir files.Dir) error {
	if readsSchema(dir.File(files.Database)) {
		return nil
	}
	var page []byte
	for _, create := range []func(string) (*database.Conn, error){
		database.CreateEarlier, database.OpenWriter, // which is what stays when neither fits
	} {
		var err error
		if page, err = firstPage(dir, create); err != nil {
			return err
		}
		if err := replaceFirstPage(dir, page); err != nil || readsCounts(dir.File(files.Database)) {
			return err
		}
	}
	if readsSchema(dir.File(files.Database)) {
		return nil
	}
	w, err := readLog(dir)
	if err != nil || w == nil {
		return err
	}
	round := w.round()
	_, _, live := w.walk(round)
	if _, err := dir.SetAside(files.Database + "-wal"); err != nil {
		return err
	}
	if w.replaceFirst(page, round, live) {
		w.mend(round, live)
	}
	return durable.WriteFile(dir.File(files.Database+"-wal"), w.b, files.Perm)
}

// replaceFirstPage replaces the first page in the database's file.
func replaceFirstPage(dir files.Dir, page []byte) error {
	f, err := os.OpenFile(dir.File(files.Database), os.O_RDWR|os.O_CREATE, files.Perm)
	if err != nil {
		return err
	}
	defer f.Close()
	aside, err := dir.Aside()
	if err != nil {
		return err
	}
	old := make([]byte, database.PageSize)
	n, err := f.ReadAt(old, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if err := durable.WriteFile(aside+"-firstpage", old[:n], files.Perm); err != nil {
		return err
	}
	_, err = f.WriteAt(page, 0)
	return errors.Join(err, f.Sync())
}

// readsCounts reports whether SQLite can read the table meta: with the schema of another format it is not
// where it should be.
func readsCounts(name string) bool {
	c, err := database.Open(name, "mode=ro", "query_only=ON", "writable_schema=ON")
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = database.ReadCounts(c)
	return err == nil
}

// readsSchema reports whether SQLite can read the schema of a database, and it is ours.
func readsSchema(name string) bool {
	c, err := database.Open(name, "mode=ro", "query_only=ON", "writable_schema=ON")
	if err != nil {
		return false
	}
	defer c.Close()
	n, _, err := c.Integer("SELECT count(*) FROM sqlite_schema " +
		"WHERE name IN ('message', 'content', 'notice', 'outbox', 'meta')")
	return err == nil && n == 4
}

// firstPage is the first page of a new spool that create makes, without the counters: SQLite takes the
// number of pages from the file then, and the free ones are lost only to the damaged file.
func firstPage(dir files.Dir, create func(string) (*database.Conn, error)) ([]byte, error) {
	temp, err := os.MkdirTemp(dir.Path, "template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	name := filepath.Join(temp, files.Database)
	c, err := create(name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(database.TruncateLog(c), c.Close()); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	page := b[:database.PageSize]
	binary.BigEndian.PutUint32(page[headerChange:], binary.BigEndian.Uint32(page[headerValidFor:])+1)
	binary.BigEndian.PutUint64(page[headerFreelist:], 0)
	return page, nil
}

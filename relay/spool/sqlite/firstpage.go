package sqlite

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"mailwhy/relay/internal/durable"
)

// Where the counters stand in a database's header (https://www.sqlite.org/fileformat2.html#the_database_header).
const (
	headerChange   = 24 // change counter; while it differs from headerValidFor the number of pages is not used
	headerFreelist = 32 // first page of the list of free pages, and how many these are
	headerValidFor = 92
)

// mendFirstPage puts the first page of a damaged database right if SQLite cannot read the schema from it. All spools
// have the same schema, made by the same statements, so but for a few counters they have the same first page. The
// original is set aside. The log may hold the page anew; there, too, it is replaced when that helps.
func (s *Spool) mendFirstPage() error {
	if readsSchema(s.path(databaseName)) {
		return nil
	}
	page, err := s.firstPage()
	if err != nil {
		return err
	}
	if err := s.replaceFirstPage(page); err != nil || readsSchema(s.path(databaseName)) {
		return err
	}
	w, err := s.readLog()
	if err != nil || w == nil {
		return err
	}
	round := w.round()
	_, _, live := w.walk(round)
	if _, err := s.setAside(databaseName + "-wal"); err != nil {
		return err
	}
	if w.replaceFirst(page, round, live) {
		w.mend(round, live)
	}
	return durable.WriteFile(s.path(databaseName+"-wal"), w.b, filePerm)
}

// replaceFirstPage replaces the first page in the database's file.
func (s *Spool) replaceFirstPage(page []byte) error {
	f, err := os.OpenFile(s.path(databaseName), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return err
	}
	defer f.Close()
	aside, err := s.damagedPath()
	if err != nil {
		return err
	}
	old := make([]byte, pageSize)
	n, err := f.ReadAt(old, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if err := durable.WriteFile(aside+"-firstpage", old[:n], filePerm); err != nil {
		return err
	}
	_, err = f.WriteAt(page, 0)
	return errors.Join(err, f.Sync())
}

// readsSchema reports whether SQLite can read the schema of a database, and it is ours.
func readsSchema(name string) bool {
	c, err := openConn(name, "mode=ro", "query_only=ON", "writable_schema=ON")
	if err != nil {
		return false
	}
	defer c.close()
	n, _, err := c.integer("SELECT count(*) FROM sqlite_schema WHERE name IN ('message', 'content', 'notice', 'meta')")
	return err == nil && n == 4
}

// firstPage is the first page of a new spool, without the counters: SQLite takes the number of pages from the file then, and
// the free ones are lost only to the damaged file.
func (s *Spool) firstPage() ([]byte, error) {
	dir, err := os.MkdirTemp(s.o.Dir, "template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, databaseName)
	c, err := openWriter(name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(truncateLog(c), c.close()); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	page := b[:pageSize]
	binary.BigEndian.PutUint32(page[headerChange:], binary.BigEndian.Uint32(page[headerValidFor:])+1)
	binary.BigEndian.PutUint64(page[headerFreelist:], 0)
	return page, nil
}

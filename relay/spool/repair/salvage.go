package repair

import (
	"cmp"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// Salvage replaces a damaged database by one that holds all that can be read of it. The database must be
// closed. The damaged files are kept, and what is lost is named in the log and in the table quarantine.
//
// A crash at any point is made good by ResumeRebuild at the next start.
func Salvage(dir files.Dir, why string) (lost []database.Damaged, err error) {
	dir.Log.Error("the spool's database is damaged; what can be read of it is copied into a new one", "dir",
		dir.Path, "why", why)
	if err := removeDatabase(dir.File(files.Rebuild)); err != nil {
		return nil, err
	}
	b := &rebuild{dir: dir, noContent: map[int64]*spool.Record{}, missing: map[int64]database.Damaged{}}
	if err := b.run(); err != nil {
		return nil, errors.Join(fmt.Errorf("salvaging the spool: %w", err),
			removeDatabase(dir.File(files.Rebuild)))
	}
	if err := finishRebuild(dir); err != nil {
		return nil, err
	}
	dir.Log.Error("the spool was salvaged", "dir", dir.Path, "messages_saved", b.saved, "messages_lost",
		len(b.bad),
		"contents_lost", len(b.noContent), "originals", dir.File(files.Damaged))
	return b.bad, nil
}

// finishRebuild puts a complete rebuild in the place of the damaged database, whose files it sets aside.
// Without a rebuild it does nothing.
func finishRebuild(dir files.Dir) error {
	if _, err := os.Stat(dir.File(files.Rebuild)); err != nil {
		return files.IgnoreMissing(err)
	}
	aside, err := dir.Aside()
	if err != nil {
		return err
	}
	// The log goes first: a database without its log is damaged still, but a log must never meet another
	// database.
	for _, suffix := range []string{"-wal", "-shm", ""} {
		err := os.Rename(dir.File(files.Database+suffix), aside+"-"+files.Database+suffix)
		if files.IgnoreMissing(err) != nil {
			return err
		}
	}
	if err := durable.SyncDir(dir.File(files.Damaged)); err != nil {
		return err
	}
	if err := os.Rename(dir.File(files.Rebuild), dir.File(files.Database)); err != nil {
		return err
	}
	return durable.SyncDir(dir.Path)
}

// ResumeRebuild deals with a rebuild that a crash interrupted: complete ones are those whose original is
// set aside already.
func ResumeRebuild(dir files.Dir) error {
	if _, err := os.Stat(dir.File(files.Database)); errors.Is(err, fs.ErrNotExist) {
		return finishRebuild(dir)
	}
	return removeDatabase(dir.File(files.Rebuild))
}

// removeDatabase removes a database with its files.
func removeDatabase(name string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		errs = append(errs, files.IgnoreMissing(os.Remove(name+suffix)))
	}
	return errors.Join(errs...)
}

// rebuild copies what can be read of a damaged database. Each table is read through every way there is to
// it; a row that one way does not reach may be reached by another. Rows of messages are taken only if their
// checksums are right.
type rebuild struct {
	dir       files.Dir
	old, c    *database.Conn
	n         database.Counts
	saved     int64
	shortened bool                    // a way through the database ended early
	noContent map[int64]*spool.Record // messages whose content was not found, by its number
	missing   map[int64]database.Damaged
	bad       []database.Damaged // what is lost for good
}

// run makes the rebuild.
func (b *rebuild) run() (err error) {
	if err := mendFirstPage(b.dir); err != nil {
		return err
	}
	b.old, err = database.Open(b.dir.File(files.Database), "mode=ro", "query_only=ON", "writable_schema=ON",
		"cell_size_check=ON")
	if err != nil {
		return err
	}
	defer b.old.Close()
	if b.c, err = database.OpenWriter(b.dir.File(files.Rebuild)); err != nil {
		return err
	}
	defer b.c.Close()
	if n, err := database.ReadCounts(b.old); err == nil {
		b.n.Commits, b.n.Seq, b.n.Journal = n.Commits, n.Seq, n.Journal
	}
	err = b.c.Run("BEGIN IMMEDIATE; CREATE TEMP TABLE known (seq INTEGER PRIMARY KEY, id TEXT)")
	if err != nil {
		return err
	}
	if err := b.copyAll(); err != nil {
		return err
	}
	if err := b.c.Run("COMMIT; DROP TABLE temp.known"); err != nil {
		return err
	}
	return database.TruncateLog(b.c)
}

// copyAll copies the tables.
func (b *rebuild) copyAll() error {
	if err := b.findMessages(); err != nil {
		return err
	}
	if err := b.copyMessages(); err != nil {
		return err
	}
	if err := b.searchPages(); err != nil {
		return err
	}
	if err := b.giveUp(); err != nil {
		return err
	}
	if err := b.copyTable("reported", "id, at", "?,?"); err != nil {
		return err
	}
	const quarantined = "id, at, why, sender, file, head, recipients, content"
	if err := b.copyTable("quarantine", quarantined, "?,?,?,?,?,?,?,?"); err != nil {
		return err
	}
	// The number of commits stays, so that what the journal holds beyond it goes on to count.
	return database.NewTx(b.c, b.n).StoreCounts()
}

// findMessages collects the numbers, and where it can the ids, of all messages that there is a trace of.
func (b *rebuild) findMessages() error {
	for _, way := range []string{
		"SELECT seq, id FROM message INDEXED BY sqlite_autoindex_message_1 WHERE id>'' ORDER BY id",
		"SELECT seq, id FROM message INDEXED BY sqlite_autoindex_message_1 WHERE id>'' ORDER BY id DESC",
		"SELECT seq, id FROM message NOT INDEXED ORDER BY seq",
		"SELECT seq, id FROM message NOT INDEXED ORDER BY seq DESC",
		"SELECT seq, NULL FROM message INDEXED BY message_line WHERE lane>'' ORDER BY lane",
		"SELECT seq, NULL FROM content NOT INDEXED ORDER BY seq",
		"SELECT seq, NULL FROM content NOT INDEXED ORDER BY seq DESC",
	} {
		var failed error
		err := b.old.Query(func(row []driver.Value) error {
			_, failed = b.c.Exec("INSERT INTO known VALUES (?1, ?2) "+
				"ON CONFLICT (seq) DO UPDATE SET id=coalesce(id, ?2)", row[0], row[1])
			return failed
		}, way)
		if failed != nil {
			return failed
		}
		if err != nil {
			b.shortened = true
			b.dir.Log.Warn("salvage: a way through the database ends early", "query", way, "err", err)
		}
	}
	return nil
}

// copyMessages copies the messages that were found, with contents and notices.
func (b *rebuild) copyMessages() error {
	return b.c.Query(func(row []driver.Value) error {
		seq, _ := row[0].(int64)
		id, _ := row[1].(string)
		b.n.Seq = max(b.n.Seq, seq)
		r, err := b.old.RecordAt(seq)
		if err == nil {
			_, err = r.Decode()
		}
		if err == nil {
			return b.copyMessage(r)
		}
		if r == nil {
			r = &spool.Record{ID: id, Seq: seq}
		}
		b.missing[seq] = database.Damaged{Record: r, Why: err.Error()}
		return nil
	}, "SELECT seq, id FROM known ORDER BY seq")
}

// copyMessage copies a message that could be read.
func (b *rebuild) copyMessage(r *spool.Record) error {
	data, err := b.old.Content(r)
	if r.File == "" && (err != nil || data == nil) {
		b.noContent[cmp.Or(r.Content, r.Seq)] = r
	}
	t := database.NewTx(b.c, b.n)
	t.Counts.Seq = r.Seq - 1 // insert gives the next one
	content, _ := data.([]byte)
	stored, err := t.Insert(r, content)
	if err != nil || !stored {
		return err
	}
	entries, err := b.old.AllEntries(r)
	if err != nil {
		b.dir.Log.Error("salvage: what is owed for a message, a report perhaps, is lost", "id", r.ID, "err",
			err)
	}
	err = t.AddEntries(r.Seq, entries)
	t.Counts.Seq = max(b.n.Seq, r.Seq)
	b.n = t.Counts
	b.saved++
	delete(b.missing, r.Seq)
	return err
}

// searchPages looks for what SQLite did not find in the pages themselves: first messages, then contents,
// since the contents are known by their messages' checksums.
func (b *rebuild) searchPages() error {
	if len(b.missing) == 0 && len(b.noContent) == 0 && !b.shortened {
		return nil
	}
	f, err := os.Open(b.dir.File(files.Database))
	if err != nil {
		return err
	}
	defer f.Close()
	log, err := readLog(b.dir)
	if err != nil {
		return err
	}
	p, err := openPages(f, log)
	if err != nil {
		return err
	}
	err = p.rows(database.RowLengths(), func(row []driver.Value) error {
		r, err := database.ScanRecord(row)
		if err != nil {
			return nil
		}
		if _, err := r.Decode(); err != nil {
			return nil
		}
		if _, there, err := b.c.Integer("SELECT 1 FROM message WHERE seq=? OR id=?", r.Seq,
			r.ID); err != nil || there {
			return err
		}
		return b.copyMessage(r)
	})
	if err != nil {
		return err
	}
	return p.rows([]int{2}, b.takeContent)
}

// takeContent takes a row of the table content for a message whose content was not found.
func (b *rebuild) takeContent(row []driver.Value) error {
	seq, _ := row[0].(int64)
	data, ok := row[1].([]byte)
	r := b.noContent[seq]
	if !ok || r == nil || int64(len(data)) != r.Size || crc32.Checksum(data, spool.Castagnoli()) != r.Sum {
		return nil
	}
	delete(b.noContent, seq)
	_, err := b.c.Exec("INSERT OR REPLACE INTO content (seq, data) VALUES (?,?)", seq, data)
	return err
}

// giveUp records what was not found anywhere, with whatever is known of it. A message without its content
// stays: who reads the content hears that it is damaged, and the sender is told.
func (b *rebuild) giveUp() error {
	for seq, r := range b.noContent {
		if _, err := b.c.Exec("DELETE FROM content WHERE seq=?", seq); err != nil {
			return err
		}
		b.dir.Log.Error("salvage: the content of a message is lost", "id", r.ID, "from", r.Sender, "size",
			r.Size)
	}
	for seq, bad := range b.missing {
		if bad.Record.ID == "" {
			bad.Record.ID = fmt.Sprintf("unknown-%d", seq)
		}
		data, err := b.old.Content(bad.Record)
		if err != nil {
			bad.Why += "; nor its content: " + err.Error()
		}
		b.bad = append(b.bad, bad)
		if err := b.c.SaveDamaged(bad, data, spool.Nanos(b.dir.Now())); err != nil {
			return err
		}
		if err := b.leaveTombstone(bad.Record); err != nil {
			return err
		}
	}
	return nil
}

// leaveTombstone leaves a tombstone of a damaged message, if there is somebody to tell.
func (b *rebuild) leaveTombstone(r *spool.Record) error {
	tomb := r.Tombstone(b.dir.Now())
	if tomb == nil {
		return nil
	}
	t := database.NewTx(b.c, b.n)
	_, err := t.InsertTombstone(tomb)
	b.n = t.Counts
	return err
}

// copyTable copies the rows of a small table, up to where it is damaged.
func (b *rebuild) copyTable(name, columns, marks string) error {
	var failed error
	err := b.old.Query(func(row []driver.Value) error {
		_, failed = b.c.Exec("INSERT OR IGNORE INTO "+name+" ("+columns+") VALUES ("+marks+")", row...)
		return failed
	}, "SELECT "+columns+" FROM "+name)
	if err != nil && failed == nil {
		b.dir.Log.Warn("salvage: a table could not be read to its end", "table", name, "err", err)
	}
	return failed
}

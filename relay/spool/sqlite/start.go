package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"mailwhy/relay"
)

// checkFor bounds the integrity check of a start after a crash.
const checkFor = time.Second

// start opens the database, and brings it into order after whatever ended the previous process.
func (s *Spool) start(was marked) (*conn, counts, error) {
	var err error
	if s.journalled, err = readJournal(s.o.Dir); err != nil {
		return nil, counts{}, err
	}
	c, n, err := s.openChecked(was)
	if err != nil {
		return nil, n, err
	}
	t := &tx{conn: c, n: n}
	if err = s.putInOrder(t, was); !damage(err) {
		return s.started(t, err)
	}
	// A spool that was closed in order is not checked beforehand, and a large one not whole.
	if err := c.close(); err != nil { // statements repeat their last error here
		s.o.Log.Warn("closing the spool's damaged database", "dir", s.o.Dir, "err", err)
	}
	if err := s.salvage(err.Error()); err != nil {
		return nil, n, err
	}
	if c, n, err = s.openOnce(checkNone); err != nil {
		return nil, n, err
	}
	t = &tx{conn: c, n: n}
	return s.started(t, s.putInOrder(t, was))
}

// started is the outcome of a start, err that of putInOrder.
func (s *Spool) started(t *tx, err error) (*conn, counts, error) {
	if err != nil {
		return nil, t.n, errors.Join(err, t.close())
	}
	return t.conn, t.n, nil
}

// openChecked opens the database; one that turns out to be damaged is salvaged first.
func (s *Spool) openChecked(was marked) (*conn, counts, error) {
	if err := s.resumeRebuild(); err != nil {
		return nil, counts{}, err
	}
	how := checkNone
	if !was.clean {
		how = checkQuick
		mended, err := s.mendLog(was)
		if err != nil {
			return nil, counts{}, err
		}
		if mended {
			how = checkAll
		}
	}
	c, n, err := s.openOnce(how)
	if err == nil {
		s.tellLost(n.commits, was)
	}
	if err == nil || !damage(err) {
		return c, n, err
	}
	if err := s.salvage(err.Error()); err != nil {
		return nil, counts{}, err
	}
	return s.openOnce(checkNone)
}

// tellLost tells if transactions are missing from a database that has had so many.
func (s *Spool) tellLost(commits int64, was marked) {
	missing := max(0, s.journalled.base-commits) // the journal is written only after the transaction that it names
	if last := s.journalled.last(commits); was.known {
		missing = max(missing, was.commits-last)
	}
	if missing == 0 {
		return
	}
	s.lostTail = true
	aside, err := "", error(nil)
	if len(s.journalled.broken)+len(s.journalled.newer) > 0 { // they may have been there
		aside, err = s.setAside(s.journalled.name)
	}
	s.o.Log.Error("the end of the spool's log is missing: messages that were accepted, or outcomes, may be lost",
		"dir", s.o.Dir, "transactions_missing", missing, "transactions", commits, "journal", aside, "err", err)
}

// damage reports whether err says that the database is damaged.
func damage(err error) bool {
	return code(err) == codeCorrupt || code(err) == codeNotADB || isDamaged(err)
}

// openOnce opens the database and looks whether it is whole.
func (s *Spool) openOnce(how checking) (*conn, counts, error) {
	c, err := openWriter(s.path(databaseName))
	if err != nil {
		return nil, counts{}, err
	}
	n, err := readCounts(c)
	if err == nil {
		err = s.check(c, how)
	}
	if err != nil {
		return nil, counts{}, errors.Join(err, c.close())
	}
	return c, n, nil
}

// checking says how much of a database is checked when it is opened.
type checking int

const (
	checkNone  checking = iota
	checkQuick          // its structure, for checkFor
	checkAll            // its structure and its indexes
)

// check has SQLite check the database.
func (s *Spool) check(c *conn, how checking) error {
	ctx, query := context.Background(), "PRAGMA integrity_check(10)"
	switch how {
	case checkNone:
		return nil
	case checkQuick:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkFor)
		defer cancel()
		query = "PRAGMA quick_check(10)"
	}
	var found []string
	err := c.queryContext(ctx, func(row []driver.Value) error {
		if text, _ := row[0].(string); text != "ok" {
			found = append(found, text)
		}
		return nil
	}, query)
	switch {
	case len(found) > 0:
		return errDamaged{strings.Join(found, "; ")}
	case err != nil && ctx.Err() != nil:
		s.o.Log.Info("the spool is too large to be checked whole at a start", "dir", s.o.Dir, "checked_for", checkFor)
		return nil
	}
	return err
}

// putInOrder does what a start has to do, in one transaction where it writes.
func (s *Spool) putInOrder(t *tx, was marked) error {
	if err := s.replay(t, was); err != nil {
		return err
	}
	if err := s.sweepContents(t.conn); err != nil {
		return err
	}
	if !was.clean {
		if err := s.afterCrash(t, was.leased); err != nil {
			return err
		}
	}
	if err := s.restoreLines(t.conn); err != nil {
		return err
	}
	q, _, err := t.integer("SELECT count(*) FROM quarantine")
	if err != nil {
		return err
	}
	s.stat.quarantined.Store(q)
	if err := s.marks.begin(t.n.commits); err != nil {
		return err
	}
	s.at("in order")
	return s.rename1()
}

// crashDelay is how long a message waits that was leased when the process ended, the times-th time in a row: it may be what
// ended it. The delays of several are spread, so that a guilty one meets the innocent no more.
func crashDelay(times int64) time.Duration {
	if times <= 1 {
		return time.Second
	}
	d := time.Second << min(2*(times-1), 10) // 4 s, 16 s, 64 s ... 17 min
	return d/2 + rand.N(d/2)
}

// afterCrash puts off the messages that were being tried when the process ended.
func (s *Spool) afterCrash(t *tx, leased []string) error {
	now := s.o.Now()
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, id := range leased {
		crashes, ok, err := t.integer("SELECT crashes FROM message WHERE id=? AND due IS NOT NULL", id)
		if err == nil && ok {
			_, err = t.exec("UPDATE message SET crashes=?, turn=NULL, due=max(due, ?) WHERE id=?",
				crashes+1, nanos(now.Add(crashDelay(crashes+1))), id)
		}
		if err != nil {
			return err
		}
	}
	t.n.commits++
	if _, err := t.exec("UPDATE meta SET commits=?", t.n.commits); err != nil {
		return err
	}
	_, err := t.exec("COMMIT")
	return err
}

// sweepContents removes content files of ours that no message refers to: their messages were never accepted, or are
// gone. Files that are not ours are left alone and reported.
func (s *Spool) sweepContents(c *conn) error {
	d, err := os.Open(s.path(contentDir))
	if err != nil {
		return err
	}
	defer d.Close()
	removed := 0
	for {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			gone, err := s.sweepContent(c, name)
			if err != nil {
				return err
			}
			if gone {
				removed++
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if removed > 0 {
		s.o.Log.Info("removed content files of messages that were never accepted or are done", "dir", s.o.Dir, "count", removed)
	}
	return nil
}

// isContent reports whether a file in the directory of contents has a name that we gave it.
func isContent(name string) bool {
	id, rest, ok := strings.Cut(name, "-")
	return ok && relay.ValidID(id) && strings.HasSuffix(rest, contentSuffix)
}

// sweepContent looks at one name in the directory of contents.
func (s *Spool) sweepContent(c *conn, name string) (removed bool, err error) {
	id, _, _ := strings.Cut(name, "-")
	if !isContent(name) {
		s.o.Log.Warn("a file in the spool is not ours; it is left alone", "file", s.path(contentDir, name))
		return false, nil
	}
	_, used, err := c.integer("SELECT 1 FROM message WHERE id=?1 AND file=?2 UNION ALL SELECT 1 FROM quarantine WHERE id=?1", id, name)
	if err != nil || used {
		return false, err
	}
	if s.lostTail {
		// Its message may be among those that are missing: the content is all that is left of it.
		aside, err := s.damagedPath()
		if err == nil {
			err = os.Rename(s.path(contentDir, name), aside+"-"+name)
		}
		s.o.Log.Error("a content without its message is set aside", "id", id, "file", aside+"-"+name, "err", err)
		return false, nil
	}
	if err := os.Remove(s.path(contentDir, name)); err != nil {
		return false, fmt.Errorf("removing an unused content file: %w", err)
	}
	return true, nil
}

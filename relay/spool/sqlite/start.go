package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
	"mailwhy/relay/spool/repair"
	"mailwhy/relay/spool/runstate"
)

// checkFor bounds the integrity check of a start after a crash.
const checkFor = time.Second

// opener opens a spool: it finds out what the run before left, repairs what must be repaired, and brings
// the files into order.
type opener struct {
	s   *Spool
	dir files.Dir
	was runstate.Last

	journal  journal.Journal // what the journal holds that the run before has left
	lostTail bool            // transactions are missing
}

// start opens the database, and brings it into order after whatever ended the previous process.
func (o *opener) start() (*database.Conn, database.Counts, error) {
	var err error
	if o.journal, err = journal.Read(o.dir.Path); err != nil {
		return nil, database.Counts{}, err
	}
	c, n, err := o.openChecked()
	if err != nil {
		return nil, n, err
	}
	t := database.NewTx(c, n)
	if err = o.putInOrder(t); !database.IsDamage(err) {
		return o.started(t, err)
	}
	// A spool that was closed in order is not checked beforehand, and a large one not whole.
	if err := c.Close(); err != nil { // statements repeat their last error here
		o.dir.Log.Warn("closing the spool's damaged database", "dir", o.dir.Path, "err", err)
	}
	if err := o.s.quarantine.salvage(err.Error()); err != nil {
		return nil, n, err
	}
	if c, n, err = o.openOnce(checkNone); err != nil {
		return nil, n, err
	}
	t = database.NewTx(c, n)
	return o.started(t, o.putInOrder(t))
}

// started is the outcome of a start, err that of putInOrder.
func (o *opener) started(t *database.Tx, err error) (*database.Conn, database.Counts, error) {
	if err != nil {
		return nil, t.Counts, errors.Join(err, t.Close())
	}
	return t.Conn, t.Counts, nil
}

// openChecked opens the database; one that turns out to be damaged is salvaged first.
func (o *opener) openChecked() (*database.Conn, database.Counts, error) {
	if err := repair.ResumeRebuild(o.dir); err != nil {
		return nil, database.Counts{}, err
	}
	how := checkNone
	if !o.was.Clean {
		how = checkQuick
		mended, err := repair.MendLog(o.dir, o.behind)
		if err != nil {
			return nil, database.Counts{}, err
		}
		if mended {
			how = checkAll
		}
	}
	c, n, err := o.openOnce(how)
	if err == nil {
		o.reportLost(n.Commits)
	}
	if err == nil || !database.IsDamage(err) {
		return c, n, err
	}
	if err := o.s.quarantine.salvage(err.Error()); err != nil {
		return nil, database.Counts{}, err
	}
	return o.openOnce(checkNone)
}

// reportLost tells if transactions are missing from a database that has had so many.
func (o *opener) reportLost(commits int64) {
	missing := max(0,
		o.journal.Base-commits) // the journal is written only after the transaction that it names
	if last := o.journal.Last(commits); o.was.Known {
		missing = max(missing, o.was.Commits-last)
	}
	if missing == 0 {
		return
	}
	o.lostTail = true
	aside, err := "", error(nil)
	if o.journal.Damaged() { // they may have been there
		aside, err = o.dir.SetAside(o.journal.Name)
	}
	o.dir.Log.Error("the end of the spool's log is missing: messages that were accepted, or outcomes, may "+
		"be lost",
		"dir", o.dir.Path, "transactions_missing", missing, "transactions", commits, "journal", aside, "err",
		err)
}

// openOnce opens the database and looks whether it is whole.
func (o *opener) openOnce(how checking) (*database.Conn, database.Counts, error) {
	c, err := database.OpenWriter(o.dir.File(files.Database))
	if err != nil {
		return nil, database.Counts{}, err
	}
	n, err := database.ReadCounts(c)
	if err == nil {
		err = o.check(c, how)
	}
	if err != nil {
		return nil, database.Counts{}, errors.Join(err, c.Close())
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
func (o *opener) check(c *database.Conn, how checking) error {
	switch how {
	case checkNone:
		return nil
	case checkAll:
		return database.Check(context.Background(), c, true)
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkFor)
	defer cancel()
	err := database.Check(ctx, c, false)
	if err != nil && ctx.Err() != nil && !database.IsDamagedError(err) {
		o.dir.Log.Info("the spool is too large to be checked whole at a start",
			"dir", o.dir.Path, "checked_for", checkFor)
		return nil
	}
	return err
}

// putInOrder does what a start has to do, in one transaction where it writes.
func (o *opener) putInOrder(t *database.Tx) error {
	if err := o.replay(t); err != nil {
		return err
	}
	if err := o.sweepContents(t.Conn); err != nil {
		return err
	}
	if !o.was.Clean {
		if err := o.afterCrash(t); err != nil {
			return err
		}
	}
	if err := restoreLanes(o.s.queue, t.Conn); err != nil {
		return err
	}
	q, err := database.Quarantined(t.Conn)
	if err != nil {
		return err
	}
	o.s.stat.quarantined.Store(q)
	if err := o.s.run.Begin(t.Counts.Commits); err != nil {
		return err
	}
	o.s.o.at("in order")
	return o.rename1()
}

// crashDelay is how long a message waits that was leased when the process ended, the times-th time in a
// row: it may be what ended it. The delays of several are spread, so that a guilty one meets the innocent
// no more.
func crashDelay(times int64) time.Duration {
	if times <= 1 {
		return time.Second
	}
	d := time.Second << min(2*(times-1), 10) // 4 s, 16 s, 64 s ... 17 min
	return d/2 + rand.N(d/2)
}

// afterCrash puts off the messages that were being tried when the process ended.
func (o *opener) afterCrash(t *database.Tx) error {
	now := o.dir.Now()
	if err := t.Begin(); err != nil {
		return err
	}
	due := func(crashes int64) int64 { return spool.Nanos(now.Add(crashDelay(crashes))) }
	for _, id := range o.was.Leased {
		if err := t.PutOff(id, due); err != nil {
			return err
		}
	}
	t.Counts.Commits++
	if err := t.StoreCounts(); err != nil {
		return err
	}
	return t.Commit()
}

// sweepContents removes content files of ours that no message refers to: their messages were never
// accepted, or are gone. Files that are not ours are left alone and reported.
func (o *opener) sweepContents(c *database.Conn) error {
	d, err := os.Open(o.dir.File(files.Contents))
	if err != nil {
		return err
	}
	defer d.Close()
	removed := 0
	for {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			gone, err := o.sweepContent(c, name)
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
		o.dir.Log.Info("removed content files of messages that were never accepted or are done", "dir",
			o.dir.Path, "count", removed)
	}
	return nil
}

// sweepContent looks at one name in the directory of contents.
func (o *opener) sweepContent(c *database.Conn, name string) (removed bool, err error) {
	id, _, _ := strings.Cut(name, "-")
	if !files.IsContent(name) {
		o.dir.Log.Warn("a file in the spool is not ours; it is left alone", "file",
			o.dir.File(files.Contents, name))
		return false, nil
	}
	used, err := c.UsesFile(id, name)
	if err != nil || used {
		return false, err
	}
	if o.lostTail {
		// Its message may be among those that are missing: the content is all that is left of it.
		aside, err := o.dir.Aside()
		if err == nil {
			err = os.Rename(o.dir.File(files.Contents, name), aside+"-"+name)
		}
		o.dir.Log.Error("a content without its message is set aside", "id", id, "file", aside+"-"+name, "err",
			err)
		return false, nil
	}
	if err := os.Remove(o.dir.File(files.Contents, name)); err != nil {
		return false, fmt.Errorf("removing an unused content file: %w", err)
	}
	return true, nil
}

// behind reports whether SQLite finds fewer transactions than were committed. It only reads.
func (o *opener) behind() bool {
	if !o.was.Known && o.journal.Base == 0 {
		return false
	}
	c, err := database.OpenReader(o.dir.File(files.Database), database.ReadBeside)
	if err != nil {
		return true
	}
	defer c.Close()
	n, err := database.ReadCounts(c)
	return err != nil || n.Commits < o.journal.Base || o.was.Known &&
		o.journal.Last(n.Commits) < o.was.Commits
}

// rename1 gives the files of format 1 their names of today. The database has all that is in them.
func (o *opener) rename1() error {
	err := os.Remove(o.dir.File(files.RunState1))
	if files.IgnoreMissing(err) != nil {
		return err
	}
	o.s.o.at("marks removed")
	if _, err := os.Lstat(o.dir.File(files.Journal)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.Rename(o.dir.File(files.Journal1), o.dir.File(files.Journal))
	o.s.o.at("journal renamed")
	return files.IgnoreMissing(err)
}

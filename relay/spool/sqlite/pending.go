package sqlite

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
)

// pending is what the journal has and the database has not: messages that have come, ids of others that
// have gone, and entries of the outbox that were answered. While lanes keep up, most messages are relayed
// from memory within milliseconds; all that is written of them is an entry when they come and one when
// they go.
//
// Whatever else is done to a message is a transaction of the database, and each of these takes all that is
// pending with it; so does whoever is about to read from the database. So the journal is never looked at
// but at a start, and everything else in this package finds all messages where it always did. Only the
// writer's goroutine touches it, but for count.
type pending struct {
	s        *Spool
	journal  *journal.File            // nil for none
	noted    bool                     // the database has noted its salt: it may be written to
	byID     map[string]*spool.Record // whole, with their contents
	bytes    int64                    // about what all this takes in memory
	gone     map[string]*spool.Record // from the database, as far as a settlement knows them
	answered []relay.Entry            // still counted
	reports  map[string]*spool.Record // that answered them: the ids and the times
	count    atomic.Int64             // of all
}

// goneMax bounds the messages that have gone.
const goneMax = 4096

// weight is about what a record takes in memory.
func weight(r *spool.Record) int64 {
	return int64(len(r.Data)+len(r.Head)+len(r.Recipients)) + 512
}

func newPending(s *Spool) *pending {
	return &pending{
		s: s, byID: map[string]*spool.Record{}, gone: map[string]*spool.Record{},
		reports: map[string]*spool.Record{},
	}
}

// open opens the journal, after transaction base of the database. What the file held is in the database
// already. It reports false where there is to be none, or none can be had.
func (p *pending) open(base int64) bool {
	if p.s.o.Limits.Journal == 0 || p.max() == 0 {
		return false
	}
	j, err := journal.Open(p.s.dir.Disk(), p.s.dir.File(files.Journal), p.s.o.Limits.Journal)
	if err != nil {
		p.s.o.Log.Warn("the spool goes on without its journal, somewhat slower", "dir", p.s.o.Dir, "err", err)
		return false
	}
	j.Restart(base)
	p.journal, p.noted = j, false
	return true
}

// closeJournal closes the journal.
func (p *pending) closeJournal() error {
	if p.journal == nil {
		return nil
	}
	return p.journal.Close()
}

// dropJournal does without the journal, which gave an error. What the error left there counts until the
// next transaction of the database, which is the one with the same batch.
func (p *pending) dropJournal(err error) {
	p.s.o.Log.Error("the spool's journal cannot be written; the spool goes on without it, somewhat slower",
		"dir", p.s.o.Dir, "err", err)
	p.journal.Close()
	p.journal = nil
}

// takes reports whether the journal can be written to, and there is memory for more.
func (p *pending) takes() bool { return p.journal != nil && p.noted && p.bytes <= p.max() }

// max bounds the memory that all this takes. On a full disk the reserve, if there is one, must hold it and
// the outcomes.
func (p *pending) max() int64 {
	lim := &p.s.o.Limits
	if lim.Reserve == 0 {
		return lim.Cache / 4
	}
	return min(lim.Cache, lim.Reserve/4)
}

// add takes a message in.
func (p *pending) add(r *spool.Record) {
	p.byID[r.ID] = r
	p.bytes += weight(r)
	p.counted()
}

// addReport notes that entries are answered, by r unless that is nil.
func (p *pending) addReport(answered []relay.Entry, r *spool.Record) {
	p.answered = append(p.answered, answered...)
	p.bytes += int64(len(answered)) * 192
	if r != nil {
		p.reports[r.ID] = &spool.Record{ID: r.ID, Arrived: r.Arrived}
		p.add(r)
	}
	p.counted()
}

// end notes that a message has gone.
func (p *pending) end(r *spool.Record) {
	if own := p.byID[r.ID]; own != nil {
		p.bytes -= weight(own)
		delete(p.byID, r.ID)
	} else {
		p.gone[r.ID] = r
	}
	p.counted()
}

func (p *pending) counted() {
	p.count.Store(int64(len(p.byID) + len(p.gone) + len(p.answered) + len(p.reports)))
}

// checkpointed notes that all is in the database, with transaction number commits.
func (p *pending) checkpointed(commits int64) {
	clear(p.byID)
	clear(p.gone)
	clear(p.reports)
	p.answered, p.bytes = nil, 0
	p.counted()
	if p.journal != nil {
		p.journal.Restart(commits)
		p.noted = true
	}
}

// storeIn brings all into the database. It is counted already, but for the entries.
func (p *pending) storeIn(t *database.Tx) error {
	for _, r := range inOrder(p.byID) {
		if _, err := t.InsertCounted(r, r.Data); err != nil {
			return err
		}
	}
	for _, r := range inOrder(p.gone) {
		if err := t.DeleteCounted(r.Seq); err != nil {
			return err
		}
	}
	return t.TakeAnswered(p.answered, slices.Collect(maps.Values(p.reports)))
}

// inOrder are records as they came.
func inOrder(records map[string]*spool.Record) []*spool.Record {
	return slices.SortedFunc(maps.Values(records),
		func(a, b *spool.Record) int { return cmp.Compare(a.Seq, b.Seq) })
}

// recount counts what is pending, after the database was opened anew and holds n; before, it was known to
// hold known. Some of what is pending may be there: the transaction that took it seemed to fail.
func (p *pending) recount(c *database.Conn, n, known database.Counts) (database.Counts, error) {
	for _, r := range p.byID {
		if ok, err := c.Has(r); err != nil {
			return n, err
		} else if !ok {
			n.Messages++
			n.Bytes += r.Size
		}
	}
	for _, r := range p.gone {
		if ok, err := c.Has(r); err != nil {
			return n, err
		} else if ok {
			n.Messages--
			n.Bytes -= r.Size
		}
	}
	n.Seq = max(n.Seq, known.Seq)
	n.Commits = max(n.Commits, known.Commits)
	n.Journal = known.Journal
	return n, nil
}

// journaling is a batch that is to be written to the journal alone.
type journaling struct {
	p       *pending
	c       *database.Conn
	n, had  database.Counts // with the batch, and without
	puts    map[string]*spool.Record
	ends    []*spool.Record
	reports []reporting
}

// reporting is a report and the entries that it answers.
type reporting struct {
	answered []relay.Entry
	r        *spool.Record // nil for none
}

// conclude notes that the batch is on the disk.
func (j *journaling) conclude() {
	for _, r := range j.puts {
		j.p.add(r)
	}
	for _, r := range j.reports {
		j.p.addReport(r.answered, r.r)
	}
	for _, r := range j.ends {
		j.p.end(r)
	}
}

// knows reports whether there is a message of this id.
func (j *journaling) knows(id string) (bool, error) {
	if j.puts[id] != nil || j.p.byID[id] != nil {
		return true, nil
	}
	return j.c.HasID(id)
}

// knowsReport reports whether there is, or was, a report of this id.
func (j *journaling) knowsReport(id string) (bool, error) {
	inBatch := slices.ContainsFunc(j.reports, func(r reporting) bool { return r.r != nil && r.r.ID == id })
	if inBatch || j.p.reports[id] != nil {
		return true, nil
	}
	return j.c.HasReport(id)
}

// put adds a message.
func (j *journaling) put(r *spool.Record) {
	whole := j.count(r)
	j.puts[r.ID] = whole
	j.p.journal.Put(whole)
}

// report adds that entries are answered, by r unless that is nil.
func (j *journaling) report(answered []relay.Entry, r *spool.Record) {
	if r != nil {
		r = j.count(r)
	}
	j.reports = append(j.reports, reporting{answered, r})
	j.p.journal.Report(answered, r)
}

// count gives a message its number and counts it. It returns a copy: r goes on in memory, and loses its
// texts.
func (j *journaling) count(r *spool.Record) *spool.Record {
	j.n.Seq++
	j.n.Messages++
	j.n.Bytes += r.Size
	r.Seq = j.n.Seq
	whole := *r
	return &whole
}

// end adds that a message has gone. It reports false where only the database can say whether it may.
func (j *journaling) end(r *spool.Record) (bool, error) {
	if own := j.p.byID[r.ID]; own == nil {
		if may, err := j.mayEnd(r); err != nil || !may {
			return false, err
		}
	} else if own.Seq != r.Seq {
		return false, nil
	}
	j.n.Messages--
	j.n.Bytes -= r.Size
	j.ends = append(j.ends, r)
	j.p.journal.End(r.ID)
	return true, nil
}

// mayEnd reports whether a message of the database may go in the journal: nothing there waits for it, and
// it is there.
func (j *journaling) mayEnd(r *spool.Record) (bool, error) {
	p := j.p
	if r.File != "" || r.Mail != "" || len(p.gone) >= goneMax || p.gone[r.ID] != nil ||
		!p.s.queue.KeepsUp(r.Lane) {
		return false, nil
	}
	if j.had.Owed > 0 {
		if waits, err := j.c.IsOwed(r.Seq); waits || err != nil {
			return false, err
		}
	}
	return j.c.Has(r)
}

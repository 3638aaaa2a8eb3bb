package sqlite

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync/atomic"

	"mailwhy/relay"
)

// young is what the journal has and the database has not: messages that have come, ids of others that have gone, and notices
// that reports have told. While lanes keep up, most messages are relayed from memory within milliseconds; all that is written of
// them is an entry when they come and one when they go.
//
// Whatever else is done to a message is a transaction of the database, and each of these takes all that is young with it; so
// does whoever is about to read from the database. So the journal is never looked at but at a start, and everything else in this
// package finds all messages where it always did. Only the writer's goroutine touches the maps.
type young struct {
	byID    map[string]*record // whole, with their contents
	bytes   int64              // about what all this takes in memory
	gone    map[string]*record // from the database, as far as a settlement knows them
	told    []relay.Notice     // still counted
	reports map[string]*record // that told them: the ids and the times
	count   atomic.Int64       // of all
}

// goneMax bounds the messages that have gone.
const goneMax = 4096

// weight is about what a record takes in memory.
func (r *record) weight() int64 {
	return int64(len(r.data)+len(r.head)+len(r.recipients)) + 512
}

func newYoung() young {
	return young{byID: map[string]*record{}, gone: map[string]*record{}, reports: map[string]*record{}}
}

// come takes a message in.
func (y *young) come(r *record) {
	y.byID[r.id] = r
	y.bytes += r.weight()
	y.counted()
}

// report notes that notices are told, by r unless that is nil.
func (y *young) report(told []relay.Notice, r *record) {
	y.told = append(y.told, told...)
	y.bytes += int64(len(told)) * 192
	if r != nil {
		y.reports[r.id] = &record{id: r.id, arrived: r.arrived}
		y.come(r)
	}
	y.counted()
}

// leave notes that a message has gone.
func (y *young) leave(r *record) {
	if own := y.byID[r.id]; own != nil {
		y.bytes -= own.weight()
		delete(y.byID, r.id)
	} else {
		y.gone[r.id] = r
	}
	y.counted()
}

// clear forgets all.
func (y *young) clear() {
	clear(y.byID)
	clear(y.gone)
	clear(y.reports)
	y.told, y.bytes = nil, 0
	y.counted()
}

func (y *young) counted() {
	y.count.Store(int64(len(y.byID) + len(y.gone) + len(y.told) + len(y.reports)))
}

// inOrder are records as they came.
func inOrder(records map[string]*record) []*record {
	return slices.SortedFunc(maps.Values(records), func(a, b *record) int { return cmp.Compare(a.seq, b.seq) })
}

// journaling is a batch that is to be written to the journal alone.
type journaling struct {
	w       *writer
	n       counts
	puts    map[string]*record
	ends    []*record
	reports []reporting
}

// reporting is a report and what it tells.
type reporting struct {
	told []relay.Notice
	r    *record // nil for none
}

// tryJournal writes a batch to the journal, and answers it. It reports false when that cannot be done: nothing has happened then.
func (w *writer) tryJournal(batch []*operation) bool {
	if w.journal == nil || !w.journal.noted || w.young.bytes > w.youngMax() ||
		slices.ContainsFunc(batch, func(op *operation) bool { return op.journal == nil }) {
		return false
	}
	j := &journaling{w: w, n: w.n, puts: map[string]*record{}}
	w.journal.clear()
	results := make([]error, len(batch))
	for i, op := range batch {
		ok, err := op.journal(j)
		if !ok {
			return false
		}
		results[i] = err
	}
	if w.journal.n > 0 {
		if !w.journal.fits() {
			return false
		}
		j.n.commits++
		if err := w.writeJournal(j.n.commits); err != nil {
			w.dropJournal(err)
			return false
		}
	}
	for _, r := range j.puts {
		w.young.come(r)
	}
	for _, r := range j.reports {
		w.young.report(r.told, r.r)
	}
	for _, r := range j.ends {
		w.young.leave(r)
	}
	w.conclude(batch, results, j.n, nil)
	return true
}

// youngMax bounds the memory that young messages take. On a full disk the reserve, if there is one, must hold them and the outcomes.
func (w *writer) youngMax() int64 {
	lim := &w.s.o.Limits
	if lim.Reserve == 0 {
		return lim.Cache / 4
	}
	return min(lim.Cache, lim.Reserve/4)
}

// writeJournal writes the journal's transaction.
func (w *writer) writeJournal(commit int64) (err error) {
	if w.fault != nil {
		err = w.fault(false)
	}
	if err == nil {
		err = w.journal.write(commit)
	}
	if err == nil && w.fault != nil {
		err = w.fault(true)
	}
	return err
}

// knows reports whether there is a message of this id.
func (j *journaling) knows(id string) (bool, error) {
	if j.puts[id] != nil || j.w.young.byID[id] != nil {
		return true, nil
	}
	return j.w.c.hasID(id)
}

// knowsReport reports whether there is, or was, a report of this id.
func (j *journaling) knowsReport(id string) (bool, error) {
	if j.w.young.reports[id] != nil || slices.ContainsFunc(j.reports, func(r reporting) bool { return r.r != nil && r.r.id == id }) {
		return true, nil
	}
	_, there, err := j.w.c.integer("SELECT 1 FROM reported WHERE id=?", id)
	return there, err
}

// put adds a message.
func (j *journaling) put(r *record) {
	whole := j.count(r)
	j.puts[r.id] = whole
	j.w.journal.put(whole)
}

// report adds that notices are told, by r unless that is nil.
func (j *journaling) report(told []relay.Notice, r *record) {
	if r != nil {
		r = j.count(r)
	}
	j.reports = append(j.reports, reporting{told, r})
	j.w.journal.report(told, r)
}

// count gives a message its number and counts it. It returns a copy: r goes on as a fresh one, and loses its texts.
func (j *journaling) count(r *record) *record {
	j.n.seq++
	j.n.messages++
	j.n.bytes += r.size
	r.seq = j.n.seq
	whole := *r
	return &whole
}

// end adds that a message has gone. It reports false where only the database can say whether it may.
func (j *journaling) end(r *record) (bool, error) {
	if y := j.w.young.byID[r.id]; y == nil {
		if may, err := j.mayLeave(r); err != nil || !may {
			return false, err
		}
	} else if y.seq != r.seq {
		return false, nil
	}
	j.n.messages--
	j.n.bytes -= r.size
	j.ends = append(j.ends, r)
	j.w.journal.end(r.id)
	return true, nil
}

// mayLeave reports whether a message of the database may go in the journal: nothing there waits for it, and it is there.
func (j *journaling) mayLeave(r *record) (bool, error) {
	y := &j.w.young
	if r.file != "" || len(y.gone) >= goneMax || y.gone[r.id] != nil || !j.w.s.keepsUp(r.lane) {
		return false, nil
	}
	if j.w.n.notices > 0 {
		if waits, err := j.w.c.hasNotices(r.seq); waits || err != nil {
			return false, err
		}
	}
	return j.w.c.has(r)
}

// dropJournal does without the journal, which gave an error. What the error left there counts until the next transaction of the
// database, which is the one with the same batch.
func (w *writer) dropJournal(err error) {
	w.s.o.Log.Error("the spool's journal cannot be written; the spool goes on without it, somewhat slower", "dir", w.s.o.Dir, "err", err)
	w.journal.f.Close()
	w.journal = nil
}

// take brings what is young into the database. All is counted already but that notices are told.
func (t *tx) take(y *young) error {
	for _, r := range inOrder(y.byID) {
		if _, err := t.insertAs(r, r.data); err != nil {
			return err
		}
	}
	for _, r := range inOrder(y.gone) {
		if err := t.deleteCounted(r.seq); err != nil {
			return err
		}
	}
	return t.takeTold(y.told, slices.Collect(maps.Values(y.reports)))
}

// takeTold consumes notices that reports have told, and remembers the reports.
func (t *tx) takeTold(told []relay.Notice, reports []*record) error {
	for _, r := range reports {
		if _, err := t.remember(r.id, r.arrived); err != nil {
			return err
		}
	}
	return t.consume(told)
}

// absorbed notes that all that was young is in the database, with transaction number commits.
func (w *writer) absorbed(commits int64) {
	w.young.clear()
	if w.journal != nil {
		w.journal.restart(commits)
		w.journal.noted = true
	}
}

// recount counts what is young, after the database was opened anew and holds n. Some of it may be there: the transaction that
// took it seemed to fail.
func (w *writer) recount(c *conn, n counts) (counts, error) {
	for _, r := range w.young.byID {
		if ok, err := c.has(r); err != nil {
			return n, err
		} else if !ok {
			n.messages++
			n.bytes += r.size
		}
	}
	for _, r := range w.young.gone {
		if ok, err := c.has(r); err != nil {
			return n, err
		} else if ok {
			n.messages--
			n.bytes -= r.size
		}
	}
	n.seq = max(n.seq, w.n.seq)
	n.commits = max(n.commits, w.n.commits)
	n.journal = w.n.journal
	return n, nil
}

// absorb has what is young brought into the database, for a reader to find it there.
func (s *Spool) absorb() error {
	if s.w.young.count.Load() == 0 {
		return nil
	}
	if err := s.w.stuck(); err != nil {
		return err
	}
	// Kept, since it may need the disk's reserve, as outcomes may.
	return s.w.do(context.Background(), &operation{kept: true, apply: func(*tx) error { return nil }})
}

// startJournal opens the journal, and has the database note its salt. What it holds is in the database
// already.
func (w *writer) startJournal() {
	if w.s.o.Limits.Journal == 0 || w.youngMax() == 0 {
		return
	}
	j, err := openJournal(w.s.path(journalName), w.s.o.Limits.Journal)
	if err != nil {
		w.s.o.Log.Warn("the spool goes on without its journal, somewhat slower", "dir", w.s.o.Dir, "err", err)
		return
	}
	j.restart(w.n.commits)
	w.journal, w.n.journal = j, int64(j.salt)
	op := &operation{done: make(chan error, 1), apply: func(*tx) error { return nil }}
	// Where the disk is full the first transaction that succeeds notes it.
	if err := w.commit([]*operation{op}); err != nil && !isFull(err) {
		w.suspect(err)
	}
}

// closeJournal closes the journal.
func (w *writer) closeJournal() error {
	if w.journal == nil {
		return nil
	}
	return w.journal.f.Close()
}

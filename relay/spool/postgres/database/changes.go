package database

import (
	"cmp"
	"slices"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Changes are what one transaction does, for any number of callers. The zero Changes does nothing. Each id is
// in one of its lists at most.
type Changes struct {
	Fresh   []*spool.Record // new ones, leased to me, with their contents
	New     []*New
	Staged  []string // keys of contents that came before their messages
	Ended   []*State // nothing waits for these any more, unless the outbox has entries
	Changed []*State
	Dropped []*State // removed with their entries; their ids are kept
	Freed   []*State // given back as they are
	// TakenBack are new ones, fresh or not, that must not be there.
	TakenBack []string
	Unleased  []int64  // batches of leases that nobody knows of
	Unclaimed []int64  // numbers of claims that nobody knows of
	GivenBack []Given  // claims that could not be given back before
	SetAside  []string // leased to me: tried no more

	// Again says that the transaction, or one like it, may have happened before: its success must mean the
	// same if it finds nothing left to do. A commit waits for the standby only if something was written, and
	// then for all that was written before.
	Again bool

	Owed      []relay.Entry // replace those of the same key
	Answers   []Answer
	Postponed []relay.Entry

	// The results, once the transaction has succeeded.
	Me      int64             // who made it
	Stored  map[string]bool   // of Fresh and New: those that were not known. Again: that are mine
	Removed map[string]bool   // of Ended
	Lanes   map[string]string // of Ended and Changed: the lanes of those that are still there
}

// New is a new message of the table msg.
type New struct {
	*spool.Record        // Slot is its turn; 0: it is not due. Data is its content, unless that was staged
	Content       string // key of the content
	Staged        bool   // its content is there
	Shared        bool   // with other messages
	Leased        bool   // to me
}

// State is the new state of a message that is leased to me.
type State struct {
	*spool.Record        // ID, Due, Open, Recipients and StateSum; Slot is the turn
	Lane          string // the lane that it goes to; "": it stays
	Fresh         bool   // it is in the table fresh
}

// Answer is what a consumer did about entries of the outbox.
type Answer struct {
	Entries []relay.Entry
	IDs     []string // of the messages that answer them
	Tokens  []int64  // of the entries' claims
	Keep    bool     // the entries stay: it is only looked whether others have them
}

// prepare brings all lists into the order of ids, and makes room for the results.
func (ch *Changes) prepare() {
	slices.SortFunc(ch.Fresh, func(a, b *spool.Record) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(ch.New, func(a, b *New) int { return cmp.Compare(a.ID, b.ID) })
	for _, states := range [][]*State{ch.Ended, ch.Changed, ch.Dropped, ch.Freed} {
		slices.SortFunc(states, func(a, b *State) int { return cmp.Compare(a.ID, b.ID) })
	}
	slices.Sort(ch.TakenBack)
	ch.Stored, ch.Removed, ch.Lanes = map[string]bool{}, map[string]bool{}, map[string]string{}
}

// touched are the ids of the messages whose rows are locked before anything is looked at.
func (ch *Changes) touched() (ids []string) {
	for _, states := range [][]*State{ch.Ended, ch.Changed, ch.Dropped} {
		for _, st := range states {
			if !st.Fresh {
				ids = append(ids, st.ID)
			}
		}
	}
	for _, a := range ch.Answers {
		ids = append(ids, column(a.Entries, message)...)
	}
	ids = append(ids, column(ch.Postponed, message)...)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func message(e relay.Entry) string { return e.Message }

// statements is a batch that is being made.
type statements struct {
	pgx.Batch
	sql func(string) string
	me  int64
}

// add adds a statement whose first parameter is me.
func (s *statements) add(sql string, args ...any) *pgx.QueuedQuery {
	return s.Queue(s.sql(sql), append([]any{s.me}, args...)...)
}

// lockRows is the first that a transaction does with messages of others: whoever settles, answers or edits
// one of them waits here, and looks at the others' work afterwards.
const lockRows = `select count(*) from (select 1 from @.msg where id = any($2) order by id for update) l
	where $1::bigint is not null`

// queue adds the statements. Each list is a few of them, however long it is.
func (ch *Changes) queue(s *statements) {
	ch.prepare()
	if ids := ch.touched(); len(ids) > 0 {
		s.add(lockRows, ids)
	}
	ch.checkAnswers(s)
	ch.queueNew(s)
	ch.queueStates(s)
	ch.queueOutbox(s)
	if ch.Again {
		s.add(writeAgain)
		s.add(stillMine, column(ch.Fresh, id)).Query(scanIDs(ch.Stored))
	}
}

const (
	// Not the table beat: heartbeats must not wait for it.
	writeAgain = `update @.fence set since = since where inc = $1`
	stillMine  = `select id from @.fresh where id = any($2) and owner = $1`
)

// Given is the claim of a message.
type Given struct {
	Message string
	Token   int64
}

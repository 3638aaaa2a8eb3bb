package journal

import (
	"cmp"
	"slices"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Changes are what a journal adds to a database.
type Changes struct {
	Added    []*spool.Record // messages, in their order
	Removed  []string        // ids of messages that have gone from the database
	Answered []relay.Entry   // of the outbox, by reports
	Reports  []*spool.Record // those that answered them, whether they are among Added or have gone since
	Missing  int             // entries that were on the disk (see onDisk) and cannot be read
}

// None reports whether there are no changes.
func (c *Changes) None() bool {
	return len(c.Added) == 0 && len(c.Removed) == 0 && len(c.Answered) == 0 && len(c.Reports) == 0
}

// read reads the entries, of which those up to number sure were on the disk for sure.
func (j *Journal) read(sure uint32) (c Changes) {
	c.Missing = int(sure)
	read := map[uint32]bool{}
	ended := map[string]bool{}
	all := slices.Clone(j.entries)
	for _, e := range j.entries {
		if !read[e.no] && e.no <= sure {
			c.Missing--
		}
		read[e.no] = true
		switch e.kind {
		case entryEnd:
			ended[string(e.body)] = true
		case entryPut, entryReport:
		default:
			c.Missing++ // nothing of this format
		}
	}
	for _, e := range j.broken {
		if !read[e.no] && e.no <= sure {
			e.kind = entryPut // the kind may be what is damaged: whatever reads as a message is one
			all = append(all, e)
		}
	}
	seen := map[string]bool{}
	for i := range all {
		r := c.add(&all[i])
		if r == nil || seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		if !ended[r.ID] {
			c.Added = append(c.Added, r)
		}
	}
	slices.SortStableFunc(c.Added, func(a, b *spool.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	for id := range ended {
		if !seen[id] {
			c.Removed = append(c.Removed, id)
		}
	}
	return c
}

// add takes in what an entry says beside its message, which it returns.
func (c *Changes) add(e *entry) *spool.Record {
	switch e.kind {
	case entryPut:
		return e.record(e.body)
	case entryReport:
		answered, rest, ok := e.cutAnswered()
		if !ok {
			return nil
		}
		c.Answered = append(c.Answered, answered...)
		r := e.record(rest)
		if r != nil {
			c.Reports = append(c.Reports, r)
		}
		return r
	}
	return nil
}

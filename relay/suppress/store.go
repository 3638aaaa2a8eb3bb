package suppress

import (
	"database/sql/driver"
	"time"

	"mailwhy/relay"
)

// entry is an entry of the list.
type entry = relay.Suppression

// change replaces the entry of an address by what do makes of it: nil, or an entry in state removed that says
// by whom, removes it.
func (t *tx) change(scope, address string, now time.Time,
	do func(cur *entry) (*entry, change)) error {
	r, err := t.l.findIn(t.Conn, scope, t.l.key(address))
	if err != nil {
		return err
	}
	cur := r.entry()
	next, what := do(cur)
	owed := next
	if next == nil && cur != nil {
		owed = removal(cur, relay.SuppressedInSession, now)
	} else if next != nil && next.State == relay.SuppressionRemoved {
		next = nil
	}
	if what == unchanged {
		t.effects = append(t.effects, effect{hash: t.l.hash(scope, t.l.key(address)), before: cur, now: next})
		return nil
	}
	if what != noted {
		told := next
		if told == nil {
			told = cur
		}
		t.events = append(t.events, relay.SuppressionEvent(string(what), told, now))
	}
	if err := t.store(r, next, t.l.hash(scope, t.l.key(address))); err != nil {
		return err
	}
	return t.owe(owed)
}

// store puts an entry in the place of a row; either may be nil.
func (t *tx) store(r *row, next *entry, hash uint64) (err error) {
	t.effects = append(t.effects, effect{hash: hash, before: r.entry(), now: next})
	switch {
	case next == nil && r == nil:
	case next == nil:
		_, err = t.Exec("DELETE FROM entry WHERE id=?", r.id)
	case r == nil:
		_, err = t.Exec("INSERT INTO entry ("+columns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
			values(next)...)
	default:
		_, err = t.Exec("UPDATE entry SET ("+columns+")=(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id=?",
			append(values(next), r.id)...)
	}
	return err
}

// remove removes rows that a query selects, and tells of those that were suppressed. Other replicas hear of
// it if owed says so.
func (t *tx) remove(now time.Time, owed bool, where string, args ...driver.Value) (int, error) {
	var gone []row
	err := t.Query(func(v []driver.Value) error {
		gone = append(gone, entryIn(v))
		return nil
	}, "SELECT id, "+columns+" FROM entry WHERE "+where, args...)
	for i := 0; err == nil && i < len(gone); i++ {
		s := &gone[i].Suppression
		if s.State == relay.SuppressionActive {
			t.events = append(t.events, relay.SuppressionEvent(string(removed), s, now))
		}
		if err = t.store(&gone[i], nil, t.l.hashOf(s)); err == nil && owed {
			err = t.owe(removal(s, relay.SuppressedInSession, now))
		}
	}
	return len(gone), err
}

// takeBack removes the entries that were first seen at an upstream since a time, but for those that were
// suppressed before or rest on more than its word.
func (t *tx) takeBack(upstream string, since time.Time) error {
	_, err := t.remove(t.l.o.Now(), true,
		"upstream=? AND first>=? AND step<=1 AND reason<>'spam_complaint' AND source NOT IN (?, ?, ?)",
		upstream, nanos(since), relay.SuppressedByOperator, relay.SuppressedByImport,
		relay.SuppressedByPolicy)
	return err
}

// tidyMost is how many entries go in one transaction.
const tidyMost = 1000

// keepExpired is how long an entry is kept after its time, without mail to its address, so that it is
// suppressed for longer when it fails again.
const keepExpired = 180 * 24 * time.Hour

// tidy removes what has served its time, and the oldest of what is too much. What is left is for the next
// time. Each replica does so by itself.
func (t *tx) tidy() error {
	now, set := t.l.o.Now(), t.l.o.Settings()
	_, err := t.remove(now, false, "expires>0 AND (expires<? OR state<>'suppressed' AND expires<?) LIMIT ?",
		nanos(now.Add(-keepExpired)), nanos(now), int64(tidyMost))
	if err != nil {
		return err
	}
	if err = t.forget(now); err != nil {
		return err
	}
	n, _, err := t.Integer("SELECT count(*) FROM entry")
	if over := n - int64(set.Most); err == nil && over > 0 {
		_, err = t.remove(now, false, "id IN (SELECT id FROM entry ORDER BY state='suppressed', "+
			"expires=0 OR expires>=?, source IN ('operator','import') OR reason='spam_complaint', last, id "+
			"LIMIT ?)", nanos(now), min(over, tidyMost))
	}
	return err
}

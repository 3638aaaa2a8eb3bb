package suppress

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"strings"
	"time"

	"mailwhy/relay"
)

// Owes hears of changes that the shared list has not got.
func (l *List) Owes() <-chan struct{} { return l.w.owes }

// Place says how far the list has followed the shared one: the zero place if it never did. A list that has
// not heard of the shared one for so long that removals may have been forgotten drops what it had from it,
// and follows it from its beginning.
func (l *List) Place(ctx context.Context) (relay.SharedPlace, error) {
	var p relay.SharedPlace
	err := l.w.write(ctx, func(t *tx) error {
		p = relay.SharedPlace{}
		if !t.w.shared {
			return nil
		}
		heard, err := t.place(&p)
		if now := l.o.Now(); err == nil && p.List != "" && now.Sub(heard) > awayMost {
			p.Version = 0
			err = t.dropShared(now)
		}
		return err
	})
	if err != nil {
		return relay.SharedPlace{}, err // the job may still be under way
	}
	return p, nil
}

// place reads the place, and when the shared list was last heard.
func (t *tx) place(p *relay.SharedPlace) (heard time.Time, err error) {
	err = t.Query(func(v []driver.Value) error {
		p.List, _ = v[0].(string)
		p.Version, _ = v[1].(int64)
		n, _ := v[2].(int64)
		heard = timeOf(n)
		return nil
	}, "SELECT list, version, heard FROM place")
	return heard, err
}

// dropShared removes what the shared list had when it was last heard.
func (t *tx) dropShared(now time.Time) error {
	var gone []row
	err := t.Query(func(v []driver.Value) error {
		gone = append(gone, entryIn(v))
		return nil
	}, "SELECT id, "+columns+" FROM entry WHERE EXISTS "+
		"(SELECT 1 FROM shared WHERE owed=0 AND key=scope||' '||"+t.l.keyColumn()+")")
	for i := 0; err == nil && i < len(gone); i++ {
		err = t.store(&gone[i], nil, t.l.hashOf(gone[i].entry()))
	}
	for _, query := range []string{"DELETE FROM shared WHERE owed=0", "UPDATE shared SET version=0"} {
		if err == nil {
			_, err = t.Exec(query)
		}
	}
	if err == nil {
		_, err = t.Exec("UPDATE place SET version=0, heard=?", nanos(now))
	}
	return err
}

// keyColumn is the column of an entry that is what addresses are compared by.
func (l *List) keyColumn() string {
	if l.o.FoldCase {
		return "folded"
	}
	return "address"
}

// Join has the list follow a shared list from its beginning, and offers that all that is here. It is for a
// list that followed none, or another one, and for one that knows of changes which the shared list has lost.
func (l *List) Join(ctx context.Context, name string) error {
	return l.w.write(ctx, func(t *tx) error {
		if !t.w.shared {
			if err := t.Run(sharedSchema); err != nil {
				return err
			}
			t.w.shared = true
		}
		t.owed = true
		_, err := t.Exec("INSERT INTO shared (key, version, owed, gone, until) " +
			"SELECT DISTINCT scope||' '||" + l.keyColumn() + ", 0, 1, '', 0 FROM entry WHERE true " +
			"ON CONFLICT DO NOTHING")
		if err == nil {
			_, err = t.Exec("UPDATE shared SET version=0, owed=max(owed, 1)")
		}
		if err == nil {
			_, err = t.Exec("UPDATE place SET list=?, version=0, heard=?", name, nanos(l.o.Now()))
		}
		return err
	})
}

// Owed are changes that the shared list has not got, at most n, the oldest first.
func (l *List) Owed(ctx context.Context, n int) ([]relay.SuppressionChange, error) {
	var changes []relay.SuppressionChange
	err := l.w.write(ctx, func(t *tx) error {
		changes = nil
		var rows []sharedRow
		err := t.Query(func(v []driver.Value) error {
			rows = append(rows, sharedIn(v))
			return nil
		}, "SELECT key, version, owed, gone FROM shared WHERE owed>0 ORDER BY owed LIMIT ?", int64(n))
		for i := 0; err == nil && i < len(rows); i++ {
			var s *entry
			if _, s, err = t.standing(&rows[i]); err == nil && s != nil {
				changes = append(changes, relay.SuppressionChange{Key: rows[i].key, Entry: *s,
					Version: rows[i].version, Until: until(s), Owed: rows[i].owed})
			} else if err == nil { // it was too old to be kept
				_, err = t.Exec("UPDATE shared SET owed=0 WHERE key=?", rows[i].key)
			}
		}
		return err
	})
	if err != nil {
		return nil, err // the job may still be under way
	}
	return changes, nil
}

// sharedRow is what is known of an address in the shared list.
type sharedRow struct {
	key           string
	version, owed int64
	gone          string
}

// sharedIn reads a row of key, version, owed and gone.
func sharedIn(v []driver.Value) (r sharedRow) {
	r.key, _ = v[0].(string)
	r.version, _ = v[1].(int64)
	r.owed, _ = v[2].(int64)
	r.gone, _ = v[3].(string)
	return r
}

// standing is how an address stands here: its row, and its entry or the removal of it; nil if there was none.
func (t *tx) standing(s *sharedRow) (*row, *entry, error) {
	scope, key, _ := strings.Cut(s.key, " ")
	r, err := t.l.findIn(t.Conn, scope, key)
	if err != nil || r != nil || s.gone == "" {
		return r, r.entry(), err
	}
	var gone entry
	return nil, &gone, json.Unmarshal([]byte(s.gone), &gone)
}

// Stored notes that the shared list has taken changes, as the versions that they have now.
func (l *List) Stored(ctx context.Context, changes []relay.SuppressionChange) error {
	return l.w.write(ctx, func(t *tx) error {
		for i := range changes {
			c := &changes[i]
			_, err := t.Exec("UPDATE shared SET version=max(version, ?), owed=iif(owed=?, 0, owed) "+
				"WHERE key=?", c.Version, c.Owed, c.Key)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Apply takes over changes of the shared list, up to a place. Nobody is told of them. Where the list has a
// change of its own that does not rest on one of them, Over decides which stays.
func (l *List) Apply(ctx context.Context, changes []relay.SuppressionChange, to relay.SharedPlace) error {
	return l.w.write(ctx, func(t *tx) error {
		for i := range changes {
			if err := t.apply(&changes[i]); err != nil {
				return err
			}
		}
		_, err := t.Exec("UPDATE place SET version=?, heard=? WHERE list=?", to.Version, nanos(l.o.Now()),
			to.List)
		return err
	})
}

// apply takes over one change.
func (t *tx) apply(c *relay.SuppressionChange) error {
	known := sharedRow{key: c.Key}
	err := t.Query(func(v []driver.Value) error { known = sharedIn(v); return nil },
		"SELECT key, version, owed, gone FROM shared WHERE key=?", c.Key)
	if err != nil || known.version >= c.Version {
		return err
	}
	r, mine, err := t.standing(&known)
	if err != nil {
		return err
	}
	if known.owed > 0 && mine != nil && Over(mine, &c.Entry) {
		_, err = t.Exec("UPDATE shared SET version=? WHERE key=?", c.Version, c.Key)
		return err
	}
	next := &c.Entry
	if next.State == relay.SuppressionRemoved {
		next = nil
	}
	if r != nil || next != nil {
		if err := t.store(r, next, t.l.hashOf(&c.Entry)); err != nil {
			return err
		}
	}
	_, err = t.Exec(`INSERT INTO shared (key, version, owed, gone, until) VALUES (?, ?, 0, ?, ?) ON CONFLICT
		DO UPDATE SET version=excluded.version, owed=0, gone=excluded.gone, until=excluded.until`,
		c.Key, c.Version, goneText(&c.Entry), keptUntil(&c.Entry))
	return err
}

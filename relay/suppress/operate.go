package suppress

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/sqlite"
)

// The reasons of entries that rest on no diagnosis.
const (
	ReasonManual   diagnose.Reason = "manual"
	ReasonImported diagnose.Reason = "imported"
)

// List implements relay.SuppressionList. The file is read a page at a time, so that a slow reader holds up
// nothing.
func (l *List) List(ctx context.Context, f relay.SuppressionFilter,
	each func(*relay.Suppression) bool) error {
	where, args := condition(&f)
	for after, more := f.After, true; more; {
		more = false
		var page []row
		err := l.w.withReader(func(c *sqlite.Conn) error {
			return c.QueryContext(ctx, func(v []driver.Value) error {
				page = append(page, entryIn(v))
				return nil
			}, "SELECT id, "+columns+" FROM entry WHERE id>?"+where+" ORDER BY id LIMIT 500",
				append([]driver.Value{after}, args...)...)
		})
		if err != nil {
			return err
		}
		for i := range page {
			after, more = page[i].id, true
			s := &page[i].Suppression
			s.Number = page[i].id
			if f.Address != "" && l.key(s.Address) != l.key(Normal(f.Address)) {
				continue
			}
			if !each(s) {
				return nil
			}
		}
	}
	return nil
}

// condition is f as a condition of SQL.
func condition(f *relay.SuppressionFilter) (text string, args []driver.Value) {
	for _, c := range []struct{ column, value string }{
		{"scope", f.Scope}, {"reason", string(f.Reason)}, {"state", string(f.State)},
	} {
		if c.value != "" {
			text += " AND " + c.column + "=?"
			args = append(args, c.value)
		}
	}
	if f.Address != "" {
		text += " AND folded=?"
		args = append(args, folded(Normal(f.Address)))
	}
	return text, args
}

// Put implements relay.SuppressionList. An entry without a reason is manual or imported, by its source.
func (l *List) Put(ctx context.Context,
	entries []relay.Suppression) (results []relay.SuppressionResult, err error) {
	now := l.o.Now()
	err = l.w.write(ctx, func(t *tx) error {
		results = make([]relay.SuppressionResult, len(entries))
		for i := range entries {
			s, bad := l.checked(entries[i], now)
			if bad != nil {
				results[i].Error = bad.Error()
				continue
			}
			err := t.change(s.Scope, s.Address, now, func(cur *entry) (next *entry, what change) {
				next, what = put(cur, &s, now)
				results[i].Change = string(what)
				return next, what
			})
			if err != nil {
				return err
			}
			if results[i].Change == "" {
				results[i].Change = "unchanged"
			}
		}
		return nil
	})
	return results, err
}

// longerBy is what a list that is imported again each day does not count as longer.
const longerBy = 36 * time.Hour

// put is the entry that an operator's makes of the one that is there. It is pure.
func put(cur, s *relay.Suppression, now time.Time) (*relay.Suppression, change) {
	next := *s
	if cur == nil {
		return &next, created
	}
	longer := s.Expires.IsZero() || !cur.Expires.IsZero() && s.Expires.Sub(cur.Expires) > longerBy
	if cur.Suppresses(now) && (!longer || cur.Expires.IsZero()) {
		return cur, unchanged
	}
	next.Hits += cur.Hits
	next.FirstSeen = earliest(cur.FirstSeen, s.FirstSeen)
	return &next, created
}

// earliest is the earlier of two times.
func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// checked completes an operator's entry, or says what is wrong with it.
func (l *List) checked(s relay.Suppression, now time.Time) (relay.Suppression, error) {
	addr, err := address.Parse(s.Address, true)
	if err != nil {
		return s, fmt.Errorf("%q: %w", s.Address, err)
	}
	s.Address, s.State = Normal(addr), relay.SuppressionActive
	switch s.Scope {
	case "", relay.SuppressedEverywhere:
		s.Scope = relay.SuppressedEverywhere
	default:
		s.Scope = domainOf(s.Scope)
	}
	if s.Source != relay.SuppressedByImport {
		s.Source = relay.SuppressedByOperator
	}
	if s.Reason == "" {
		s.Reason = ReasonManual
		if s.Source == relay.SuppressedByImport {
			s.Reason = ReasonImported
		}
	}
	if _, known := l.reasons[s.Reason]; !known && s.Reason != ReasonManual && s.Reason != ReasonImported &&
		s.Reason != diagnose.ReasonSpamComplaint {
		return s, fmt.Errorf("not a reason for which addresses are suppressed: %q", s.Reason)
	}
	if s.FirstSeen.IsZero() || s.FirstSeen.After(now) {
		s.FirstSeen = now
	}
	if s.LastSeen.Before(s.FirstSeen) {
		s.LastSeen = s.FirstSeen
	}
	s.Reply = s.Reply[:min(len(s.Reply), replyMost)]
	s.Note = s.Note[:min(len(s.Note), replyMost)]
	if !s.Expires.IsZero() && !s.Expires.After(now) {
		return s, errors.New("its time is over already")
	}
	return s, nil
}

// Remove implements relay.SuppressionList. Mail to the address is tried again at once.
func (l *List) Remove(ctx context.Context, addr, scope string) (n int, err error) {
	parsed, err := address.Parse(addr, true)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", addr, err)
	}
	var found []relay.Suppression
	err = l.w.write(ctx, func(t *tx) error {
		found = found[:0]
		key := l.key(Normal(parsed))
		err := t.Query(func(v []driver.Value) error {
			if r := entryIn(v); l.key(r.Address) == key && (scope == "" || scope == r.Scope) {
				found = append(found, r.Suppression)
			}
			return nil
		}, "SELECT id, "+columns+" FROM entry WHERE folded=?", folded(key))
		for i := 0; err == nil && i < len(found); i++ {
			s := &found[i]
			err = t.change(s.Scope, s.Address, l.o.Now(),
				func(cur *entry) (*entry, change) {
					return removal(cur, relay.SuppressedByOperator, l.o.Now()), removed
				})
		}
		return err
	})
	return len(found), err
}

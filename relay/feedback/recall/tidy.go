package recall

import (
	"context"
	"database/sql/driver"
	"time"
)

// The housekeeping.
const (
	tidyEvery = time.Minute
	tidyMost  = 500 // messages, reports or keys in one transaction
)

// housekeep puts answers into the spool that it did not take before, and removes what is old, until ctx ends.
func (s *Store) housekeep(ctx context.Context) {
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		s.deliver(ctx)
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil && s.Fault() == nil {
			s.o.Log.Error("old feedback cannot be removed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Tidy removes what is older than the limits say, and the oldest of what is too much. The store does it every
// minute by itself.
func (s *Store) Tidy(ctx context.Context) error {
	for _, step := range []func(*tx, Limits, time.Time) (int64, error){
		(*tx).forgetOld, (*tx).forgetMost, (*tx).forgetKeys, (*tx).dropOld,
	} {
		for more := true; more; {
			err := s.w.write(ctx, func(t *tx) error {
				n, err := step(t, s.o.Limits(), s.o.Now())
				more = n >= tidyMost
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetOld forgets messages that were relayed too long ago.
func (t *tx) forgetOld(l Limits, now time.Time) (int64, error) {
	return t.forget("day<?", dayOf(now.Add(-l.Remember)), tidyMost)
}

// forgetMost forgets the oldest messages where there are too many.
func (t *tx) forgetMost(l Limits, _ time.Time) (int64, error) {
	if most := t.n.messages - l.MaxMessages; most > 0 {
		return t.forget("day>=?", 0, min(most, tidyMost))
	}
	return 0, nil
}

// forget forgets up to most messages of certain days, the oldest first, but for those for which something is
// owed. Their keys stay until their part goes.
func (t *tx) forget(days string, day, most int64) (n int64, err error) {
	var gone []int64
	err = t.Query(func(row []driver.Value) error {
		seq, _ := row[0].(int64)
		gone = append(gone, seq)
		return nil
	}, "DELETE FROM message WHERE seq IN (SELECT seq FROM message WHERE "+days+
		" AND NOT EXISTS (SELECT 1 FROM owed WHERE owed.message=message.seq) ORDER BY day, seq LIMIT ?)"+
		" RETURNING seq", day, most)
	for i := 0; err == nil && i < len(gone); i++ {
		if _, err = t.Exec("DELETE FROM outcome WHERE message=?", gone[i]); err == nil {
			_, err = t.Exec("DELETE FROM told WHERE message=?", gone[i])
		}
	}
	t.n.messages -= int64(len(gone))
	return int64(len(gone)), err
}

// forgetKeys removes the parts of the keys of which no message is left.
func (t *tx) forgetKeys(Limits, time.Time) (int64, error) {
	first, ok, err := t.Integer("SELECT min(seq) FROM message")
	if err != nil {
		return 0, err
	}
	if !ok {
		first = (partOf(t.n.seq) + 1) << 14
	}
	return t.Exec("DELETE FROM key WHERE (part, hash, message) IN"+
		" (SELECT part, hash, message FROM key WHERE part<? LIMIT ?)", partOf(first), int64(tidyMost))
}

// dropOld removes reports that were kept long enough.
func (t *tx) dropOld(l Limits, now time.Time) (int64, error) {
	return t.dropReports("SELECT seq FROM report WHERE due IS NULL AND came<? LIMIT ?",
		nanos(now.Add(-l.KeepRaw)), int64(tidyMost))
}

package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
)

// Suppressions is the suppression list that the replicas share: for each address the change in force.
type Suppressions Cluster

// storedEntry is the JSON form of an entry. A reply may have bytes that are not text.
type storedEntry struct {
	relay.Suppression
	Reply []byte `json:"reply,omitempty"`
}

// Push implements the shared list of relay/suppress/replica. The counter's row is locked before any other, so
// that two pushes never wait for each other.
func (s *Suppressions) Push(ctx context.Context, changes []relay.SuppressionChange) (
	stored []relay.SuppressionChange, err error) {
	var keys [][]byte
	var bases []int64
	var entries []string
	var untils []*time.Time
	index := map[string]int{}
	for i := range changes {
		c := &changes[i]
		text, err := json.Marshal(storedEntry{c.Entry, []byte(c.Entry.Reply)})
		if err != nil {
			return nil, err
		}
		keys, bases = append(keys, []byte(c.Key)), append(bases, c.Version)
		entries = append(entries, string(text))
		untils = append(untils, timeOrNull(c.Until))
		index[c.Key] = i
	}
	err = s.db.rows(ctx, `
		WITH c AS (UPDATE @.counter SET n = n + $5::bigint WHERE what = 'suppression' RETURNING n)
		INSERT INTO @.suppression AS s (key, version, base, entry, until)
		SELECT u.key, c.n - $5 + u.i, u.base, u.entry, u.until
		FROM c, unnest($1::bytea[], $2::bigint[], $3::text[], $4::timestamptz[])
			WITH ORDINALITY AS u (key, base, entry, until, i)
		ON CONFLICT (key) DO UPDATE SET version = excluded.version, base = excluded.base,
			entry = excluded.entry, until = excluded.until WHERE s.version = excluded.base
		RETURNING key, version`, []any{keys, bases, entries, untils, int64(len(changes))},
		func(r pgx.CollectableRow) error {
			var key []byte
			var version int64
			if err := r.Scan(&key, &version); err != nil {
				return err
			}
			c := changes[index[string(key)]]
			c.Version = version
			stored = append(stored, c)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return stored, nil
}

// timeOrNull is a time as it is stored.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Pull implements the shared list of relay/suppress/replica.
func (s *Suppressions) Pull(ctx context.Context, after int64, n int) (changes []relay.SuppressionChange,
	place relay.SharedPlace, err error) {
	err = s.db.rows(ctx, `
		SELECT c.id, c.n, s.key, s.version, s.entry, s.until FROM @.counter c LEFT JOIN LATERAL
			(SELECT * FROM @.suppression WHERE version > $1 ORDER BY version LIMIT $2) s ON true
		WHERE c.what = 'suppression' ORDER BY s.version`, []any{after, n},
		func(r pgx.CollectableRow) error {
			var key []byte
			var version *int64
			var text *string
			var until *time.Time
			err := r.Scan(&place.List, &place.Version, &key, &version, &text, &until)
			if err != nil || version == nil {
				return err
			}
			var e storedEntry
			if err := json.Unmarshal([]byte(*text), &e); err != nil {
				return fmt.Errorf("version %d of the shared suppression list: %w", *version, err)
			}
			e.Suppression.Reply = string(e.Reply)
			changes = append(changes, relay.SuppressionChange{Key: string(key), Entry: e.Suppression,
				Version: *version, Until: timeOrZero(until)})
			return nil
		})
	return changes, place, err
}

// timeOrZero undoes timeOrNull.
func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// Version is the number of the format that the database says.
func (c *Conn) Version() (int64, error) {
	n, _, err := c.Integer("PRAGMA user_version")
	return n, err
}

// Check has SQLite check the structure of the database and, if all is set, its indexes too. What it finds
// comes as a DamagedError; when ctx ends first, the error is SQLite's.
func Check(ctx context.Context, c *Conn, all bool) error {
	query := "PRAGMA quick_check(10)"
	if all {
		query = "PRAGMA integrity_check(10)"
	}
	var found []string
	err := c.QueryContext(ctx, func(row []driver.Value) error {
		if text, _ := row[0].(string); text != "ok" {
			found = append(found, text)
		}
		return nil
	}, query)
	if len(found) > 0 {
		return DamagedError{strings.Join(found, "; ")}
	}
	return err
}

// TruncateLog copies the whole log into the database, syncs it, and empties the log.
func TruncateLog(c *Conn) error {
	busy, _, err := c.Integer("PRAGMA wal_checkpoint(TRUNCATE)")
	if err == nil && busy != 0 {
		err = errors.New("the log cannot be emptied while the database is being read")
	}
	return err
}

// CopyLog copies as much of the log into the database as no reader still needs, and returns how many bytes of
// it are left.
func CopyLog(c *Conn) (left int, err error) {
	var frames, copied int64
	err = c.Query(func(row []driver.Value) error {
		frames, _ = row[1].(int64)
		copied, _ = row[2].(int64)
		return ErrStop
	}, "PRAGMA wal_checkpoint(PASSIVE)")
	return int(frames-copied) * PageSize, err
}

// GiveBack gives free pages back to the disk, a few at a time, while there are more than the database is to
// have for itself.
func GiveBack(c *Conn, own int64) error {
	free, _, err := c.Integer("PRAGMA freelist_count")
	if err != nil || free <= own {
		return err
	}
	// Stepped to its end by query: each row is a page.
	return c.Query(func([]driver.Value) error { return nil },
		fmt.Sprintf("PRAGMA incremental_vacuum(%d)", min(free-own, VacuumStep)))
}

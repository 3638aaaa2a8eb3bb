package database

import (
	"errors"

	"mailwhy/relay/internal/sqlite"
	"mailwhy/relay/spool/files"
)

// DamagedError is a database whose content contradicts itself.
type DamagedError struct{ What string }

// Error implements error.
func (e DamagedError) Error() string { return "spool damaged: " + e.What }

// The result codes of SQLite that the spool tells apart (https://www.sqlite.org/rescode.html).
const (
	codeReadOnly = 8
	codeIOErr    = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// Code returns the primary result code of an error of SQLite, and 0 for any other.
func Code(err error) int { return sqlite.Code(err) }

// ErrNotOpen says that there is no connection to the database now.
var ErrNotOpen = errors.New("the database is not open")

// IsBroken reports whether err concerns the database as a whole, and not one operation.
func IsBroken(err error) bool {
	switch Code(err) {
	case codeReadOnly, codeIOErr, codeCorrupt, codeFull, codeCantOpen, codeNotADB:
		return true
	}
	return errors.Is(err, ErrNotOpen) || IsDamagedError(err)
}

// IsDamage reports whether err says that the database is damaged.
func IsDamage(err error) bool {
	return Code(err) == codeCorrupt || Code(err) == codeNotADB || IsDamagedError(err)
}

// IsDamagedError reports whether err is a DamagedError.
func IsDamagedError(err error) bool {
	var damaged DamagedError
	return errors.As(err, &damaged)
}

// IsFull reports whether err says that no room is left on the disk, in its quota or among its inodes.
func IsFull(err error) bool { return files.IsFull(err) || Code(err) == codeFull }

package sqlite

import (
	"errors"

	"modernc.org/sqlite"

	"mailwhy/relay/spool/files"
)

// errDamaged is a database whose content contradicts itself.
type errDamaged struct{ what string }

// Error implements error.
func (e errDamaged) Error() string { return "spool damaged: " + e.what }

// The result codes of SQLite that the spool tells apart (https://www.sqlite.org/rescode.html).
const (
	codeReadOnly = 8
	codeIOErr    = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// code returns the primary result code of an error of SQLite, and 0 for any other.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// errNoDatabase says that there is no connection to the database now.
var errNoDatabase = errors.New("the database is not open")

// broken reports whether err concerns the database as a whole, and not one operation.
func broken(err error) bool {
	switch code(err) {
	case codeReadOnly, codeIOErr, codeCorrupt, codeFull, codeCantOpen, codeNotADB:
		return true
	}
	return errors.Is(err, errNoDatabase) || isDamaged(err)
}

// damage reports whether err says that the database is damaged.
func damage(err error) bool {
	return code(err) == codeCorrupt || code(err) == codeNotADB || isDamaged(err)
}

// isDamaged reports whether err is an errDamaged.
func isDamaged(err error) bool {
	var damaged errDamaged
	return errors.As(err, &damaged)
}

// isFull reports whether err says that no room is left on the disk, in its quota or among its inodes.
func isFull(err error) bool { return files.IsFull(err) || code(err) == codeFull }

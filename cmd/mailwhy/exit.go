package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// The exit statuses.
const (
	exitTrouble = 1 // trouble at run time
	exitUsage   = 2 // a mistake in usage or configuration
)

// exitError is an error that chooses the exit status. With a nil err nothing is printed: all was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitStatus prints err, a line for each mistake that it joins, and returns the exit status. An error met before the
// subcommand began is a mistake of usage.
func exitStatus(stderr io.Writer, err error, began bool) int {
	if err == nil {
		return 0
	}
	status := exitTrouble
	if !began {
		status = exitUsage
	}
	var chosen *exitError
	if errors.As(err, &chosen) {
		status = chosen.code
	}
	if text := err.Error(); text != "" {
		for line := range strings.Lines(text) {
			fmt.Fprintf(stderr, "mailwhy: error: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if !began {
		fmt.Fprintln(stderr, "mailwhy: hint: mailwhy help")
	}
	return status
}

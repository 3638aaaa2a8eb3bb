package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// followEvery is how often a followed file is looked at.
const followEvery = 250 * time.Millisecond

// follow shows a file as it grows, and waits for it if it is not there. When another file takes its name, the
// old one is shown to its end and the new one from its beginning; when it is cut short, it is read from its
// beginning.
func (w *logView) follow(ctx context.Context, name string, errOut io.Writer) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	f, err := waitFor(ctx, name, tick, errOut)
	if f == nil {
		return err
	}
	defer func() { f.Close() }()
	r := bufio.NewReader(f)
	for {
		next := rotated(f, name)
		if err := w.read(r); err != nil {
			return err
		}
		if next != nil {
			f.Close()
			f = next
			r.Reset(f)
			w.forget()
			continue
		}
		if err := w.finish(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// waitFor opens a file when it is there; without a file and an error ctx has ended.
func waitFor(ctx context.Context, name string, tick *time.Ticker, errOut io.Writer) (*os.File, error) {
	for told := false; ; told = true {
		f, err := os.Open(name)
		if !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		if !told {
			fmt.Fprintf(errOut, "mailwhy: %s is not there yet; waiting for it\n", name)
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-tick.C:
		}
	}
}

// rotated opens what is to be read in place of f, or returns nil to go on with f.
func rotated(f *os.File, name string) *os.File {
	then, err := f.Stat()
	if err != nil {
		return nil
	}
	now, err := os.Stat(name)
	if err != nil { // between the renaming and the new file
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || (os.SameFile(then, now) && now.Size() >= at) {
		return nil
	}
	next, err := os.Open(name)
	if err != nil {
		return nil
	}
	return next
}

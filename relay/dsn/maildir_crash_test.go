package dsn

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/internal/durable/crashfs"
)

const (
	maildir   = "/var/mail/bounces"
	inNew     = maildir + "/new/ID.mailwhy"
	crashRuns = 20 // seeds
)

// report is longer than a block.
var report = []byte("Subject: Undelivered\r\n\r\n" + strings.Repeat("The upstream said no.\r\n", 400))

// write is the call under test.
func write(f durable.FS) error { return writeMaildir(f, maildir, "ID", report) }

// whole reports whether b is the report as it is delivered.
func whole(b []byte) bool { return bytes.Equal(b, append([]byte("Return-Path: <>\r\n"), report...)) }

// made makes the maildir with a report in it.
func made(f *crashfs.FS) {
	if err := writeMaildir(f, maildir, "EARLIER", report); err != nil {
		panic(err)
	}
}

// TestMaildirCut cuts the power after each operation, with and without a maildir before: after nil the report
// is there, and until then it is there whole or not at all. The next call delivers it.
func TestMaildirCut(t *testing.T) {
	for _, before := range []func(*crashfs.FS){nil, made} {
		for f := range crashfs.Cuts(crashRuns, before) {
			err := write(f)
			after := f.Crash()
			got := crashfs.ReadFile(t, after, inNew)
			if !whole(got) && (err == nil || got != nil) {
				t.Errorf("%s: %v, and then %d bytes are there", f, err, len(got))
			}
			if err := write(after); err != nil {
				t.Errorf("%s: the next call: %v", f, err)
			}
			if !whole(crashfs.ReadFile(t, after.Crash(), inNew)) {
				t.Errorf("%s: the next call did not deliver it", f)
			}
		}
	}
}

// TestMaildirErrors has each operation fail: it is told, unless the report is delivered all the same; no
// part of it is in sight, and the next call delivers it.
func TestMaildirErrors(t *testing.T) {
	for _, before := range []func(*crashfs.FS){nil, made} {
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			for f := range crashfs.Faults(crashRuns, cause, before) {
				err := write(f)
				f.Heal()
				got := crashfs.ReadFile(t, f, inNew)
				if err == nil && !whole(got) || err != nil && (got != nil || !errors.Is(err, cause)) {
					t.Errorf("%s: %v, and %d bytes are there", f, err, len(got))
				}
				if left, _ := f.ReadDir(maildir + "/tmp"); len(left) > 0 {
					t.Errorf("%s: %s is left", f, left[0].Name())
				}
				if err := write(f); err != nil {
					t.Errorf("%s: the next call: %v", f, err)
				}
				if !whole(crashfs.ReadFile(t, f.Crash(), inNew)) {
					t.Errorf("%s: the next call did not deliver it", f)
				}
			}
		}
	}
}

// TestMaildirFoundNotDurable: a report that the process before this one wrote, or a mail reader moved, and
// whose name is not durable yet, is durable when the call says that it is delivered.
func TestMaildirFoundNotDurable(t *testing.T) {
	for name, move := range map[string]func(f *crashfs.FS) (string, error){
		"stopped after the rename": func(f *crashfs.FS) (string, error) {
			return inNew, f.Rename(maildir+"/tmp/ID.mailwhy", inNew)
		},
		"moved by a reader": func(f *crashfs.FS) (string, error) {
			read := maildir + "/cur/ID.mailwhy:2,S"
			return read, errors.Join(f.Rename(maildir+"/tmp/ID.mailwhy", inNew), f.Rename(inNew, read))
		},
	} {
		for seed := range uint64(crashRuns) {
			f := crashfs.New(seed)
			made(f)
			err := writeNew(f, maildir+"/tmp/ID.mailwhy", append([]byte("Return-Path: <>\r\n"), report...))
			at, e := move(f)
			if err := errors.Join(err, e, write(f)); err != nil {
				t.Fatal(err)
			}
			if !whole(crashfs.ReadFile(t, f.Crash(), at)) {
				t.Errorf("%s: seed %d: said to be delivered, and then it is not there", name, seed)
			}
		}
	}
}

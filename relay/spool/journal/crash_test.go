package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/internal/durable/crashfs"
	"mailwhy/relay/spool"
)

// crashRun opens a journal and writes one message a transaction; it tells how many were answered.
func crashRun(f durable.FS, records []*spool.Record) (answered int, err error) {
	j, err := Open(f, "/spool/journal", 256<<10)
	if err != nil {
		return 0, err
	}
	defer j.Close()
	j.Restart(testBase)
	for i, r := range records {
		j.Clear()
		j.Put(r)
		if err := j.Write(testBase + 1 + int64(i)); err != nil {
			return answered, err
		}
		answered++
	}
	return answered, nil
}

// TestCut cuts the power after each operation: what was answered is there, and nothing that was not written.
func TestCut(t *testing.T) {
	var records []*spool.Record
	for i := range 6 {
		records = append(records, record(t, int64(i+1), strings.Repeat("a line\r\n", 1+i*300)))
	}
	prepare := func(f *crashfs.FS) {
		if err := durable.MkdirAll(f, "/spool", 0o700); err != nil {
			panic(err)
		}
	}
	check := func(f *crashfs.FS, after durable.FS, answered int) {
		h, err := after.OpenFile("/spool/journal", os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) && answered == 0 {
			return
		}
		var b []byte
		if err == nil {
			b, err = io.ReadAll(h)
		}
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		j := Parse(b)
		got := j.Changes(testBase, testBase+int64(answered))
		if got.Missing > 0 || len(got.Added) < answered {
			t.Errorf("%s: %d answered, %d there, %d missing", f, answered, len(got.Added), got.Missing)
		}
		for i, r := range got.Added {
			if i < answered && (r.ID != records[i].ID || string(r.Data) != string(records[i].Data)) {
				t.Errorf("%s: message %d is another one", f, i)
			}
		}
	}
	for f := range crashfs.Cuts(20, prepare) {
		answered, _ := crashRun(f, records)
		check(f, f.Crash(), answered)
	}
	for f := range crashfs.Faults(20, syscall.EIO, prepare) {
		answered, err := crashRun(f, records)
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", f, err)
		}
		check(f, f.Crash(), answered)
	}
}

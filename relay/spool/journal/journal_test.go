package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/files"
)

// testBase is the last transaction of the database that the tests' journals follow.
const testBase = 7

// record is the record of a message of this number, with its content.
func record(t *testing.T, seq int64, content string) *spool.Record {
	t.Helper()
	now := time.Now()
	r, err := spool.Encode(&relay.Message{
		ID: relay.NewID(now), Lane: "default", Arrived: now, Size: int64(len(content)),
		Envelope:   relay.Envelope{From: "app@sender.example"},
		Recipients: []relay.Recipient{{Address: "someone@recipient.example", NextAttempt: now}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Seq, r.Data = seq, []byte(content)
	r.HeadSum = r.SumHead()
	return r
}

// written is a journal that has one transaction for each of these functions, and its file.
func written(t *testing.T, transactions ...func(*File)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	f, err := Open(durable.OS{}, filepath.Join(dir, files.Journal), 256<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Restart(testBase)
	for i, fill := range transactions {
		f.Clear()
		if fill(f); !f.Fits() {
			t.Fatal("it is full")
		}
		if err := f.Write(testBase + 1 + int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read reads the journal of a directory.
func read(t *testing.T, dir string) Journal {
	t.Helper()
	j, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestReadsWhatWasWritten writes all kinds of entries, and reads them as changes of the database.
func TestReadsWhatWasWritten(t *testing.T) {
	stays, goes, report := record(t, 1, "stays"), record(t, 2, "goes"), record(t, 3, "report")
	owed := relay.Notice{Message: goes.ID, Recipient: 3, Kind: relay.NoticeFailed}.Entry()
	j := read(t, written(t,
		func(f *File) { f.Put(stays); f.Put(goes) },
		func(f *File) { f.End(goes.ID); f.End("of the database") },
		func(f *File) { f.Report([]relay.Entry{owed}, report) },
	))
	got := j.Changes(testBase, testBase+3)
	want := Changes{
		Added: []*spool.Record{stays, report}, Removed: []string{"of the database"},
		Answered: []relay.Entry{owed}, Reports: []*spool.Record{report},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
	if last := j.Last(testBase); last != testBase+3 || j.Base != testBase {
		t.Errorf("the last transaction is %d, after %d", last, j.Base)
	}
	if c := j.Changes(testBase+1, 0); !c.None() {
		t.Errorf("a later database gets %+v", c)
	}
}

// TestDamagedEntries flips a bit in each byte of an entry: no message comes back altered without its
// checksums telling, the others come back whole, and that one is missing is counted where its transaction is
// known to have been written.
func TestDamagedEntries(t *testing.T) {
	records := []*spool.Record{record(t, 1, "first"), record(t, 2, "second"), record(t, 3, "third")}
	dir := written(t,
		func(f *File) { f.Put(records[0]) },
		func(f *File) { f.Put(records[1]) },
		func(f *File) { f.Put(records[2]) },
	)
	whole, err := os.ReadFile(filepath.Join(dir, files.Journal))
	if err != nil {
		t.Fatal(err)
	}
	end := 2*PageSize + len(bytes.TrimRight(whole[2*PageSize:3*PageSize], "\x00"))
	for at := 2 * PageSize; at < end; at++ {
		b := bytes.Clone(whole)
		b[at] ^= 1 << (at % 8)
		j := Parse(b)
		c := j.Changes(testBase, testBase+3)
		if c.Missing != 1 {
			t.Fatalf("byte %d: %d entries are missing, want 1", at-2*PageSize, c.Missing)
		}
		found := map[string]string{}
		for _, r := range c.Added {
			if _, err := r.Decode(); err == nil {
				found[r.ID] = string(r.Data)
			}
		}
		if found[records[0].ID] != "first" || found[records[2].ID] != "third" {
			t.Fatalf("byte %d: the others come back as %v", at-2*PageSize, found)
		}
	}
}

// TestNoEntryWithoutMagic damages the magic number of an entry: what is left is not taken for one.
func TestNoEntryWithoutMagic(t *testing.T) {
	dir := written(t, func(f *File) { f.Put(record(t, 1, "only")) })
	b, err := os.ReadFile(filepath.Join(dir, files.Journal))
	if err != nil {
		t.Fatal(err)
	}
	b[PageSize]++
	if j := Parse(b); !j.Empty() {
		t.Errorf("read %+v", j.All())
	}
}

// TestForeign asks of databases whether a journal, which goes on from transaction 7 to 8, belongs to them.
func TestForeign(t *testing.T) {
	r := record(t, 5, "x")
	j := read(t, written(t, func(f *File) { f.Put(r) }))
	none := func(int64) (*spool.Record, error) { return nil, relay.ErrNotFound }
	other := func(int64) (*spool.Record, error) { return &spool.Record{ID: "other"}, nil }
	broken := errors.New("cannot be read")
	for _, tc := range []struct {
		name string
		db   Database
		why  string // a part of it; "" when the journal belongs
	}{
		{"its own", Database{Salt: j.Salt, Commits: testBase}, ""},
		{"its own, taken in", Database{Salt: j.Salt, Commits: testBase + 5}, ""},
		{"another one's", Database{Salt: j.Salt + 1, Commits: testBase + 5}, "last written with another one"},
		{"one whose end is missing", Database{Salt: j.Salt + 1, Commits: testBase - 1}, ""},
		{"of format 1, as it was", Database{Commits: testBase}, ""},
		{"of format 1, gone on without", Database{Commits: testBase + 1}, "has not taken it in"},
		{"of format 1, with fewer messages", Database{Commits: testBase + 5, Seq: 4}, "no more than 4"},
		{"of format 1, message gone", Database{Commits: testBase + 5, Seq: 5, Record: none}, ""},
		{"of format 1, another one's", Database{Commits: testBase + 5, Seq: 5, Record: other}, "another one"},
	} {
		why, err := j.Foreign(tc.db)
		if err != nil || (why == "") != (tc.why == "") || !strings.Contains(why, tc.why) {
			t.Errorf("%s: %q, %v; want %q", tc.name, why, err, tc.why)
		}
	}
	_, err := j.Foreign(Database{Commits: testBase + 5, Seq: 5,
		Record: func(int64) (*spool.Record, error) { return nil, fmt.Errorf("the row: %w", broken) }})
	if !errors.Is(err, broken) {
		t.Errorf("a database that cannot be read: %v", err)
	}
}

// TestLatestVersion looks at the names and the first pages of journals.
func TestLatestVersion(t *testing.T) {
	dir := written(t)
	if v, err := LatestVersion(dir); err != nil || v != files.Format {
		t.Errorf("format %d, %v", v, err)
	}
	for name, want := range map[string]int64{"journal-20261128": files.Format, "journal-9": 9} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("damaged"), files.Perm); err != nil {
			t.Fatal(err)
		}
		if v, err := LatestVersion(dir); err != nil || v != want {
			t.Errorf("with %s: format %d, %v; want %d", name, v, err, want)
		}
		os.Remove(filepath.Join(dir, name))
	}
}

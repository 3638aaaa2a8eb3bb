package sqlite

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
)

// earlier is a spool that an earlier release has written: see testdata/formats.
type earlier struct {
	dir  string
	want map[string]string // contents by id
	Want map[string]int    `json:"want"`
	Told []string          `json:"told"`
	Owed []string          `json:"owed"`
}

// unpackEarlier unpacks a spool of testdata/formats.
func unpackEarlier(t *testing.T, name string) earlier {
	t.Helper()
	e := earlier{dir: t.TempDir(), want: map[string]string{}}
	f, err := os.Open(filepath.Join("testdata", "formats", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		path := filepath.Join(e.dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = errors.Join(err, os.MkdirAll(path, files.DirPerm))
		} else {
			err = errors.Join(err, os.WriteFile(path, b, files.Perm))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(e.dir, "want.json"))
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	if err != nil || len(e.Want) == 0 {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(e.dir, "want.json"))
	for id, size := range e.Want {
		e.want[id] = strings.Repeat(id, size/len(id))
	}
	return e
}

// comesBack looks that a spool has all that the earlier release had in it, in its states.
func (e *earlier) comesBack(t *testing.T, s *Spool) {
	t.Helper()
	holds(t, s, e.want)
	states := map[relay.State]int{}
	err := s.List(t.Context(), relay.QueueFilter{}, func(m *relay.Message) bool {
		if m.Subject != "caf\xe9" || len(m.Recipients) != 2 || m.Recipients[1].ORCPT == "" {
			t.Errorf("%s came back as %+v", m.ID, m)
		}
		states[m.Recipients[0].State]++
		return true
	})
	if err != nil || states[relay.Held] != 1 || states[relay.Deferred] != 1 ||
		states[relay.Failed] != len(e.Owed) {
		t.Errorf("states %v, want one held, one deferred and %d failed; %v", states, len(e.Owed), err)
	}
	due := dueReports(t, s, time.Now())
	if len(due) != len(e.Owed) {
		t.Errorf("notices of %d messages are due, want %d", len(due), len(e.Owed))
	}
	for _, d := range due {
		n, err := relay.NoticeOf(d.Entries[0])
		if err != nil || len(d.Entries) != 2 || n.Kind != relay.NoticeFailed || n.Recipient != 0 {
			t.Errorf("due are %+v, %v; want one for each recipient", d.Entries, err)
		}
	}
}

// TestOpensEarlierFormats opens the spools of earlier releases, killed and closed, first without a relay and
// then with one, and once more: everything is there.
func TestOpensEarlierFormats(t *testing.T) {
	for _, name := range []string{"first-killed", "database-killed", "journal-killed", "reports-killed",
		"reports-closed", "notices-killed", "notices-closed"} {
		t.Run(name, func(t *testing.T) {
			e := unpackEarlier(t, name)
			os.WriteFile(filepath.Join(e.dir, files.Lock), nil, files.Perm)
			r, err := OpenReadOnly(e.dir)
			if err != nil {
				t.Fatal(err)
			}
			if st, err := r.Stat(t.Context()); err != nil || st.Messages != int64(len(e.want)) {
				t.Errorf("without a relay: %+v, %v, want %d messages", st, err, len(e.want))
			}
			r.Close()
			var w watcher
			for range 3 {
				s := w.open(t, e.dir)
				e.comesBack(t, s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if strings.Contains(w.String(), "level=ERROR") {
				t.Errorf("an upgrade is no damage:\n%s", w.String())
			}
			for _, old := range []string{files.Journal1, files.RunState1} {
				if _, err := os.Lstat(filepath.Join(e.dir, old)); err == nil {
					t.Errorf("%s is still there", old)
				}
			}
		})
	}
}

// TestKilledWhileMigrating takes the files of a spool between the steps by which it is migrated, as a kill
// leaves them, and opens each of these spools: everything is there.
func TestKilledWhileMigrating(t *testing.T) {
	for _, name := range []string{"database-killed", "journal-killed", "reports-killed", "reports-closed"} {
		t.Run(name, func(t *testing.T) {
			e := unpackEarlier(t, name)
			images := map[string]string{}
			s := openTest(t, Options{
				Dir: e.dir, Limits: Limits{Reserve: -1, Journal: 1 << 20}, Log: slog.New(slog.DiscardHandler),
				at: func(step string) { images[step] = takeImage(t, e.dir) },
			})
			defer s.Close()
			want := []string{"before the commit", "committed", "in order", "marks removed", "journal renamed"}
			if got := slices.Collect(maps.Keys(images)); len(got) != len(want) {
				t.Errorf("steps %q, want %q", got, want)
			}
			for _, step := range want {
				var w watcher
				e := earlier{dir: images[step], want: e.want, Owed: e.Owed}
				s := w.open(t, e.dir)
				e.comesBack(t, s)
				s.Close()
				if strings.Contains(w.String(), "level=ERROR") {
					t.Errorf("killed at %q:\n%s", step, w.String())
				}
			}
		})
	}
}

// TestDowngradedSpool opens a spool that a release without a journal has gone on with, after one with a
// journal was killed: the journal is kept and named, and what it holds can be put back, once.
func TestDowngradedSpool(t *testing.T) {
	e := unpackEarlier(t, "downgraded")
	var w watcher
	s := w.open(t, e.dir)
	aside, err := filepath.Glob(filepath.Join(e.dir, files.Damaged, "*-"+files.Journal1))
	if err != nil || len(aside) != 1 || !strings.Contains(w.String(), "level=ERROR") ||
		!strings.Contains(w.String(), "mailwhy queue recover "+aside[0]) {
		t.Fatalf("%q, %v:\n%s", aside, err, w.String())
	}
	if kept, _, missing := w.account(t, s, e.want); missing < 5 || kept+missing != len(e.want) {
		t.Fatalf("%d messages kept, %d in the journal only: this tests nothing", kept, missing)
	}
	list, err := journal.ReadMessages(aside[0])
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		if round == 1 { // also once they have gone
			for range list {
				settleOne(t, s, e.want, true)
			}
			s.Close()
			s = w.open(t, e.dir)
		}
		for _, r := range list {
			if stored, err := s.Recover(t.Context(), r); err != nil || stored != (round == 0) {
				t.Errorf("round %d: %s was stored: %v, %v", round, r.Message.ID, stored, err)
			}
		}
		if kept, _, missing := w.account(t, s, e.want); missing > 0 {
			t.Errorf("round %d: %d of %d messages are there", round, kept, len(e.want))
		}
	}
	s.Close()
}

// TestJournalOfAnotherSpool puts a journal beside a database that it does not belong to: nothing in it is
// dropped, or sent.
func TestJournalOfAnotherSpool(t *testing.T) {
	im, other := journalImage(t, 30), journalImage(t, 20)
	if err := os.Rename(filepath.Join(other.dir, files.Journal),
		filepath.Join(im.dir, files.Journal)); err != nil {
		t.Fatal(err)
	}
	var w watcher
	s := w.open(t, im.dir)
	defer s.Close()
	aside, _ := filepath.Glob(filepath.Join(im.dir, files.Damaged, "*-"+files.Journal))
	if len(aside) != 1 || !strings.Contains(w.String(), "level=ERROR") {
		t.Fatalf("%q\n%s", aside, w.String())
	}
	list, err := journal.ReadMessages(aside[0])
	if err != nil || len(list) != len(other.want) {
		t.Errorf("%d messages are read, want %d; %v", len(list), len(other.want), err)
	}
	for _, r := range list {
		if other.want[r.Message.ID] != string(r.Content) || r.Damage != "" {
			t.Errorf("%s: %s", r.Message.ID, r.Damage)
		}
	}
}

// TestRefusesLaterFormats: a later format of the database, in its file or its log, or of the journal alone,
// is refused with both numbers, and no byte of the spool changes.
func TestRefusesLaterFormats(t *testing.T) {
	later := func(t *testing.T, s *Spool) {
		op := &operation{apply: func(t *database.Tx) error { return t.Run("PRAGMA user_version=7") }}
		if err := s.w.ops.do(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(t *testing.T, dir string) string{
		"database": func(t *testing.T, dir string) string {
			s := openTest(t, Options{Dir: dir})
			later(t, s)
			s.Close()
			return dir
		},
		"log": func(t *testing.T, dir string) string {
			s := openTest(t, Options{Dir: dir})
			defer s.Close()
			later(t, s)
			return takeImage(t, dir)
		},
		"journal": func(t *testing.T, dir string) string {
			later := filepath.Join(dir, "journal-7")
			os.Rename(filepath.Join(dir, files.Journal), later)
			flip(t, later, 9, 0) // the salt: only its name tells
			os.WriteFile(filepath.Join(dir, files.Database), []byte("damaged"), files.Perm)
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := change(t, journalImage(t, 10).dir)
			before := readAll(t, dir)
			_, err := Open(Options{Dir: dir})
			if err == nil || !strings.Contains(err.Error(), "format is 7") || !strings.Contains(err.Error(),
				"up to 3") {
				t.Errorf("Open: %v", err)
			}
			if after := readAll(t, dir); !maps.Equal(before, after) {
				t.Errorf("the refused spool was changed: it has %q", slices.Sorted(maps.Keys(after)))
			}
			if name != "database" {
				return
			}
			if _, err := OpenReadOnly(dir); err == nil || !strings.Contains(err.Error(), "format is 7") {
				t.Errorf("OpenReadOnly: %v", err)
			}
		})
	}
}

// readAll reads the files of a spool that have a meaning.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*", "*/*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() &&
				filepath.Base(name) != files.Lock {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				all[name] = string(b)
			}
		}
	}
	return all
}

// TestUnreadableJournalIsKept damages every entry of a journal, and takes the marks, which would tell of
// it: a copy is kept all the same, and what it says can be looked at.
func TestUnreadableJournalIsKept(t *testing.T) {
	im := journalImage(t, 2)
	const inBody = 50 // of the entry with which a page begins
	for at := int64(journal.PageSize); at < liveBytes(t, im.dir); at += journal.PageSize {
		flip(t, filepath.Join(im.dir, files.Journal), at+inBody, 3)
	}
	os.Remove(filepath.Join(im.dir, files.RunState))
	var w watcher
	s := w.open(t, im.dir)
	defer s.Close()
	aside, _ := filepath.Glob(filepath.Join(im.dir, files.Damaged, "*-"+files.Journal))
	if len(aside) != 1 || !strings.Contains(w.String(), "mailwhy queue recover "+aside[0]) {
		t.Fatalf("%q\n%s", aside, w.String())
	}
	list, err := journal.ReadMessages(aside[0])
	found := slices.ContainsFunc(list,
		func(r journal.Recovered) bool { return im.want[r.Message.ID] == string(r.Content) })
	if err != nil || !found {
		t.Errorf("the copy has %d messages, %v; want the one that was there among them", len(list), err)
	}
}

// TestSalvagesEarlierFormat: a damaged database of an earlier format is rebuilt as one of this format, with
// all that it had.
func TestSalvagesEarlierFormat(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, database string){
		"index": func(t *testing.T, name string) { flip(t, name, 3*database.PageSize, 0) },
		"first page": func(t *testing.T, name string) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			clear(b[:database.PageSize])
			if err := os.WriteFile(name, b, files.Perm); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := unpackEarlier(t, "notices-closed")
			os.Remove(filepath.Join(e.dir, files.RunState)) // so that the database is checked
			damage(t, filepath.Join(e.dir, files.Database))
			var w watcher
			s := w.open(t, e.dir)
			defer s.Close()
			if !strings.Contains(w.String(), "salvaged") {
				t.Error("the database was not found to be damaged: this tests nothing")
			}
			e.comesBack(t, s)
			err := s.read(func(c *database.Conn) error {
				format, err := c.Version()
				if err == nil && format != files.Format {
					t.Errorf("the rebuilt database is of format %d", format)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

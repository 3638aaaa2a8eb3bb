package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
)

// putContent puts a message of its own content into want.
func putContent(t testing.TB, s *Spool, want map[string]string, size int) string {
	t.Helper()
	m := benchMessage("app@sender.example")
	content := strings.Repeat(m.ID+"\r\n", 1+size/len(m.ID))
	if err := s.Put(context.Background(), []*relay.Message{m}, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	want[m.ID] = content
	return m.ID
}

// journalImage makes a spool all of whose messages are in the journal, and takes its image.
func journalImage(t testing.TB, n int) image {
	t.Helper()
	s := openTest(t, Options{Limits: Limits{Journal: 512 << 10, MaxBytes: 1 << 20}})
	defer s.Close()
	im := image{want: map[string]string{}}
	leaseSome(t, s, 1) // which looks into the database the first time
	for i := range n {
		putContent(t, s, im.want, i*i%6000)
		if i%3 == 0 {
			settleOne(t, s, im.want, true)
		}
	}
	s.o.Limits.MaxBytes = 1
	if _, err := putOne(s, 2); !errors.Is(err, relay.ErrFull) { // nothing is written of it
		t.Fatal(err)
	}
	if got := s.w.pending.count.Load(); got != int64(len(im.want)) {
		t.Fatalf("%d messages of %d are in the journal only", got, len(im.want))
	}
	im.dir = takeImage(t, s.o.Dir)
	return im
}

// liveBytes is how far the journal of an image is in use.
func liveBytes(t testing.TB, dir string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, files.Journal))
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(bytes.TrimRight(b, "\x00"))+journal.PageSize-1) / journal.PageSize * journal.PageSize
}

func TestJournalSurvivesKill(t *testing.T) {
	im := journalImage(t, 60)
	r, err := OpenReadOnly(im.dir)
	if err != nil {
		t.Fatal(err)
	}
	err = r.read(func(c *database.Conn) error {
		n, err := database.ReadCounts(c)
		if n.Messages != 0 {
			t.Errorf("the database has %d messages: this tests nothing", n.Messages)
		}
		return err
	})
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	var w watcher
	s := w.open(t, im.dir)
	if kept, _, _ := w.account(t, s, im.want); kept != len(im.want) {
		t.Errorf("%d of %d messages were kept", kept, len(im.want))
	}
	st, err := s.Stat(t.Context())
	if err != nil || st.Messages != int64(len(im.want)) {
		t.Errorf("Stat counts %d messages of %d, %v", st.Messages, len(im.want), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = w.open(t, im.dir)
	defer s.Close()
	if ls := leaseSome(t, s, 2*len(im.want)); len(ls) != len(im.want) {
		t.Errorf("%d of %d messages are leased after another start", len(ls), len(im.want))
	}
	if strings.Contains(w.String(), "level=ERROR") {
		t.Errorf("a crash is no damage:\n%s", w.String())
	}
}

// TestReadOnlyJournal looks into the spool of a relay that was killed: some messages in the database, some
// in the journal, some gone from either.
func TestReadOnlyJournal(t *testing.T) {
	s := openTest(t, Options{})
	want := map[string]string{}
	for range 150 {
		putContent(t, s, want, 100)
	}
	if _, err := s.lookUp("none"); !errors.Is(err, relay.ErrNotFound) { // brings all into the database
		t.Fatal(err)
	}
	settleOne(t, s, want, true)
	for range 20 {
		putContent(t, s, want, 100)
	}
	settleOne(t, s, want, true)
	dir := takeImage(t, s.o.Dir)
	s.Close()

	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(r.came) != 20 || len(r.gone) != 2 {
		t.Fatalf("the journal has %d messages and %d that have gone: this tests nothing", len(r.came),
			len(r.gone))
	}
	var oldest time.Time
	bytes := int64(0)
	list := func(f relay.QueueFilter) (ids []string) {
		err := r.List(t.Context(), f, func(m *relay.Message) bool {
			if oldest.IsZero() {
				oldest = m.Arrived
			}
			bytes += m.Size
			ids = append(ids, m.ID)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	all := slices.Sorted(maps.Keys(want))
	if got := list(relay.QueueFilter{}); !slices.Equal(got, all) {
		t.Errorf("%d messages are listed, want %d, in order", len(got), len(all))
	}
	st, err := r.Stat(t.Context())
	if err != nil || st.Messages != int64(len(all)) || st.Bytes != bytes || !st.Oldest.Equal(oldest) {
		t.Errorf("Stat: %+v, %v; want %d messages, %d bytes, oldest %v", st, err, len(all), bytes, oldest)
	}
	if got := list(relay.QueueFilter{After: all[140]}); !slices.Equal(got, all[141:]) {
		t.Errorf("%d messages are listed after the 140th, want %d", len(got), len(all)-141)
	}
	some := []string{all[3], all[len(all)-1]}
	if got := list(relay.QueueFilter{IDs: some}); !slices.Equal(got, some) {
		t.Errorf("%v are listed, want %v", got, some)
	}
}

// TestJournalTakesFromDatabase settles a message that is in the database already, in the journal.
func TestJournalTakesFromDatabase(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	want := map[string]string{}
	putContent(t, s, want, 100)
	putContent(t, s, want, 100)
	holds(t, s, want) // which brings both into the database
	settleOne(t, s, want, true)
	if len(s.w.pending.gone) != 1 {
		t.Fatal("the settlement is in the database: this tests nothing")
	}
	im := image{dir: takeImage(t, s.o.Dir), want: want}
	holds(t, s, want)
	killed := openTest(t, Options{Dir: im.dir})
	defer killed.Close()
	holds(t, killed, want)
}

// TestTornJournal cuts the journal off at each page. What was written before is there, and where the marks
// tell that there was more, so does the log.
func TestTornJournal(t *testing.T) {
	im := journalImage(t, 40)
	last := 0
	for size := liveBytes(t, im.dir); size >= 0; size -= journal.PageSize {
		for _, marks := range []bool{true, false} {
			dir := takeImage(t, im.dir)
			if err := os.Truncate(filepath.Join(dir, files.Journal), size); err != nil {
				t.Fatal(err)
			}
			if !marks {
				os.Remove(filepath.Join(dir, files.RunState))
			}
			var w watcher
			s := w.open(t, dir)
			kept, _, missing := w.account(t, s, im.want)
			told := strings.Contains(w.String(), "is missing") ||
				strings.Contains(w.String(), "journal is damaged")
			if marks && missing > 0 && !told {
				t.Errorf("cut at %d: %d messages are missing without a word", size, missing)
			}
			if !marks && told {
				t.Errorf("cut at %d: that may be what a power cut left of what nobody was told of:\n%s", size,
					w.String())
			}
			if last != 0 && kept < last-1 {
				t.Errorf("cut at %d: %d messages, a page later %d", size, kept, last)
			}
			last = kept
			s.Close()
		}
	}
}

// TestFlippedJournal flips bits all over the journal. No message comes back altered, and none is missing
// without a word.
func TestFlippedJournal(t *testing.T) {
	im := journalImage(t, 40)
	step := int64(1201)
	if os.Getenv("MAILWHY_FULL") != "" {
		step = 97
	}
	lost := 0
	for at := int64(0); at < liveBytes(t, im.dir); at += step {
		dir := takeImage(t, im.dir)
		flip(t, filepath.Join(dir, files.Journal), at, int(at%8))
		var w watcher
		s := w.open(t, dir)
		_, named, missing := w.account(t, s, im.want)
		if missing > 0 && !strings.Contains(w.String(), "level=ERROR") {
			t.Errorf("a bit at %d: %d messages are missing without a word", at, missing)
		}
		if missing > 1 {
			t.Errorf("a bit at %d: %d messages are missing\n%s", at, missing, w.String())
		}
		lost += named + missing
		s.Close()
	}
	if lost == 0 {
		t.Error("no flipped bit did anything: this tests nothing")
	}
}

// TestForgedEntry has a client send what looks like an entry of the journal. It is not taken for one even
// where the entry around it is damaged.
func TestForgedEntry(t *testing.T) {
	s := openTest(t, Options{})
	want := map[string]string{}
	putContent(t, s, want, 100)
	now, err := journal.Read(s.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	forged := benchMessage("forger@sender.example")
	forged.ID = relay.NewID(time.Now())
	r, err := spool.Encode(forged)
	if err != nil {
		t.Fatal(err)
	}
	r.HeadSum = r.SumHead()
	entry := forgedEntry(t, r, now.Base)
	m := benchMessage("app@sender.example")
	var content bytes.Buffer
	for content.Len() < 60000 {
		content.WriteByte(' ') // at each distance from a multiple of eight
		content.Write(entry)
	}
	if err := s.Put(t.Context(), []*relay.Message{m}, bytes.NewReader(content.Bytes())); err != nil {
		t.Fatal(err)
	}
	dir := takeImage(t, s.o.Dir)
	s.Close()
	flip(t, filepath.Join(dir, files.Journal), 2*journal.PageSize+4, 0) // the length of its entry
	var w watcher
	s = w.open(t, dir)
	defer s.Close()
	if _, err := s.lookUp(forged.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the forged message: %v", err)
	}
	if !strings.Contains(w.String(), "level=ERROR") {
		t.Error("the damage is not told of")
	}
}

// forgedEntry is the entry of a message in a journal of somebody else.
func forgedEntry(t *testing.T, r *spool.Record, base int64) []byte {
	dir := t.TempDir()
	forger, err := journal.Open(durable.OS{}, filepath.Join(dir, files.Journal), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	forger.Restart(base)
	forger.Clear()
	forger.Put(r)
	if err := forger.Write(base + 1); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Read(dir)
	if c := j.All(); err != nil || len(c.Added) != 1 || c.Added[0].ID != r.ID {
		t.Fatalf("it does not look like an entry: this tests nothing; %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, files.Journal))
	if err != nil {
		t.Fatal(err)
	}
	entry := bytes.TrimRight(b[journal.PageSize:], "\x00")
	return append(entry, make([]byte, -len(entry)&7)...) // a multiple of eight
}

// TestJournalFull writes several times what the journal holds, with some messages always under way.
func TestJournalFull(t *testing.T) {
	s := openTest(t, Options{Limits: Limits{Journal: 512 << 10}})
	want := map[string]string{}
	for range 40 {
		putContent(t, s, want, 8<<10)
	}
	for range 400 {
		putContent(t, s, want, 8<<10)
		settleOne(t, s, want, true)
	}
	dir := takeImage(t, s.o.Dir)
	s.Close()
	var w watcher
	s = w.open(t, dir)
	defer s.Close()
	if kept, _, _ := w.account(t, s, want); kept != 40 {
		t.Errorf("%d of %d messages were kept\n%s", kept, len(want), w.String())
	}
	if st, err := s.Stat(t.Context()); err != nil || st.Messages != 40 {
		t.Errorf("Stat counts %d messages, want 40, %v", st.Messages, err)
	}
}

// TestJournalFails takes the journal away under the writer: nothing is lost, and the spool goes on without.
func TestJournalFails(t *testing.T) {
	var w watcher
	s := w.open(t, t.TempDir())
	want := map[string]string{}
	putContent(t, s, want, 100)
	putContent(t, s, want, 100)
	s.w.pending.journal.Close()
	putContent(t, s, want, 100)
	settleOne(t, s, want, true)
	if !strings.Contains(w.String(), "goes on without it") {
		t.Errorf("the log does not tell of it:\n%s", w.String())
	}
	dir := takeImage(t, s.o.Dir)
	s.Close()
	s = w.open(t, dir)
	defer s.Close()
	if kept, _, _ := w.account(t, s, want); kept != 2 {
		t.Errorf("%d of 2 messages were kept", kept)
	}
}

// TestJournalHistories does random things to a spool and kills it at random, and compares it with what it
// should hold.
func TestJournalHistories(t *testing.T) {
	histories := 12
	if os.Getenv("MAILWHY_FULL") != "" {
		histories = 200
	}
	for seed := range histories {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, uint64(seed)) })
	}
}

func history(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	clock := time.Now()
	o := Options{Dir: t.TempDir(), Now: func() time.Time { return clock }, Limits: Limits{Journal: 256 << 10}}
	s := openTest(t, o)
	want := map[string]string{}
	var leased []relay.Lease
	var told []relay.Entry // by reports, the last of which is
	report := newReport()
	for range 300 {
		switch n := random.IntN(100); {
		case n < 5:
			due := dueReports(t, s, clock)
			for _, d := range due[:min(len(due), 1+random.IntN(4))] {
				told, report = d.Entries, newReport()
				reportOn(t, s, want, report, random.IntN(20000), told...)
			}
		case n < 8 && told != nil:
			reportOn(t, s, map[string]string{}, report, 10, told...) // as after a crash before the answer
		case n < 40:
			putContent(t, s, want, random.IntN(20000))
		case n < 60:
			ls, _, err := s.Lease(t.Context(),
				relay.LeaseQuery{Lane: "default", Now: clock, Max: 1 + random.IntN(4),
					For: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			leased = append(leased, ls...)
		case n < 88 && len(leased) > 0:
			i := random.IntN(len(leased))
			l := leased[i]
			leased = slices.Delete(leased, i, i+1)
			to := &l.Message.Recipients[0]
			st := relay.Settlement{Recipients: l.Message.Recipients}
			switch {
			case n < 65:
				to.State, to.NextAttempt = relay.Deferred, clock.Add(time.Minute)
			case n < 72 && !l.Message.Report:
				to.State = relay.Failed
				n := relay.Notice{Message: l.Message.ID, Kind: relay.NoticeFailed, Due: clock}
				st.Owed = []relay.Entry{n.Entry()}
			default:
				to.State = relay.Relayed
				delete(want, l.Message.ID)
			}
			if err := s.Settle(t.Context(), l.Token, st); err != nil {
				t.Fatal(err)
			}
		case n < 92:
			clock = clock.Add(time.Duration(random.IntN(100)) * time.Second)
		case n < 95:
			holds(t, s, want)
		default:
			dir := takeImage(t, s.o.Dir)
			if random.IntN(2) == 0 {
				dir = s.o.Dir
			}
			if s.Close(); dir != s.o.Dir {
				o.Dir = dir // as it was when the process was killed
			}
			s = openTest(t, o)
			leased = nil
			clock = clock.Add(time.Hour) // whatever was leased is tried again
		}
	}
	holds(t, s, want)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// holds checks that the spool has the messages of want and no others, each whole.
func holds(t *testing.T, s *Spool, want map[string]string) {
	t.Helper()
	listed := map[string]bool{}
	size := int64(0)
	err := s.List(t.Context(), relay.QueueFilter{}, func(m *relay.Message) bool {
		listed[m.ID] = true
		size += m.Size
		return true
	})
	if err != nil || len(listed) != len(want) {
		t.Errorf("%d messages are listed, want %d, %v", len(listed), len(want), err)
	}
	for id, content := range want {
		if got, err := readPatiently(s, id); err != nil || string(got) != content || !listed[id] {
			t.Errorf("message %s: %v, listed: %v", id, err, listed[id])
		}
	}
	if st, err := s.Stat(t.Context()); err != nil || st.Messages != int64(len(want)) || st.Bytes != size {
		t.Errorf("Stat: %d messages of %d bytes, %v; want %d of %d", st.Messages, st.Bytes, err, len(want),
			size)
	}
}

// TestJournalTellsOfLostLog cuts off the end of the database's log, while the journal has newer messages:
// they are kept, and the log tells of what is missing, though the marks may not.
func TestJournalTellsOfLostLog(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	want := map[string]string{}
	for range 20 {
		putContent(t, s, want, 100)
		holds(t, s, want) // which brings them into the database one by one
	}
	before := maps.Clone(want)
	putContent(t, s, want, 100)
	for _, marks := range []bool{true, false} {
		dir := takeImage(t, s.o.Dir)
		name := filepath.Join(dir, files.Database+"-wal")
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, fi.Size()/2); err != nil {
			t.Fatal(err)
		}
		if !marks {
			os.Remove(filepath.Join(dir, files.RunState))
		}
		var w watcher
		s := w.open(t, dir)
		_, _, missing := w.account(t, s, want)
		_, _, older := w.account(t, s, before)
		if missing == 0 || missing != older || !strings.Contains(w.String(), "is missing") {
			t.Errorf("marks %v: %d messages are missing, %d of them older than the journal's one\n%s", marks,
				missing, older, w.String())
		}
		s.Close()
	}
}

// TestPowerCutInJournal leaves only a part of the journal's last transaction on the disk, the end of it or
// the beginning. Where the marks say no more, nobody was told that it is there: it is neither taken nor
// told of.
func TestPowerCutInJournal(t *testing.T) {
	s := openTest(t, Options{Limits: Limits{Journal: 512 << 10}})
	leaseSome(t, s, 1) // which looks into the database the first time
	before := map[string]string{}
	for range 5 {
		putContent(t, s, before, 5000)
	}
	last := putContent(t, s, map[string]string{}, 14<<10)
	dir := takeImage(t, s.o.Dir)
	s.Close()
	end := liveBytes(t, dir)
	for page := end - 4*journal.PageSize; page < end; page += journal.PageSize {
		for _, marks := range []bool{true, false} {
			cut := takeImage(t, dir)
			f, err := os.OpenFile(filepath.Join(cut, files.Journal), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, journal.PageSize), page); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if !marks {
				os.Remove(filepath.Join(cut, files.RunState))
			}
			var w watcher
			s := w.open(t, cut)
			if kept, _, _ := w.account(t, s, before); kept != len(before) {
				t.Errorf("page %d: %d of %d older messages were kept", page/journal.PageSize, kept,
					len(before))
			}
			_, lookUp := s.lookUp(last)
			told := strings.Contains(w.String(), "level=ERROR")
			if !marks && (told || !errors.Is(lookUp, relay.ErrNotFound)) {
				t.Errorf("page %d: the message: %v\n%s", page/journal.PageSize, lookUp, w.String())
			}
			if marks && !told {
				t.Errorf("page %d: the message is missing without a word", page/journal.PageSize)
			}
			s.Close()
		}
	}
}

// TestJournalKnowsIDs puts messages again that are in the database, under ids below and above the greatest
// one, before and after a start.
func TestJournalKnowsIDs(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir})
	want := map[string]string{}
	var stored []*relay.Message
	for range 3 {
		m := benchMessage("app@sender.example")
		want[m.ID] = m.ID
		stored = append(stored, m)
	}
	for range 2 {
		leaseSome(t, s, 3) // by which the lane takes new messages from memory
		for range 2 {
			for _, m := range stored {
				if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader(m.ID)); err != nil {
					t.Fatal(err)
				}
			}
			holds(t, s, want) // which brings all into the database
		}
		s.Close()
		s = openTest(t, Options{Dir: dir})
	}
	s.Close()
}

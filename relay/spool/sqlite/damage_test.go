package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/runstate"
)

// image is a spool as it stands on the disk when its process is killed.
type image struct {
	dir  string
	want map[string]string // content by id
}

// takeImage copies the files of a spool that is at rest.
func takeImage(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(to, files.Database+"-shm"))
	return to
}

// makeImage makes a spool of n messages with contents of all kinds, some of them changed and settled again,
// and takes its image. Where checkpoint is set its log is empty.
func makeImage(t testing.TB, n int, checkpoint bool) image {
	t.Helper()
	s := openTest(t, Options{Log: slog.New(slog.DiscardHandler),
		Limits: Limits{InlineLimit: 16 << 10, Reserve: -1}})
	im := image{want: map[string]string{}}
	for i := range n {
		m := benchMessage(fmt.Sprintf("app%d@sender.example", i%3))
		content := strings.Repeat(m.ID, 1+i*i%200)
		if i%20 == 7 {
			content = strings.Repeat(m.ID, 1000)
		}
		if err := s.Put(context.Background(), []*relay.Message{m}, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		im.want[m.ID] = content
		if i%3 == 0 {
			settleOne(t, s, im.want, i%2 == 0)
		}
	}
	if checkpoint {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		defer func() { markClean(t, im.dir, false) }()
	} else {
		defer s.Close()
	}
	im.dir = takeImage(t, s.o.Dir)
	return im
}

// markClean makes the marks of a spool say whether it was closed in order.
func markClean(t testing.TB, dir string, clean bool) {
	m, was, err := runstate.Open(filepath.Join(dir, files.RunState))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Begin(was.Commits), m.Close(clean)); err != nil {
		t.Fatal(err)
	}
}

// settleOne relays or defers the message at the head of the line.
func settleOne(t testing.TB, s *Spool, want map[string]string, relayed bool) {
	t.Helper()
	l := leaseSome(t, s, 1)[0]
	l.Message.Recipients[0].State = relay.Deferred
	if relayed {
		l.Message.Recipients[0].State = relay.Relayed
		delete(want, l.Message.ID)
	}
	if err := s.Settle(context.Background(), l.Token,
		relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
		t.Fatal(err)
	}
}

// leaseSome leases up to max messages.
func leaseSome(t testing.TB, s *Spool, max int) []relay.Lease {
	t.Helper()
	now := s.o.Now()
	ls, _, err := s.Lease(context.Background(),
		relay.LeaseQuery{Lane: "default", Now: now, Max: max, For: time.Hour})
	if err != nil {
		t.Fatalf("Lease: %v", err)
	}
	return ls
}

// watcher takes down what a spool tells of damage.
type watcher struct {
	mu    sync.Mutex
	named map[string]bool
	log   bytes.Buffer
}

func (w *watcher) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// open opens the spool in dir and watches it.
func (w *watcher) open(t testing.TB, dir string) *Spool {
	t.Helper()
	w.named = map[string]bool{}
	s, err := Open(Options{
		Dir: dir, Log: slog.New(slog.NewTextHandler(w, nil)), Limits: Limits{Reserve: -1, Journal: 1 << 20},
		Quarantined: func(q Quarantined) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.named[q.ID] = true
		},
	})
	if err != nil {
		t.Fatalf("Open: %v\n%s", err, w.String())
	}
	return s
}

// account says what became of the messages of an image: kept whole, named as damaged, or missing without a
// word.
func (w *watcher) account(t testing.TB, s *Spool, want map[string]string) (kept, named, missing int) {
	t.Helper()
	now := time.Now()
	for range 50 { // damage may be found, and salvaged, on the way
		_, _, err := s.Lease(context.Background(),
			relay.LeaseQuery{Lane: "default", Now: now, Max: 1, For: time.Hour})
		if err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for id, content := range want {
		got, err := readPatiently(s, id)
		w.mu.Lock()
		told := w.named[id]
		w.mu.Unlock()
		switch {
		case err == nil && string(got) == content:
			kept++
		case err == nil:
			t.Errorf("%s came back altered", id)
		case told, errors.Is(err, relay.ErrCorrupt):
			named++
		default:
			missing++
		}
	}
	return kept, named, missing
}

// readPatiently reads a content, waiting while the spool is being salvaged.
func readPatiently(s *Spool, id string) (got []byte, err error) {
	for range 100 {
		var rc io.ReadCloser
		if rc, err = s.Content(context.Background(), id); err == nil {
			got, err = io.ReadAll(rc)
			rc.Close()
		}
		if !errors.Is(err, relay.ErrUnavailable) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return got, err
}

// flip flips one bit of a file.
func flip(t testing.TB, name string, offset int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
}

func TestCrashKeepsAll(t *testing.T) {
	im := makeImage(t, 60, false)
	var w watcher
	s := w.open(t, im.dir)
	defer s.Close()
	kept, named, missing := w.account(t, s, im.want)
	if kept != len(im.want) {
		t.Errorf("of %d messages %d were kept, %d named as damaged, %d missing", len(im.want), kept, named,
			missing)
	}
	st, err := s.Stat(t.Context())
	if err != nil || st.Messages != int64(len(im.want)) {
		t.Errorf("Stat counts %d messages of %d, %v", st.Messages, len(im.want), err)
	}
	if strings.Contains(w.String(), "level=ERROR") {
		t.Errorf("a crash is no damage:\n%s", w.String())
	}
}

// The lengths of the header of SQLite's log, and of that of each frame.
const (
	walHeader      = 32
	walFrameHeader = 24
)

// TestFlippedLog flips a bit in each part of the log. SQLite would drop all transactions after it.
func TestFlippedLog(t *testing.T) {
	im := makeImage(t, 80, false)
	fi, err := os.Stat(filepath.Join(im.dir, files.Database+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	frame := int64(walFrameHeader + database.PageSize)
	frames := (fi.Size() - walHeader) / frame
	var offsets []int64
	for at := int64(0); at < walHeader; at += 5 {
		offsets = append(offsets, at)
	}
	for _, f := range []int64{0, 1, frames / 3, frames / 2, frames - 2, frames - 1} {
		for _, in := range []int64{2, 3, 6, 7, 9, 14, 17, 22, walFrameHeader + 20, walFrameHeader + 3000} {
			offsets = append(offsets, walHeader+f*frame+in)
		}
	}
	if os.Getenv("MAILWHY_FULL") == "" {
		offsets = slices.Collect(every(offsets, 3))
	}
	for _, at := range offsets {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dir := takeImage(t, im.dir)
			flip(t, filepath.Join(dir, files.Database+"-wal"), at, int(at%8))
			var w watcher
			s := w.open(t, dir)
			defer s.Close()
			kept, named, missing := w.account(t, s, im.want)
			if missing > 0 {
				t.Errorf("of %d messages %d were kept, %d named as damaged, %d missing\n%s", len(im.want),
					kept, named, missing, w.String())
			}
			if kept < len(im.want)-40 {
				t.Errorf("only %d of %d messages were kept\n%s", kept, len(im.want), w.String())
			}
		})
	}
}

// TestTornLog cuts the log off at each frame, and inside one. Without the marks that is what a power cut
// leaves of transactions that were not acknowledged; the marks tell that these were.
func TestTornLog(t *testing.T) {
	im := makeImage(t, 20, false)
	name := files.Database + "-wal"
	fi, err := os.Stat(filepath.Join(im.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	for size := fi.Size() - 10; size > 0; size -= 7001 {
		dir := takeImage(t, im.dir)
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
		var w watcher
		s := w.open(t, dir)
		_, _, missing := w.account(t, s, im.want)
		if missing > 0 && !strings.Contains(w.String(), "end of the spool's log is missing") {
			t.Errorf("cut at %d: %d messages are missing without a word", size, missing)
		}
		s.Close()
	}
}

// TestPowerCutIsNoDamage leaves a part of a transaction at the end of the log, as a power cut may: it was
// not acknowledged.
func TestPowerCutIsNoDamage(t *testing.T) {
	im := makeImage(t, 20, false)
	name := filepath.Join(im.dir, files.Database+"-wal")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const frame = walFrameHeader + database.PageSize
	end := walHeader
	for end+frame <= len(b) && bytes.Equal(b[end+8:end+16], b[16:24]) { // of the same round
		end += frame
	}
	torn := bytes.Clone(b[:end])
	for range 3 {
		f := bytes.Clone(b[end-frame : end])
		binary.BigEndian.PutUint32(f[4:], 0)
		torn = append(torn, f...)
	}
	if err := os.WriteFile(name, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	var told watcher
	s := told.open(t, im.dir)
	defer s.Close()
	if kept, _, _ := told.account(t, s, im.want); kept != len(im.want) ||
		strings.Contains(told.String(), "level=ERROR") {
		t.Errorf("%d of %d messages were kept\n%s", kept, len(im.want), told.String())
	}
}

// TestFlippedDatabase damages the database's file in each page: by a flipped bit, and by zeros.
func TestFlippedDatabase(t *testing.T) {
	im := makeImage(t, 80, true)
	lost := 0
	damagePages(t, im, func(what, dir string) {
		var w watcher
		s := w.open(t, dir)
		defer s.Close()
		kept, named, missing := w.account(t, s, im.want)
		if missing > 0 {
			t.Errorf("%s: of %d messages %d were kept, %d named as damaged, %d missing\n%s",
				what, len(im.want), kept, named, missing, w.String())
		}
		lost += named
		if kept < len(im.want)*2/3 {
			t.Errorf("%s: only %d of %d messages were kept\n%s", what, kept, len(im.want), w.String())
		}
		if err := s.Put(t.Context(), []*relay.Message{benchMessage("a@b.example")},
			strings.NewReader("x")); err != nil {
			t.Errorf("%s: Put after the damage: %v", what, err)
		}
	})
	t.Logf("%d messages were named as damaged in all", lost)
}

// TestFlippedClosedDatabase does the same to a spool that was closed in order, which is not checked when it
// is opened: it opens all the same, and when the damage is met it mends itself.
func TestFlippedClosedDatabase(t *testing.T) {
	im := makeImage(t, 80, true)
	markClean(t, im.dir, true)
	damagePages(t, im, func(what, dir string) {
		var w watcher
		s := w.open(t, dir)
		defer s.Close()
		// meets much of what there is
		s.List(t.Context(), relay.QueueFilter{}, func(*relay.Message) bool { return true })
		eventually(t, what+": mail is taken", func() bool { _, err := putOne(s, 10); return err == nil })
	})
}

// damagePages has open look at images whose database is damaged in one page each.
func damagePages(t *testing.T, im image, open func(what, dir string)) {
	fi, err := os.Stat(filepath.Join(im.dir, files.Database))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	step := int64(5)
	if os.Getenv("MAILWHY_FULL") != "" {
		step = 1
	}
	for page := int64(0); page < fi.Size()/database.PageSize; page++ {
		if page > 12 && page%step != 0 {
			continue // the first ones are the roots of the trees
		}
		for _, damage := range []string{"bit", "head", "zeros"} {
			dir := takeImage(t, im.dir)
			file := filepath.Join(dir, files.Database)
			switch damage {
			case "bit":
				flip(t, file, page*database.PageSize+random.Int64N(database.PageSize), random.IntN(8))
			case "head":
				flip(t, file, page*database.PageSize+random.Int64N(16), random.IntN(8))
			default:
				writeAt(t, file, page*database.PageSize, make([]byte, database.PageSize))
			}
			open(fmt.Sprintf("page %d, %s", page, damage), dir)
		}
	}
}

func writeAt(t testing.TB, name string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestDamageWhileOpen has a running spool meet a damaged page: it salvages, and goes on with leases that
// were given.
func TestDamageWhileOpen(t *testing.T) {
	im := makeImage(t, 200, true)
	var w watcher
	s := w.open(t, im.dir)
	defer s.Close()
	ls := leaseSome(t, s, 1)
	fi, err := os.Stat(filepath.Join(im.dir, files.Database))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.pool.Stop(); err != nil { // its connections have pages in memory
		t.Fatal(err)
	}
	s.pool.Start()
	for page := int64(20); page < fi.Size()/database.PageSize; page += 9 {
		writeAt(t, filepath.Join(im.dir, files.Database), page*database.PageSize,
			[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(w.String(), "the spool was salvaged") && time.Now().Before(deadline) {
		s.List(t.Context(), relay.QueueFilter{}, func(*relay.Message) bool { return true })
		s.Content(t.Context(), slices.Collect(mapKeys(im.want))[0])
		time.Sleep(10 * time.Millisecond)
	}
	ls[0].Message.Recipients[0].State = relay.Relayed
	if err := s.Settle(t.Context(), ls[0].Token,
		relay.Settlement{Recipients: ls[0].Message.Recipients}); err != nil {
		t.Errorf("Settle of a lease given before: %v", err)
	}
	delete(im.want, ls[0].Message.ID)
	if err := s.Put(t.Context(), []*relay.Message{benchMessage("a@b.example")},
		strings.NewReader("x")); err != nil {
		t.Errorf("Put: %v\n%s", err, w.String())
	}
	if _, _, missing := w.account(t, s, im.want); missing > 0 {
		t.Errorf("%d messages are missing without a word\n%s", missing, w.String())
	}
}

// every gives each n-th value.
func every(values []int64, n int) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for i := 0; i < len(values) && yield(values[i]); i += n {
		}
	}
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestInterruptedRebuild stops a salvage at each of its steps.
func TestInterruptedRebuild(t *testing.T) {
	im := makeImage(t, 20, true)
	for _, tc := range []struct {
		name string
		stop func(dir string) error
	}{
		{"while it is made", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, files.Rebuild), []byte("half a database"), 0o600)
		}},
		{"between the names", func(dir string) error {
			return os.Rename(filepath.Join(dir, files.Database), filepath.Join(dir, files.Rebuild))
		}},
	} {
		dir := takeImage(t, im.dir)
		if err := tc.stop(dir); err != nil {
			t.Fatal(err)
		}
		var w watcher
		s := w.open(t, dir)
		if kept, _, _ := w.account(t, s, im.want); kept != len(im.want) {
			t.Errorf("%s: %d of %d messages were kept\n%s", tc.name, kept, len(im.want), w.String())
		}
		s.Close()
	}
}

func TestContentFiles(t *testing.T) {
	im := makeImage(t, 60, true)
	names, err := filepath.Glob(filepath.Join(im.dir, files.Contents, "*"+files.ContentSuffix))
	if err != nil || len(names) < 3 {
		t.Fatalf("%d content files, %v", len(names), err)
	}
	flip(t, names[0], 5000, 3)
	if err := errors.Join(os.Truncate(names[1], 100), os.Remove(names[2])); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(im.dir, files.Contents, relay.NewID(time.Now())+"-ABCDEFGH"+files.ContentSuffix)
	foreign := filepath.Join(im.dir, files.Contents, "notes.txt")
	if err := errors.Join(os.WriteFile(orphan, nil, 0o600), os.WriteFile(foreign, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	var w watcher
	s := w.open(t, im.dir)
	defer s.Close()
	if kept, named, missing := w.account(t, s, im.want); named != 3 || missing != 0 {
		t.Errorf("of %d messages %d were kept, %d have a damaged content, %d are missing", len(im.want), kept,
			named, missing)
	}
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Error("a content file that no message refers to was not removed")
	}
	if _, err := os.Stat(foreign); err != nil || !strings.Contains(w.String(), "notes.txt") {
		t.Errorf("a foreign file: %v, and the log says\n%s", err, w.String())
	}
}

// TestDamagedRow damages rows in ways that SQLite does not see.
func TestDamagedRow(t *testing.T) {
	im := makeImage(t, 30, true)
	var w watcher
	s := w.open(t, im.dir)
	ids := slices.Sorted(mapKeys(im.want))
	ids = slices.DeleteFunc(ids, func(id string) bool { return len(im.want[id]) > 16<<10 })
	for i, change := range []string{
		"UPDATE message SET recipients=replace(recipients, 'someone', 'anybody') WHERE id=?",
		"UPDATE message SET head='{' WHERE id=?",
		"UPDATE message SET open=0 WHERE id=?",
		"UPDATE content SET data=x'00' WHERE seq=(SELECT seq FROM message WHERE id=?)",
	} {
		err := s.w.ops.do(t.Context(), &operation{apply: func(t *database.Tx) error {
			_, err := t.Exec(change, ids[i])
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	leased := len(leaseSome(t, s, 100))
	if leased != len(im.want)-3 {
		t.Errorf("%d messages were leased, want all %d but three", leased, len(im.want))
	}
	// The sender of two of them is known, and is told, because their content cannot be read.
	told := leaseSome(t, s, 100)
	if len(told) != 2 {
		t.Errorf("%d of the damaged messages go on to be failed, want 2", len(told))
	}
	for _, l := range told {
		if _, err := s.Content(t.Context(), l.Message.ID); !errors.Is(err, relay.ErrCorrupt) {
			t.Errorf("the content of a damaged message: %v", err)
		}
		l.Message.Recipients[0].State = relay.Failed
		if err := s.Settle(t.Context(), l.Token,
			relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
			t.Error(err)
		}
	}
	for i, id := range ids[:4] {
		if w.named[id] != (i < 3) {
			t.Errorf("%s: named is %v", id, w.named[id])
		}
	}
	if _, err := s.Content(t.Context(), ids[3]); !errors.Is(err, relay.ErrCorrupt) {
		t.Errorf("a damaged content: %v", err)
	}
	st, err := s.Stat(t.Context())
	local, errLocal := s.Local()
	if errors.Join(err, errLocal) != nil || local.Quarantined != 3 || st.Messages != int64(len(im.want)-3) {
		t.Errorf("Stat gives %+v, Local %+v, %v", st, local, errors.Join(err, errLocal))
	}
	s.Close()
	s = w.open(t, im.dir)
	defer s.Close()
	if local, err := s.Local(); err != nil || local.Quarantined != 3 {
		t.Errorf("after a restart Local gives %+v, %v", local, err)
	}
}

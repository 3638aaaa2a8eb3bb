package recall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/internal/sqlite"
)

// spoolOf is a spool that only takes messages, each id once.
type fakeSpool struct {
	mu       sync.Mutex
	messages []*relay.Message
	contents []string
	known    map[string]bool
	fail     error
}

func (s *fakeSpool) Put(_ context.Context, ms []*relay.Message, content io.Reader) error {
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, m := range ms {
		if s.known == nil {
			s.known = map[string]bool{}
		}
		if !s.known[m.ID] {
			s.known[m.ID] = true
			s.messages, s.contents = append(s.messages, m), append(s.contents, string(b))
		}
	}
	return nil
}

func (s *fakeSpool) failing(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *fakeSpool) put() []*relay.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// begins is when the tests begin.
var begins = time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)

// box is a store in a directory of its own, with a clock.
type box struct {
	*Store
	t      testing.TB
	o      Options
	spool  *fakeSpool
	mu     sync.Mutex
	now    time.Time
	limits Limits
}

func newBox(t testing.TB) *box {
	t.Helper()
	b := &box{t: t, spool: &fakeSpool{}, now: begins, limits: Limits{
		Remember: 14 * 24 * time.Hour, MaxMessages: 1000, KeepRaw: 7 * 24 * time.Hour, MaxReports: 1000,
		MaxBytes: 8 << 20,
	}}
	b.o = Options{
		Path: filepath.Join(t.TempDir(), "feedback.db"), Spool: b.spool,
		Limits: func() Limits { b.mu.Lock(); defer b.mu.Unlock(); return b.limits },
		Log:    slog.New(slog.DiscardHandler), Now: b.clock, flushAfter: time.Millisecond,
	}
	b.open()
	return b
}

func (b *box) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// limit changes the limits.
func (b *box) limit(change func(*Limits)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.limits)
}

func (b *box) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *box) open() {
	b.t.Helper()
	s, err := Open(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Store = s
	b.t.Cleanup(func() { s.Close() })
}

// reopen closes the store and opens it again.
func (b *box) reopen() {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open()
}

// written waits until what was told is written.
func (b *box) written(n int64) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); b.Stat().Messages != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%d messages are remembered, want %d", b.Stat().Messages, n)
		}
	}
}

// mail is a message that was relayed at a time.
func mail(n int, at time.Time, recipients ...string) *relay.Message {
	m := &relay.Message{
		ID: relay.DerivedID(at, fmt.Sprint(n)), Lane: "default", Arrived: at,
		Envelope:  relay.Envelope{From: "app@shop.example"},
		MessageID: fmt.Sprintf("<%d@shop.example>", n), Subject: "Your order", HeaderFrom: "shop.example",
		DKIM: []string{"shop.example"}, Size: 4096,
		Client: relay.Client{Name: "web", Addr: "192.0.2.1"},
	}
	for _, r := range recipients {
		m.Recipients = append(m.Recipients, relay.Recipient{
			Address: r, State: relay.Relayed, Last: &relay.Attempt{
				Time: at, Upstream: "default", Host: "smtp.provider.example", Stage: diagnose.StageEndOfData,
				UpstreamID: fmt.Sprintf("up-%d", n),
			},
		})
	}
	return m
}

// remember tells the store of messages and waits until they are written.
func (b *box) remember(ms ...*relay.Message) {
	b.t.Helper()
	before := b.Stat().Messages
	for _, m := range ms {
		b.Relayed(m)
	}
	b.written(before + int64(len(ms)))
}

// event lets an event wait, as if it was read, and returns its report.
func (b *box) event(e feedback.Event) Report {
	b.t.Helper()
	return b.events(e)[0]
}

// events lets events wait, and returns the report of each. Of one that waits already, or had its effect, it
// is one without an id.
func (b *box) events(events ...feedback.Event) (reports []Report) {
	b.t.Helper()
	raw := &feedback.Raw{Source: "hook", Provider: "ses", Time: b.clock(), Body: []byte("{}")}
	if err := b.Append(b.t.Context(), raw); err != nil {
		b.t.Fatal(err)
	}
	for _, r := range b.due() {
		if r.Raw != nil {
			b.apply(Change{Report: r, Events: events})
		}
	}
	byKey := map[string]Report{}
	for _, r := range b.due() {
		byKey[string(eventKey(r.Event))] = r
	}
	for i := range events {
		r := byKey[string(eventKey(&events[i]))]
		r.Event = &events[i]
		reports = append(reports, r)
	}
	return reports
}

func (b *box) due() []Report {
	b.t.Helper()
	due, _, err := b.Due(b.t.Context(), b.clock(), 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	return due
}

func (b *box) apply(changes ...Change) []Outcome {
	b.t.Helper()
	outcomes, err := b.Apply(b.t.Context(), changes)
	if err != nil {
		b.t.Fatal(err)
	}
	return outcomes
}

func (b *box) find(k feedback.KeyKind, value string) (ids []string) {
	b.t.Helper()
	found, err := b.Find(b.t.Context(), feedback.Key{Kind: k, Value: value})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, s := range found {
		ids = append(ids, s.Message.ID)
	}
	return ids
}

func TestFindByEachKey(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "Someone@There.example", "b@there.example")
	m.Mail, m.Envelope.EnvID = relay.DerivedID(begins, "mail"), "app-17"
	m.Recipients[1].State, m.Recipients[1].Last = relay.Queued, nil
	b.remember(m, mail(2, begins, "other@there.example"))
	for _, tt := range []struct {
		kind  feedback.KeyKind
		value string
		found bool
	}{
		{feedback.KeyReturnPath, m.ID, true},
		{feedback.KeyReturnPath, m.Mail, true},
		{feedback.KeyQueueID, m.ID, true},
		{feedback.KeyQueueID, relay.DerivedID(begins, "none"), false},
		{feedback.KeyEnvelopeID, m.ID, true},
		{feedback.KeyEnvelopeID, "app-17", true},
		{feedback.KeyEnvelopeID, "app-18", false},
		{feedback.KeyProviderID, "up-1", true},
		{feedback.KeyProviderID, "<up-1@mail.provider.example>", true},
		{feedback.KeyProviderID, "up-3", false},
		{feedback.KeyMessageID, "1@shop.example", true},
		{feedback.KeyMessageID, "<1@shop.example>", true},
		{feedback.KeyMessageID, "up-1", false},
	} {
		want := []string(nil)
		if tt.found {
			want = []string{m.ID}
		}
		if got := b.find(tt.kind, tt.value); !slices.Equal(got, want) {
			t.Errorf("%s %q finds %v, want %v", tt.kind, tt.value, got, want)
		}
	}
}

func TestFindRecipient(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "Someone@There.example")
	b.remember(m)
	for _, tt := range []struct {
		address  string
		from, to time.Time
		want     int
	}{
		{"someone@there.EXAMPLE", begins.Add(-time.Hour), begins.Add(time.Hour), 1},
		{"someone@there.example", begins.Add(time.Second), begins.Add(time.Hour), 0},
		{"someone@there.example", begins.Add(-48 * time.Hour), begins.Add(-time.Second), 0},
		{"noone@there.example", begins.Add(-time.Hour), begins.Add(time.Hour), 0},
	} {
		found, err := b.FindRecipient(t.Context(), tt.address, tt.from, tt.to)
		if err != nil || len(found) != tt.want {
			t.Errorf("%s from %v to %v: %d messages, %v; want %d", tt.address, tt.from, tt.to,
				len(found), err, tt.want)
		}
	}
}

func TestAppendSurvives(t *testing.T) {
	b := newBox(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			raw := &feedback.Raw{Source: "hook", Provider: "ses", Time: begins, Body: fmt.Append(nil, i),
				Header: map[string]string{"Svix-Id": "m"}, Unproven: i == 7}
			if err := b.Append(t.Context(), raw); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.reopen()
	due := b.due()
	if n := b.Stat().Waiting; len(due) != 50 || n != 50 {
		t.Fatalf("%d reports are due, %d wait; want 50", len(due), n)
	}
	unproven := 0
	for _, r := range due {
		if r.Raw == nil || r.Raw.Source != "hook" || r.Raw.Header["Svix-Id"] != "m" || !r.Came.Equal(begins) {
			t.Errorf("report %+v", r)
		}
		if r.Raw.Unproven {
			unproven++
		}
	}
	if unproven != 1 {
		t.Errorf("%d are unproven, want one", unproven)
	}
}

func TestOneStoreAtATime(t *testing.T) {
	b := newBox(t)
	if s, err := Open(b.o); !errors.Is(err, ErrInUse) {
		if err == nil {
			s.Close()
		}
		t.Errorf("a second Open: %v, want ErrInUse", err)
	}
	b.remember(mail(1, begins, "a@x.example"))
	r, err := OpenReader(b.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if s, err := r.Remembered(t.Context(), mail(1, begins).ID); err != nil || len(s) != 1 {
		t.Errorf("beside the store: %v, %v", s, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	alone, err := OpenReader(b.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if s, err := alone.Remembered(t.Context(), mail(1, begins).ID); err != nil || len(s) != 1 {
		t.Errorf("without the store: %v, %v", s, err)
	}
	if s, err := openKilled(t, b).Remembered(t.Context(), mail(1, begins).ID); err != nil || len(s) != 1 {
		t.Errorf("after a kill: %v, %v", s, err)
	}
	if err := b.Append(t.Context(), &feedback.Raw{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	b := newBox(t)
	b.Close()
	c, err := openWriter(b.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run("PRAGMA user_version=9"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if r, err := OpenReader(b.o.Path); err == nil {
		r.Close()
		t.Error("a later format was opened for reading")
	}
	b.unusable("format 9, of a later release")
}

// TestDamagedFile: a file that is no database, or whose pages are not, is not used, and says what helps.
func TestDamagedFile(t *testing.T) {
	for _, name := range []string{"no database", "damaged"} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.remember(mail(1, begins, "a@x.example"))
			b.Close()
			content, err := os.ReadFile(b.o.Path)
			if err != nil {
				t.Fatal(err)
			}
			from := 0
			if name == "damaged" {
				from = 4096
			}
			for i := from; i < len(content); i++ {
				content[i] = 'x'
			}
			if err := os.WriteFile(b.o.Path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			b.unusable("is damaged: move it")
		})
	}
}

// TestTableIsMissing: a database that somebody took a table, a column or an index out of is not used, neither
// by a relay nor by who only looks into it.
func TestTableIsMissing(t *testing.T) {
	for what, script := range map[string]string{
		"table report":      "DROP TABLE report",
		"table told":        "DROP TABLE told",
		"index owed_due":    "DROP INDEX owed_due",
		"column report.why": "ALTER TABLE report DROP COLUMN why",
	} {
		t.Run(what, func(t *testing.T) {
			b := newBox(t)
			b.remember(mail(1, begins, "a@x.example"))
			b.Close()
			b.tamper(script)
			missing := "it has no " + what + " any more: move it"
			if r, err := OpenReader(b.o.Path); err == nil {
				r.Close()
				t.Error("it was opened for reading")
			} else if !strings.Contains(err.Error(), missing) {
				t.Errorf("who looks into it reads %v", err)
			}
			b.unusable(missing)
		})
	}
}

// TestTableIsDroppedWhileOpen: it is noticed by the next who needs the table, and told as if the relay had
// just been started.
func TestTableIsDroppedWhileOpen(t *testing.T) {
	b := newBox(t)
	if err := b.Append(t.Context(), raw(begins, 10)); err != nil {
		t.Fatal(err)
	}
	b.tamper("DROP TABLE report")
	if err := b.Append(t.Context(), raw(begins, 10)); err == nil {
		t.Error("a report was taken")
	}
	if err := b.Append(t.Context(), raw(begins, 10)); err == nil ||
		!strings.Contains(err.Error(), "it has no table report any more: move it") {
		t.Errorf("Append: %v", err)
	}
	if err := b.Fault(); err == nil || !strings.Contains(err.Error(), "it has no table report any more") {
		t.Errorf("the fault is %v", err)
	}
	if due, _, err := b.Due(t.Context(), begins, 10); len(due) > 0 || err != nil {
		t.Errorf("Due: %v, %v", due, err)
	}
}

// tamper changes the database as a person with a tool would.
func (b *box) tamper(script string) {
	b.t.Helper()
	c, err := sqlite.Open(b.o.Path, "mode=rw", "busy_timeout=5000")
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Run(script); err != nil {
		b.t.Fatal(err)
	}
}

// unusable opens the store, whose database cannot be used for a reason. Mail is relayed meanwhile: nothing
// waits, and nothing is taken. Once the file is moved away the store works.
func (b *box) unusable(why string) {
	b.t.Helper()
	var log strings.Builder // is read after Close only
	o := b.o
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, err := Open(o)
	if err != nil {
		b.t.Fatalf("Open: %v", err)
	}
	if err := s.Fault(); err == nil || !strings.Contains(err.Error(), why) {
		b.t.Errorf("the fault is %v, want %q", err, why)
	}
	for n := range 3 {
		s.Relayed(mail(n, begins, "a@x.example"))
		err := s.Append(b.t.Context(), raw(begins, 10))
		if err == nil || !strings.Contains(err.Error(), why) {
			b.t.Errorf("Append: %v, want %q", err, why)
		}
		due, next, err := s.Due(b.t.Context(), begins, 10)
		if len(due) > 0 || !next.Equal(begins.Add(openAgain)) || err != nil {
			b.t.Errorf("Due: %v, next at %v, %v", due, next, err)
		}
		q := relay.ClaimQuery{Topic: relay.TopicReport, Now: begins, Max: 10, For: time.Minute}
		owed, next, err := s.Claim(b.t.Context(), q)
		if len(owed) > 0 || !next.Equal(begins.Add(openAgain)) || err != nil {
			b.t.Errorf("Claim: %v, next at %v, %v", owed, next, err)
		}
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(o.Path + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			b.t.Fatal(err)
		}
	}
	if err := s.Append(b.t.Context(), raw(begins, 10)); err != nil || s.Fault() != nil ||
		s.Stat().Waiting != 1 {
		b.t.Errorf("once the file was moved away: Append: %v; fault: %v; %+v", err, s.Fault(), s.Stat())
	}
	if err := s.Close(); err != nil {
		b.t.Error(err)
	}
	if n := strings.Count(log.String(), "ERROR"); n != 1 {
		b.t.Errorf("there are %d errors in the log, want 1:\n%s", n, log.String())
	}
}

// TestMovedAway: what came after the file was moved away is in the new one, and read there.
func TestMovedAway(t *testing.T) {
	b := newBox(t)
	b.remember(mail(1, begins, "a@x.example"))
	b.due()
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(b.o.Path+end, b.o.Path+end+".away"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Append(t.Context(), raw(begins, 10)); err != nil {
		t.Fatal(err)
	}
	for range 2 * readers { // each of the connections
		if due := b.due(); len(due) != 1 {
			t.Fatalf("due: %v", due)
		}
	}
	b.reopen()
	if due := b.due(); len(due) != 1 || b.Stat().Messages != 0 {
		t.Errorf("after it was opened again: due %v, %+v", due, b.Stat())
	}
}

// TestDamagedWhileOpen: what breaks the database while it is open is found by who reads it; nothing is taken
// then.
func TestDamagedWhileOpen(t *testing.T) {
	b := newBox(t)
	b.remember(mail(1, begins, "a@x.example"))
	for _, end := range []string{"", "-wal"} {
		content, err := os.ReadFile(b.o.Path + end)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(b.o.Path+end, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(bytes.Repeat([]byte("x"), len(content))); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if due, _, err := b.Due(t.Context(), begins, 10); len(due) > 0 || err != nil {
		t.Errorf("Due: %v, %v", due, err)
	}
	if err := b.Fault(); err == nil || !strings.Contains(err.Error(), "is damaged: move it") {
		t.Errorf("the fault is %v", err)
	}
	if err := b.Append(t.Context(), raw(begins, 10)); err == nil {
		t.Error("a report was taken")
	}
}

// TestSynced: what came is synced with its commit; what was relayed need not be.
func TestSynced(t *testing.T) {
	b := newBox(t)
	level := func() (n int64) {
		err := b.w.write(t.Context(), func(t *tx) (err error) {
			n, _, err = t.Integer("PRAGMA synchronous")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := level(); n != 2 {
		t.Errorf("changes are made with synchronous=%d, want 2, FULL", n)
	}
	b.remember(mail(1, begins, "a@x.example"))
	if n := level(); n != 2 {
		t.Errorf("after what was relayed was written: synchronous=%d, want 2, FULL", n)
	}
}

// openKilled opens for reading what a kill -9 leaves of a store: the database with its log.
func openKilled(t *testing.T, b *box) *Reader {
	t.Helper()
	b.open()
	if err := b.Append(t.Context(), &feedback.Raw{Source: "hook", Time: begins}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "feedback.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(b.o.Path + suffix)
		if err == nil {
			err = os.WriteFile(name+suffix, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	n := 0
	if err := r.List(t.Context(), Filter{}, func(Report) bool { n++; return true }); err != nil || n != 1 {
		t.Errorf("%d reports, %v; want what stands in the log alone", n, err)
	}
	return r
}

package recall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// raw is a report with a body of so many bytes.
func raw(at time.Time, size int) *feedback.Raw {
	return &feedback.Raw{Source: "hook", Provider: "ses", Time: at, Body: bytes.Repeat([]byte("x"), size)}
}

// TestReportsAreBounded: what is kept makes room first, then what was looked for in vain the most often; what
// was never looked at stays, and no more is taken.
func TestReportsAreBounded(t *testing.T) {
	for _, by := range []string{"number", "bytes"} {
		t.Run(by, func(t *testing.T) {
			b := newBox(t)
			b.limit(func(l *Limits) {
				l.MaxReports = 200
				if by == "bytes" {
					l.MaxReports, l.MaxBytes = 1e6, 200*700
				}
			})
			append1 := func() error { return b.Append(t.Context(), raw(b.clock(), 450)) }
			full := 0
			for full < 1000 {
				if err := append1(); errors.Is(err, ErrFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				full++
			}
			if full < 150 || full > 250 {
				t.Fatalf("%d reports were taken", full)
			}
			due := b.due()
			b.apply(Change{Report: due[0], Keep: StateUnreadable, Why: "x"},
				Change{Report: due[1], Later: b.clock().Add(time.Hour)})
			b.reopen()
			for i := range 2 {
				if err := append1(); err != nil {
					t.Fatalf("report %d after there was room: %v", i, err)
				}
			}
			if err := append1(); !errors.Is(err, ErrFull) {
				t.Errorf("one more: %v", err)
			}
			for _, gone := range due[:2] {
				if _, err := b.Show(t.Context(), gone.ID); !errors.Is(err, ErrNotFound) {
					t.Errorf("report %d: %v", gone.ID, err)
				}
			}
			if n := len(b.due()); n != full {
				t.Errorf("%d reports wait, want %d", n, full)
			}
		})
	}
}

// TestForget: messages go by age and by number, the oldest first, with all that belongs to them.
func TestForget(t *testing.T) {
	b := newBox(t)
	old := mail(1, begins, "a@x.example")
	b.remember(old)
	b.tell(old, "e", feedback.StateDelivered, false)
	b.pass(10 * 24 * time.Hour)
	b.remember(mail(2, b.clock(), "a@x.example"))
	b.pass(5 * 24 * time.Hour)
	b.tidy()
	if n := b.Stat().Messages; n != 1 || len(b.find(feedback.KeyQueueID, old.ID)) != 0 {
		t.Fatalf("%d messages are remembered after 15 days, want the newer one", n)
	}
	var more []*relay.Message
	for i := range 20 {
		more = append(more, mail(100+i, b.clock().Add(time.Duration(i)), "a@x.example"))
	}
	b.remember(more...)
	b.limit(func(l *Limits) { l.MaxMessages = 5 })
	b.tidy()
	if n := b.Stat().Messages; n != 5 || len(b.find(feedback.KeyQueueID, more[19].ID)) != 1 ||
		len(b.find(feedback.KeyQueueID, more[0].ID)) != 0 {
		t.Errorf("%d messages are remembered, want the last five", n)
	}
	if n := len(b.find(feedback.KeyMessageID, "100@shop.example")); n != 0 {
		t.Error("the keys of a forgotten message find something")
	}
	b.limit(func(l *Limits) { l.MaxMessages = 0 })
	b.tidy()
	b.reopen()
	b.tidy()
	for _, table := range []string{"message", "key", "outcome", "told", "owed"} {
		if n := b.rows(table); n != 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
}

// rows counts the rows of a table.
func (b *box) rows(table string) int64 {
	b.t.Helper()
	c, err := openReader(b.o.Path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	n, _, err := c.Integer("SELECT count(*) FROM " + table)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *box) tidy() {
	b.t.Helper()
	if err := b.Tidy(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// TestKeptForAWhile: what could not be used is kept, listed, and goes.
func TestKeptForAWhile(t *testing.T) {
	b := newBox(t)
	for range 3 {
		if err := b.Append(t.Context(), raw(b.clock(), 10)); err != nil {
			t.Fatal(err)
		}
	}
	due := b.due()
	b.apply(Change{Report: due[0], Keep: StateUnreadable, Why: "no JSON"},
		Change{Report: due[1], Keep: StateUnproven, Why: "no certificate"})
	ids := func(f Filter) (list []int64) {
		err := b.List(t.Context(), f, func(r Report) bool { list = append(list, r.ID); return true })
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for want, f := range map[string]Filter{
		"[1 2 3]": {}, "[1]": {State: StateUnreadable}, "[3]": {State: StateWaiting},
		"[2]": {After: 1, Limit: 1}, "[]": {Source: "other"},
	} {
		if got := fmt.Sprint(ids(f)); got != want {
			t.Errorf("%+v lists %s, want %s", f, got, want)
		}
	}
	r, err := b.Show(t.Context(), 1)
	if err != nil || r.State != StateUnreadable || r.Why != "no JSON" || string(r.Raw.Body) != "xxxxxxxxxx" ||
		!r.Due.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
	if n, err := b.Replay(t.Context(), Filter{State: StateUnreadable}); n != 1 || err != nil {
		t.Errorf("replayed %d, %v", n, err)
	}
	if n := b.Stat(); n.Waiting != 2 || n.Kept != 1 || len(b.due()) != 2 {
		t.Errorf("after the replay: %+v", n)
	}
	b.pass(8 * 24 * time.Hour)
	b.tidy()
	if n := b.Stat(); n.Waiting != 2 || n.Kept != 0 {
		t.Errorf("after eight days: %+v; what waits must stay", n)
	}
}

// TestFullDisk: when the disk is full what is asked for fails whole, and goes on when there is room.
func TestFullDisk(t *testing.T) {
	b := newBox(t)
	b.limit(func(l *Limits) { l.MaxReports, l.MaxBytes = 1e6, 1<<40 })
	m := mail(1, begins, "a@x.example")
	b.remember(m)
	e := said("e", feedback.KindBounced)
	report := b.event(e)
	b.o.maxPages = 60
	b.reopen()
	var err error
	n := 0
	for ; n < 1000 && err == nil; n++ {
		err = b.Append(t.Context(), raw(b.clock(), 3000))
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d reports: %v", n, err)
	}
	n-- // the one that failed
	f := effect(m, &e, feedback.StateBounced, false)
	f.Told.Note = string(bytes.Repeat([]byte("x"), 100_000))
	if _, err := b.Apply(t.Context(), []Change{{Report: report, Effect: f}}); !errors.Is(err, ErrFull) {
		t.Fatalf("an effect on the full disk: %v", err)
	}
	if owed := b.owed(); owed != 0 || b.of(m).States[0] != feedback.StateRelayed {
		t.Errorf("a part of it was stored: %d owed, %s", owed, b.of(m).States[0])
	}
	if got := b.Stat().Waiting; got != int64(n)+1 {
		t.Errorf("%d wait, want %d", got, n+1)
	}
	b.o.maxPages = 0
	b.reopen()
	if got := len(b.due()); got != n+1 {
		t.Errorf("%d reports are due, want %d", got, n+1)
	}
	if err := b.Append(t.Context(), raw(b.clock(), 3000)); err != nil {
		t.Errorf("with room: %v", err)
	}
	if got := b.apply(Change{Report: report, Effect: f}); got[0] != OutcomeOwed {
		t.Errorf("with room the effect is %s", got[0])
	}
}

// TestFailedChange: a change that fails leaves nothing, and takes nothing along that came with it.
func TestFailedChange(t *testing.T) {
	b := newBox(t)
	hold, held := make(chan struct{}), make(chan struct{})
	go b.w.write(t.Context(), func(*tx) error { close(held); <-hold; return nil })
	<-held // what comes now is one transaction
	fails := errors.New("as the test asks")
	failed, made := make(chan error), make(chan error)
	go func() {
		failed <- b.w.write(t.Context(), func(t *tx) error {
			if err := t.addReport("INSERT INTO report (state, came, source, provider, body)"+
				" VALUES ('waiting', 0, '', '', ?)", 1, []byte("x")); err != nil {
				return err
			}
			return fails
		})
	}()
	go func() { made <- b.Append(t.Context(), raw(b.clock(), 10)) }()
	close(hold)
	if err := <-failed; !errors.Is(err, fails) {
		t.Errorf("the change that fails: %v", err)
	}
	if err := <-made; err != nil {
		t.Errorf("the change beside it: %v", err)
	}
	if st := b.Stat(); st.Waiting != 1 || len(b.due()) != 1 {
		t.Errorf("%d wait, %d are due; want the one", st.Waiting, len(b.due()))
	}
}

// TestRelayedNeverWaits: what does not fit into the buffer is dropped and counted; the rest is remembered.
func TestRelayedNeverWaits(t *testing.T) {
	b := newBox(t)
	b.o.bufferBytes = 512 << 10
	b.reopen()
	hold, held := make(chan struct{}), make(chan struct{})
	go b.w.write(t.Context(), func(*tx) error { close(held); <-hold; return nil })
	<-held
	b.limit(func(l *Limits) { l.MaxMessages = 1e9 })
	n := int64(0)
	for ; b.Stat().Dropped == 0; n++ {
		b.Relayed(mail(int(n), begins, "a@x.example"))
	}
	if n < 100 || n > 2000 {
		t.Errorf("%d messages fit into the buffer", n)
	}
	close(hold)
	b.written(n - 1)
}

// TestPrivate: the file is the owner's alone.
func TestPrivate(t *testing.T) {
	b := newBox(t)
	b.remember(mail(1, begins, "a@x.example"))
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(b.o.Path + suffix)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", info.Name(), info.Mode().Perm())
		}
	}
}

// TestBacklog: what is new is due since it came, what waits for another try when that is due.
func TestBacklog(t *testing.T) {
	b := newBox(t)
	want := func(due, later int64, oldest time.Time) {
		t.Helper()
		got, err := b.Backlog(t.Context(), b.clock())
		if err != nil || got.Due != due || got.Later != later || !got.Oldest.Equal(oldest) {
			t.Errorf("%+v, %v; want %d due since %v, %d later", got, err, due, oldest, later)
		}
	}
	want(0, 0, time.Time{})
	for range 3 {
		if err := b.Append(t.Context(), raw(b.clock(), 10)); err != nil {
			t.Fatal(err)
		}
		b.pass(time.Minute)
	}
	want(3, 0, begins)
	due := b.due()
	b.apply(Change{Report: due[0], Later: begins.Add(10 * time.Minute)},
		Change{Report: due[1], Keep: StateUnreadable, Why: "x"})
	want(1, 1, begins.Add(2*time.Minute))
	b.apply(Change{Report: due[2]})
	want(0, 1, time.Time{})
	b.pass(time.Hour)
	want(1, 0, begins.Add(10*time.Minute))
}

// TestSlowListener: whoever takes their time over a list keeps nobody else from reading.
func TestSlowListener(t *testing.T) {
	b := newBox(t)
	if err := b.Append(t.Context(), raw(begins, 10)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var within func(depth int) error
	within = func(depth int) (err error) {
		if depth == 0 {
			_, err = b.Show(ctx, 1)
			return err
		}
		listed := b.List(ctx, Filter{}, func(Report) bool {
			err = within(depth - 1)
			return true
		})
		return errors.Join(listed, err)
	}
	if err := within(readers); err != nil {
		t.Error(err)
	}
}

// TestListInPages: all that is selected is listed, once and in order, however large it is.
func TestListInPages(t *testing.T) {
	b := newBox(t)
	b.limit(func(l *Limits) { l.MaxReports, l.MaxBytes = 1e6, 1<<30 })
	const all = 2*pageReports + 1
	for i := range all {
		size := 10
		if i%100 == 0 {
			size = pageBytes
		}
		if err := b.Append(t.Context(), raw(b.clock(), size)); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{0, 1, pageReports, pageReports + 7, all, 10 * all} {
		var ids []int64
		err := b.List(t.Context(), Filter{Limit: limit}, func(r Report) bool {
			ids = append(ids, r.ID)
			return true
		})
		want := all
		if limit > 0 {
			want = min(want, limit)
		}
		if err != nil || len(ids) != want || !slices.IsSorted(ids) ||
			len(slices.Compact(slices.Clone(ids))) != want {
			t.Errorf("limit %d: %d reports, %v", limit, len(ids), err)
		}
	}
}

// TestDueIsBounded: what is due is read in parts, by number and by bytes, and all of it comes in turn.
func TestDueIsBounded(t *testing.T) {
	b := newBox(t)
	b.limit(func(l *Limits) { l.MaxBytes = 1 << 30 })
	const reports = 7
	for range reports {
		if err := b.Append(t.Context(), raw(b.clock(), dueBytes/4)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for parts := 1; ; parts++ {
		due, next, err := b.Due(t.Context(), b.clock(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if n += len(due); len(due) == 0 {
			if parts < 3 || !next.IsZero() {
				t.Errorf("%d parts, and more at %v", parts-1, next)
			}
			break
		}
		if len(due) > 4 || n < reports && !next.Equal(b.clock()) {
			t.Errorf("%d reports at once, the next at %v", len(due), next)
		}
		for _, r := range due {
			b.apply(Change{Report: r})
		}
	}
	if n != reports {
		t.Errorf("%d reports were due", n)
	}
}

// TestRememberAgain: of messages that are written together some may be known, or come twice: each is
// remembered once, as it was told last, and found by its own keys.
func TestRememberAgain(t *testing.T) {
	b := newBox(t)
	b.remember(mail(1, begins, "a@x.example"))
	again := mail(3, begins, "c@x.example", "d@x.example")
	list := []*relay.Message{
		mail(2, begins, "b@x.example"), mail(1, begins, "a@x.example"), mail(3, begins, "c@x.example"), again,
	}
	for i := range 2 * messagesAtOnce {
		list = append(list, mail(10+i, begins, "e@x.example"))
	}
	for _, m := range list {
		b.Relayed(m)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, want := b.Stat().Messages, int64(3+2*messagesAtOnce); n != want || b.rows("message") != want {
		t.Errorf("%d messages are remembered and %d are there, want %d", n, b.rows("message"), want)
	}
	for i, m := range list {
		if i == 2 {
			m = again
		}
		ids := b.find(feedback.KeyMessageID, strings.Trim(m.MessageID, "<>"))
		if !slices.Equal(ids, []string{m.ID}) {
			t.Errorf("%s finds %v, not %s", m.MessageID, ids, m.ID)
		}
	}
	if found, err := b.FindRecipient(t.Context(), "d@x.example", begins.Add(-time.Hour),
		begins.Add(time.Hour)); err != nil || len(found) != 1 || found[0].Message.ID != again.ID {
		t.Errorf("what was told last: %v, %v", found, err)
	}
	b.reopen()
	b.remember(mail(100, begins, "f@x.example"))
	if n := b.rows("message"); n != int64(4+2*messagesAtOnce) {
		t.Errorf("%d messages after it was opened again", n)
	}
}

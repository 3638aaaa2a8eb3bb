package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// clock is a wall clock that a test sets.
type clock struct{ n atomic.Int64 }

// newClock starts a clock a moment from now, so that everything made before is due.
func newClock() *clock {
	c := new(clock)
	c.n.Store(time.Now().Add(time.Second).UnixNano())
	return c
}

func (c *clock) Now() time.Time      { return time.Unix(0, c.n.Load()) }
func (c *clock) add(d time.Duration) { c.n.Add(int64(d)) }

// bulk stores n messages of one sender in few transactions.
func bulk(t *testing.T, s *Spool, sender string, n int, due time.Time) (first string) {
	t.Helper()
	const step = 5000
	for n > 0 {
		k := min(n, step)
		var rs []*spool.Record
		err := s.w.ops.do(t.Context(), &operation{
			apply: func(t *database.Tx) error {
				rs = rs[:0]
				for range k {
					m := benchMessage(sender)
					m.Recipients[0].NextAttempt = due
					r, err := spool.Encode(m)
					if err != nil {
						return err
					}
					r.HeadSum = r.SumHead()
					s.queue.GiveSlot(r)
					if _, err := t.Insert(r, nil); err != nil {
						return err
					}
					rs = append(rs, r)
				}
				return nil
			},
			after: func(error) {
				s.queue.Arrive(rs...)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = rs[0].ID
		}
		n -= k
	}
	return first
}

// senders leases and names the senders in order.
func senders(t *testing.T, s *Spool, max int) (list []string) {
	t.Helper()
	for _, l := range leaseSome(t, s, max) {
		list = append(list, strings.TrimSuffix(l.Message.Envelope.From, "@sender.example"))
	}
	return list
}

// TestFairBetweenSenders queues 100,000 messages of one sender and then one each of two others: these are
// leased next, also after a restart, and also when the many become due at the same moment.
func TestFairBetweenSenders(t *testing.T) {
	depth := 100000
	if raceDetector {
		depth = 10000 // it makes SQLite slower by ten
	}
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprintf("deferred %v", later), func(t *testing.T) {
			c := newClock()
			due := c.Now()
			if later {
				due = due.Add(time.Minute)
			}
			o := Options{Dir: t.TempDir(), Now: c.Now, Limits: Limits{Reserve: -1}}
			s := openTest(t, o)
			defer func() { s.Close() }()
			bulk(t, s, "bulk@sender.example", depth, due)
			c.add(2 * time.Minute)
			if got := senders(t, s, 3); fmt.Sprint(got) != "[bulk bulk bulk]" {
				t.Fatalf("leased %v", got)
			}
			bulk(t, s, "one@sender.example", 1, due)
			bulk(t, s, "two@sender.example", 2, due)
			start := time.Now()
			got := fmt.Sprint(senders(t, s, 6))
			if strings.Count(got, "one") != 1 || strings.Count(got, "two") < 1 {
				t.Errorf("then leased %v; want the new senders among them", got)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("leasing behind %d messages took %v", depth, d)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, o)
			bulk(t, s, "three@sender.example", 1, due)
			bulk(t, s, "bulk@sender.example", 1, due)
			if got := fmt.Sprint(senders(t, s, 8)); strings.Count(got, "three") != 1 {
				t.Errorf("after a restart leased %v; want the new sender among them", got)
			}
		})
	}
}

// TestOrder looks that a sender's messages are leased in the order in which they came, across restarts and
// deferrals.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	var want []string
	s := openTest(t, Options{Dir: dir})
	for i := range 30 {
		if i == 15 {
			s.Close()
			s = openTest(t, Options{Dir: dir})
		}
		id, err := putOne(s, 10)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	defer func() { s.Close() }()
	for i, l := range leaseSome(t, s, 30) {
		if l.Message.ID != want[i] {
			t.Fatalf("message %d was leased in place %d", indexOf(want, l.Message.ID), i)
		}
	}
}

func indexOf(list []string, s string) int {
	for i := range list {
		if list[i] == s {
			return i
		}
	}
	return -1
}

// TestClockJumps sets the clock ten years ahead and back: nothing starves, and what is deferred by minutes
// is tried within the longest delay.
func TestClockJumps(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for _, jump := range []time.Duration{-years, -time.Hour, -10 * time.Second, 0, time.Hour, years} {
		t.Run(jump.String(), func(t *testing.T) {
			c := newClock()
			s := openTest(t, Options{Now: c.Now, MaxDelay: 24 * time.Hour})
			defer s.Close()
			for range 3 {
				if _, err := putOne(s, 10); err != nil {
					t.Fatal(err)
				}
			}
			ls := leaseSome(t, s, 2)
			ls[0].Message.Recipients[0].State = relay.Deferred
			ls[0].Message.Recipients[0].NextAttempt = c.Now().Add(5 * time.Minute)
			if err := s.Settle(t.Context(), ls[0].Token,
				relay.Settlement{Recipients: ls[0].Message.Recipients}); err != nil {
				t.Fatal(err)
			}
			c.add(jump)
			seen := map[string]bool{}
			for range 25 * 6 {
				for _, l := range leaseSome(t, s, 10) {
					if l.Message.ID == ls[1].Message.ID {
						t.Fatal("a leased message was leased again")
					}
					if !l.Message.Recipients[0].DueAt(c.Now()) {
						t.Errorf("leased at %v, due at %v", c.Now(), l.Message.Recipients[0].NextAttempt)
					}
					seen[l.Message.ID] = true
				}
				c.add(10 * time.Minute)
			}
			if len(seen) != 2 {
				t.Errorf("%d of the 2 messages that wait came within a day", len(seen))
			}
		})
	}
}

// TestNoticesAfterClockJump looks that a notice does not wait for a clock that was set back.
func TestNoticesAfterClockJump(t *testing.T) {
	c := newClock()
	s := openTest(t, Options{Now: c.Now})
	defer s.Close()
	if _, err := putOne(s, 10); err != nil {
		t.Fatal(err)
	}
	l := leaseSome(t, s, 1)[0]
	l.Message.Recipients[0].State = relay.Failed
	n := relay.Notice{Message: l.Message.ID, Kind: relay.NoticeFailed, Due: c.Now()}
	if err := s.Settle(t.Context(), l.Token,
		relay.Settlement{Recipients: l.Message.Recipients, Owed: []relay.Entry{n.Entry()}}); err != nil {
		t.Fatal(err)
	}
	c.add(-10 * 365 * 24 * time.Hour)
	if due := dueReports(t, s, c.Now()); len(due) != 1 {
		t.Errorf("%d due notices", len(due))
	}
}

// TestLargeNotices looks that messages with very long states are not all read at once, and none is forgotten.
func TestLargeNotices(t *testing.T) {
	c := newClock()
	s := openTest(t, Options{Now: c.Now})
	defer s.Close()
	for range 3 {
		if _, err := putOne(s, 10); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range leaseSome(t, s, 3) {
		r := &l.Message.Recipients[0]
		r.State, r.HeldWhy = relay.Failed, strings.Repeat("x", claimBudget-1000)
		n := relay.Notice{Message: l.Message.ID, Kind: relay.NoticeFailed, Due: c.Now()}
		if err := s.Settle(t.Context(), l.Token,
			relay.Settlement{Recipients: l.Message.Recipients, Owed: []relay.Entry{n.Entry()}}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, want := range []int{2, 1} {
		due, next, err := s.Claim(t.Context(), relay.ClaimQuery{
			Topic: relay.TopicReport, Now: c.Now(), Max: 5, For: time.Hour,
		})
		if err != nil || len(due) != want || want > 1 && !next.Equal(c.Now()) {
			t.Fatalf("%d messages, next %v, %v", len(due), next, err)
		}
		for _, d := range due {
			seen[d.Message.ID] = true
			if err := s.Consume(t.Context(), relay.Answer{Entries: d.Entries}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d of 3 messages were found", len(seen))
	}
}

// TestCrashPutsOff looks that what was leased when the process ended is tried again soon the first time,
// and later each time in a row, and that a settlement ends the count.
func TestCrashPutsOff(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	o := Options{Dir: dir, Now: c.Now, Limits: Limits{Reserve: -1}}
	s := openTest(t, o)
	poison, err := putOne(s, 10)
	if err != nil {
		t.Fatal(err)
	}
	innocent, err := putOne(s, 10)
	if err != nil {
		t.Fatal(err)
	}
	for times, limit := range []time.Duration{0, 5 * time.Second, 5 * time.Second, 20 * time.Second,
		2 * time.Minute} {
		waited := time.Duration(0)
		var ls []relay.Lease
		for ; len(ls) == 0; waited += 500 * time.Millisecond {
			ls = leaseSome(t, s, 1)
			c.add(500 * time.Millisecond)
			if waited > limit {
				t.Fatalf("after %d crashes nothing is leased within %v", times, limit)
			}
		}
		if ls[0].Message.ID != poison {
			t.Fatalf("after %d crashes %s was leased, want the one that crashed", times, ls[0].Message.ID)
		}
		if times == 4 && waited < 16*time.Second {
			t.Errorf("after %d crashes the message waited %v only", times, waited)
		}
		if times == 0 {
			settleLater(t, s, innocent, c.Now().Add(24*time.Hour))
		}
		image := takeImage(t, o.Dir)
		s.Close()
		o.Dir = image
		s = openTest(t, o)
	}
	defer func() { s.Close() }()
	c.add(time.Hour)
	l := leaseSome(t, s, 1)[0]
	l.Message.Recipients[0].State = relay.Deferred
	if err := s.Settle(t.Context(), l.Token, relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.lookUp(poison); err != nil || r.Crashes != 0 {
		t.Errorf("after a settlement %d crashes are counted, %v", r.Crashes, err)
	}
}

// settleLater defers a message by Edit.
func settleLater(t *testing.T, s *Spool, id string, due time.Time) {
	t.Helper()
	err := s.Edit(t.Context(), id, func(m *relay.Message) (relay.Settlement, bool, error) {
		m.Recipients[0].State, m.Recipients[0].NextAttempt = relay.Deferred, due
		return relay.Settlement{Recipients: m.Recipients}, false, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLock(t *testing.T) {
	s := openTest(t, Options{})
	if _, err := Open(Options{Dir: s.o.Dir}); !errors.Is(err, ErrInUse) ||
		!strings.Contains(err.Error(), s.o.Dir) {
		t.Errorf("a second Open: %v", err)
	}
	if _, err := OpenReadOnly(s.o.Dir); !errors.Is(err, ErrInUse) {
		t.Errorf("OpenReadOnly beside a relay: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReadOnly(s.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := Open(Options{Dir: s.o.Dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("Open beside a reader: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	for _, closed := range []bool{true, false} {
		im := makeImage(t, 30, closed)
		before := fileSizes(t, im.dir)
		r, err := OpenReadOnly(im.dir)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = r.List(t.Context(), relay.QueueFilter{}, func(m *relay.Message) bool {
			if _, ok := im.want[m.ID]; ok {
				n++
			}
			return true
		})
		st, statErr := r.Stat(t.Context())
		if err != nil || statErr != nil || n != len(im.want) || st.Messages != int64(n) {
			t.Errorf("closed %v: %d messages of %d are listed, %d counted; %v, %v", closed, n, len(im.want),
				st.Messages, err, statErr)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if after := fileSizes(t, im.dir); after != before {
			t.Errorf("closed %v: reading changed the files from\n%s to\n%s", closed, before, after)
		}
	}
	if _, err := OpenReadOnly(t.TempDir()); err == nil {
		t.Error("a directory without a spool was opened")
	}
}

// fileSizes lists the database's files.
func fileSizes(t *testing.T, dir string) (list string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		if fi, err := os.Stat(filepath.Join(dir, files.Database+suffix)); err == nil {
			list += fmt.Sprintln(fi.Name(), fi.Size(), fi.ModTime())
		}
	}
	return list
}

func TestNotASpool(t *testing.T) {
	dir := t.TempDir()
	c, err := database.Open(filepath.Join(dir, files.Database), "mode=rwc")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Run("CREATE TABLE other (x)"), c.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not a spool") {
		t.Errorf("a foreign database: %v, %v", s, err)
	}
}

// TestLogStaysSmall passes 64 MiB through the spool: neither the log nor the database may grow with it.
func TestLogStaysSmall(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 64 {
				if _, err := putOne(s, 128<<10); err != nil {
					t.Error(err)
					return
				}
				for _, l := range leaseSome(t, s, 1) {
					l.Message.Recipients[0].State = relay.Relayed
					if err := s.Settle(context.Background(), l.Token,
						relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for name, limit := range map[string]int64{files.Database: 24 << 20, files.Database + "-wal": 24 << 20} {
		if fi, err := os.Stat(s.dir.File(name)); err != nil || fi.Size() > limit {
			t.Errorf("%s has %d bytes, %v", name, fi.Size(), err)
		}
	}
}

// TestVacuum looks that the disk gets back what a long queue took.
func TestVacuum(t *testing.T) {
	s := openTest(t, Options{Limits: Limits{Reserve: -1}})
	defer s.Close()
	for range 400 {
		if _, err := putOne(s, 100<<10); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range leaseSome(t, s, 400) {
		l.Message.Recipients[0].State = relay.Relayed
		if err := s.Settle(t.Context(), l.Token,
			relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the database shrinks", func() bool {
		s.w.housekeep()
		if err := s.w.ops.do(t.Context(), &operation{size: walBytes,
			apply: func(*database.Tx) error { return nil }}); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(s.dir.File(files.Database))
		return err == nil && fi.Size() < 12<<20
	})
}

// TestReportKnownAfterRestart stores a report again that has gone before the restart.
func TestReportKnownAfterRestart(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir})
	dsn := benchMessage("")
	dsn.Report = true
	for range 2 {
		if err := s.Consume(t.Context(), answer(dsn, "report")); err != nil {
			t.Fatal(err)
		}
		for _, l := range leaseSome(t, s, 5) {
			l.Message.Recipients[0].State = relay.Relayed
			if err := s.Settle(t.Context(), l.Token,
				relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		s = openTest(t, Options{Dir: dir})
	}
	defer s.Close()
	if ls := leaseSome(t, s, 5); len(ls) != 0 {
		t.Error("the report was stored a second time")
	}
}

// TestSettleOutlivesContext ends the caller's context while the writer is busy: the settlement is written
// all the same.
func TestSettleOutlivesContext(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	id, err := putOne(s, 10)
	if err != nil {
		t.Fatal(err)
	}
	l := leaseSome(t, s, 1)[0]
	release := blockWriter(t, s)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	l.Message.Recipients[0].State = relay.Relayed
	if err := s.Settle(ctx, l.Token, relay.Settlement{Recipients: l.Message.Recipients}); !errors.Is(err,
		context.DeadlineExceeded) {
		t.Errorf("Settle: %v", err)
	}
	release()
	eventually(t, "the settlement is written", func() bool {
		_, err := s.lookUp(id)
		return errors.Is(err, relay.ErrNotFound)
	})
}

// TestHoldsFewSettlements: settlements wait for the next message only while they are few, and alone.
func TestHoldsFewSettlements(t *testing.T) {
	settlement := &operation{mustWrite: true, journal: func(*journaling) (bool, error) { return true, nil }}
	for n := range holdMost + 3 {
		o := &operations{queue: slices.Repeat([]*operation{settlement}, n)}
		if got, want := o.onlySettlements(), n > 0 && n <= holdMost; got != want {
			t.Errorf("%d settlements are held: %v, want %v", n, got, want)
		}
	}
	if o := (&operations{queue: []*operation{settlement, {}}}); o.onlySettlements() {
		t.Error("a settlement and a message are held")
	}
}

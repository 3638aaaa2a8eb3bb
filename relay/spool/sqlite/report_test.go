package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
)

// failOne puts a message, settles it as failed, and returns its notice.
func failOne(t *testing.T, s *Spool, want map[string]string) relay.Entry {
	t.Helper()
	putContent(t, s, want, 500)
	l := leaseSome(t, s, 1)[0]
	l.Message.Recipients[0].State = relay.Failed
	n := relay.Notice{Message: l.Message.ID, Kind: relay.NoticeFailed, Due: s.o.Now()}
	if err := s.Settle(t.Context(), l.Token,
		relay.Settlement{Recipients: l.Message.Recipients, Owed: []relay.Entry{n.Entry()}}); err != nil {
		t.Fatal(err)
	}
	return n.Entry()
}

// reportOn stores a report of some size that tells notices.
func reportOn(t *testing.T, s *Spool, want map[string]string, report *relay.Message, size int,
	told ...relay.Entry) {
	t.Helper()
	content := strings.Repeat(report.ID+"\r\n", 1+size/len(report.ID))
	if err := s.Consume(t.Context(), answer(report, content, told...)); err != nil {
		t.Fatal(err)
	}
	want[report.ID] = content
	for _, n := range told {
		delete(want, n.Message)
	}
}

// newReport is a report that is not stored yet.
func newReport() *relay.Message {
	m := benchMessage("")
	m.Report = true
	return m
}

// TestReportInJournal tells failures by reports that are in the journal only, one of which has been
// relayed, and one by none.
func TestReportInJournal(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	want := map[string]string{}
	var told []relay.Entry
	for range 4 {
		told = append(told, failOne(t, s, want))
	}
	holds(t, s, want) // which brings all into the database
	gone, stays := newReport(), newReport()
	reportOn(t, s, want, gone, 5000, told[0])
	settleOne(t, s, want, true)
	reportOn(t, s, want, stays, 5000, told[1])
	if err := s.Consume(t.Context(), relay.Answer{Entries: told[2:3]}); err != nil {
		t.Fatal(err)
	}
	delete(want, told[2].Message)
	if len(s.w.pending.answered) != 3 || len(s.w.pending.reports) != 2 {
		t.Fatalf("%d notices and %d reports are in the journal: this tests nothing",
			len(s.w.pending.answered), len(s.w.pending.reports))
	}
	dir := takeImage(t, s.o.Dir)

	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	err = r.List(t.Context(), relay.QueueFilter{},
		func(m *relay.Message) bool { listed = append(listed, m.ID); return true })
	st, errStat := r.Stat(t.Context())
	if err := errors.Join(err, errStat, r.Close()); err != nil || len(listed) != 2 || st.Messages != 2 ||
		st.Owed != 1 {
		t.Errorf("killed: %d messages are listed, Stat: %+v, %v; want two messages and a notice", len(listed),
			st, err)
	}
	killed := openTest(t, Options{Dir: dir})
	defer killed.Close()
	for name, s := range map[string]*Spool{"running": s, "killed": killed} {
		holds(t, s, want)
		due := dueReports(t, s, time.Now())
		if len(due) != 1 || due[0].Message.ID != told[3].Message {
			t.Errorf("%s: due are %+v; want the one that was not told", name, due)
		}
		for i, m := range []*relay.Message{gone, stays} { // as after a crash before the answer
			reportOn(t, s, map[string]string{}, m, 5000, told[i])
		}
		holds(t, s, want)
	}
}

// TestReportAgainInJournal stores a report twice while it is in the journal only, the second time after it
// was relayed.
func TestReportAgainInJournal(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	want := map[string]string{}
	n := failOne(t, s, want)
	holds(t, s, want)
	m := newReport()
	reportOn(t, s, want, m, 100, n)
	reportOn(t, s, want, m, 100, n)
	settleOne(t, s, want, true)
	reportOn(t, s, map[string]string{}, m, 100, n)
	if len(s.w.pending.answered) != 3 {
		t.Fatal("the reports are in the database: this tests nothing")
	}
	holds(t, s, want)
	if ls := leaseSome(t, s, 5); len(ls) != 0 {
		t.Error("the report was stored again")
	}
}

// TestReportGoneInJournal knows a report that told nothing and was relayed while it was in the journal
// only, after the end of the process.
func TestReportGoneInJournal(t *testing.T) {
	for _, kill := range []bool{false, true} {
		s := openTest(t, Options{})
		leaseSome(t, s, 1) // which looks into the database the first time
		want := map[string]string{}
		m := newReport()
		reportOn(t, s, want, m, 100)
		settleOne(t, s, want, true)
		if len(s.w.pending.reports) != 1 {
			t.Fatal("the report is in the database: this tests nothing")
		}
		dir := s.o.Dir
		if kill {
			dir = takeImage(t, dir)
		}
		s.Close()
		s = openTest(t, Options{Dir: dir})
		defer s.Close()
		reportOn(t, s, map[string]string{}, m, 100)
		holds(t, s, want)
	}
}

// TestTornReports cuts off the journal at each page: of each failure and its report one is there, and not
// both.
func TestTornReports(t *testing.T) {
	s := openTest(t, Options{Limits: Limits{Journal: 512 << 10}})
	want := map[string]string{}
	var told []relay.Entry
	for range 6 {
		told = append(told, failOne(t, s, want))
	}
	holds(t, s, want)
	var reports []*relay.Message
	for i := range told {
		reports = append(reports, newReport())
		reportOn(t, s, want, reports[i], 3000*i, told[i])
	}
	dir := takeImage(t, s.o.Dir)
	s.Close()
	for page := int64(journal.PageSize); page < liveBytes(t, dir); page += journal.PageSize {
		t.Run(fmt.Sprint(page/journal.PageSize), func(t *testing.T) {
			cut := takeImage(t, dir)
			size := liveBytes(t, cut)
			f, err := os.OpenFile(filepath.Join(cut, files.Journal), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, size-page), page); err != nil {
				t.Fatal(err)
			}
			f.Close()
			os.Remove(filepath.Join(cut, files.RunState))
			s := openTest(t, Options{Dir: cut})
			defer s.Close()
			due := dueReports(t, s, time.Now())
			for i, n := range told {
				_, err := s.lookUp(reports[i].ID)
				reported := err == nil
				owed := slices.ContainsFunc(due,
					func(d relay.Claim) bool { return d.Message.ID == n.Message })
				if reported == owed {
					t.Errorf("failure %d: owed %v, reported %v", i, owed, reported)
				}
			}
		})
	}
}

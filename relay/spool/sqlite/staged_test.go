package sqlite

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// contentFiles are the names of the content files in the directory of a spool.
func contentFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(files.Dir{Path: dir}.File(files.Contents))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// TestStagedLeavesNothing: the file of a large content that was not stored is gone after Discard, and after a
// start if its process ended without.
func TestStagedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir})
	large := strings.Repeat("x", 1<<20)
	first, err := s.Stage(t.Context(), benchMessage("a@sender.example"), strings.NewReader(large))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Stage(t.Context(), benchMessage("b@sender.example"), strings.NewReader(large))
	if err != nil {
		t.Fatal(err)
	}
	if got := contentFiles(t, dir); len(got) != 2 {
		t.Fatalf("files of two contents: %q", got)
	}
	first.Discard()
	if got := contentFiles(t, dir); len(got) != 1 {
		t.Errorf("after Discard: %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Dir: dir})
	defer s.Close()
	if got := contentFiles(t, dir); len(got) != 0 {
		t.Errorf("after a start: %q", got)
	}
}

// TestStagedWhileFull: a full spool stages what it cannot store, and stores it when there is room again.
func TestStagedWhileFull(t *testing.T) {
	s := openTest(t, Options{Limits: Limits{MaxMessages: 1}})
	defer s.Close()
	other := benchMessage("a@sender.example")
	if err := s.Put(t.Context(), []*relay.Message{other}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	m := benchMessage("b@sender.example")
	st, err := s.Stage(t.Context(), m, strings.NewReader("x"))
	if err != nil {
		t.Fatalf("a full spool does not stage: %v", err)
	}
	defer st.Discard()
	set := relay.Settlement{Recipients: m.Recipients}
	if _, err := st.Put(t.Context(), set, time.Minute); !errors.Is(err, relay.ErrFull) {
		t.Fatalf("Put into a full spool: %v", err)
	}
	for _, l := range leaseSome(t, s, 1) {
		l.Message.Recipients[0].State = relay.Relayed
		err := s.Settle(t.Context(), l.Token, relay.Settlement{Recipients: l.Message.Recipients})
		if err != nil {
			t.Fatal(err)
		}
	}
	if token, err := st.Put(t.Context(), set, time.Minute); err != nil || token == "" {
		t.Errorf("with room again: token %q, %v", token, err)
	}
}

// TestStagedCommitFails: a message whose commit failed is not stored, and nothing of it is left, its notices
// neither.
func TestStagedCommitFails(t *testing.T) {
	for _, committed := range []bool{false, true} {
		s := openTest(t, Options{})
		fault, passes := diskFault(t), 1 // of the operation that sets it
		s.w.ops.do(t.Context(), &operation{apply: func(*database.Tx) error {
			s.w.fault = func(c bool) error {
				if c != committed {
					return nil
				}
				if passes--; passes != -1 {
					return nil
				}
				return fault
			}
			return nil
		}})
		m := benchMessage("a@sender.example")
		st, err := s.Stage(t.Context(), m, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		m.Recipients[0].State = relay.Failed
		n := relay.Notice{Message: m.ID, Kind: relay.NoticeFailed, Due: time.Now()}
		set := relay.Settlement{Recipients: m.Recipients, Owed: []relay.Entry{n.Entry()}}
		if _, err := st.Put(t.Context(), set, 0); !errors.Is(err, relay.ErrUnavailable) {
			t.Fatalf("Put while commits fail: %v", err)
		}
		st.Discard()
		deadline := time.Now().Add(20 * time.Second)
		for s.w.ops.refused() != nil && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
		stat, err := s.Stat(t.Context())
		if err != nil || stat.Messages != 0 || stat.Owed != 0 {
			t.Errorf("failed %v after the commit: %+v, %v; want nothing", committed, stat, err)
		}
		if due := dueReports(t, s, time.Now().Add(time.Hour)); len(due) != 0 {
			t.Errorf("%d messages have notices", len(due))
		}
		s.Close()
	}
}

package sqlite

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// twoLanes stores a mail that goes to two lanes.
func twoLanes(t *testing.T, s *Spool, size int) (a, b *relay.Message, content string) {
	t.Helper()
	a = benchMessage("a@b.example")
	a.Mail = a.ID
	other := *a
	b = &other
	b.ID, b.Lane = relay.DerivedID(a.Arrived, "lane", a.ID, "second"), "second"
	content = strings.Repeat(a.ID+"\r\n", 1+size/len(a.ID))
	if err := s.Put(t.Context(), []*relay.Message{a, b}, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return a, b, content
}

// relayLane relays what a lane has.
func relayLane(t *testing.T, s *Spool, lane string) {
	t.Helper()
	ls, _, err := s.Lease(t.Context(), relay.LeaseQuery{Lane: lane, Now: s.o.Now(), Max: 10, For: time.Hour})
	if err != nil || len(ls) != 1 {
		t.Fatalf("lane %s: leased %d messages, %v; want one", lane, len(ls), err)
	}
	ls[0].Message.Recipients[0].State = relay.Relayed
	err = s.Settle(t.Context(), ls[0].Token, relay.Settlement{Recipients: ls[0].Message.Recipients})
	if err != nil {
		t.Fatal(err)
	}
}

// counted is what the database has: messages, rows of content, content files, and the counts.
func counted(t *testing.T, s *Spool) (messages, contents, contentFiles int64, n database.Counts) {
	t.Helper()
	err := s.read(func(c *database.Conn) (err error) {
		if messages, _, err = c.Integer("SELECT count(*) FROM message"); err != nil {
			return err
		}
		if contents, _, err = c.Integer("SELECT count(*) FROM content"); err != nil {
			return err
		}
		n, err = database.ReadCounts(c)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(filepath.Join(s.o.Dir, files.Contents))
	if err != nil {
		t.Fatal(err)
	}
	return messages, contents, int64(len(names)), n
}

// readWhole reads the content of a message.
func readWhole(s *Spool, id string) (string, error) {
	rc, err := s.contents.open(id)
	if err != nil {
		return "", err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	return string(b), err
}

// TestPartsShareOneContent: the messages of a mail have one row, or one file, whichever goes first; it is
// counted once, and goes with the last of them; a start leaves it alone.
func TestPartsShareOneContent(t *testing.T) {
	for _, size := range []int{1000, 300 << 10} {
		for _, order := range [][]string{{"default", "second"}, {"second", "default"}} {
			s := openTest(t, Options{})
			a, b, content := twoLanes(t, s, size)
			messages, contents, contentFiles, n := counted(t, s)
			if messages != 2 || contents+contentFiles != 1 || n.Messages != 2 ||
				n.Bytes != int64(len(content)) {
				t.Errorf("%d messages, %d contents, %d files, counted %+v", messages, contents, contentFiles,
					n)
			}
			relayLane(t, s, order[0])
			left := map[string]string{"default": b.ID, "second": a.ID}[order[0]]
			dir := takeImage(t, s.o.Dir)
			s.Close()
			s = openTest(t, Options{Dir: dir})
			if got, err := readWhole(s, left); err != nil || got != content {
				t.Errorf("the other message's content: %d bytes, %v", len(got), err)
			}
			messages, contents, contentFiles, n = counted(t, s)
			if messages != 1 || contents+contentFiles != 1 || n.Messages != 1 ||
				n.Bytes != int64(len(content)) {
				t.Errorf("%d messages, %d contents, %d files, counted %+v", messages, contents, contentFiles,
					n)
			}
			relayLane(t, s, order[1])
			eventually(t, "all is gone", func() bool {
				messages, contents, contentFiles, n = counted(t, s)
				return messages+contents+contentFiles+n.Messages+n.Bytes == 0
			})
			s.Close()
		}
	}
}

// TestDamagedPart: a message whose row is damaged is set aside, and the others of its mail keep their
// content, in the running spool and when a damaged database is rebuilt.
func TestDamagedPart(t *testing.T) {
	for _, salvage := range []bool{false, true} {
		for _, lane := range []string{"default", "second"} {
			s := openTest(t, Options{})
			a, b, content := twoLanes(t, s, 1000)
			damaged, whole := a, b
			if lane == "second" {
				damaged, whole = b, a
			}
			err := s.w.ops.do(t.Context(), &operation{apply: func(tx *database.Tx) error {
				_, err := tx.Exec("UPDATE message SET head=replace(head, 'b.example', 'c.example')"+
					" WHERE id=?", damaged.ID)
				return err
			}})
			if err != nil {
				t.Fatal(err)
			}
			if salvage {
				dir := s.o.Dir
				s.Close()
				os.Remove(filepath.Join(dir,
					files.RunState)) // so that the database is checked
				flip(t, filepath.Join(dir, files.Database), 3*database.PageSize, 0) // an index of messages
				s = openTest(t, Options{Dir: dir})
			} else {
				s.queue.EvictAll()
				s.Lease(t.Context(),
					relay.LeaseQuery{Lane: lane, Now: s.o.Now(), Max: 10, For: time.Millisecond})
			}
			if local, err := s.Local(); err != nil || local.Quarantined != 1 {
				t.Errorf("salvage %v, lane %s: %+v, %v; want one in quarantine", salvage, lane, local, err)
			}
			if got, err := readWhole(s, whole.ID); err != nil || got != content {
				t.Errorf("salvage %v, lane %s: the whole message's content: %d bytes, %v", salvage, lane,
					len(got), err)
			}
			if _, err := readWhole(s, damaged.ID); err == nil || errors.Is(err, os.ErrNotExist) {
				t.Errorf("salvage %v, lane %s: a damaged message has a content, %v", salvage, lane, err)
			}
			s.Close()
		}
	}
}

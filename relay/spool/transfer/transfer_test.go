package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/sqlite"
	"mailwhy/relay/spool/transfer"
)

// open opens the spool in dir, with its own files the owner's alone.
func open(t *testing.T, dir string) *sqlite.Spool {
	t.Helper()
	s, err := sqlite.Open(sqlite.Options{Dir: dir + "/spool", Log: slog.New(slog.DiscardHandler),
		Limits: sqlite.Limits{InlineLimit: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fill puts messages into a spool: small ones, one in a file, with bytes that are not UTF-8.
func fill(t *testing.T, s *sqlite.Spool, n int) (contents map[string]string) {
	t.Helper()
	contents = map[string]string{}
	for i := range n {
		now := time.Now()
		m := &relay.Message{ID: relay.NewID(now), Lane: "default", Arrived: now, Subject: "caf\xe9",
			Envelope:   relay.Envelope{From: "app@shop.example", EnvID: "x"},
			Recipients: []relay.Recipient{{Address: "joe@any.test", State: relay.Deferred, NextAttempt: now}}}
		m.Recipients[0].Attempts = i
		content := strings.Repeat(m.ID+"\r\n", 1+i*100)
		if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		contents[m.ID] = content
	}
	return contents
}

// holds looks that a spool has these messages to be sent, each with its content, and no others.
func holds(t *testing.T, s *sqlite.Spool, want map[string]string) {
	t.Helper()
	got := 0
	err := s.List(t.Context(), relay.QueueFilter{Waiting: true}, func(m *relay.Message) bool {
		got++
		if _, ok := want[m.ID]; !ok {
			t.Errorf("%s is there", m.ID)
		}
		if m.Subject != "caf\xe9" {
			t.Errorf("the subject is %q", m.Subject)
		}
		return true
	})
	if err != nil || got != len(want) {
		t.Errorf("%d messages wait, want %d: %v", got, len(want), err)
	}
	for id, content := range want {
		c, err := s.Content(t.Context(), id)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil || string(b) != content {
			t.Errorf("%s has %d bytes, want %d: %v", id, len(b), len(content), err)
		}
	}
}

const batch = "06H2H7PE3QN2R6CRWAME8SN1"

// export exports all, and gives up after limit bytes as a process that is killed does; limit 0: never.
func export(t *testing.T, s *sqlite.Spool, limit int) ([]byte, error) {
	t.Helper()
	w := &cutting{left: limit}
	_, _, err := transfer.Export(t.Context(), s, relay.QueueFilter{}, batch, time.Now(), w)
	return w.Bytes(), err
}

// cutting is a pipe that breaks.
type cutting struct {
	bytes.Buffer
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	if c.left == 0 {
		return c.Buffer.Write(b)
	}
	if c.left <= len(b) {
		c.Buffer.Write(b[:c.left-1])
		return 0, errors.New("the pipe broke")
	}
	c.left -= len(b)
	return c.Buffer.Write(b)
}

// load imports a stream, and returns the receipt.
func load(ctx context.Context, s *sqlite.Spool, stream []byte) (receipt string, err error) {
	var out strings.Builder
	_, err = transfer.Import(ctx, s, bytes.NewReader(stream),
		func(r transfer.Receipt) error { return json.NewEncoder(&out).Encode(r) })
	return out.String(), err
}

func TestMove(t *testing.T) {
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	want := fill(t, a, 5)
	stream, err := export(t, a, 0)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, a, nil)
	receipt, err := load(t.Context(), b, stream)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, b, want)
	again, err := load(t.Context(), b, stream)
	if err != nil || strings.Count(again, `"stored":false`) != len(want) {
		t.Errorf("imported again: %v\n%s", err, again)
	}
	holds(t, b, want)
	for _, removed := range []int{len(want), 0} {
		if n, err := transfer.Done(t.Context(), a, strings.NewReader(receipt)); n != removed || err != nil {
			t.Errorf("%d removed, want %d: %v", n, removed, err)
		}
	}
	if st, err := a.Stat(t.Context()); err != nil || st.Messages != 0 || st.Bytes != 0 {
		t.Errorf("left behind: %+v %v", st, err)
	}
}

// TestKilledAnywhere breaks each step at many places, does it again, and looks that each message is in one
// spool only, and sent by one only.
func TestKilledAnywhere(t *testing.T) {
	whole := func() int {
		s := open(t, t.TempDir())
		fill(t, s, 3)
		stream, err := export(t, s, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(stream)
	}()
	for at := 1; at < whole; at += whole / 9 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dirA, dirB := t.TempDir(), t.TempDir()
			a, b := open(t, dirA), open(t, dirB)
			want := fill(t, a, 3)
			part, err := export(t, a, at)
			if err == nil {
				t.Fatal("the export did not break")
			}
			a.Close()
			a = open(t, dirA)
			partial, err := load(t.Context(), b, part)
			if err == nil {
				t.Error("a stream that breaks off was taken for a whole one")
			}
			b.Close() // after a part of the import
			b = open(t, dirB)
			if _, err := transfer.Done(t.Context(), a, strings.NewReader(partial)); err != nil {
				t.Error(err)
			}
			rest, err := export(t, a, 0) // under the same batch
			if err != nil {
				t.Fatal(err)
			}
			receipt, err := load(t.Context(), b, rest)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := transfer.Done(t.Context(), a, strings.NewReader(receipt)); err != nil {
				t.Error(err)
			}
			holds(t, b, want)
			holds(t, a, nil)
			if st, err := a.Stat(t.Context()); err != nil || st.Messages != 0 {
				t.Errorf("left behind: %+v %v", st, err)
			}
		})
	}
}

func TestUndo(t *testing.T) {
	a := open(t, t.TempDir())
	want := fill(t, a, 3)
	if _, err := export(t, a, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := transfer.Undo(t.Context(), a, batch); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	holds(t, a, want)
}

// TestIntoItself: the spool that exported gives no receipt, with which --done would lose the mail.
func TestIntoItself(t *testing.T) {
	a := open(t, t.TempDir())
	want := fill(t, a, 2)
	stream, err := export(t, a, 0)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := load(t.Context(), a, stream)
	if err == nil || !strings.Contains(err.Error(), "--undo "+batch) || receipt != "" {
		t.Errorf("%v\n%s", err, receipt)
	}
	if _, err := transfer.Undo(t.Context(), a, batch); err != nil {
		t.Fatal(err)
	}
	holds(t, a, want)
}

// TestThereAndBack moves mail to another spool, back, and there again, each time in a batch of its own.
func TestThereAndBack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	first := open(t, from)
	want := fill(t, first, 2)
	first.Close()
	for i := range 4 {
		a, b := open(t, from), open(t, to)
		var stream bytes.Buffer
		_, _, err := transfer.Export(t.Context(), a, relay.QueueFilter{}, relay.NewID(time.Now()), time.Now(),
			&stream)
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := load(t.Context(), b, stream.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := transfer.Done(t.Context(), a, strings.NewReader(receipt)); n != 2 || err != nil {
			t.Errorf("move %d: %d removed: %v", i, n, err)
		}
		holds(t, b, want)
		a.Close()
		b.Close()
		from, to = to, from
	}
}

// TestSelectedAgain: what is held for the batch is written again, whatever selected it before.
func TestSelectedAgain(t *testing.T) {
	a := open(t, t.TempDir())
	fill(t, a, 2)
	for i := range 2 {
		f := relay.QueueFilter{State: relay.Deferred}
		n, _, err := transfer.Export(t.Context(), a, f, batch, time.Now(), io.Discard)
		if n != 2 || err != nil {
			t.Errorf("export %d: %d messages: %v", i, n, err)
		}
	}
}

// TestDamaged: a content that cannot be read keeps no other mail from being exported, and is not held.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	want := fill(t, a, 3)
	a.Close()
	files, err := filepath.Glob(dir + "/spool/content/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no content has a file", err)
	}
	if err := os.Truncate(files[0], 100); err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(filepath.Base(files[0]), "-")
	delete(want, id)
	a = open(t, dir)
	var stream bytes.Buffer
	n, damaged, err := transfer.Export(t.Context(), a, relay.QueueFilter{}, batch, time.Now(), &stream)
	if n != 2 || len(damaged) != 1 || !strings.Contains(damaged[0].Error(), id) || err != nil {
		t.Errorf("%d exported, %v, %v", n, damaged, err)
	}
	b := open(t, t.TempDir())
	if _, err := load(t.Context(), b, stream.Bytes()); err != nil {
		t.Error(err)
	}
	holds(t, b, want)
	err = a.List(t.Context(), relay.QueueFilter{IDs: []string{id}}, func(m *relay.Message) bool {
		if m.Recipients[0].State != relay.Deferred {
			t.Errorf("it is %s", m.Recipients[0].State)
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBadStreams: what is not an export, or not what was exported, is refused, and nothing of it is stored.
func TestBadStreams(t *testing.T) {
	a := open(t, t.TempDir())
	want := fill(t, a, 1)
	stream, err := export(t, a, 0)
	if err != nil {
		t.Fatal(err)
	}
	for id := range want {
		damaged := bytes.Replace(bytes.Clone(stream), []byte(id+"\r\n"), []byte("X"+id[1:]+"\r\n"), 1)
		for name, tt := range map[string]struct {
			stream []byte
			want   string
		}{
			"nothing": {nil, "not an export"},
			"text":    {[]byte(strings.Repeat("hello\n", 200)), "not an export"},
			"a later format": {bytes.Replace(stream, []byte(`"format":1`), []byte(`"format":9`), 1),
				"format 9"},
			"a damaged content": {damaged, "SHA-256"},
		} {
			b := open(t, t.TempDir())
			if receipt, err := load(t.Context(), b, tt.stream); err == nil ||
				!strings.Contains(err.Error(), tt.want) || receipt != "" {
				t.Errorf("%s: %v\n%s", name, err, receipt)
			}
			holds(t, b, nil)
		}
	}
	if _, err := transfer.Done(t.Context(), a, strings.NewReader("no receipt\n")); err == nil {
		t.Error("any text is a receipt")
	}
}

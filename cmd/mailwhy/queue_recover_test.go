package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	spool "mailwhy/relay/spool/sqlite"
)

// killedJournal is the journal of a spool whose relay was killed with n messages in it.
func killedJournal(t *testing.T, n int) (file string, ids []string) {
	t.Helper()
	dir := t.TempDir()
	s, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// As a lane that has nothing to do looks.
	if _, _, err := s.Lease(t.Context(), relay.LeaseQuery{Lane: "default", Now: time.Now(), Max: 1,
		For: time.Second}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m := &relay.Message{ID: relay.NewID(time.Now()), Lane: "default", Arrived: time.Now(),
			Envelope: relay.Envelope{From: "app@shop.example"}}
		m.Recipients = []relay.Recipient{{Address: fmt.Sprintf("to%d@there.example", i), State: relay.Queued,
			NextAttempt: time.Now()}}
		if err := s.Put(t.Context(), []*relay.Message{m},
			strings.NewReader("Subject: x\r\n\r\nbody\r\n")); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.ID)
	}
	b, err := os.ReadFile(filepath.Join(dir, "journal-2"))
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "set-aside")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, ids
}

// recoverFrom runs queue recover.
func recoverFrom(args ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	status = run(append([]string{"queue", "recover"}, args...), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), status
}

// TestQueueRecover lists a journal that was set aside, puts one of its messages and then all back, once, and
// finds them in the queue.
func TestQueueRecover(t *testing.T) {
	file, ids := killedJournal(t, 3)
	dir := t.TempDir()
	out, _, status := recoverFrom("--spool", dir, file)
	for _, want := range append(ids, "from <app@shop.example>", "to2@there.example", "20 B",
		"3 messages, 3 recipients", "--put") {
		if !strings.Contains(out, want) || status != 0 {
			t.Errorf("status %d, no %q in the list:\n%s", status, want, out)
		}
	}
	out, _, _ = recoverFrom("--spool", dir, "--json", file, ids[1])
	var line struct {
		ID, From   string
		Size       int64
		Recipients []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(out), &line); err != nil || line.ID != ids[1] ||
		line.From != "app@shop.example" || line.Size != 20 ||
		len(line.Recipients) != 1 {
		t.Errorf("%v: %s", err, out)
	}
	if out, _, status := recoverFrom("--spool", dir, "--put", file, ids[1]); out != ids[1]+"  put back\n" ||
		status != 0 {
		t.Errorf("one: status %d, %s", status, out)
	}
	want := ids[0] + "  put back\n" +
		ids[1] + "  is in the queue, or was put back before\n" + ids[2] + "  put back\n"
	if out, stderr, status := recoverFrom("--spool", dir, "--put", file); out != want || status != 0 {
		t.Errorf("all: status %d, %s%s", status, out, stderr)
	}
	s, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st, err := s.Stat(t.Context()); err != nil || st.Messages != 3 {
		t.Errorf("the queue has %d messages, %v", st.Messages, err)
	}
	if _, stderr, status := recoverFrom("--spool", dir, "--put", file); status == 0 ||
		!strings.Contains(stderr,
			"stop the relay") {
		t.Errorf("beside a relay: status %d, %s", status, stderr)
	}
}

// TestQueueRecoverMistakes: what cannot be read or put back is reported, and the exit status is not 0.
func TestQueueRecoverMistakes(t *testing.T) {
	file, ids := killedJournal(t, 2)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.LastIndex(b, []byte("body"))] ^= 1
	os.WriteFile(file, b, 0o600)
	dir := t.TempDir()
	if out, _, _ := recoverFrom("--spool", dir, file); !strings.Contains(out, "damaged: ") {
		t.Errorf("the damaged message is not shown as such:\n%s", out)
	}
	out, _, status := recoverFrom("--spool", dir, "--put", file)
	if status != exitFailure || !strings.Contains(out, ids[0]+"  put back") ||
		!strings.Contains(out, ids[1]+"  failed: ") {
		t.Errorf("status %d:\n%s", status, out)
	}
	other := filepath.Join(t.TempDir(), "mbox")
	os.WriteFile(other, bytes.Repeat([]byte("From me\n"), 2000), 0o600)
	for _, args := range [][]string{
		{other}, {other + "-missing"}, {file, relay.NewID(time.Now())}, {file, "x"},
	} {
		if _, stderr, status := recoverFrom(append([]string{"--spool", dir}, args...)...); status == 0 ||
			stderr == "" {
			t.Errorf("%q: status %d, %q", args, status, stderr)
		}
	}
}

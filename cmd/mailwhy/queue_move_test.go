package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	spool "mailwhy/relay/spool/sqlite"
)

// moving runs mailwhy, which must end with a status.
func moving(t *testing.T, status int, stdin []byte, args ...string) (stdout []byte, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(args, bytes.NewReader(stdin), &out, &errs); got != status {
		t.Fatalf("%v: status %d: %s", args, got, errs.String())
	}
	return out.Bytes(), errs.String()
}

// TestQueueMove moves mail by the three commands.
func TestQueueMove(t *testing.T) {
	here, there := t.TempDir()+"/spool", t.TempDir()+"/spool"
	var id string
	for _, dir := range []string{there, here} {
		s, err := spool.Open(spool.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if dir == here {
			now := time.Now()
			id = relay.NewID(now)
			m := &relay.Message{ID: id, Lane: "default", Arrived: now, Recipients: []relay.Recipient{
				{Address: "joe@any.test", State: relay.Queued, NextAttempt: now}}}
			if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
			_, stderr := moving(t, 1, nil, "queue", "export", "--all", "--spool", here)
			if !strings.Contains(stderr, "stop the relay") {
				t.Errorf("a spool that is in use: %s", stderr)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	moving(t, 2, nil, "queue", "export", "--spool", here) // nothing is selected
	stream, stderr := moving(t, 0, nil, "queue", "export", "--all", "--spool", here)
	if !strings.Contains(stderr, "1 message exported") {
		t.Error(stderr)
	}
	shown, _ := moving(t, 0, nil, "queue", "list", "--spool", here)
	if !strings.Contains(string(shown), "exported in batch ") {
		t.Errorf("it is shown as %s", shown)
	}
	_, stderr = moving(t, 1, stream, "queue", "import", "--spool", there+"-not")
	if !strings.Contains(stderr, "there is no spool at") {
		t.Errorf("a directory that is not there: %s", stderr)
	}
	receipt, _ := moving(t, 0, stream, "queue", "import", "--spool", there)
	if !strings.Contains(string(receipt), `"id":"`+id+`","stored":true`) {
		t.Errorf("the receipt is %s", receipt)
	}
	if said, _ := moving(t, 0, receipt, "queue", "export", "--done", "--spool", here); string(said) !=
		"1 message removed\n" {
		t.Errorf("%q", said)
	}
	for dir, want := range map[string]bool{here: false, there: true} {
		if shown, _ := moving(t, 0, nil, "queue", "list", "--spool", dir); strings.Contains(string(shown),
			id) != want {
			t.Errorf("%s shows %s", dir, shown)
		}
	}
}

package suppress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// childList is the variable that makes the test program a process with a list of its own, to be killed.
const childList = "MAILWHY_TEST_SUPPRESSION_LIST"

// TestMain runs the child.
func TestMain(m *testing.M) {
	if path := os.Getenv(childList); path != "" {
		child(path)
		return
	}
	os.Exit(m.Run())
}

// child adds addresses and records failures until it is killed. It names each address once it is durable.
func child(path string) {
	set := Settings{Mode: Enforce, TTL: []time.Duration{7 * day}, Most: 1e6, Breaker: Breaker{Share: 2}}
	l, err := Open(Options{Path: path, Settings: func() Settings { return set }, Now: time.Now,
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Record: func(e relay.Event) { fmt.Println(e.To) }})
	for i := 0; err == nil; i++ {
		to := fmt.Sprintf("%d-%d@dead.example", os.Getpid(), i)
		if i%2 == 0 {
			_, err = l.Put(context.Background(), []relay.Suppression{{Address: "put-" + to}})
			continue
		}
		l.Record(relay.Event{Time: time.Now(), Kind: relay.EventFailed, From: "a@b.example", To: to,
			Tried: &relay.Attempt{Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply(unknown)},
			Diagnosis: &diagnose.Diagnosis{Reason: "user_unknown", Basis: diagnose.BasisText,
				Confidence: diagnose.High, Scope: diagnose.ScopeRecipient,
				Action: diagnose.ActionRemoveAddress}})
	}
	fmt.Println(err)
}

// TestKilled: what was said to be stored is there after kill -9, however often and whenever it comes.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "suppressions.db")
	var stored []string
	for round := range 8 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childList+"="+path)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines, n := bufio.NewScanner(out), 0
		for lines.Scan() {
			stored = append(stored, lines.Text())
			if n++; n == 20+13*round {
				c.Process.Kill() // what was said before is still read
			}
		}
		c.Wait()
		if n < 20 {
			t.Fatalf("the child ended: %q", stored)
		}
	}
	w := newWorld(t)
	w.list.Close()
	w.path = path
	w.open()
	for _, to := range stored[:len(stored)-1] { // the last line may be cut
		if !strings.HasSuffix(to, "@dead.example") || w.of(to) == nil {
			t.Errorf("%q is not there", to)
		}
	}
	if err := w.list.State().Fault; err != nil {
		t.Error(err)
	}
}

package traffic

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
)

func TestMessageIsTheSameAgain(t *testing.T) {
	a, b := Mix{}.Message("t1"), Mix{}.Message("t1")
	if string(a.Content) != string(b.Content) || strings.Join(a.To, " ") != strings.Join(b.To, " ") {
		t.Error("two messages of one id differ")
	}
	if c := (Mix{}).Message("t2"); string(c.Content) == string(a.Content) {
		t.Error("two ids make one content")
	}
	for line := range strings.Lines(string(a.Stuffed())) {
		if line == ".\r\n" {
			t.Error("a line of the content ends it")
		}
	}
}

// TestClientAndSink: whatever a client offers, the sink enters what the client meant.
func TestClientAndSink(t *testing.T) {
	l, err := ledger.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	k, err := StartSink(l, "", "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c := &Client{Ledger: l, Addr: k.Addr(), Prefix: "m", Mix: Mix{Users: GoodUser}, Drops: true}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	wait := c.Load(ctx, 4, 0)
	for l.Acked() < 100 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wait()
	v, err := l.Check(ledger.Rules{})
	if err != nil || len(v.Broken) > 0 || v.Acked < 100 || v.Arrived < v.Acked {
		t.Errorf("%v, %v, broken %q", err, v.Tally, v.Broken)
	}
	if v.Offered < v.Acked || !k.Quiet() {
		t.Errorf("offered %d, open sessions %d", v.Offered, k.Stats().Open)
	}
	if err := c.Offer(t.Context(), Mix{Users: BadUser}.Message("x1")); !errors.Is(err, smtptest.ErrRefused) {
		t.Errorf("a bad user: %v", err)
	}
}

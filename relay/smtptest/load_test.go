package smtptest_test

import (
	"context"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/ledger"
)

func TestLoadComesExactlyOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		load smtptest.Load
	}{
		{"many a connection", smtptest.Load{Sessions: 4, Messages: 200, Size: 4096}},
		{"one a connection", smtptest.Load{Sessions: 4, Messages: 40, Size: 100, PerConnection: 1}},
		{"pipelined", smtptest.Load{Sessions: 4, Messages: 200, Size: 4096, Pipelining: true}},
		{"large", smtptest.Load{Sessions: 2, Messages: 3, Size: 2 << 20}},
		{"empty", smtptest.Load{Messages: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := ledger.New()
			s := smtptest.New(t, smtptest.Options{Ledger: l, Forget: true})
			tt.load.Addr, tt.load.Ledger = s.Addr(), l
			r, err := tt.load.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Settled(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := tt.load.Messages
			if v, want := checked(
				t,
				l,
			), (ledger.Tally{Offered: n, Acked: n, Arrived: n}); v.Tally != want ||
				len(v.Broken) > 0 {
				t.Errorf("%+v, broken %q", v.Tally, v.Broken)
			}
			if r.Acked != n || r.Whole.Quantile(0.5) <= 0 ||
				r.Whole.Quantile(0.99) < r.Content.Quantile(0.5) {
				t.Errorf("result %+v", r)
			}
			if each := tt.load.PerConnection; each > 0 && s.Stats().Sessions < int64((n+each-1)/each) {
				t.Errorf("%d sessions for %d messages, %d a connection", s.Stats().Sessions, n, each)
			}
		})
	}
}

// checked is what a ledger comes to.
func checked(t *testing.T, l *ledger.Ledger) *ledger.Verdict {
	t.Helper()
	v, err := l.Check(ledger.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLedgerSeesWhatIsWrong(t *testing.T) {
	l := ledger.New()
	front := smtptest.New(t, smtptest.Options{}) // takes the load, as a relay does
	sink := smtptest.New(t, smtptest.Options{Ledger: l})
	load := smtptest.Load{
		Addr:     front.Addr(),
		Messages: 5,
		Size:     200,
		From:     "a@b.test",
		To:       "x@y.test",
		Ledger:   l,
	}
	if _, err := load.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := greet(t, sink.Addr())
	m := front.Messages()
	whole := func(i int) string { return string(m[i].Content[:len(m[i].Content)-2]) }
	const status = "\r\nFinal-Recipient: rfc822; x@y.test\r\nAction: failed\r\n\r\n"
	c.put("Received: by relay\r\n" + whole(0))           // as it should be
	c.put(whole(1))                                      // twice
	c.put(whole(1))                                      //
	c.put(whole(2) + "x")                                // damaged
	c.put("Subject: bounce\r\n\r\n" + status + whole(3)) // returned
	c.put("Subject: not ours\r\n\r\nx")                  //
	v := checked(t, l)
	want := ledger.Tally{
		Offered:    5,
		Acked:      5,
		Arrived:    3,
		Bounced:    1,
		Lost:       1,
		Duplicates: 1,
		Damaged:    1,
		Stray:      1,
	}
	if v.Tally != want || len(v.Broken) != 4 {
		t.Errorf("got  %+v, broken %q\nwant %+v", v.Tally, v.Broken, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.Settled(ctx); err == nil {
		t.Error("settled, with one lost")
	}
}

// TestRefusedContentIsNotEntered: what the server does not take has not arrived.
func TestRefusedContentIsNotEntered(t *testing.T) {
	l := ledger.New()
	s := smtptest.New(t, smtptest.Options{Ledger: l, Script: func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData {
			return smtptest.Action{Reply: "554 5.6.0 no"}
		}
		return smtptest.Action{}
	}})
	r, err := smtptest.Load{Addr: s.Addr(), Messages: 2, Ledger: l}.Run(t.Context())
	if v := checked(t, l); err != nil || r.Refused != 2 || v.Tally != (ledger.Tally{Offered: 2, Refused: 2}) {
		t.Errorf("%v, %+v, %+v", err, r, v)
	}
}

func TestLoadCountsRefusalsAndBreaks(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		switch {
		case c.Stage == diagnose.StageRcpt && c.Message%3 == 1:
			return smtptest.Action{Reply: "550 5.1.1 no"}
		case c.Stage == diagnose.StageEndOfData && c.Message%3 == 2:
			return smtptest.Action{Reply: "452 4.3.1 full"}
		case c.Stage == diagnose.StageEndOfData && c.Message == 6:
			return smtptest.Action{End: smtptest.EndReset}
		}
		return smtptest.Action{}
	}})
	r, err := smtptest.Load{Addr: s.Addr(), Messages: 7}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Acked != 1 || r.Refused != 5 || r.Broken != 1 {
		t.Errorf("acked %d, refused %d, broken %d; want 1, 5, 1", r.Acked, r.Refused, r.Broken)
	}
}

func TestLoadGivesUpOnADeadServer(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	s.Close()
	if _, err := (smtptest.Load{Addr: s.Addr(), Messages: 1, Timeout: 50 * time.Millisecond}).Run(
		t.Context(),
	); err == nil {
		t.Error("no error")
	}
}

// BenchmarkSink is the ceiling of every end-to-end figure: the load straight into the sink.
func BenchmarkSink(b *testing.B) {
	for _, pipelining := range []bool{false, true} {
		name := map[bool]string{false: "lockstep", true: "pipelined"}[pipelining]
		b.Run(name, func(b *testing.B) {
			l := ledger.New()
			s := smtptest.New(b, smtptest.Options{Ledger: l, Forget: true})
			b.ResetTimer()
			load := smtptest.Load{
				Addr: s.Addr(), Sessions: 20, Messages: b.N, Size: 4096, Pipelining: pipelining, Ledger: l,
			}
			if _, err := load.Run(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

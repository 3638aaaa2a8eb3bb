package smtptest_test

import (
	"context"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
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
			ledger := smtptest.NewLedger()
			s := smtptest.New(t, smtptest.Options{Ledger: ledger, Forget: true})
			tt.load.Addr, tt.load.Ledger = s.Addr(), ledger
			r, err := tt.load.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ledger.Settled(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := tt.load.Messages
			if got, want := ledger.Tally(), (smtptest.Tally{Offered: n, Acked: n, Arrived: n}); got != want {
				t.Errorf("%v", got)
			}
			if r.Acked != n || r.Whole.Quantile(0.5) <= 0 || r.Whole.Quantile(0.99) < r.Content.Quantile(0.5) {
				t.Errorf("result %+v", r)
			}
			if want := (n + max(tt.load.PerConnection, 1) - 1) / max(tt.load.PerConnection, 1); tt.load.PerConnection > 0 && s.Stats().Sessions < int64(want) {
				t.Errorf("%d sessions, want %d", s.Stats().Sessions, want)
			}
		})
	}
}

func TestLedgerSeesWhatIsWrong(t *testing.T) {
	ledger := smtptest.NewLedger()
	front := smtptest.New(t, smtptest.Options{}) // takes the load, as a relay does
	sink := smtptest.New(t, smtptest.Options{Ledger: ledger})
	load := smtptest.Load{Addr: front.Addr(), Messages: 5, Size: 200, Ledger: ledger}
	if _, err := load.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := greet(t, sink.Addr())
	m := front.Messages()
	whole := func(i int) string { return string(m[i].Content[:len(m[i].Content)-2]) }
	c.put("Received: by relay\r\n" + whole(0))                        // well
	c.put(whole(1))                                                   // twice
	c.put(whole(1))                                                   //
	c.put(whole(2) + "x")                                             // damaged
	c.put("Subject: bounce\r\n\r\nYour message said:\r\n" + whole(3)) // returned
	c.put("Subject: none of ours\r\n\r\nx")                           //
	want := smtptest.Tally{Offered: 5, Acked: 5, Arrived: 3, Returned: 1, Lost: 1, Duplicated: 1, Damaged: 1, Other: 1}
	if got := ledger.Tally(); got != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := ledger.Settled(ctx); err == nil {
		t.Error("settled, with one lost")
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
	if _, err := (smtptest.Load{Addr: s.Addr(), Messages: 1, Timeout: 50 * time.Millisecond}).Run(t.Context()); err == nil {
		t.Error("no error")
	}
}

// BenchmarkSink is the ceiling of every end-to-end figure: the load straight into the sink.
func BenchmarkSink(b *testing.B) {
	for _, pipelining := range []bool{false, true} {
		name := map[bool]string{false: "lockstep", true: "pipelined"}[pipelining]
		b.Run(name, func(b *testing.B) {
			ledger := smtptest.NewLedger()
			s := smtptest.New(b, smtptest.Options{Ledger: ledger, Forget: true})
			b.ResetTimer()
			load := smtptest.Load{Addr: s.Addr(), Sessions: 20, Messages: b.N, Size: 4096, Pipelining: pipelining, Ledger: ledger}
			if _, err := load.Run(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

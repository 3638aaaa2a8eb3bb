package ledger

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

func openLedger(t *testing.T) *Ledger {
	t.Helper()
	l, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLedgerKeepsWhatManyWrite(t *testing.T) {
	for name, l := range map[string]*Ledger{"memory": New(), "disk": openLedger(t)} {
		t.Run(name, func(t *testing.T) { keepsWhatManyWrite(t, l) })
	}
}

func keepsWhatManyWrite(t *testing.T, l *Ledger) {
	var wg sync.WaitGroup
	const writers, each = 8, 25
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id := string(rune('a'+w)) + string(rune('a'+i))
				for _, r := range []Record{
					{What: Began, To: []string{"x", "y"}}, {What: Dotted},
					{What: Acked, To: []string{"x", "y"}}, {What: Arrived, To: []string{"x"}},
				} {
					r.ID = id
					if err := l.Write(r); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n, waiting := l.Outstanding(), l.Waiting(); n != writers*each || len(waiting) != n ||
		l.Unsettled(waiting) != n {
		t.Errorf("%d outstanding, %d waiting, want %d", n, len(waiting), writers*each)
	}
	records, err := l.Records()
	if err != nil || len(records) != 4*writers*each {
		t.Fatalf("%d records, %v", len(records), err)
	}
	v := Check(records, Rules{Concurrency: 1})
	if v.Acked != writers*each || v.Arrived != writers*each || v.Lost != writers*each {
		t.Errorf("%+v", v.Tally)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.Settled(ctx); err == nil {
		t.Error("settled, with mail outstanding")
	}
}

// TestSettled: an answer and an arrival may come in either order, and more than once.
func TestSettled(t *testing.T) {
	l := New()
	to := []string{"x"}
	for _, r := range []Record{
		{What: Arrived, ID: "1", To: to}, {What: Acked, ID: "1", To: to}, {What: Arrived, ID: "1", To: to},
		{What: Acked, ID: "2", To: to}, {What: Bounced, ID: "2", To: to}, {What: Bounced, ID: "2", To: to},
		{What: Refused, ID: "3", Code: 452},
	} {
		if err := l.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := l.Settled(t.Context()); err != nil || last.IsZero() || l.Outstanding() != 0 {
		t.Errorf("%v, %v, %d outstanding", last, err, l.Outstanding())
	}
	if l.Acked() != 2 || l.RefusedWith(452) != 1 {
		t.Errorf("%d acked, %d refused with 452", l.Acked(), l.RefusedWith(452))
	}
}

// arrival is the record of a content.
func arrival(l *Ledger, content string) Record {
	a := l.Arrive()
	for line := range strings.Lines(strings.ReplaceAll(content, "\n", "\r\n")) {
		a.Line([]byte(line))
	}
	return a.record("a@b.test", []string{"x"})
}

func TestArrival(t *testing.T) {
	const trace = "Received: from client.test\n\tby relay.test; now\n"
	whole := Mark + "m1\nSubject: x\n\n.body\n"
	for _, l := range []*Ledger{New(), openLedger(t)} {
		sum := l.Sum([]byte(strings.ReplaceAll(whole, "\n", "\r\n")))
		r := arrival(l, trace+whole)
		if r.What != Arrived || r.ID != "m1" || r.Sum != sum || r.Note != "" || r.From != "a@b.test" {
			t.Errorf("whole: %+v", r)
		}
		if r := arrival(l, whole[:len(whole)-2]); r.Sum == sum {
			t.Error("a truncated content has the sum of the whole")
		}
		if r := arrival(l, "X-Other: y\n"+whole); !strings.Contains(r.Note, "X-Other") {
			t.Error("a line was added, and not noticed")
		}
		if r := arrival(
			l,
			"Subject: not ours\n\nx\n",
		); r.What != Stray ||
			!strings.Contains(r.Note, "not ours") {
			t.Errorf("stray: %+v", r)
		}
	}
}

const status = `From: MAILER-DAEMON@relay.test
Message-ID: <1@relay.test>
Content-Type: multipart/report; report-type=delivery-status; boundary=x

--x
Content-Type: text/plain

It could not be relayed.
--x
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.test

Final-Recipient: rfc822; bad.m000001.0@sink.test
Action: failed
Status: 5.1.1

final-recipient: RFC822;
 bad.m000001.1@sink.test
ACTION:
 Failed
Status: 5.1.1

Final-Recipient: rfc822; soft.m000001.2@sink.test
Action: delayed
Status: 4.2.1

Final-Recipient: x400; /C=fr/
Action: failed

--x
Content-Type: text/rfc822-headers

` + Mark + `m000001
Message-ID: <m000001@load.test>
--x--
`

func TestArrivalOfAReport(t *testing.T) {
	r := arrival(New(), status)
	if r.What != Bounced || r.ID != "m000001" || r.Report != "<1@relay.test>" ||
		strings.Join(r.To, " ") != "bad.m000001.0@sink.test bad.m000001.1@sink.test" {
		t.Errorf("%+v", r)
	}
	if Address("bad", "m000001", 1) != r.To[1] {
		t.Errorf("Address is %s", Address("bad", "m000001", 1))
	}
	other := strings.ReplaceAll(
		strings.ReplaceAll(status, "bad.m000001.0@", "user@"),
		"bad.m000001.1@",
		"user2@",
	)
	if r := arrival(New(), other); r.What != Bounced || r.ID != "m000001" || len(r.To) != 2 {
		t.Errorf("by the returned message: %+v", r)
	}
	if r := arrival(
		New(),
		strings.ReplaceAll(
			strings.ReplaceAll(status, "Action: failed", "Action: delayed"),
			"Failed",
			"delayed",
		),
	); r.What != Stray {
		t.Errorf("a report of delay: %+v", r)
	}
}

package main

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// story writes records at one second's distance.
type story struct {
	records []record
	at      time.Time
}

func (s *story) add(r record) *story {
	s.at = s.at.Add(time.Second)
	r.Time = s.at
	s.records = append(s.records, r)
	return s
}

// offered is a message that the client finished, and acknowledged one that was answered with 250.
func (s *story) offered(id string, to ...string) *story {
	return s.add(record{What: began, ID: id, From: "a@b.test", To: to, Sum: "sum-" + id}).add(record{What: dotted, ID: id})
}

func (s *story) acknowledged(id string, to ...string) *story {
	return s.offered(id, to...).add(record{What: acked, ID: id, To: to, Queue: "Q" + id})
}

func (s *story) arrived(id string, to ...string) *story {
	return s.add(record{What: arrived, ID: id, From: "a@b.test", To: to, Sum: "sum-" + id})
}

func (s *story) bounced(report, id string, to ...string) *story {
	return s.add(record{What: bounced, ID: id, To: to, Report: report})
}

func (s *story) crash() *story { return s.add(record{What: crashed}) }

func TestCheck(t *testing.T) {
	start := func() *story { return &story{at: time.Unix(1e9, 0)} }
	two := rules{concurrency: 2}
	tests := []struct {
		name   string
		story  *story
		rules  rules
		broken string // in the one violation; "" is none
		want   tally
	}{
		{"nothing", start(), two, "", tally{}},
		{"relayed", start().acknowledged("1", "x", "y").arrived("1", "x", "y"), two, "", tally{Acked: 1, Arrived: 2}},
		{"bounced", start().acknowledged("1", "x", "y").arrived("1", "x").bounced("r", "1", "y"), two, "", tally{Acked: 1, Arrived: 1, Bounced: 1}},
		{"lost", start().acknowledged("1", "x"), two, "I1", tally{Acked: 1, Lost: 1}},
		{"lost for one of two", start().acknowledged("1", "x", "y").arrived("1", "x"), two, "I1", tally{Acked: 1, Arrived: 1, Lost: 1}},
		{"lost and named", start().acknowledged("1", "x"), rules{named: func(q string) bool { return q == "Q1" }}, "", tally{Acked: 1, Named: 1}},
		{"lost and another named", start().acknowledged("1", "x"), rules{named: func(q string) bool { return q == "Q2" }}, "I1", tally{Acked: 1, Lost: 1}},
		{"unanswered need not arrive", start().offered("1", "x"), two, "", tally{Unanswered: 1}},
		{"unanswered may arrive", start().offered("1", "x").arrived("1", "x"), two, "", tally{Unanswered: 1, Arrived: 1, Unasked: 1}},
		{"twice", start().acknowledged("1", "x").arrived("1", "x").arrived("1", "x"), two, "I2", tally{Acked: 1, Arrived: 1, Duplicates: 1}},
		{"twice, no crash between", start().acknowledged("1", "x").crash().arrived("1", "x").arrived("1", "x"), two, "I2",
			tally{Acked: 1, Arrived: 1, Duplicates: 1, Crashes: 1}},
		{"twice around a crash", start().acknowledged("1", "x").arrived("1", "x").crash().arrived("1", "x"), two, "",
			tally{Acked: 1, Arrived: 1, Duplicates: 1, Worst: 1, Crashes: 1}},
		{"three times around one crash", start().acknowledged("1", "x").arrived("1", "x").crash().arrived("1", "x").arrived("1", "x"), two, "I2",
			tally{Acked: 1, Arrived: 1, Duplicates: 2, Worst: 1, Crashes: 1}},
		{"more at a crash than connections", start().acknowledged("1", "x").acknowledged("2", "x").acknowledged("3", "x").
			arrived("1", "x").arrived("2", "x").arrived("3", "x").crash().arrived("1", "x").arrived("2", "x").arrived("3", "x"), two, "I2",
			tally{Acked: 3, Arrived: 3, Duplicates: 3, Worst: 3, Crashes: 1}},
		{"one message for two recipients is one", start().acknowledged("1", "x", "y").arrived("1", "x", "y").crash().arrived("1", "x", "y"),
			rules{concurrency: 1}, "", tally{Acked: 1, Arrived: 2, Duplicates: 2, Worst: 1, Crashes: 1}},
		{"twice after an ambiguous end", start().acknowledged("1", "x").arrived("1", "x").arrived("1", "x"),
			rules{ambiguous: map[string]int{"Q1": 1}}, "", tally{Acked: 1, Arrived: 1, Duplicates: 1}},
		{"three times after an ambiguous end", start().acknowledged("1", "x").arrived("1", "x").arrived("1", "x").arrived("1", "x"),
			rules{ambiguous: map[string]int{"Q1": 1}}, "I2", tally{Acked: 1, Arrived: 1, Duplicates: 2}},
		{"damaged", start().acknowledged("1", "x").add(record{What: arrived, ID: "1", From: "a@b.test", To: []string{"x"}, Sum: "other"}), two, "I3",
			tally{Acked: 1, Arrived: 1, Damaged: 1}},
		{"something before the content", start().acknowledged("1", "x").add(record{What: arrived, ID: "1", From: "a@b.test", To: []string{"x"}, Sum: "sum-1", Note: "X: y"}),
			two, "I3", tally{Acked: 1, Arrived: 1, Damaged: 1}},
		{"another sender", start().acknowledged("1", "x").add(record{What: arrived, ID: "1", From: "", To: []string{"x"}, Sum: "sum-1"}), two, "I3",
			tally{Acked: 1, Arrived: 1}},
		{"another recipient", start().acknowledged("1", "x").arrived("1", "x", "z"), two, "I3", tally{Acked: 1, Arrived: 1}},
		{"invented", start().arrived("1", "x"), two, "I3", tally{Unasked: 1}},
		{"truncated: the dot was never said", start().add(record{What: began, ID: "1", From: "a@b.test", To: []string{"x"}, Sum: "sum-1"}).arrived("1", "x"), two, "I4",
			tally{Arrived: 1, Unasked: 1}},
		{"refused and arrived", start().offered("1", "x").add(record{What: refused, ID: "1"}).arrived("1", "x"), two, "I4",
			tally{Refused: 1, Arrived: 1, Unasked: 1}},
		{"refused for the disk and arrived", start().offered("1", "x").add(record{What: refused, ID: "1"}).arrived("1", "x"), rules{refusedMay: true}, "",
			tally{Refused: 1, Arrived: 1, Unasked: 1}},
		{"arrived and bounced", start().acknowledged("1", "x").arrived("1", "x").bounced("r", "1", "x"), two, "I5", tally{Acked: 1, Arrived: 1, Bounced: 1}},
		{"two reports", start().acknowledged("1", "x").bounced("r", "1", "x").crash().bounced("s", "1", "x"), two, "I5",
			tally{Acked: 1, Bounced: 1, Duplicates: 1, Worst: 1, Crashes: 1}},
		{"one report twice after a crash", start().acknowledged("1", "x").bounced("r", "1", "x").crash().bounced("r", "1", "x"), two, "",
			tally{Acked: 1, Bounced: 1, Duplicates: 1, Worst: 1, Crashes: 1}},
		{"one report twice without one", start().acknowledged("1", "x").bounced("r", "1", "x").bounced("r", "1", "x"), two, "I2",
			tally{Acked: 1, Bounced: 1, Duplicates: 1}},
		{"a report to nobody", start().add(record{What: began, ID: "1", To: []string{"x"}}).add(record{What: dotted, ID: "1"}).
			add(record{What: acked, ID: "1", To: []string{"x"}}).bounced("r", "1", "x"), two, "I5", tally{Acked: 1, Bounced: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := check(tt.story.records, tt.rules)
			if v.tally != tt.want {
				t.Errorf("tally %+v\nwant  %+v", v.tally, tt.want)
			}
			switch {
			case tt.broken == "" && len(v.broken) > 0:
				t.Errorf("broken: %q", v.broken)
			case tt.broken != "" && (len(v.broken) != 1 || !strings.HasPrefix(v.broken[0], tt.broken)):
				t.Errorf("broken: %q, want one %s", v.broken, tt.broken)
			}
		})
	}
}

func TestLedgerKeepsWhatManyWrite(t *testing.T) {
	l, err := openLedger(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var wg sync.WaitGroup
	const writers, each = 8, 25
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id := string(rune('a'+w)) + string(rune('a'+i))
				for _, r := range []record{{What: began, To: []string{"x", "y"}}, {What: dotted}, {What: acked, To: []string{"x", "y"}}, {What: arrived, To: []string{"x"}}} {
					r.ID = id
					if err := l.write(r); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := l.outstanding(); n != writers*each {
		t.Errorf("%d outstanding, want %d", n, writers*each)
	}
	records, err := l.read()
	if err != nil || len(records) != 4*writers*each {
		t.Fatalf("%d records, %v", len(records), err)
	}
	v := check(records, rules{concurrency: 1})
	if v.Acked != writers*each || v.Arrived != writers*each || v.Lost != writers*each {
		t.Errorf("%+v", v.tally)
	}
}

func TestReadArrival(t *testing.T) {
	m := mix{}.newMessage("t000001")
	trace := "Received: from client.test\r\n\tby relay.test; now\r\n"
	if r := readArrival([]byte(trace + string(m.content))); r.What != arrived || r.ID != m.id || r.Sum != m.sum || r.Note != "" {
		t.Errorf("whole: %+v", r)
	}
	if r := readArrival(m.content[:len(m.content)-3]); r.Sum == m.sum {
		t.Error("a truncated content has the sum of the whole")
	}
	if r := readArrival([]byte("X-Other: y\r\n" + string(m.content))); r.Note == "" {
		t.Error("a line was added, and not noticed")
	}
}

func TestReadReport(t *testing.T) {
	text := strings.ReplaceAll(`From: MAILER-DAEMON@relay.test
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

Final-Recipient: rfc822;
 bad.m000001.1@sink.test
Action: failed
Status: 5.1.1

Final-Recipient: rfc822; soft.m000001.2@sink.test
Action: delayed
Status: 4.2.1

--x
Content-Type: text/rfc822-headers

X-Fault-Id: m000001
--x--
`, "\n", "\r\n")
	r := readArrival([]byte(text))
	if r.What != bounced || r.ID != "m000001" || r.Report != "<1@relay.test>" || len(r.To) != 2 || r.To[1] != "bad.m000001.1@sink.test" {
		t.Errorf("%+v", r)
	}
	if r := readArrival([]byte("Subject: none of ours\r\n\r\nx\r\n")); len(r.To) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestMessageIsTheSameAgain(t *testing.T) {
	a, b := mix{}.newMessage("t1"), mix{}.newMessage("t1")
	if a.sum != b.sum || string(a.content) != string(b.content) || strings.Join(a.to, " ") != strings.Join(b.to, " ") {
		t.Error("two messages of one id differ")
	}
	if c := (mix{}).newMessage("t2"); c.sum == a.sum {
		t.Error("two ids make one content")
	}
	for _, line := range strings.SplitAfter(string(a.stuffed()), "\r\n") {
		if line == ".\r\n" {
			t.Error("a line of the content ends it")
		}
	}
}

func TestSpoolFile(t *testing.T) {
	for _, tt := range []struct {
		arguments, name string
		ok              bool
	}{
		{`7</x/spool/spool.db-wal>, ""..., 24, 0`, "spool.db-wal", true},
		{`AT_FDCWD</home>, "/x/spool/content/a.tmp", AT_FDCWD</home>, "/x/spool/content/a"`, "content/a.tmp", true},
		{`7</x/spool>`, "", true},
		{`9<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 5`, "", false},
		{"9</x/log>, \"\"..., 5\n12 fsync(7</x/spool/spool.db>)", "", false},
	} {
		if name, ok := spoolFile(tt.arguments, "/x/spool"); name != tt.name || ok != tt.ok {
			t.Errorf("%s: %q, %v", tt.arguments, name, ok)
		}
	}
}

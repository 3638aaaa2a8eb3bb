package diagnose

import (
	"fmt"
	"strings"
	"testing"
)

const typicalReply = "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n" +
	"550-5.1.1 double-checking the recipient's email address for typos or\r\n" +
	"550-5.1.1 unnecessary spaces. For more information, go to\r\n" +
	"550 5.1.1 https://support.google.com/mail/?p=NoSuchUser a1-gsmtp\r\n"

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDiagnose(b *testing.B) {
	e := newEngine(b)
	long := strings.Repeat("The message was not accepted by policy of example.com for 192.0.2.1, "+
		"user is over quota or unknown; ", 700)
	for _, c := range []struct{ name, reply string }{
		{"short", "550 5.1.1 <user@example.com>: Recipient address rejected: User unknown"},
		{"typical", typicalReply},
		{"1KiB", "550 5.7.1 " + long[:1<<10]},
		{"16KiB", "550 5.7.1 " + long[:16<<10]},
		{"64KiB", "550 5.7.1 " + long[:64<<10]},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := Symptom{Reply: ParseReply(c.reply)}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.reply)))
			for b.Loop() {
				e.Diagnose(s)
			}
		})
	}
}

func BenchmarkParseReply(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(typicalReply)))
	for b.Loop() {
		ParseReply(typicalReply)
	}
}

// BenchmarkRules shows that the time does not grow with the number of rules: a user's file adds a thousand.
func BenchmarkRules(b *testing.B) {
	var rules strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&rules, "[[rule]]\nid = \"more-%d\"\nreason = \"policy_rejected\"\n", i)
		fmt.Fprintf(&rules, "any = [\"wording number w%d of many\"]\n", i)
	}
	e, err := New(Options{Rules: []byte(rules.String())})
	if err != nil {
		b.Fatal(err)
	}
	s := Symptom{Reply: ParseReply(typicalReply)}
	for b.Loop() {
		e.Diagnose(s)
	}
}

// TestLinear holds that the search takes about eight times the steps for a text of eight times the length,
// and never more than so many for a byte: a quadratic one would exceed both many times over.
func TestLinear(t *testing.T) {
	e, total := newEngine(t), 0
	for _, unit := range []string{
		"user is unknown over quota blocked using zen.spamhaus.org the the the 550 5.1.1 ", "ab.", "a=b@",
		"550-ab.",
		"http://a,b;", "/a/", "'x-a' header ", "not spf pass ",
		"requested action not taken mailbox unavailable ", "try again after 2026-11-29 11:00:00 UTC ",
	} {
		steps := func(n int) int {
			r := new(row)
			e.read(r, strings.Repeat(unit, n/len(unit)), &Symptom{Reply: Reply{Code: 550}})
			return r.steps
		}
		small, large := steps(4<<10), steps(32<<10)
		if large > 12*small+1000 || large > 16*(32<<10) {
			t.Errorf("%q: 4 KiB took %d steps, 32 KiB took %d", unit, small, large)
		}
		total += large
	}
	if total < 32<<10 {
		t.Errorf("only %d steps were counted", total)
	}
}

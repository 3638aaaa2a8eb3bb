package main

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"mailwhy/diagnose/bounce"
)

// foreignInput is input of a hostile shape for a command that reads what others wrote.
type foreignInput struct {
	name string
	args string
	make func(n int) string
}

func foreignInputs() []foreignInput {
	repeated := func(s string) func(int) string {
		return func(n int) string { return strings.Repeat(s, max(1, n/len(s))) }
	}
	lineOf := func(before, s, after string) func(int) string {
		return func(n int) string { return before + repeated(s)(n) + after + "\n" }
	}
	const (
		status = "x status=bounced (host a[1.2.3.4] said: 550 5.1.1 no)\n"
		event  = `{"v":1,"event":"failed","reply":"550 odd %d","host":"h%d","diagnosis":{"basis":"code",
			"confidence":"low"}}` + "\n"
	)
	events := func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, event, i, i)
		}
		return b.String()
	}
	hosts := func(n int) string {
		return strings.ReplaceAll(events(n), `"host":"`, `"host":"`+
			strings.Repeat("h", 2000))
	}
	bounceOf := func(s string) func(int) string {
		return func(n int) string { return reportWith("", repeated(s)(n)) }
	}
	return []foreignInput{
		{"replies", "diagnose --json", repeated("550 5.1.1 no such user\n")},
		{"one reply", "diagnose --json", lineOf("550 ", "no such user ", "")},
		{"one reply of spaces", "diagnose --json", lineOf("550", " ", "x")},
		{"one reply of codes", "diagnose --json", lineOf("550 ", "550-", "")},
		{"one reply of dots", "diagnose --json", lineOf("550 a", ".-", "a")},
		{"one reply of number signs", "diagnose --json", lineOf("550 ", "#5.", "")},
		{"escaped line ends", "diagnose --json", lineOf("550-a", `\n550-`, "")},
		{"escaped line ends that are none", "diagnose --json", lineOf("550 a", `\n`, "")},
		{"empty lines", "diagnose --json", repeated("\n")},
		{"wording", "diagnose --json --text", lineOf("", "mailbox full ", "")},
		{"addresses", "diagnose --json --text", lineOf("", "a:b@c ", "")},
		{"log lines", "diagnose --log", repeated(status)},
		{"one log line", "diagnose --log", lineOf("", " status=bounced (", "")},
		{"one log line of quotations", "diagnose --log", lineOf("x status=bounced (", "host a[ said: ", "")},
		{"one log line of rejections", "diagnose --log", lineOf("", "reject: RCPT from a: ", "")},
		{"log lines with wordings", "diagnose --log --text", repeated("x status=bounced (no)\n")},
		{"unmatched", "diagnose --unmatched", events},
		{"unmatched of long hosts", "diagnose --unmatched", hosts},
		{"unmatched in one line", "diagnose --unmatched", lineOf(`{"v":1,"reply":"`, "550 ", `"}`)},
		{"a delivery log", "log", events},
		{"a delivery log of one line", "log", lineOf("", "x", "")},
		{"a delivery log of brackets", "log", lineOf("", "[", "")},
		{"a bounce of few words", "diagnose --json --dsn -",
			bounceOf("Final-Recipient: a\r\nStatus: 5.0.0\r\n\r\n")},
		{"a bounce of many words", "diagnose --json --dsn -", bounceOf("X: " + strings.Repeat("550 no\r\n ",
			100) + "\r\n" + aStatus + "\r\n")},
		{"a bounce of folded lines", "diagnose --json --dsn -", func(n int) string {
			return reportWith("", aStatus+repeated(" b\r\n")(n))
		}},
		{"a bounce to be enriched", "diagnose --enrich --dsn -", bounceOf(aStatus + "\n")},
		{"a bounce with line feeds to be enriched", "diagnose --enrich --dsn -", func(n int) string {
			return strings.ReplaceAll(bounceOf(aStatus+"\r\n")(n), "\r\n", "\n")
		}},
	}
}

// read runs the command that reads the input.
func (f *foreignInput) read(input string) int {
	return run(strings.Fields(f.args), strings.NewReader(input), io.Discard, io.Discard)
}

// TestReadersOfForeignInputAreLinear: twice the input takes about twice the memory, of which a square would
// need four times as much.
func TestReadersOfForeignInputAreLinear(t *testing.T) {
	const n = 128 << 10
	allocated := func(f *foreignInput, input string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f.read(input)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, f := range foreignInputs() {
		t.Run(f.name, func(t *testing.T) {
			least := allocated(&f, "")
			once, twice := allocated(&f, f.make(n))-least, allocated(&f, f.make(2*n))-least
			if twice > once*5/2+1<<20 {
				t.Errorf("%d bytes were allocated, then %d", once, twice)
			}
		})
	}
}

// TestLogIsBounded: of a line that is longer than any event only the beginning is kept, and the next one is
// read.
func TestLogIsBounded(t *testing.T) {
	const event = `{"v":1,"time":"2026-11-23T10:00:00Z","event":"accepted","id":"A1"}`
	var out bytes.Buffer
	run([]string{"log"}, strings.NewReader(strings.Repeat("x", 3*maxLine)+"\n"+event), &out, io.Discard)
	shown, next, _ := strings.Cut(out.String(), "...\n")
	if len(shown) != maxLine || !strings.Contains(next, "accepted   A1") {
		t.Errorf("%d bytes are shown, then %.100q", len(shown), next)
	}
	out.Reset()
	run([]string{"log", "--id", "A1"}, strings.NewReader(strings.Repeat("x", 3*maxLine)+"\n"+event+"\n"),
		&out, io.Discard)
	if !strings.HasPrefix(out.String(), "2026-11-23 ") {
		t.Errorf("chosen: %.100q", out.String())
	}
}

// TestUnmatchedAreBounded: of the names in a log that is not ours only the beginning is kept.
func TestUnmatchedAreBounded(t *testing.T) {
	long := strings.Repeat("h", 100_000)
	line := fmt.Sprintf(`{"v":1,"event":"failed","reply":"550 odd","host":%q,"diagnosis":{"category":%[1]q,`+
		`"reason":%[1]q,"basis":"code","confidence":"low","rule":%[1]q}}`, long)
	var out bytes.Buffer
	status := run([]string{"diagnose", "--unmatched", "--json"}, strings.NewReader(line), &out, io.Discard)
	if status != 0 {
		t.Errorf("exit status %d", status)
	}
	if out.Len() > 3000 || !strings.Contains(out.String(), `"rule":"hhh`) {
		t.Errorf("%d bytes are printed: %.200q", out.Len(), out.String())
	}
}

// TestDiagnoseSaysWhatItLeavesOut: a bounce beyond a bound is explained as far as it is read.
func TestDiagnoseSaysWhatItLeavesOut(t *testing.T) {
	many := reportWith("", strings.Repeat(aStatus+"\r\n", bounce.MaxRecipients+1))
	status, stdout, stderr := runDiagnose(t, many, "--json", "--dsn", "-")
	if n := strings.Count(stdout, "\n"); status != 1 || n != bounce.MaxRecipients {
		t.Errorf("exit status %d, %d recipients", status, n)
	}
	if want := "mailwhy: warning: -: only its first 10000 recipients are read\n"; stderr != want {
		t.Errorf("on stderr %q, want %q", stderr, want)
	}
	large := reportWith("", aStatus) + strings.Repeat("x", bounce.MaxSize)
	for _, args := range [][]string{{"--dsn", "-"}, {"--dsn", "-", "--enrich"}} {
		status, stdout, stderr = runDiagnose(t, large, args...)
		if status != 1 || !strings.Contains(stderr, "64 MiB") {
			t.Errorf("%q: exit status %d, %q", args, status, stderr)
		}
	}
	if stdout != large {
		t.Errorf("of %d bytes %d are emitted", len(large), len(stdout))
	}
}

// TestDiagnoseFailureIsNeverAccepted: a number that a program ended with is not a reply.
func TestDiagnoseFailureIsNeverAccepted(t *testing.T) {
	report := reportWith("", "Final-Recipient: rfc822; eve@c.example\r\nAction: failed\r\nStatus: 5.3.0\r\n"+
		"Diagnostic-Code: X-Unix; 255\r\n")
	status, stdout, _ := runDiagnose(t, report, "--json", "--dsn", "-")
	if status != 0 || strings.Contains(stdout, `"code"`) ||
		!strings.Contains(stdout, `"reason":"system_error"`) {
		t.Errorf("exit status %d, %s", status, stdout)
	}
}

// BenchmarkReaders reads hostile input: the MB/s of a shape do not fall as it grows.
func BenchmarkReaders(b *testing.B) {
	for _, f := range foreignInputs() {
		for _, n := range []int{64 << 10, 1 << 20, 16 << 20} {
			input := f.make(n)
			b.Run(fmt.Sprintf("%s/%dKiB", f.name, n>>10), func(b *testing.B) {
				b.SetBytes(int64(len(input)))
				for b.Loop() {
					f.read(input)
				}
			})
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/quotedprintable"
	"regexp"
	"strings"
	"testing"

	"mailwhy/diagnose"
)

// runDiagnose runs mailwhy diagnose and returns its exit status and what it printed.
func runDiagnose(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = run(append([]string{"diagnose"}, args...), strings.NewReader(stdin), &out, &errOut)
	return status, out.String(), errOut.String()
}

func TestDiagnoseExitStatus(t *testing.T) {
	for _, c := range []struct {
		args  []string
		stdin string
		want  int
	}{
		{[]string{"550 5.1.1 x"}, "", 0},
		{[]string{"250 ok"}, "", 0},
		{[]string{}, "", 0},
		{[]string{}, "550 x\n", 0},
		{[]string{}, "550 x\n\n", 1},
		{[]string{"hello"}, "", 1},
		{[]string{"--json", "999 x"}, "", 1},
		{[]string{"--json", "199 x"}, "", 1},
		{[]string{"--text", "no such user"}, "", 0},
		{[]string{"--stage", "rcpt", "550 x"}, "", 0},
		{[]string{"--stage", "lunch", "550 x"}, "", 2},
		{[]string{"--nonesuch"}, "", 2},
		{[]string{"--rules", "/nonesuch", "550 x"}, "", 2},
		{[]string{"--enrich"}, "", 2},
		{[]string{"--log", "FILE"}, "", 2},
		{[]string{"--log", "--dsn", "-"}, "", 2},
		{[]string{"--log"}, "nothing here\n", 0},
		{[]string{"--dsn", "-"}, "From: a@b\n\nhello\n", 1},
		{[]string{"--dsn", "/nonesuch"}, "", 1},
		{[]string{"--unmatched"}, "", 0},
		{[]string{"--unmatched"}, "not json\n", 1},
		{[]string{"--unmatched", "/nonesuch"}, "", 1},
	} {
		got, _, stderr := runDiagnose(t, c.stdin, c.args...)
		if got != c.want {
			t.Errorf("diagnose %q: exit status %d, want %d\n%s", c.args, got, c.want, stderr)
		}
		if (c.want == 2) != strings.HasPrefix(stderr, "mailwhy: error: ") && c.want != 1 {
			t.Errorf("diagnose %q: on stderr: %q", c.args, stderr)
		}
	}
}

// TestDiagnoseAgreesWithTheEngine: what is printed as JSON is the Diagnosis, every field of it.
func TestDiagnoseAgreesWithTheEngine(t *testing.T) {
	const reply = "550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; " +
		"try again in 300 seconds"
	symptom := diagnose.Symptom{Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply(reply)}
	want := newTestDiagnoser(t).engine.Diagnose(symptom)
	_, stdout, _ := runDiagnose(t, "", "--json", "--stage", "rcpt", reply)
	var got struct {
		Code           int
		Enhanced, Text string
		diagnose.Diagnosis
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%#v", got.Diagnosis.Fix), fmt.Sprintf("%#v", want.Fix); a != b {
		t.Errorf("fix %s, want %s", a, b)
	}
	a, _ := json.Marshal(got.Diagnosis)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("got %s\nwant %s", a, b)
	}
	if got.Code != 550 || got.Enhanced != "5.7.1" || !strings.HasPrefix(got.Text, "Service unavailable") {
		t.Errorf("code %d, enhanced %q, text %q", got.Code, got.Enhanced, got.Text)
	}
}

// TestDiagnoseAnswersAtOnce: each line is answered before the next one comes.
func TestDiagnoseAnswersAtOnce(t *testing.T) {
	for _, args := range [][]string{{"diagnose", "--json"}, {"diagnose", "--log"}} {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		done := make(chan int)
		go func() {
			status := run(args, inR, outW, io.Discard)
			outW.Close()
			done <- status
		}()
		answers := bufio.NewScanner(outR)
		for i := range 3 {
			fmt.Fprintf(inW, "550 5.1.%d user unknown\nhalf a line", i)
			if !answers.Scan() || !strings.Contains(answers.Text(), "user unknown") {
				t.Fatalf("%q: no answer: %q", args, answers.Text())
			}
			fmt.Fprintln(inW)
			answers.Scan()
		}
		inW.Close()
		<-done
	}
}

func TestDiagnoseLongLines(t *testing.T) {
	long := "550 5.1.1 user unknown " + strings.Repeat("x", maxLine)
	fits := "550 5.1.1 user unknown " + strings.Repeat("y", maxLine-1000)
	status, stdout, _ := runDiagnose(t, long+"\n"+fits+"\n552 5.2.2 mailbox full", "--json")
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	if status != 1 || len(lines) != 3 {
		t.Fatalf("exit status %d, %d answers; want 1 and 3", status, len(lines))
	}
	for i, want := range []string{`"error":"the line is longer`, `"reason":"user_unknown"`,
		`"reason":"mailbox_full"`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d: %.200s, want %s", i+1, lines[i], want)
		}
	}
	if len(lines[0]) > 10_000 {
		t.Errorf("the error is %d bytes long", len(lines[0]))
	}
}

// TestDiagnoseLogLeavesTheRest: of a log of any line length and line end only known lines change, by what
// is added.
func TestDiagnoseLogLeavesTheRest(t *testing.T) {
	const known = "postfix/smtp[1]: A: to=<b@c.example>, status=bounced (host c.example[192.0.2.1] said: " +
		"550 5.1.1 unknown user (in reply to RCPT TO command))"
	in := "\x00\xff\r\n" + strings.Repeat("z", 3*maxLine) + "\n" + known + "\r\n\n" + known
	status, out, _ := runDiagnose(t, in, "--log")
	note := regexp.MustCompile(` mailwhy=\{[^\n\r]*\}`)
	if n := len(note.FindAllString(out, -1)); status != 0 || n != 2 {
		t.Errorf("exit status %d, %d notes, want 0 and 2", status, n)
	}
	if note.ReplaceAllString(out, "") != in {
		t.Error("more was changed than added")
	}
}

func TestReadPostfix(t *testing.T) {
	for _, c := range []struct {
		line  string
		stage diagnose.Stage
		host  string
		code  int
		text  string
	}{
		{"x status=bounced (host a.example[1.2.3.4] said: 550 5.1.1 no (in reply to RCPT TO command))",
			diagnose.StageRcpt, "a.example", 550, "no"},
		{"x status=bounced (host a.example[1.2.3.4] said: 550-5.7.1 one 550 5.7.1 two (in reply to end of " +
			"DATA command))", diagnose.StageEndOfData, "a.example", 550, "one two"},
		{"x status=deferred (host unknown[1.2.3.4] said: 450 no (in reply to MAIL FROM command))",
			diagnose.StageMail, "1.2.3.4", 450, "no"},
		{"x status=deferred (host a.example[1.2.3.4] refused to talk to me: 421 busy)",
			diagnose.StageGreeting, "a.example", 421, "busy"},
		{"x status=deferred (delivery temporarily suspended: host a.example[1.2.3.4] refused to talk to " +
			"me: 421 busy)", diagnose.StageGreeting, "a.example", 421, "busy"},
		{"x status=deferred (SASL authentication failed; server a.example[1.2.3.4] said: 535 5.7.8 no)",
			diagnose.StageAuth, "a.example", 535, "no"},
		{"x status=undeliverable (host a.example[2001:db8::1] said: 550 no (in reply to RCPT TO command))",
			diagnose.StageRcpt, "a.example", 550, "no"},
		{"postfix/smtp[1]: B: host a.example[1.2.3.4] said: 451 later (in reply to DATA command)",
			diagnose.StageData, "a.example", 451, "later"},
		{"postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[1.2.3.4]: 554 5.7.1 <x@y.example>: Relay " +
			"access denied; from=<a@b> to=<x@y.example> proto=ESMTP", diagnose.StageRcpt, "", 554,
			"<x@y.example>: Relay access denied"},
		{"postfix/cleanup[1]: C: milter-reject: END-OF-MESSAGE from a[1.2.3.4]: 550 5.7.1 Spam; from=<a@b> " +
			"to=<c@d>", diagnose.StageEndOfData, "", 550, "Spam"},
		{"x status=sent (250 2.0.0 Ok: queued as 550)", "", "", 0, ""},
		{"x status=deferred (connect to a.example[1.2.3.4]:25: Connection refused)", "", "", 0, ""},
		{"x status=bounced", "", "", 0, ""},
		{"dovecot: host a.example[1.2.3.4] said: 451 later", "", "", 0, ""},
		{"", "", "", 0, ""},
	} {
		s, ok := readPostfix(c.line, false)
		if ok != (c.code != 0) || s.Reply.Code != c.code || s.Stage != c.stage || s.Upstream != c.host ||
			s.Reply.Text != c.text {
			t.Errorf("%s:\n%v stage %q host %q code %d text %q", c.line, ok, s.Stage, s.Upstream,
				s.Reply.Code, s.Reply.Text)
		}
	}
}

// report is a report with the given delivery status.
func reportWith(headers, status string) string {
	return "From: MAILER-DAEMON@a.example\r\nTo: <app@shop.example>\r\nContent-Type: multipart/report; " +
		"boundary=\"b\"\r\n\r\n" +
		"--b\r\n\r\nIt was not delivered to bob@c.example, who said:\r\n550 5.1.1 no such user\r\n" +
		"--b\r\nContent-Type: message/delivery-status\r\n" + headers + "\r\n" + status + "\r\n--b--\r\n"
}

const aStatus = "Reporting-MTA: dns; a.example\r\n\r\nFinal-Recipient: rfc822; bob@c.example\r\nAction: " +
	"failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 over quota\r\n"

// reasonsOf are the recipients and reasons that diagnose --dsn finds.
func reasonsOf(t *testing.T, d diagnoser, report string) string {
	t.Helper()
	var out bytes.Buffer
	d.in, d.out, d.errOut, d.json = strings.NewReader(report), &out, io.Discard, true
	if err := d.reports([]string{"-"}); err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(out.String()) {
		var r struct{ Recipient, Reason, Error string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, r.Recipient+" "+r.Reason+r.Error)
	}
	return strings.Join(all, "; ")
}

func TestDiagnoseOddReports(t *testing.T) {
	var qp bytes.Buffer
	w := quotedprintable.NewWriter(&qp)
	w.Write([]byte(aStatus))
	w.Close()
	b64 := base64.StdEncoding.EncodeToString([]byte(aStatus))
	plain := reportWith("", aStatus)
	d := newTestDiagnoser(t)
	forwarded := "From: a@b\r\nContent-Type: multipart/mixed; boundary=f\r\n\r\n--f\r\n\r\nsee\r\n--f\r\n" +
		"Content-Type: message/rfc822\r\n"
	for _, c := range []struct{ name, report, want string }{
		{"plain", plain, "bob@c.example mailbox_full"},
		{"line feeds", strings.ReplaceAll(plain, "\r\n", "\n"), "bob@c.example mailbox_full"},
		{"base64", reportWith("Content-Transfer-Encoding: base64\r\n", b64), "bob@c.example mailbox_full"},
		{"quoted-printable", reportWith("Content-Transfer-Encoding: quoted-printable\r\n", qp.String()),
			"bob@c.example mailbox_full"},
		{"no last boundary", strings.TrimSuffix(plain, "--b--\r\n"), "bob@c.example mailbox_full"},
		{"an mbox line", "From MAILER-DAEMON Mon Nov 23 10:00:00 2026\r\n" + plain,
			"bob@c.example mailbox_full"},
		{"forwarded", forwarded + "\r\n" + plain + "--f--\r\n", "bob@c.example mailbox_full"},
		{"forwarded, encoded",
			forwarded + "Content-Transfer-Encoding: base64\r\n\r\n" +
				base64.StdEncoding.EncodeToString([]byte(plain)) + "\r\n--f--\r\n",
			"bob@c.example mailbox_full"},
		{"forwarded as the whole", "Content-Type: message/rfc822\r\n\r\n" + plain,
			"bob@c.example mailbox_full"},
		{"the wrong type", strings.Replace(plain, "message/delivery-status", "text/plain", 1),
			"bob@c.example mailbox_full"},
		{"a status alone", aStatus, "bob@c.example mailbox_full"},
		{"no empty lines", reportWith("",
			strings.ReplaceAll(aStatus, "\r\n\r\n", "\r\n")+
				"Final-Recipient: rfc822; eve@c.example\r\nStatus: 5.1.1\r\nAction: failed\r\n"),
			"bob@c.example mailbox_full; eve@c.example user_unknown"},
		{"no reply: the words of the report",
			reportWith("", "Final-Recipient: rfc822; bob@c.example\r\nAction: failed\r\nStatus: 5.0.0\r\n"),
			"bob@c.example user_unknown"},
		{"a status and nothing else",
			reportWith("", "Final-Recipient: rfc822; eve@c.example\r\nAction: failed\r\nStatus: 5.2.2\r\n"),
			"eve@c.example mailbox_full"},
		{"delivered", reportWith("",
			"Final-Recipient: rfc822; eve@c.example\r\nAction: delivered\r\nStatus: 2.0.0\r\n"),
			"eve@c.example not_a_refusal"},
		{"no type", reportWith("",
			"Final-Recipient: eve@c.example\r\nDiagnostic-Code: 552 5.2.2 over quota; sorry\r\n"),
			"eve@c.example mailbox_full"},
		{"no reason at all", reportWith("",
			"Final-Recipient: rfc822; eve@c.example\r\nAction: failed\r\nStatus: 5.0.0\r\n"),
			"eve@c.example unexplained"},
		{"wording", reportWith("",
			"Final-Recipient: rfc822; eve@c.example\r\nAction: failed\r\nStatus: 5.0.0\r\nDiagnostic-Code: "+
				"X-Unix; mailbox\r\n  is full\r\n"), "eve@c.example mailbox_full"},
		{"no recipient", reportWith("", "Reporting-MTA: dns; a.example\r\n"),
			" the delivery status names no recipient"},
		{"nothing", "", " no delivery report is found here"},
	} {
		if got := reasonsOf(t, *d, c.report); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestEnrichOddReports: the annotation is found again by a reader, whatever the encoding and the line ends.
func TestEnrichOddReports(t *testing.T) {
	var qp bytes.Buffer
	w := quotedprintable.NewWriter(&qp)
	w.Write([]byte(aStatus))
	w.Close()
	d := newTestDiagnoser(t)
	for name, report := range map[string]string{
		"plain":       reportWith("", aStatus),
		"line feeds":  strings.ReplaceAll(reportWith("", aStatus), "\r\n", "\n"),
		"no line end": reportWith("", strings.TrimSuffix(aStatus, "\r\n")),
		"base64": reportWith("Content-Transfer-Encoding: base64\r\n",
			base64.StdEncoding.EncodeToString([]byte(aStatus))),
		"quoted-printable": reportWith("Content-Transfer-Encoding: quoted-printable\r\n", qp.String()),
	} {
		a := d.enriched([]byte(report))
		if a.Recipients != 1 {
			t.Errorf("%s: %d blocks are annotated, want 1", name, a.Recipients)
		}
		out := a.File
		_, content, _ := bytes.Cut(out, []byte("message/delivery-status"))
		header, body, _ := strings.Cut(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n\n")
		body, _, _ = strings.Cut(body, "\n--b--")
		body = decodedBody(t, header, body)
		if !strings.Contains(body, "over quota\nX-Mailwhy-Category: Mailbox Full\n") ||
			!strings.HasSuffix(strings.TrimSpace(body), "X-Mailwhy-Confidence: high") {
			t.Errorf("%s: not annotated:\n%s", name, body)
		}
		bare := bytes.Contains(bytes.ReplaceAll(out, []byte("\r\n"), nil), []byte("\n"))
		if strings.Contains(report, "\r\n") == bare {
			t.Errorf("%s: mixed line ends:\n%q", name, out)
		}
		if again := d.enriched(out).File; !bytes.Equal(again, out) {
			t.Errorf("%s: annotated twice:\n%s", name, again)
		}
	}
}

// decodedBody is a body with line feeds, without the encoding that a header names.
func decodedBody(t *testing.T, header, body string) string {
	t.Helper()
	var b []byte
	var err error
	switch {
	case strings.Contains(header, "base64"):
		b, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	case strings.Contains(header, "quoted-printable"):
		b, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	default:
		return body
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// TestDiagnoseEvidenceOfReturnedMessage: the header that a report returns is looked at.
func TestDiagnoseEvidenceOfReturnedMessage(t *testing.T) {
	status := strings.Replace(aStatus, "552 5.2.2 over quota",
		"550 5.7.26 This mail is unauthenticated: DMARC fails", 1)
	report := strings.Replace(reportWith("", status), "--b--",
		"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"+
			"Return-Path: <x@bounce.other.example>\r\nFrom: Shop <a@shop.example>\r\nDate: Mon, 23 Nov "+
			"2026 10:00:00 +0000\r\nDKIM-Signature: v=1; d=Other.example;\r\n s=x\r\n\r\n--b--", 1)
	_, stdout, _ := runDiagnose(t, report, "--dsn", "-", "--json")
	for _, want := range []string{"shop.example", "bounce.other.example", "other.example"} {
		if _, evidence, _ := strings.Cut(stdout, `"evidence":`); !strings.Contains(evidence, want) {
			t.Errorf("no %s in the evidence of %s", want, stdout)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`550-a\r\n550 b`:      "550-a\r\n550 b",
		`550-a\n550-b\n550 c`: "550-a\n550-b\n550 c",
		`550 a\n`:             "550 a\n",
		`550 CORP\nick`:       `550 CORP\nick`,
		`550 a\n5500 b`:       `550 a\n5500 b`,
		`550 a`:               "550 a",
		`\n\n`:                "\\n\n",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzDiagnoseLog(f *testing.F) {
	f.Add([]byte("x status=bounced (host a.example[1.2.3.4] said: 550 5.1.1 no " +
		"(in reply to RCPT TO command))\n"))
	f.Add([]byte("NOQUEUE: reject: RCPT from unknown[1.2.3.4]: 554 5.7.1 <x@y.example>: no; from=<a@b> " +
		"to=<x@y.example>\r\nx\n"))
	f.Add([]byte("postfix: host [ said: 450 (in reply to  status=deferred ("))
	note := regexp.MustCompile(` mailwhy=\{[^\n]*\}(\r*\n|\r*$)`)
	d := newTestDiagnoser(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.Contains(in, []byte(logMark)) {
			return
		}
		var out bytes.Buffer
		d := *d
		d.in, d.out, d.text = bytes.NewReader(in), &out, len(in)%2 == 0
		if err := d.annotateLog(); err != nil {
			t.Fatal(err)
		}
		if got := note.ReplaceAll(out.Bytes(), []byte("$1")); !bytes.Equal(got, in) {
			t.Errorf("%q became %q", in, out.Bytes())
		}
	})
}

func FuzzDiagnoseDSN(f *testing.F) {
	f.Add([]byte(reportWith("", aStatus)))
	f.Add([]byte(reportWith("Content-Transfer-Encoding: base64\r\n",
		base64.StdEncoding.EncodeToString([]byte(aStatus)))))
	f.Add([]byte("Subject: failure notice\n\nHi. This is the qmail-send program\n\n<a@b.example>:\n550 " +
		"5.1.1 no\n\n--- Below this line is a copy\n"))
	f.Add([]byte("Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n" +
		"Final-Recipient: a\nStatus: 5.1.1\n--x--"))
	d := newTestDiagnoser(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		d := *d
		d.out, d.errOut = io.Discard, io.Discard
		if err := d.report("x", "", bytes.NewReader(in)); err != nil {
			t.Fatal(err)
		}
		out := d.enriched(in).File
		if !bytes.Contains(bytes.ToLower(in), []byte("encoding")) && !isSubsequence(in, out) {
			t.Errorf("%q lost something: %q", in, out)
		}
		if again := d.enriched(out).File; !bytes.Equal(again, out) {
			t.Errorf("%q annotated twice: %q, then %q", in, out, again)
		}
	})
}

func newTestDiagnoser(t testing.TB) *diagnoser {
	d := &diagnoser{}
	if err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	return d
}

// isSubsequence reports whether nothing of a is missing in b, in order.
func isSubsequence(a, b []byte) bool {
	for _, c := range b {
		if len(a) > 0 && a[0] == c {
			a = a[1:]
		}
	}
	return len(a) == 0
}

package bounce

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"mailwhy/diagnose"
)

// theRecipient is the one recipient that a file reports.
func theRecipient(t *testing.T, file string) Recipient {
	t.Helper()
	r := Parse([]byte(file))
	if len(r.Notifications) != 1 || len(r.Notifications[0].Recipients) != 1 {
		t.Fatalf("want one recipient, got %+v of\n%s", r, file)
	}
	return r.Notifications[0].Recipients[0]
}

// TestActionDecides: a failure is never a reply that accepts, a delay never a failure, a success never a
// refusal, and what was not said over SMTP is wording, whatever number it begins with.
func TestActionDecides(t *testing.T) {
	const text = "Sorry."
	for _, c := range []struct {
		fields   string
		code     int
		enhanced string
		text     string
	}{
		{"Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user", 550, "5.1.1", ""},
		{"Action: failed\nStatus: 5.1.1\nDiagnostic-Code: SMTP (remote); 550 no such user", 550, "5.1.1", ""},
		{"Action: failed\nStatus: 5.1.1\nDiagnostic-Code: 550 no such user; sorry", 550, "5.1.1", ""},
		{"Action: failed\nStatus: 5.1.1\nDiagnostic-Code: lmtp; 550 no such user", 550, "5.1.1", ""},
		{"Action: failed\nStatus: 4.4.7\nDiagnostic-Code: smtp; 421 4.4.1 busy", 421, "4.4.1", ""},
		{"Action: failed\nStatus: 5.3.0\nDiagnostic-Code: X-Unix; 255", 0, "5.3.0", "255"},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: X-Unix; 255", 0, "", "255"},
		{"Action: failed\nDiagnostic-Code: X-Unix; 250", 0, "", "250"},
		{"Action: failed\nStatus: 5.2.2\nDiagnostic-Code: x-unix; 550 quota exceeded", 0, "5.2.2",
			"550 quota exceeded"},
		{"Action: failed\nStatus: 5.1.2\nDiagnostic-Code: dns; 301 no such host", 0, "5.1.2",
			"301 no such host"},
		{"Action: failed\nStatus: 5.1.1\nDiagnostic-Code: X400; 200 unable", 0, "5.1.1", "200 unable"},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: x-local; 250 ok", 0, "", "250 ok"},
		{"Action: failed\nStatus: 5.6.0\nDiagnostic-Code: dsn; host a said: 554 5.6.1 no", 554, "5.6.1", ""},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: x; a said: 250 ok", 0, "", "a said: 250 ok"},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 250 2.0.0 ok", 0, "", "250 2.0.0 ok"},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 354 go ahead", 0, "", "354 go ahead"},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 700 what", 0, "", "700 what"},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 221 2.0.0 bye", 221, "2.0.0", ""},
		{"Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 255", 0, "", "255"},
		{"Action: failed\nStatus: 2.1.5", 0, "", "failed 2.1.5"},
		{"Action: failed\nStatus: 5.1.1", 0, "5.1.1", ""},
		{"Action: failed (for good)\nStatus: 5.1.1 (unknown)", 0, "5.1.1", ""},
		{"Action: failed\nStatus: 5.0.0", 0, "", "failed 5.0.0"},
		{"Status: 5.0.0\nDiagnostic-Code: smtp; 250 ok", 0, "", "250 ok"},
		{"Action: returned\nStatus: 5.0.0\nDiagnostic-Code: X-Unix; 255", 0, "", "255"},
		{"Action: delayed\nStatus: 4.4.1\nDiagnostic-Code: smtp; 421 busy", 421, "4.4.1", ""},
		{"Action: delayed\nStatus: 4.4.1", 0, "4.4.1", ""},
		{"Action: delayed\nStatus: 4.0.0\nDiagnostic-Code: smtp; 550 5.1.1 no", 0, "", "550 5.1.1 no"},
		{"Action: delayed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no", 0, "4.1.1", "550 5.1.1 no"},
		{"Action: delayed\nStatus: 4.2.0\nDiagnostic-Code: smtp; 250 ok", 0, "4.2.0", "250 ok"},
		{"Action: delayed\nStatus: 4.2.0\nDiagnostic-Code: X-Unix; 75", 0, "4.2.0", "75"},
		{"Status: 4.2.0\nDiagnostic-Code: smtp; 550 no", 0, "4.2.0", "550 no"},
		{"Action: delivered\nStatus: 2.1.5\nDiagnostic-Code: smtp; 250 2.1.5 ok", 250, "2.1.5", ""},
		{"Action: relayed\nStatus: 2.0.0", 250, "", ""},
		{"Action: expanded\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no", 250, "", ""},
		{"Diagnostic-Code: smtp; 250 ok", 250, "", ""},
	} {
		r := theRecipient(t, report(text, statusType+"\r\nFinal-Recipient: rfc822; bob@c.example\n"+
			c.fields+"\n"))
		y := r.Symptom
		if y.Reply.Code != c.code || y.Reply.Enhanced.String() != c.enhanced || y.Text != c.text {
			t.Errorf("%s:\n%d %q %q, want %d %q %q", c.fields, y.Reply.Code, y.Reply.Enhanced, y.Text,
				c.code, c.enhanced, c.text)
		}
	}
}

// TestFailureIsNeverAccepted asks the engine: no Diagnostic-Code makes a success or nothing at all of a
// failure.
func TestFailureIsNeverAccepted(t *testing.T) {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"smtp", "X-Unix", "x-local", "dns", "X400", "x-postfix", "lmtp", ""} {
		for code := 100; code < 1000; code += 5 {
			diagnostic := strings.TrimPrefix(fmt.Sprintf("%s; %d", kind, code), "; ")
			r := theRecipient(t, report("", statusType+"\r\n"+
				"Final-Recipient: rfc822; bob@c.example\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: "+
				diagnostic+"\n"))
			if d := e.Diagnose(r.Symptom); d.Category == "" || d.Reason == "not_a_refusal" {
				t.Errorf("%s: %s %q", diagnostic, d.Reason, d.Category)
			}
		}
	}
}

// TestProseOfAnotherRecipient: what the text quotes behind an address is taken only where it fits what became
// of it.
func TestProseOfAnotherRecipient(t *testing.T) {
	const text = "ann@c.example could not be reached yet\r\nbob@c.example: 550 5.1.1 no such user"
	file := report(text, statusType+
		"\r\nFinal-Recipient: rfc822; ann@c.example\r\nAction: delayed\r\nStatus: 4.0.0\r\n\r\n"+
		"Final-Recipient: rfc822; BOB@c.example\r\nAction: failed\r\nStatus: 5.0.0\r\n")
	list := Parse([]byte(file)).Notifications[0].Recipients
	for _, diagnostic := range []string{"X-Unix; 255", "smtp; 255", "smtp; 0"} {
		blocks := "Final-Recipient: rfc822; bob@c.example\r\nAction: failed\r\nDiagnostic-Code: "
		r := theRecipient(t, report(text, statusType+"\r\n"+blocks+diagnostic+"\r\n"))
		if r.Symptom.Reply.Code != 550 {
			t.Errorf("%s: %+v", diagnostic, r.Symptom)
		}
	}
	if got := list[0].Symptom; got.Reply.Code != 0 || got.Text != "delayed 4.0.0" {
		t.Errorf("ann: %+v", got)
	}
	if got := list[1].Symptom; got.Reply.Code != 550 {
		t.Errorf("bob: %+v", got)
	}
}

// TestFailureIsFinal: the advice is not to wait for an attempt that does not come.
func TestFailureIsFinal(t *testing.T) {
	for action, want := range map[string]bool{"failed": true, "delayed": false, "relayed": false} {
		fields := "Final-Recipient: rfc822; bob@c.example\nStatus: 4.2.2\nAction: " + action + "\n"
		if r := theRecipient(t, report("", statusType+"\r\n"+fields)); r.Symptom.Final != want {
			t.Errorf("%s: final: %v, want %v", action, r.Symptom.Final, want)
		}
	}
}

func TestFieldsOfARecipient(t *testing.T) {
	file := report("", statusType+
		"\r\nReporting-MTA: dns; a.example\r\n\r\nOriginal-Recipient: rfc822; <Bob@b.example>\r\n"+
		"final-recipient : rfc822;\r\n <bob@c.example>\r\nAction: Failed (really)\r\nStatus: 5.1.1 (no)\r\n"+
		"Remote-MTA: dns; mx.c.example (192.0.2.1)\r\n"+original+
		"Return-Path: <x@bounce.example>\r\nFrom: a@Shop.example\r\nDate: now\r\n"+
		"Message-ID: <1@shop.example>\r\n"+
		"Subject: =?utf-8?q?re=C3=A7u?=\r\nDKIM-Signature: v=1;\r\n d=Shop.example; s=x\r\n\r\nbody\r\n")
	n := Parse([]byte(file)).Notifications[0]
	r := n.Recipients[0]
	want := Recipient{Address: "bob@c.example", Original: "Bob@b.example", Action: "failed", Status: "5.1.1",
		Kind: KindFailure, RemoteMTA: "mx.c.example (192.0.2.1)", ReportingMTA: "a.example",
		Symptom: r.Symptom}
	if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v\nwant %+v", r, want)
	}
	facts := diagnose.Facts{HeaderFrom: "shop.example", EnvelopeFrom: "bounce.example",
		DKIMDomains: []string{"shop.example"}, Examined: true}
	m := n.Message
	if m.ID != "<1@shop.example>" || m.Subject != "reçu" || fmt.Sprint(m.Facts) != fmt.Sprint(facts) {
		t.Errorf("message %+v", m)
	}
	y := r.Symptom
	facts.Recipient = "bob@c.example"
	if y.Upstream != "mx.c.example" || fmt.Sprint(y.Facts) != fmt.Sprint(facts) {
		t.Errorf("symptom %+v", y)
	}
}

// TestOddFiles: what is found in files that are not as they should be.
func TestOddFiles(t *testing.T) {
	plain := report("Sorry.", statusType+"\r\n"+ofMessage+ofBob)
	for name, file := range map[string]string{
		"as it should be":       plain,
		"CR alone":              strings.ReplaceAll(plain, "\r\n", "\r"),
		"CR alone, but for one": strings.ReplaceAll(plain, "\r\n", "\r") + "\r\n",
		"CR alone, in words":    strings.ReplaceAll(qmail, "\n", "\r"),
		"CR alone in base64": report("", statusType+"Content-Transfer-Encoding: base64\r\n\r\n"+
			base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(ofBob, "\r\n", "\r")))),
		"another boundary": strings.Replace(plain, "boundary=b", "boundary=other", 1),
		"no boundary":      strings.Replace(plain, "; boundary=b", "", 1),
		"another boundary, in words": strings.Replace(qmail, "\n\n",
			"\nContent-Type: multipart/report; boundary=x\n\n", 1),
		"a field without an end": strings.Replace(plain, "Status: 5.2.2\r\n", "Status: 5.2.2", 1),
		"fields that nobody knows": strings.Replace(plain, "Action:",
			"X-Odd Field: x\r\nX:\r\n: y\r\nAction:", 1),
		"an envelope line in front":   "From MAILER-DAEMON Mon Nov 23 10:00:00 2026\r\n" + plain,
		"a type that cannot be read":  strings.Replace(plain, "; boundary", "; \xff\xff \u0130; BOUNDARY", 1),
		"the boundary in quotes only": strings.Replace(plain, "boundary=b", "x y; boundary=\"b\"", 1),
	} {
		if r := theRecipient(t,
			file); r.Address != "bob@c.example" || r.Symptom.Reply.Enhanced.String() != "5.2.2" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, file := range []string{"", "\n", "\r", "\r\n\r\n", "Subject: Hello\n\nHow are you?\n",
		"Content-Type: message/rfc822\n\n",
		"Content-Type: a/b;\xff\xff\xff\xff boundary="} {
		if n := Parse([]byte(file)).Notifications; len(n) > 0 {
			t.Errorf("%q is a bounce: %+v", file, n)
		}
	}
}

// TestLimits: what lies beyond a bound is left out, and the bound is named; what keeps to it is read whole.
func TestLimits(t *testing.T) {
	recipients := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, aRecipient, i)
		}
		return report("", statusType+"\r\n"+b.String())
	}
	parts := func(n int) string {
		return report("", statusType+"\r\n"+ofBob+strings.Repeat("\r\n--b\r\n\r\nx", n-3)) // beside 3
	}
	nested := func(n int) string {
		return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", n-1) + report("", statusType+"\r\n"+
			ofBob)
	}
	fields := func(n int) string {
		return strings.Repeat("X: a\r\n", n-3) + report("", statusType+"\r\n"+
			ofBob)
	}
	field := func(n int) string {
		return "X: " + strings.Repeat("a\r\n ", n/2-1) + "a\r\n" + report("", statusType+"\r\n"+ofBob)
	}
	size := func(n int) string {
		s := report("", statusType+"\r\n"+ofBob+original+"\r\n")
		return s + strings.Repeat("x", n-len(s))
	}
	for _, c := range []struct {
		limit Limit
		file  func(int) string
		max   int
		want  int // recipients beyond the bound
	}{
		{LimitRecipients, recipients, MaxRecipients, MaxRecipients},
		{LimitParts, parts, MaxParts, 1},
		{LimitDepth, nested, MaxDepth, 0},
		{LimitFields, fields, MaxFields, 1},
		{LimitFieldSize, field, MaxFieldSize, 1},
		{LimitSize, size, MaxSize, 1},
	} {
		if got := Parse([]byte(c.file(c.max))); len(got.Limits) > 0 || len(got.Notifications) != 1 {
			t.Errorf("%s: at the bound: %v, %d notifications", c.limit, got.Limits, len(got.Notifications))
		}
		got, n := Parse([]byte(c.file(c.max+2))), 0
		for _, x := range got.Notifications {
			n += len(x.Recipients)
		}
		if !slices.Equal(got.Limits, []Limit{c.limit}) || n != c.want {
			t.Errorf("%s: beyond the bound: %v, %d recipients, want %d", c.limit, got.Limits, n, c.want)
		}
	}
}

// TestReturnedMessageIsNotTakenApart: of a message that came back only the header is read, so nothing in it
// goes beyond a bound.
func TestReturnedMessageIsNotTakenApart(t *testing.T) {
	file := report("", statusType+"\r\n"+ofBob+original+
		strings.Repeat("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", 2*MaxDepth)+
		strings.Repeat("--x\r\n\r\n", 2*MaxParts))
	if got := Parse([]byte(file)); len(got.Limits) > 0 || len(got.Notifications) != 1 {
		t.Errorf("%v, %d notifications", got.Limits, len(got.Notifications))
	}
}

func TestReadReports(t *testing.T) {
	got, err := Read(strings.NewReader(report("", statusType+"\r\n"+ofBob)))
	if err != nil || len(got.Notifications) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	trouble := errors.New("trouble")
	if _, err := Read(iotest.ErrReader(trouble)); !errors.Is(err, trouble) {
		t.Errorf("error %v", err)
	}
}

// TestAnnotateKeepsEveryOtherByte: whatever the line ends, only the fields are new, and only once.
func TestAnnotateKeepsEveryOtherByte(t *testing.T) {
	plain := report("", statusType+"\r\n"+ofMessage+ofBob+"\r\n"+strings.ReplaceAll(ofBob, "bob", "eve"))
	for _, eol := range []string{"\r\n", "\n", "\r"} {
		file := []byte(strings.ReplaceAll(plain, "\r\n", eol))
		a := Annotate(file, annotation)
		added := string(bytes.ReplaceAll(annotation(nil), []byte("\r\n"), []byte(eol)))
		if a.Recipients != 2 || strings.Count(string(a.File), added) != 2 {
			t.Errorf("%q: %d recipients in %q", eol, a.Recipients, a.File)
		}
		if got := strings.ReplaceAll(string(a.File), added, ""); got != string(file) {
			t.Errorf("%q: more was changed:\n%q\n%q", eol, got, file)
		}
		if again := Annotate(a.File, annotation); !bytes.Equal(again.File, a.File) || again.Recipients != 2 {
			t.Errorf("%q: annotated twice: %q", eol, again.File)
		}
	}
}

// TestAnnotateAtTheEnd: the last line of a status may lack a line end; a CR is one only where it ends lines.
func TestAnnotateAtTheEnd(t *testing.T) {
	for end, want := range map[string]string{
		"": "\nX-Mailwhy-Category: a", "\r": "\nX-Mailwhy-Category: a", "\n": "X-Mailwhy-Category: a\n",
	} {
		file := []byte("\nFinal-Recipient: a\nStatus: 5.0.0" + end)
		a := Annotate(file, func(*Recipient) []byte { return []byte("X-Mailwhy-Category: a\r\n") })
		if string(a.File) != string(file)+want {
			t.Errorf("%q: %q", end, a.File)
		}
		if again := Annotate(a.File, annotation); !bytes.Equal(again.File, a.File) {
			t.Errorf("%q: annotated twice: %q", end, again.File)
		}
	}
}

// TestAnnotateLeavesAlone: a file that cannot be annotated comes back as it was.
func TestAnnotateLeavesAlone(t *testing.T) {
	broken := report("", statusType+"Content-Transfer-Encoding: base64\r\n\r\n"+
		base64.StdEncoding.EncodeToString([]byte(ofBob))+"!")
	large := make([]byte, MaxSize+1)
	copy(large, report("", statusType+"\r\n"+ofBob))
	for _, file := range [][]byte{nil, []byte("Subject: x\n\nHello\n"), []byte(broken), large} {
		if a := Annotate(file, annotation); !bytes.Equal(a.File, file) || a.Recipients != 0 {
			t.Errorf("%.80q: %d recipients, %d bytes of %d", file, a.Recipients, len(a.File), len(file))
		}
	}
}

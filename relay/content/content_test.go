package content

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// at is when the messages of the tests arrive.
func at() time.Time { return time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC) }

// options are the defaults of the configuration, for relay.test.
func options() Options {
	return Options{
		Hostname: "relay.test", Domain: "relay.test", Complete: true, Log: slog.New(slog.DiscardHandler),
		Drop: []string{"Bcc", "Resent-Bcc", "Return-Path", "Content-Length"},
	}
}

// mend mends a content for a known client, whose sender is app@shop.test, and returns it with the message.
func mend(t testing.TB, o Options, content string) (string, *relay.Message) {
	t.Helper()
	m := &relay.Message{ID: "ID", Arrived: at(), Envelope: relay.Envelope{From: "app@shop.test"}}
	got, err := io.ReadAll(New(o).Mend(m, true, strings.NewReader(content)))
	if err != nil {
		t.Fatal(err)
	}
	return string(got), m
}

// whole are the fields that nothing is added to, and added the ones that are added to nothing.
const whole = "From: a@b.test\r\nDate: Sat, 28 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@b.test>\r\n"

func added() string {
	return "Message-ID: <ID@relay.test>\r\nDate: " + at().In(time.Local).Format(timeFormat) +
		"\r\nFrom: app@shop.test\r\n"
}

// TestMend: what relay/app compares with Postfix is not repeated here.
func TestMend(t *testing.T) {
	tests := []struct{ name, in, want, changed string }{
		{"nothing to mend", whole + "\r\nbody\r\n", whole + "\r\nbody\r\n", ""},
		{"empty", "", added(), "message-id added,date added,from added"},
		{"no line end", "Subject: x", "Subject: x\r\n" + added(), "message-id added,date added,from added"},
		{"no line end in an mbox line", "From x", "X-Mailbox-Line: From x\r\n" + added(),
			"mailbox line renamed,message-id added,date added,from added"},
		{"an empty field beside another", whole + "Message-ID: <>\r\nDate:\r\n\r\n", whole + "\r\n",
			"empty message-id removed,empty date removed"},
		{"empty, then another", "Message-ID:\r\n" + whole + "\r\n", whole + "\r\n",
			"empty message-id removed"},
		{"fields of the body stay", whole + "\r\nBcc: x@y.test\r\nFrom: root\r\n",
			whole + "\r\nBcc: x@y.test\r\nFrom: root\r\n", ""},
		{"blanks before the colon", "From : a@b.test\r\nTo\t :\tjoe\r\n" + whole[16:] + "\r\n",
			"From: a@b.test\r\nTo:\tjoe@relay.test\r\n" + whole[16:] + "\r\n",
			"blank before colon removed,domain added"},
		{"a removed field at the end", whole + "Bcc: a@b.test,\r\n\tb@c.test\r\n", whole, "bcc removed"},
	}
	for _, tt := range tests {
		got, m := mend(t, options(), tt.in)
		if changed := strings.Join(m.Changed, ","); got != tt.want || changed != tt.changed {
			t.Errorf("%s: got %q, changed %q; want %q, %q", tt.name, got, changed, tt.want, tt.changed)
		}
	}
}

// TestOptions: what is not asked for is not done.
func TestOptions(t *testing.T) {
	const in = "From: root\r\nMessage-ID:\r\nBcc: x@y.test\r\n\r\n"
	o := options()
	o.Complete, o.Domain, o.Drop = false, "", nil
	if got, m := mend(t, o, in); got != in || m.Changed != nil {
		t.Errorf("%q, changed %q", got, m.Changed)
	}
	m := &relay.Message{ID: "ID", Arrived: at()}
	got, err := io.ReadAll(New(options()).Mend(m, false, strings.NewReader("To: root\r\n\r\n")))
	if want := "To: root\r\n" + strings.TrimSuffix(added(), "From: app@shop.test\r\n") + "\r\n"; err != nil ||
		string(got) != want {
		t.Errorf("unknown client: %q, %v; want %q", got, err, want)
	}
}

// TestNullSender: a message without From and without a sender is the relay's.
func TestNullSender(t *testing.T) {
	m := &relay.Message{ID: "ID", Arrived: at()}
	got, _ := io.ReadAll(New(options()).Mend(m, true, strings.NewReader("\r\n")))
	if !strings.Contains(string(got), "\r\nFrom: MAILER-DAEMON@relay.test\r\n\r\n") {
		t.Errorf("%q", got)
	}
}

// TestSigned: what a signature covers stays, also what it covers the absence of.
func TestSigned(t *testing.T) {
	for _, field := range []string{"DKIM-Signature", "ARC-Message-Signature"} {
		signature := field + ": v=1; a=rsa-sha256; d=b.test;\r\n h = From : Bcc:\r\n\tmessage-id:date; b=="
		in := signature + "\r\nFrom: root\r\nTo: root\r\nBcc: x@y.test\r\nReturn-Path: <z>\r\n\r\n"
		want := signature + "\r\nFrom: root\r\nTo: root@relay.test\r\nBcc: x@y.test\r\n\r\n"
		o, logged := options(), &smtptest.Buffer{}
		o.Log = slog.New(slog.NewTextHandler(logged, nil))
		got, m := mend(t, o, in)
		if got != want || !slices.Equal(m.Changed, []string{"domain added", "return-path removed"}) {
			t.Errorf("got %q, changed %q; want %q", got, m.Changed, want)
		}
		if !strings.Contains(logged.String(), "field=bcc") ||
			strings.Contains(logged.String(), "field=return-path") {
			t.Errorf("logged %q", logged)
		}
	}
}

// TestHeaderTooLong: a header is refused by its length when it is mended, whatever its fields; a body is not.
func TestHeaderTooLong(t *testing.T) {
	o := options()
	o.MaxHeader = 3 * MaxHeader
	many := strings.Repeat("X-Filler: "+strings.Repeat("z", 80)+"\r\n", 3000)
	line := strings.Repeat("x", 4*MaxHeader)
	for name, tt := range map[string]struct {
		in      string
		refused bool
	}{
		"many fields":     {many + whole + "\r\nb\r\n", true},
		"a field":         {whole + "X: " + line + "\r\n\r\nb\r\n", true},
		"a field, no end": {whole + "X: " + line, true},
		"removed":         {whole + "Bcc: " + line + "\r\n\r\nb\r\n", false},
		"a body":          {whole + "\r\n" + line + "\r\n" + many, false},
		"not a header":    {line + "\r\n" + many, false},
		"short enough":    {many[:2*MaxHeader/92*92] + whole + "\r\nb\r\n", false},
	} {
		m := &relay.Message{ID: "ID", Arrived: at(), Envelope: relay.Envelope{From: "app@shop.test"}}
		_, err := io.ReadAll(New(o).Mend(m, true, strings.NewReader(tt.in)))
		if errors.Is(err, relay.ErrHeaderTooLong) != tt.refused || !tt.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLong: a header that does not fit into memory is mended all the same, and a field that does not fit
// passes or is removed whole.
func TestLong(t *testing.T) {
	folded := func(name string, n int) string {
		return name + ": x" + strings.Repeat("\r\n "+strings.Repeat("y", 70), n) + "\r\n"
	}
	many := strings.Repeat("X-Filler: "+strings.Repeat("z", 80)+"\r\n", 3000)
	for name, tt := range map[string]struct{ in, want string }{
		"many fields": {many + "Bcc: a@b.test\r\n" + whole + "\r\nb\r\n", many + whole + "\r\nb\r\n"},
		"passes": {folded("X-Long", 3000) + whole + "\r\nb\r\n", folded("X-Long", 3000) + whole +
			"\r\nb\r\n"},
		"removed": {folded("Bcc", 3000) + whole + "\r\nb\r\n", whole + "\r\nb\r\n"},
		"kept once": {whole[:16] + whole[16:] + folded("Date", 1000) + "\r\n", whole + folded("Date",
			1000) + "\r\n"},
		"tidied":       {folded("X-Long \t", 3000) + whole + "\r\n", folded("X-Long", 3000) + whole + "\r\n"},
		"last":         {whole + folded("X-Long", 3000), whole + folded("X-Long", 3000)},
		"removed last": {whole + folded("Bcc", 3000), whole},
		"no line end": {whole + "X: " + strings.Repeat("x", 3*MaxHeader),
			whole + "X: " + strings.Repeat("x", 3*MaxHeader) + "\r\n"},
		"not a field": {whole + strings.Repeat("x", 3*MaxHeader), whole + "\r\n" + strings.Repeat("x",
			3*MaxHeader)},
		"mbox line": {"From " + strings.Repeat("x", 3*MaxHeader), added() + "\r\nFrom " +
			strings.Repeat("x", 3*MaxHeader)},
	} {
		for how, src := range map[string]io.Reader{
			"at once":     strings.NewReader(tt.in),
			"by the byte": iotest.OneByteReader(strings.NewReader(tt.in)),
		} {
			m := &relay.Message{ID: "ID", Arrived: at(), Envelope: relay.Envelope{From: "app@shop.test"}}
			got, err := io.ReadAll(New(options()).Mend(m, true, src))
			if err != nil || string(got) != tt.want {
				t.Errorf("%s, %s: %v, %d bytes, want %d", name, how, err, len(got), len(tt.want))
			}
		}
	}
}

// TestFails: an error of the source is never an end.
func TestFails(t *testing.T) {
	broken := errors.New("broken")
	for _, in := range []string{"", "Subject: x\r\n", whole + "\r\n", whole + "\r\nbody\r\n"} {
		r := New(options()).Mend(&relay.Message{ID: "ID"}, true,
			io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken)))
		if _, err := io.ReadAll(r); !errors.Is(err, broken) {
			t.Errorf("%q: %v", in, err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, broken) {
			t.Errorf("%q, again: %v", in, err)
		}
	}
}

// TestMemoryIsBounded: of many short addresses to complete, no more than some are.
func TestMemoryIsBounded(t *testing.T) {
	o := options()
	o.Domain = strings.Repeat("d", 60) + ".test"
	in := "To: " + strings.Repeat("a,", 900) + "a\r\nCc: " + strings.Repeat("a,", 20000) + "a\r\n" + whole +
		"\r\n"
	got, _ := mend(t, o, in)
	if n := strings.Count(got, "@"+o.Domain); n != maxAddresses {
		t.Errorf("%d addresses were completed, want %d", n, maxAddresses)
	}
	r := New(o).Mend(&relay.Message{ID: "ID"}, true, strings.NewReader(strings.Repeat("To:a\r\n",
		100000))).(*reader)
	for p, most := make([]byte, 4096), 0; ; {
		_, err := r.Read(p)
		if r.buf != nil {
			most = max(most, cap(r.buf.in)+cap(r.buf.out))
		}
		if err == io.EOF {
			if most > 4*MaxHeader {
				t.Errorf("%d bytes of buffers", most)
			}
			return
		}
	}
}

// TestBodyIsNotCopied: behind the header the content is read as it is.
func TestBodyIsNotCopied(t *testing.T) {
	body := strings.Repeat("0123456789\r\n", 1<<20/12)
	r := New(options()).Mend(&relay.Message{ID: "ID"}, true, strings.NewReader(whole+"\r\n"+body))
	p := make([]byte, 1<<20)
	for total := 0; total < len(whole)+100; {
		n, err := r.Read(p[:200])
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if n := testing.AllocsPerRun(100, func() { r.Read(p[:1000]) }); n != 0 {
		t.Errorf("%v allocations for each read of the body", n)
	}
}

func TestMendAddresses(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{" root", " root@d.test"},
		{" root (Cron Daemon)", " root@d.test (Cron Daemon)"},
		{" (a (nested) \\) comment) root", " (a (nested) \\) comment) root@d.test"},
		{` "Cron Daemon" <root>`, ` "Cron Daemon" <root@d.test>`},
		{" Ann < ann >", " Ann < ann@d.test >"},
		{" joe,\r\n\tbob@x.test,\r\n ann", " joe@d.test,\r\n\tbob@x.test,\r\n ann@d.test"},
		{` "Doe, John" <john>, "a b"`, ` "Doe, John" <john@d.test>, "a b"@d.test`},
		{" friends: joe, ann@x.test;", " friends: joe@d.test, ann@x.test;"},
		{" undisclosed-recipients:;", " undisclosed-recipients:;"},
		{" a..b@x.test, <.a@x.test>, a.", ` "a..b"@x.test, <".a"@x.test>, "a."@d.test`},
		{" a.b", " a.b@d.test"},
		{" joe@x.test., Ann <ann@[::1].>, .a@x.", ` joe@x.test, Ann <ann@[::1]>, ".a"@x`},
		{" j\xf6rg", " j\xf6rg@d.test"},
		// nothing to add to
		{" Cron Daemon", " Cron Daemon"},
		{" =?utf-8?q?J=C3=B6rg?=", " =?utf-8?q?J=C3=B6rg?="},
		{" <>", " <>"},
		{" ,;, ", " ,;, "},
		{" joe @ x.test", " joe @ x.test"},
		{" <@a.test:b@x.test>", " <@a.test:b@x.test>"},
		{" <joe smith>", " <joe smith>"},
		{" @x.test", " @x.test"},
		{" root@", " root@"},
		{` "", "" <"">`, ` "", "" <"">`},
		{" root@., root@x..", " root@., root@x.."},
		{` "open`, ` "open`},
		{" root (open", " root (open"},
		{" <open", " <open"},
		{` <"open>`, ` <"open>`},
		{"", ""},
	} {
		a := addressMender{domain: "d.test", left: maxAddresses}
		if got := a.mend([]byte(tt.in)); string(got) != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
	a := addressMender{left: maxAddresses}
	if got := a.mend([]byte("root, a..b")); string(got) != `root, "a..b"` {
		t.Errorf("without a domain: %q", got)
	}
}

// BenchmarkMend is a usual message with nothing to mend.
func BenchmarkMend(b *testing.B) {
	content := whole + "To: b@c.test\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" +
		strings.Repeat("0123456789\r\n", 330)
	d, p := New(options()), make([]byte, 64<<10)
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		r := d.Mend(&relay.Message{ID: "ID"}, true, strings.NewReader(content))
		for {
			if _, err := r.Read(p); err != nil {
				break
			}
		}
	}
}

package submit

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// contentOf reads a message and returns what is kept of it.
func contentOf(t *testing.T, r io.Reader, dotEnds bool) string {
	t.Helper()
	c, err := Read(r, dotEnds)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c.from(0))
	if err != nil || int64(len(b)) != c.size {
		t.Fatalf("%d bytes, size %d: %v", len(b), c.size, err)
	}
	return string(b)
}

func TestReadMakesLines(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		dotEnds  bool
		want     string
	}{
		{"nothing", "", true, ""},
		{"LF", "S: x\n\nb\n", true, "S: x\r\n\r\nb\r\n"},
		{"CRLF", "S: x\r\n\r\nb\r\n", true, "S: x\r\n\r\nb\r\n"},
		{"no last end", "\n\nb", true, "\r\n\r\nb\r\n"},
		{"CR at the end", "\n\nb\r", true, "\r\n\r\nb\r\n"},
		{"CR CR LF is one line end", "S: x\r\r\n\r\r\nb\n", true, "S: x\r\n\r\nb\r\n"},
		{"CR alone in the header starts no field", "S: x\rBcc: y\n\nb\n", true, "S: x Bcc: y\r\n\r\nb\r\n"},
		{"CR alone in the body is a line end", "\n1%\r2%\r\n", true, "\r\n1%\r\n2%\r\n"},
		{"NUL", "\na\x00b\n", true, "\r\nab\r\n"},
		{"a dot ends", "\na\n.\nb\n", true, "\r\na\r\n"},
		{"a dot with CRLF ends", "\r\na\r\n.\r\nb\r\n", true, "\r\na\r\n"},
		{"a last dot ends", "\na\n.", true, "\r\na\r\n"},
		{"a dot with -i", "\na\n.\nb\n.", false, "\r\na\r\n.\r\nb\r\n.\r\n"},
		{"dots that end nothing", "\n.a\n..\n. \na.\n", true, "\r\n.a\r\n..\r\n. \r\na.\r\n"},
		{"a dot and a CR end nothing", "\n.\rb\n", true, "\r\n.\r\nb\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := contentOf(t, strings.NewReader(tt.in), tt.dotEnds); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			slow := iotest.OneByteReader(strings.NewReader(tt.in))
			if got := contentOf(t, slow, tt.dotEnds); got != tt.want {
				t.Errorf("byte by byte: got %q, want %q", got, tt.want)
			}
		})
	}
}

// A message that does not fit into memory is whole, and leaves no file behind.
func TestReadLargeLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	line := strings.Repeat("x", 70) + "\n"
	in := "Subject: x\n\n" + strings.Repeat(line, 5*maxMemory/len(line))
	c, err := Read(strings.NewReader(in), true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.file == nil || len(c.memory) > 0 {
		t.Errorf("it is in memory, %d bytes", len(c.memory))
	}
	if b, err := io.ReadAll(c.from(0)); err != nil || string(b) != strings.ReplaceAll(in, "\n", "\r\n") {
		t.Errorf("it is not whole: %d bytes, %v", len(b), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestReadTellsOfBrokenInput(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader("Subject: x\n\nhalf"), iotest.ErrReader(broken))
	if _, err := Read(r, true); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// mailOf reads a message and completes it.
func mailOf(t *testing.T, in string, o Options) (*Mail, string, error) {
	t.Helper()
	c, err := Read(strings.NewReader(in), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	o.Host, o.Now = "host.test", time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	m, err := c.Mail(o)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(m.body)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(m.header) + string(body)
	if int64(len(whole)) != m.Size {
		t.Errorf("%d bytes, size %d", len(whole), m.Size)
	}
	return m, whole, nil
}

func TestMailCompletesTheHeader(t *testing.T) {
	const date = "Date: Sun, 29 Nov 2026 09:00:00 +0000\r\n"
	for _, tt := range []struct {
		name, in string
		o        Options
		want     string // # is the Message-ID
	}{
		{"a text", "disk full\n", Options{From: "root"},
			"From: root\r\n" + date + "Message-ID: #\r\n\r\ndisk full\r\n"},
		{"nothing", "", Options{From: "root"}, "From: root\r\n" + date + "Message-ID: #\r\n\r\n"},
		{"an empty header", "\nbody\n", Options{From: "root"},
			"From: root\r\n" + date + "Message-ID: #\r\n\r\nbody\r\n"},
		{"a header without an end", "Subject: x\nbody: is\nno field\n", Options{From: "root"},
			"Subject: x\r\nbody: is\r\nFrom: root\r\n" + date + "Message-ID: #\r\n\r\nno field\r\n"},
		{"all is there", "from: a@b.test\nDATE: x\nmessage-id: <y>\n\nbody\n", Options{From: "root"},
			"from: a@b.test\r\nDATE: x\r\nmessage-id: <y>\r\n\r\nbody\r\n"},
		{"a line of an mbox", "From root Sat Nov 28 10:00:00 2026\nDate: x\nMessage-ID: y\n\nbody\n",
			Options{From: "a@b.test"}, "Date: x\r\nMessage-ID: y\r\nFrom: a@b.test\r\n\r\nbody\r\n"},
		{"a name", "Date: x\nMessage-ID: y\n\n", Options{From: "root", Name: "Cron, the\nDaemon"},
			"Date: x\r\nMessage-ID: y\r\nFrom: \"Cron, the Daemon\" <root>\r\n\r\n"},
		{"a name beyond ASCII", "Date: x\nMessage-ID: y\n\n", Options{From: "root@a.test", Name: "Zoë"},
			"Date: x\r\nMessage-ID: y\r\nFrom: =?utf-8?q?Zo=C3=AB?= <root@a.test>\r\n\r\n"},
		{"the null sender", "Date: x\nMessage-ID: y\n\n", Options{Author: "root@a.test"},
			"Date: x\r\nMessage-ID: y\r\nFrom: root@a.test\r\n\r\n"},
		{"Bcc, if -t", "Bcc: q@x.test,\n p@x.test\nFrom: a\nDate: x\nMessage-ID: y\n\n",
			Options{FromHeader: true},
			"From: a\r\nDate: x\r\nMessage-ID: y\r\n\r\n"},
		{"Bcc, without -t", "Bcc: q@x.test\nFrom: a\nDate: x\nMessage-ID: y\n\n", Options{},
			"Bcc: q@x.test\r\nFrom: a\r\nDate: x\r\nMessage-ID: y\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.To = []string{"user@there.test"}
			_, got, err := mailOf(t, tt.in, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			added := !strings.Contains(tt.in, "Message-ID")
			if before, rest, ok := strings.Cut(got, "Message-ID: <"); ok && added {
				_, after, _ := strings.Cut(rest, "@host.test>")
				got = before + "Message-ID: #" + after
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMailFindsItsRecipients(t *testing.T) {
	const in = "To: Ann <ann@x.test>, bob\nCc: \"Doe, J\" <j@x.test>,\n ann@x.test\nBcc: secret@x.test\n" +
		"Reply-To: no@x.test\n\n"
	for _, tt := range []struct {
		name, in string
		o        Options
		want     string
	}{
		{"arguments", in, Options{To: []string{"<a@x.test>", "b@x.test, c", "a@x.test"}, Domain: "d.test"},
			"a@x.test b@x.test c@d.test"},
		{"the header", in, Options{FromHeader: true}, "ann@x.test bob j@x.test secret@x.test"},
		{"both", in, Options{FromHeader: true, To: []string{"z@x.test"}, Domain: "d.test"},
			"z@x.test ann@x.test bob@d.test j@x.test secret@x.test"},
		{"sent on", "Resent-Bcc: r@x.test\n" + in, Options{FromHeader: true}, "r@x.test"},
		{"an empty group", "To: undisclosed-recipients:;\nBcc: b@x.test\n\n",
			Options{FromHeader: true}, "b@x.test"},
		{"a group", "To: us: a@x.test, b@x.test;\n\n", Options{FromHeader: true}, "a@x.test b@x.test"},
		{"a quoted local part", "\n", Options{To: []string{`"a b"`, `"c@d"@x.test`}, Domain: "d.test"},
			`"a b"@d.test "c@d"@x.test`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _, err := mailOf(t, tt.in, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(m.To, " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestMailSender(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "<>": "", "a@x.test": "a@x.test", "<a@x.test>": "a@x.test", "Ann <a@x.test>": "a@x.test",
		"root": "root@d.test",
	} {
		m, _, err := mailOf(t, "\n", Options{From: in, To: []string{"x@x.test"}, Domain: "d.test"})
		if err != nil || m.From != want {
			t.Errorf("%q: got %+v, %v, want %q", in, m, err, want)
		}
	}
}

func TestMailRefusesWhatIsNoMail(t *testing.T) {
	to := []string{"x@x.test"}
	for _, tt := range []struct {
		name, in string
		o        Options
		want     error
	}{
		{"no recipients", "Subject: x\n\nTo: a@x.test\n", Options{FromHeader: true}, ErrNoRecipients},
		{"an argument that is no address", "\n", Options{To: []string{"Joe Doe"}}, ErrAddress},
		{"an argument with a command", "\n", Options{To: []string{"<a@x.test>\r\nRCPT TO:<b@x.test>"}}, nil},
		{"an address with a line end", "\n",
			Options{To: []string{"<a@x.test\r\nRCPT TO:b@x.test>"}}, ErrAddress},
		{"a sender with a line end", "\n", Options{From: "<a\r\n@x.test>", To: to}, ErrAddress},
		{"two senders", "\n", Options{From: "a@x.test, b@x.test", To: to}, ErrAddress},
		{"an open string", "To: \"a <b@x.test>\n\n", Options{FromHeader: true}, ErrAddress},
		{"an endless header", "S: " + strings.Repeat("x", MaxHeader), Options{To: to}, ErrHeader},
		{"an endless line of an mbox", "From " + strings.Repeat("x", MaxHeader), Options{To: to}, ErrHeader},
	} {
		m, _, err := mailOf(t, tt.in, tt.o)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && strings.ContainsAny(m.From+strings.Join(m.To, ""), "\r\n") {
			t.Errorf("%s: %q", tt.name, m.To)
		}
	}
}

func FuzzMail(f *testing.F) {
	f.Add([]byte("To: a@x.test\nBcc: b\n\nbody\n"), "c@x.test")
	f.Add([]byte("From x\nTo: \"\r"), "<")
	f.Fuzz(func(t *testing.T, in []byte, to string) {
		c, err := Read(bytes.NewReader(in), true)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m, err := c.Mail(Options{To: []string{to}, FromHeader: true, Host: "h.test", Now: time.Now()})
		if err != nil {
			return
		}
		for _, a := range m.To {
			if a == "" || strings.ContainsAny(a, "\r\n\x00") {
				t.Errorf("recipient %q", a)
			}
		}
		body, err := io.ReadAll(m.body)
		if err != nil || int64(len(m.header)+len(body)) != m.Size {
			t.Errorf("%d bytes, size %d: %v", len(m.header)+len(body), m.Size, err)
		}
		whole := append(m.header, body...)
		if bytes.Count(whole, []byte("\n")) != bytes.Count(whole, []byte("\r\n")) ||
			bytes.Count(whole, []byte("\r")) != bytes.Count(whole, []byte("\r\n")) {
			t.Errorf("a line does not end in CRLF: %q", whole)
		}
	})
}

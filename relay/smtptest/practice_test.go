package smtptest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// practice starts a practice upstream and greets it.
func practice(t *testing.T) (*smtptest.Server, *client) {
	s := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	return s, greet(t, s.Addr())
}

// offer begins a transaction with one recipient and returns the reply to it, and, if it is accepted, to the
// content.
func (c *client) offer(to string) (rcpt, content string) {
	c.t.Helper()
	c.do("RSET", "250")
	c.do("MAIL FROM:<app@sender.test>", "250")
	rcpt = c.do("RCPT TO:<"+to+">", "")
	if rcpt[0] == '2' {
		c.do("DATA", "354")
		content = c.do("Subject: x\r\n\r\nx\r\n.", "")
	}
	return rcpt, content
}

func TestPracticeDoesAsAsked(t *testing.T) {
	for _, tt := range []struct{ to, rcpt, content string }{
		{"anyone@any.test", "250 2.1.5", "250 2.0.0"},
		{"550-5.1.1@any.test", "550 5.1.1 Practice reply\r\n", ""},
		{"550@any.test", "550 Practice reply\r\n", ""},
		{"701@any.test", "701 Practice reply\r\n", ""},
		{"550-5.7.705@any.test", "550 5.7.705 Practice reply\r\n", ""},
		{"452-4.2.2+data@any.test", "250", "452 4.2.2 Practice reply\r\n"},
		{"Unknown@any.test", "550-5.1.1 The email account", ""},
		{"unknown+17@any.test", "550-5.1.1 The email account", ""},
		{"unknown+data@any.test", "250", "550-5.1.1 The email account"},
		{"dmarc@any.test", "250", "550-5.7.26 Unauthenticated email from sender.test is"},
		{"nodns@any.test", "450 4.1.8 <app@sender.test>:", ""},
		{"150@any.test", "250", "250"},
		{"800@any.test", "250", "250"},
		{"550-5.1@any.test", "250", "250"},
		{"550-5.1.1x@any.test", "250", "250"},
	} {
		t.Run(tt.to, func(t *testing.T) {
			_, c := practice(t)
			rcpt, content := c.offer(tt.to)
			if !strings.HasPrefix(rcpt, tt.rcpt) || !strings.HasPrefix(content, tt.content) ||
				(content == "") != (tt.content == "") {
				t.Errorf("got %q and %q, want %q and %q", rcpt, content, tt.rcpt, tt.content)
			}
		})
	}
}

func TestPracticeAcceptsOnTheSecondTry(t *testing.T) {
	s, c := practice(t)
	for _, to := range []string{"greylist@any.test", "451-4.3.0+once@any.test", "452+data+once@any.test"} {
		first, content := c.offer(to)
		if first[0] != '4' && content[0] != '4' {
			t.Errorf("%s: first try got %q, %q", to, first, content)
		}
		if _, content = c.offer(to); !strings.HasPrefix(content, "250") {
			t.Errorf("%s: second try got %q", to, content)
		}
	}
	if n := len(s.Messages()); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
}

func TestPracticeRefusesOneOfTwo(t *testing.T) {
	s, c := practice(t)
	c.do("MAIL FROM:<app@sender.test>", "250")
	c.do("RCPT TO:<good@any.test>", "250")
	c.do("RCPT TO:<550-5.1.1@any.test>", "550")
	c.do("DATA", "354")
	c.do("x\r\n.", "250")
	if m := s.Messages(); len(m) != 1 || len(m[0].To) != 1 || m[0].To[0].Address != "good@any.test" {
		t.Errorf("got %+v", m)
	}
}

func TestPracticeEndsTheConnection(t *testing.T) {
	for _, tt := range []struct{ to, said string }{
		{"421-4.3.2@any.test", "421 4.3.2 Practice reply\r\n"},
		{"221@any.test", "221 Practice reply\r\n"},
		{"reset@any.test", ""},
		{"closing@any.test", "221 2.7.0"},
	} {
		_, c := practice(t)
		c.do("MAIL FROM:<app@sender.test>", "250")
		c.write("RCPT TO:<" + tt.to + ">\r\n")
		if tt.said != "" {
			c.want(tt.said)
		}
		if err := c.eof(); err == nil {
			t.Errorf("%s: still open", tt.to)
		}
	}
	s, c := practice(t)
	c.do("MAIL FROM:<app@sender.test>", "250")
	c.do("RCPT TO:<drop@any.test>", "250")
	c.do("DATA", "354")
	c.write("x\r\n.\r\n")
	if err := c.eof(); err == nil || len(s.Messages()) != 0 {
		t.Errorf("drop: %v, %d messages taken", err, len(s.Messages()))
	}
}

func TestCasesCoverTheGuide(t *testing.T) {
	left := map[diagnose.Category]bool{
		diagnose.Blocked:          true,
		diagnose.DMARCErrors:      true,
		diagnose.InvalidAddress:   true,
		diagnose.MailboxIssues:    true,
		diagnose.MailboxFull:      true,
		diagnose.RateLimitIssues:  true,
		diagnose.RecipientError:   true,
		diagnose.RejectionErrors:  true,
		diagnose.SenderReputation: true,
	}
	names := make(map[string]bool)
	for _, c := range smtptest.Cases() {
		delete(left, c.Category)
		if names[c.Name] || c.About == "" ||
			(c.Stage != diagnose.StageRcpt && c.Stage != diagnose.StageEndOfData) {
			t.Errorf("case %+v", c)
		}
		names[c.Name] = true
		for l := range strings.SplitSeq(c.Reply, "\n") {
			if len(l) > 510 {
				t.Errorf("%s: a line of %d bytes (RFC 5321, 4.5.3.1.5)", c.Name, len(l))
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("no case for %v", left)
	}
	for _, n := range []string{
		"full", "unknown", "dmarc", "ratelimit", "blocked", "loop", "reputation", "greylist", "slow", "drop",
	} {
		if !names[n] {
			t.Errorf("no case named %s", n)
		}
	}
}

func TestDump(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "mail")
	d, err := smtptest.NewDump(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := d.Write(&smtptest.Message{Content: []byte("one\r\n")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Write(&smtptest.Message{Content: []byte("two\r\n")})
	if err != nil || a == b {
		t.Fatalf("%q, %q, %v", a, b, err)
	}
	got, err := os.ReadFile(b)
	if err != nil || string(got) != "two\r\n" {
		t.Errorf("%q, %v", got, err)
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 2 || filepath.Ext(files[0].Name()) != ".eml" {
		t.Errorf("left in the directory: %v", files)
	}
	os.RemoveAll(dir)
	if _, err := d.Write(&smtptest.Message{}); err == nil {
		t.Error("no error without the directory")
	}
}

// TestCasesAreDocumented holds docs/practice.md to the cases.
func TestCasesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/practice.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range smtptest.Cases() {
		row := strings.TrimRight("| `"+c.Name+"` | "+c.About+" | "+string(c.Category), " ")
		if !strings.Contains(string(b), "\n"+row) {
			t.Errorf("no row %q", row)
		}
	}
}

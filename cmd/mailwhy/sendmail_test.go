package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// mailer calls sendmail as other programs do.
type mailer struct {
	t    *testing.T
	env  []string
	path string // where sendmail and mailq are
}

// newMailer makes a mailer whose relay runs on dir and relays to upstream.
func newMailer(t *testing.T, upstream *smtptest.Server, mode string) *mailer {
	t.Helper()
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "relay.toml"), filepath.Join(dir, "smtp.sock")
	text := `hostname = "relay.corp.test"
[[listen]]
address = "127.0.0.1:0"
[[listen]]
address = "unix:` + socket + `"
[accept]
mode = "` + mode + `"
[spool]
dir = "` + filepath.Join(dir, "spool") + `"
[retry]
schedule = "1h"
[upstream.default]
url = "smtp://` + upstream.Addr() + `?tls=none"
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	runRelay(t, cfg)
	program, err := exec.LookPath("mailwhy")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sendmail", "mailq", "newaliases"} {
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return &mailer{t: t, path: dir, env: append(os.Environ(), "MAILWHY_CONFIG="+file)}
}

// call runs a program with arguments that a space separates.
func (m *mailer) call(stdin, line string) (status int, stdout, stderr string) {
	m.t.Helper()
	args := strings.Fields(line)
	cmd := exec.Command(filepath.Join(m.path, args[0]), args[1:]...)
	cmd.Env = m.env
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		m.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestSendmailForItsCallers calls it as they do, and looks at what the upstream gets.
func TestSendmailForItsCallers(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	m := newMailer(t, upstream, "queue")
	for _, tt := range []struct {
		caller, args, in string
		from, to         string
		has, lacks       string // of the content, separated by "|"
	}{
		{"cron", "-FCronDaemon -i -B8BITMIME -oem root",
			"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@h> job\n\n10%\r20%\r100%\n.\nö\n",
			"@relay.corp.test", "root@relay.corp.test",
			"\r\nDate: |\r\nMessage-ID: |\r\n\r\n10%\r\n20%\r\n100%\r\n.\r\nö\r\n|" +
				"Subject: Cron <root@h> job\r\n", ""},
		{"at", "-i root", "Subject: Output from your job 7\nTo: root\n\nok\n",
			"@relay.corp.test", "root@relay.corp.test", "Output from your job 7|\r\nFrom: ", ""},
		{"mdadm", "-t", "From: mdadm monitoring <root>\nTo: admin\nSubject: Fail event\n\n.\nlost\n",
			"@relay.corp.test", "admin@relay.corp.test",
			"From: mdadm monitoring <root@relay.corp.test>", "lost"},
		{"mutt", "-oem -oi -f me@x.test -- a@y.test b@y.test", "From: me@x.test\nTo: a@y.test\n\nhi\n",
			"me@x.test", "a@y.test b@y.test", "To: a@y.test\r\n", "b@y.test"},
		{"PHP", "-t -i -fshop@x.test",
			"To: a@y.test\nSubject: s\nFrom: Shop <shop@x.test>\nBcc: b@y.test\n\nhi\n",
			"shop@x.test", "a@y.test b@y.test", "From: Shop <shop@x.test>\r\n", "b@y.test"},
		{"git send-email", "-i -f me@x.test a@y.test b@y.test",
			"From: me@x.test\nTo: a@y.test\nCc: b@y.test\nMessage-Id: <1@git>\n\n---\n", "me@x.test",
			"a@y.test b@y.test", "Message-Id: <1@git>\r\n", "Message-ID:"},
		{"fail2ban", "-f <fail2ban@x.test> <root@y.test>", "Subject: [Fail2Ban] sshd\n\nHi,\n",
			"fail2ban@x.test", "root@y.test", "From: fail2ban@x.test\r\n", ""},
		{"logwatch", "-t -oi", "To: root\nFrom: Logwatch <logwatch@x.test>\nSubject: Logwatch\n\n.\nend\n",
			"@relay.corp.test", "root@relay.corp.test", ".\r\nend\r\n", ""},
		{"echo", "root", "disk full\n",
			"@relay.corp.test", "root@relay.corp.test", "\r\n\r\ndisk full\r\n", ""},
		{"the null sender", "-f <> -N never root", "Subject: n\n\nn\n",
			"", "root@relay.corp.test", "Subject: n", ""},
	} {
		n := len(upstream.Messages())
		status, out, errs := m.call(tt.in, "sendmail "+tt.args)
		if status != 0 || out != "" || errs != "" {
			t.Errorf("%s: exit status %d, %q, %q", tt.caller, status, out, errs)
			continue
		}
		smtptest.WaitFor(t, tt.caller, func() bool { return len(upstream.Messages()) == n+1 })
		got := upstream.Messages()[n]
		var to []string
		for _, r := range got.To {
			to = append(to, r.Address)
		}
		if !strings.HasSuffix(got.From, tt.from) || (got.From == "") != (tt.from == "") ||
			strings.Join(to, " ") != tt.to {
			t.Errorf("%s: from %q to %q", tt.caller, got.From, to)
		}
		for want := range strings.SplitSeq(tt.has, "|") {
			if !strings.Contains(string(got.Content), want) {
				t.Errorf("%s: it lacks %q:\n%q", tt.caller, want, got.Content)
			}
		}
		_, mail, _ := strings.Cut(string(got.Content), ";") // behind our own Received field
		if tt.lacks != "" && strings.Contains(mail, tt.lacks) {
			t.Errorf("%s: it has %q:\n%q", tt.caller, tt.lacks, got.Content)
		}
	}
}

// TestSendmailTellsRefusals: the exit status is that of sysexits.h, and standard error has the relay's reply,
// whole, with category and fix.
func TestSendmailTellsRefusals(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	m := newMailer(t, upstream, "try")
	const mail = "Subject: x\n\nx\n"
	for _, tt := range []struct {
		what, in, args string
		status         int
		says           string // parts of standard error, separated by "|"
	}{
		{"taken", mail, "a@y.test", 0, ""},
		{"unknown user", mail, "550-5.1.1@y.test", 67,
			"550-5.1.1 Practice reply [Invalid Address: |550-5.1.1 Cause: |Fix 1: |550 5.1.1 See "},
		{"too large for the upstream", mail, "552-5.3.4@y.test", 65, "552-5.3.4 |Fix"},
		{"deferred is queued", mail, "452-4.2.2@y.test", 0, ""},
		{"a malformed recipient", mail, "a@@y.test", 67,
			"refused the mail to a@@y.test, at rcpt:|501 5.1.3 Malformed recipient address|" +
				"category: Invalid Address|fix: "},
		{"some refused", mail, "a@y.test b@@y.test c@y.test", 67,
			"2 of 3 recipients have it, do not send it to them again: a@y.test, c@y.test"},
		{"no recipients", mail, "-i", 64, "no recipients"},
		{"-t, no recipients", mail, "-t", 65, "To, Cc and Bcc name none"},
		{"no address", "To: \"x\n\n", "-t", 65, "not an address"},
		{"no relay", mail, "--relay 127.0.0.1:1 a@y.test", 75,
			"no relay takes mail at 127.0.0.1:1 (--relay): |start the relay, or name its listener"},
		{"no such listener", mail, "--relay here a@y.test", 64, `--relay: "here" is not an address`},
		{"an operand before a flag", mail, "root -t", 64, "flags go before them"},
	} {
		status, out, errs := m.call(tt.in, "sendmail "+tt.args)
		if status != tt.status || out != "" {
			t.Errorf("%s: exit status %d, want %d, %q, %s", tt.what, status, tt.status, out, errs)
		}
		for part := range strings.SplitSeq(tt.says, "|") {
			if !strings.Contains(errs, part) || tt.says == "" && errs != "" {
				t.Errorf("%s: it lacks %q:\n%s", tt.what, part, errs)
			}
		}
	}
	if status, out, errs := m.call("", "mailq"); status != 0 ||
		!strings.Contains(out, "452-4.2.2@y.test\n") ||
		!strings.HasSuffix(out, " in 1 Request.\n") {
		t.Errorf("mailq: exit status %d\n%s%s", status, out, errs)
	}
	before := len(upstream.Sessions()) + upstreamTries(upstream)
	if status, out, errs := m.call("", "sendmail -q"); status != 0 || out+errs != "" {
		t.Errorf("-q: exit status %d\n%s%s", status, out, errs)
	}
	smtptest.WaitFor(t, "another attempt",
		func() bool { return len(upstream.Sessions())+upstreamTries(upstream) > before })
	if status, out, errs := m.call("", "newaliases"); status != 0 || out+errs != "" {
		t.Errorf("newaliases: exit status %d\n%s%s", status, out, errs)
	}
}

// upstreamTries counts the recipients that the upstream was asked to take.
func upstreamTries(s *smtptest.Server) (n int) {
	for _, session := range s.Sessions() {
		for _, line := range session.Commands {
			if strings.HasPrefix(line, "RCPT") {
				n++
			}
		}
	}
	return n
}

// TestSendmailSpeaksSMTP is -bs, which Symfony uses, with the relay and without one.
func TestSendmailSpeaksSMTP(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	m := newMailer(t, upstream, "queue")
	status, out, errs := m.call("EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n"+
		"Subject: s\r\n\r\nhi\r\n.\r\nQUIT\r\n", "sendmail -bs")
	if status != 0 || errs != "" || !strings.HasPrefix(out, "220 ") ||
		!strings.Contains(out, "\r\n250 2.0.0 Ok: queued as ") || !strings.Contains(out, "\r\n221 ") {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
	smtptest.WaitFor(t, "the mail", func() bool { return len(upstream.Messages()) == 1 })
	status, out, _ = m.call("EHLO x\r\n", "sendmail -bs --relay unix:/does/not/exist")
	if status != 75 || !strings.HasPrefix(out, "421 4.3.2 no relay takes mail at unix:/does/not/exist") ||
		strings.Count(out, "\n") != 1 {
		t.Errorf("without a relay: exit status %d, %q", status, out)
	}
}

// TestSendmailSaysWhichRelay: -v names the listener and why it was chosen.
func TestSendmailSaysWhichRelay(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	m := newMailer(t, upstream, "queue")
	server := smtptest.New(t, smtptest.Options{})
	socket, file := filepath.Join(m.path, "smtp.sock"), filepath.Join(m.path, "relay.toml")
	for _, tt := range []struct{ env, args, want string }{
		{"", "-v a@y.test", "The relay is at unix:" + socket + " (a listener of " +
			file + ").\n220 relay.corp.test"},
		{"", "-v -C " + file + " a@y.test", "The relay is at unix:" + socket},
		{server.Addr(), "-v a@y.test", "The relay is at " + server.Addr() + " (MAILWHY_SENDMAIL_RELAY).\n"},
		{server.Addr(), "-v --relay unix:" + socket + " a@y.test",
			"The relay is at unix:" + socket + " (--relay)."},
	} {
		env := m.env
		m.env = append(m.env, "MAILWHY_SENDMAIL_RELAY="+tt.env)
		status, out, errs := m.call("Subject: x\n\nx\n", "sendmail "+tt.args)
		m.env = env
		if status != 0 || errs != "" || !strings.HasPrefix(out, tt.want) {
			t.Errorf("%s: exit status %d, %s\n%s", tt.args, status, out, errs)
		}
	}
}

// TestSendmailIsUncertainAloud: nobody can tell whether the relay has the mail.
func TestSendmailIsUncertainAloud(t *testing.T) {
	server := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData {
			return smtptest.Action{Take: true, End: smtptest.EndClose}
		}
		return smtptest.Action{}
	}})
	var out, errs bytes.Buffer
	status := run([]string{"sendmail", "--relay", server.Addr(), "a@y.test"},
		strings.NewReader("x\n"), &out, &errs)
	if status != 75 || !strings.Contains(errs.String(), "it may have taken it") {
		t.Errorf("exit status %d, %s", status, errs.String())
	}
}

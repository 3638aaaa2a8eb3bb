package smtpd

import (
	"encoding/base64"
	"io"
	"log/slog"
	"strings"
	"testing"

	"mailwhy/relay/smtptest"
)

// lenientOptions are testOptions whose clients are lenient.
func lenientOptions(st *store) Options {
	o := testOptions(st)
	o.Access.Networks[0].Lenient = true
	return o
}

// TestRefusalNamesTheSetting: what only a setting allows is refused with its name.
func TestRefusalNamesTheSetting(t *testing.T) {
	st := &store{}
	_, addr := start(t, testOptions(st), Listen{})
	c := hello(t, addr)
	for _, tt := range []struct{ line, want, setting string }{
		{"HELO", "501 5.5.4 ", "lenient = true"},
		{"EHLO ", "501 5.5.4 ", "lenient = true"},
		{"MAIL\tFROM:<a@b.test>", "500 5.5.2 ", "lenient = true"},
		{"MAIL FROM: a@b.test", "501 5.5.4 ", "lenient = true"},
		{"MAIL FROM:<<a@b.test>>", "501 5.5.4 ", "lenient = true"},
		{"MAIL FROM:<a@b.test >", "501 5.5.4 ", "lenient = true"},
		{"MAIL FROM:<root>", "501 5.1.7 ", "content.default_domain"},
		{`MAIL FROM:<"a@b">`, "501 5.1.7 ", "content.default_domain"},
		{"AUTH PLAIN AGEAYg==", "502 5.5.1 ", `auth = "any"`},
		{"MAIL FROM:<a@b.test>", "250", ""},
		{"RCPT TO:<root>", "501 5.1.3 ", "content.default_domain"},
		{"RCPT TO: c@d.test", "501 5.5.4 ", "lenient = true"},
		{"RCPT TO:<c@d.test>", "250", ""},
		{"DATA", "354", ""},
		{"Subject: x\n\n.", "554 5.6.0 ", `smtpd.bare_newline = "normalize", or lenient = true`},
	} {
		if got := c.say(tt.line, tt.want); !strings.Contains(got, tt.setting) {
			t.Errorf("%q: %q does not name %s", tt.line, got, tt.setting)
		}
	}
	o := testOptions(st)
	o.Access.Users = testUsers(t, "app", "pass")
	_, addr = start(t, o, Listen{})
	if got := hello(t, addr).say("AUTH PLAIN AGEAYg==", "538 5.7.11 "); !strings.Contains(got,
		`auth = "clear"`) {
		t.Errorf("%q does not name the setting", got)
	}
}

// TestLenient: a lenient client may send what old devices do.
func TestLenient(t *testing.T) {
	st := &store{}
	_, addr := start(t, lenientOptions(st), Listen{})
	for name, session := range map[string]string{
		"no brackets": "HELO printer\r\nMAIL FROM: a@b.test\r\nRCPT TO:c@d.test\r\nDATA\r\n" +
			"Subject: x\r\n\r\nb\r\n.\r\n",
		"parameters": "EHLO printer\r\nMAIL FROM: a@b.test SIZE=10\r\nRCPT TO:c@d.test NOTIFY=NEVER\r\n" +
			"DATA\r\n" +
			"Subject: x\r\n\r\nb\r\n.\r\n",
		"tabs": "HELO\tprinter\r\nMAIL\tFROM:<a@b.test>\t\r\nRCPT\tTO:\t<c@d.test>\r\n" +
			"DATA\t\r\nSubject: x\r\n\r\nb\r\n.\r\n",
		"HELO alone": "HELO\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" +
			"Subject: x\r\n\r\nb\r\n.\r\n",
		"EHLO alone": "EHLO \r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" +
			"Subject: x\r\n\r\nb\r\n.\r\n",
		"blank before the colon": "HELO x\r\nMAIL FROM :<a@b.test>\r\nRCPT TO : c@d.test\r\nDATA\r\n" +
			"Subject: x\r\n\r\nb\r\n.\r\n",
		"LF in lines": "HELO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" +
			"Subject: x\n\nb\n\r\n.\r\n",
		"LF alone":             "HELO\nMAIL FROM: a@b.test\nRCPT TO: c@d.test\nDATA\nSubject: x\n\nb\n.\n",
		"LF, but not the last": "HELO\nMAIL FROM: a@b.test\nRCPT TO: c@d.test\nDATA\nSubject: x\n\nb\n.\r\n",
	} {
		st.forget()
		c := dial(t, addr)
		c.want("220 ")
		for line := range strings.Lines(session) {
			io.WriteString(c, line)
			switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); {
			case strings.HasPrefix(word, "DATA"):
				c.want("354 ")
			case line[0] == '.' || strings.ContainsAny(word[:min(4, len(word))], "ELMR") && len(word) > 3:
				c.want("250")
			}
		}
		got := st.messages()
		if len(got) != 1 || !strings.HasPrefix(got[0].body(), "Subject: x\r\n\r\nb\r\n") {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		if m := got[0].m; m.Envelope.From != "a@b.test" || m.Recipients[0].Address != "c@d.test" {
			t.Errorf("%s: %+v", name, m)
		}
		if changed := strings.Join(got[0].m.Changed, ","); strings.HasPrefix(name, "LF") !=
			(changed == "line ends normalized") {
			t.Errorf("%s: changed %q", name, changed)
		}
		c.say("QUIT", "221")
	}
}

// TestLenientIsNotSmuggled: LF.LF ends only a content without any CR; with one it is text, and what follows
// it is not read as commands.
func TestLenientIsNotSmuggled(t *testing.T) {
	st := &store{}
	_, addr := start(t, lenientOptions(st), Listen{})
	const smuggled = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<v@x.test>\r\nDATA\r\nSubject: evil\r\n\r\n"
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\n\n.\r\n"} {
		st.forget()
		c := hello(t, addr)
		c.toData()
		c.send("Received: from x by y; date\r\nSubject: x\r\n\r\nb" + end + smuggled + "\r\n.")
		c.want("250")
		got := st.messages()
		if len(got) != 1 || !strings.Contains(got[0].content, "evil@x.test") {
			t.Errorf("%q: %d messages", end, len(got))
		}
		c.Close()
	}
}

// TestDefaultDomain: addresses without a domain get ours, and the access rules see them with it.
func TestDefaultDomain(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Domain = "corp.test"
	o.Access.DenyRecipients = []string{"denied@corp.test"}
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.say("MAIL FROM:<root>", "250")
	c.say("RCPT TO:<www-data>", "250")
	c.say("RCPT TO:<a..b>", "250")
	c.say("RCPT TO:<postmaster>", "250")
	c.say("RCPT TO:<denied>", "550 5.7.1 ")
	c.say("RCPT TO:<a b>", "501 5.1.3 ")
	c.say("DATA", "354")
	c.say("Subject: x\r\n\r\nb\r\n.", "250")
	got := st.messages()[0].m
	var to []string
	for _, r := range got.Recipients {
		to = append(to, r.Address)
	}
	if want := `www-data@corp.test "a..b"@corp.test postmaster@relay.test`; got.Envelope.From != "root@c"+
		"orp.test" ||
		strings.Join(to, " ") != want || strings.Join(got.Changed, ",") != "domain added" {
		t.Errorf("%+v, to %q", got, to)
	}
}

// TestOneMailbox: recipients whose domains differ in case only are one.
func TestOneMailbox(t *testing.T) {
	st := &store{}
	_, addr := start(t, testOptions(st), Listen{})
	c := hello(t, addr)
	c.say("MAIL FROM:<a@b.test>", "250")
	for _, to := range []string{"b@any.test", "b@ANY.test", "B@any.test", "b@any.test."} {
		c.say("RCPT TO:<"+to+">", "250")
	}
	c.say("DATA", "354")
	c.say("\r\n.", "250")
	if got := st.messages()[0].m.Recipients; len(got) != 2 || got[0].Address != "b@any.test" ||
		got[1].Address != "B@any.test" {
		t.Errorf("%+v", got)
	}
}

// TestBadRecipientsDoNotEndTheSession: however many recipients of a message are refused, the good ones get
// it; over as many as a message may have, refusals count again.
func TestBadRecipientsDoNotEndTheSession(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Limits.Recipients = 100
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.say("MAIL FROM:<a@b.test>", "250")
	for range 50 {
		c.say("RCPT TO:<a b@d.test>", "501")
	}
	c.say("RCPT TO:<good@d.test>", "250")
	for range 50 + o.Limits.Errors - 1 {
		c.say("RCPT TO:<a@-d.test>", "501")
	}
	c.say("DATA", "354")
	c.say("\r\n.", "250")
	c.say("MAIL FROM:<a@b.test>", "250")
	for range 100 + o.Limits.Errors {
		c.say("RCPT TO:<a b@d.test>", "501")
	}
	c.want("421 4.7.0 Too many errors")
	c.want("")
	if len(st.messages()) != 1 {
		t.Errorf("%d messages", len(st.messages()))
	}
}

func plainLogin(name, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00"+password))
}

// TestAuthAny: for clients that insist on a login, every name and password will do, and make nobody a user.
func TestAuthAny(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Access.Networks[0].Auth = AuthAny
	o.Access.Users = testUsers(t, "app", "pass")
	o.Access.Networks[0].Senders = []string{"@b.test"}
	_, addr := start(t, o, Listen{})
	for _, login := range []string{plainLogin("x", "y"), plainLogin("app", "wrong"), plainLogin("x", ""),
		"LOGIN"} {
		st.forget()
		c := dial(t, addr)
		c.want("220 ")
		if got := c.say("EHLO x", "250"); !strings.Contains(got, "AUTH PLAIN LOGIN") {
			t.Errorf("AUTH is not offered: %q", got)
		}
		if login == "LOGIN" {
			c.say("AUTH LOGIN", "334")
			c.say("eA==", "334")
			login = "eQ=="
		}
		c.say(login, "235 2.7.0 ")
		c.say(plainLogin("x", "y"), "503")
		c.say("MAIL FROM:<a@other.test>", "553")
		c.toData()
		c.say("\r\n.", "250")
		if m := st.messages()[0].m; m.Client.User != "" || m.Client.Name != "localhost" ||
			m.Client.Protocol != "ESMTP" {
			t.Errorf("%+v", m.Client)
		}
	}
}

// TestAuthClear: users may log in without TLS, with their passwords.
func TestAuthClear(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Access.Networks[0].Auth = AuthClear
	o.Access.Users = testUsers(t, "app", "pass")
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.say(plainLogin("app", "wrong"), "535")
	c.say(plainLogin("app", "pass"), "235")
	c.toData()
	c.say("\r\n.", "250")
	if m := st.messages()[0].m; m.Client.User != "app" {
		t.Errorf("%+v", m.Client)
	}
}

// TestRefusalIsHeard: a client that goes on sending hears why it is refused before the connection ends.
func TestRefusalIsHeard(t *testing.T) {
	var logged smtptest.Buffer
	o := testOptions(&store{})
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	_, addr := start(t, o, Listen{})
	for _, tt := range []struct{ begin, more, want string }{
		{"BDAT 8000000 LAST\r\n", strings.Repeat("x", 8_000_000), "502 5.5.1 CHUNKING"},
		{"DATA\r\n", strings.Repeat("Subject: x\n", 800_000) + "\n.\n", "554 5.6.0 Bare LF"},
	} {
		c := hello(t, addr)
		c.toRcpt()
		io.WriteString(c, tt.begin)
		if strings.HasPrefix(tt.begin, "DATA") {
			c.want("354")
		}
		if _, err := io.WriteString(c, tt.more); err != nil {
			t.Errorf("%q: sending: %v", tt.begin, err)
		}
		c.want(tt.want)
		c.want("")
		c.Close()
	}
	smtptest.WaitFor(t, "the warning", func() bool {
		return strings.Contains(logged.String(), "lenient = true in its [[client]]")
	})
}

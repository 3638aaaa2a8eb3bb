package rewrite

import (
	"bytes"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailwhy/relay"
)

// world is a Rewriter with its log.
type world struct {
	*Rewriter
	t   *testing.T
	log bytes.Buffer
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t}
	o.Log = slog.New(slog.NewTextHandler(&w.log, nil))
	var err error
	if w.Rewriter, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// message is one of the application's to some recipients.
func message(from string, to ...string) *relay.Message {
	m := &relay.Message{ID: "06H2EJYRNE4XQME8KVKBNZGK", Lane: "m365", HeaderFrom: "corp.example",
		Envelope: relay.Envelope{From: from}, Client: relay.Client{Name: "crm", User: "app"}}
	for _, a := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: a})
	}
	return m
}

// transaction is one of m's first recipient.
func (w *world) transaction(m *relay.Message, content string) *relay.Transaction {
	t := &relay.Transaction{Message: m, From: m.Envelope.From, Recipients: []int{0},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
	if sender := w.Sender(t); sender != "" {
		t.From = sender
	}
	w.Prepare(t)
	return t
}

// sent is the content of a transaction.
func sent(t *testing.T, tx *relay.Transaction) string {
	t.Helper()
	c, err := tx.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// crlf is a text with the line ends of mail.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// toAccount is the preset for an account.
func toAccount() Options {
	return Options{Rules: []Rule{{Name: "account", ToAccount: true}},
		Accounts: map[string]string{"m365": "noreply@corp.example"}}
}

// TestFromToAccount: whatever a From looks like, what leaves has one, with the address of the account.
func TestFromToAccount(t *testing.T) {
	for _, tt := range []struct{ name, header, want string }{
		{"an address", "From: alice@corp.example\n",
			"From: noreply@corp.example\nReply-To: alice@corp.example\n" +
				"X-Original-From: alice@corp.example\n"},
		{"a name", "Subject: x\nFROM: Alice B. <alice@corp.example>\nTo: b@x.example\n",
			"Subject: x\nFrom: Alice B. <noreply@corp.example>\nReply-To: Alice B. <alice@corp.example>\n" +
				"X-Original-From: Alice B. <alice@corp.example>\nTo: b@x.example\n"},
		{"a quoted name", "From: \"B, Alice\" <alice@corp.example>\n",
			"From: \"B, Alice\" <noreply@corp.example>\nReply-To: \"B, Alice\" <alice@corp.example>\n" +
				"X-Original-From: \"B, Alice\" <alice@corp.example>\n"},
		{"an encoded word, folded", "From: =?iso-2022-jp?B?GyRCOzMbKEI=?=\n <alice@corp.example>\n",
			"From: =?iso-2022-jp?B?GyRCOzMbKEI=?= <noreply@corp.example>\n" +
				"Reply-To: =?iso-2022-jp?B?GyRCOzMbKEI=?=\n <alice@corp.example>\n" +
				"X-Original-From: =?iso-2022-jp?B?GyRCOzMbKEI=?=\n <alice@corp.example>\n"},
		{"a comment as name", "From: root@corp.example (Cron Daemon)\n",
			"From: noreply@corp.example (Cron Daemon)\nReply-To: root@corp.example (Cron Daemon)\n" +
				"X-Original-From: root@corp.example (Cron Daemon)\n"},
		{"a comment with an address", "From: (evil@x.example) alice@corp.example\n",
			"From: noreply@corp.example\nX-Original-From: (evil@x.example) alice@corp.example\n"},
		{"an address as name", "From: ceo@bank.example <alice@corp.example>\n",
			"From: \"ceo@bank.example\" <noreply@corp.example>\n" +
				"X-Original-From: ceo@bank.example <alice@corp.example>\n"},
		{"two addresses in one mailbox", "From: A <alice@corp.example> <ceo@bank.example>\n",
			"From: A <noreply@corp.example>\nX-Original-From: A <alice@corp.example> <ceo@bank.example>\n"},
		{"two authors", "From: A <a@corp.example>, B <b@corp.example>\nSender: A <a@corp.example>\n",
			"From: A <noreply@corp.example>\nReply-To: A <a@corp.example>, B <b@corp.example>\n" +
				"X-Original-From: A <a@corp.example>, B <b@corp.example>\n" +
				"X-Original-Sender: A <a@corp.example>\n"},
		{"a group", "From: Team: A <a@corp.example>, b@corp.example;\n",
			"From: A <noreply@corp.example>\nReply-To: Team: A <a@corp.example>, b@corp.example;\n" +
				"X-Original-From: Team: A <a@corp.example>, b@corp.example;\n"},
		{"an empty group", "From: Nobody:;\n", "From: noreply@corp.example\nX-Original-From: Nobody:;\n"},
		{"a quoted local part", "From: A <\"a@b c\"@corp.example>\n",
			"From: A <noreply@corp.example>\nReply-To: A <\"a@b c\"@corp.example>\n" +
				"X-Original-From: A <\"a@b c\"@corp.example>\n"},
		{"UTF-8", "From: Jörg <jörg@corp.example>\n",
			"From: Jörg <noreply@corp.example>\nReply-To: Jörg <jörg@corp.example>\n" +
				"X-Original-From: Jörg <jörg@corp.example>\n"},
		{"an open string", "From: \"Alice <alice@corp.example>\n",
			"From: noreply@corp.example\nX-Original-From: \"Alice <alice@corp.example>\n"},
		{"no address", "From: Cron Daemon\n", "From: noreply@corp.example\nX-Original-From: Cron Daemon\n"},
		{"an empty one", "From:\n", "From: noreply@corp.example\nX-Original-From:\n"},
		{"none", "Subject: x\n", "Subject: x\nFrom: noreply@corp.example\n"},
		{"several fields", "From: a@corp.example\nTo: b@x.example\nfrom : ceo@bank.example\n",
			"From: noreply@corp.example\nReply-To: a@corp.example\nX-Original-From: a@corp.example\n" +
				"X-Original-From: ceo@bank.example\nTo: b@x.example\n"},
		{"a Reply-To", "Reply-To: desk@corp.example\nFrom: A <a@corp.example>\n",
			"Reply-To: desk@corp.example\nFrom: A <noreply@corp.example>\n" +
				"X-Original-From: A <a@corp.example>\n"},
		{"the account itself", "From: App <NoReply@corp.example>\nSender: noreply@corp.example\n",
			"From: App <NoReply@corp.example>\nSender: noreply@corp.example\n"},
		{"another sender", "From: noreply@corp.example\nSender: cron@corp.example\n",
			"From: noreply@corp.example\nX-Original-Sender: cron@corp.example\n"},
		{"a mailing list", "List-Id: <dev.corp.example>\nList-Post: <mailto:dev@corp.example>\n" +
			"Sender: dev-bounces@corp.example\nFrom: Al <al@else.example>\n",
			"List-Id: <dev.corp.example>\nList-Post: <mailto:dev@corp.example>\n" +
				"X-Original-Sender: dev-bounces@corp.example\nFrom: Al <noreply@corp.example>\n" +
				"Reply-To: Al <al@else.example>\nX-Original-From: Al <al@else.example>\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, toAccount())
			const body = "\nFrom: x\n.\n\n"
			tx := w.transaction(message("a@corp.example", "b@x.example"), crlf(tt.header+body))
			if got, want := sent(t, tx), crlf(tt.want+body); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if tx.From != "noreply@corp.example" || tx.FromDomain() != "corp.example" {
				t.Errorf("sent as <%s>, From of %s", tx.From, tx.FromDomain())
			}
		})
	}
}

// TestRules: which rules match, and what counts where several set the same.
func TestRules(t *testing.T) {
	rules := []Rule{
		{Name: "client", Clients: []string{"crm"}, From: "Shop <shop@x.example>"},
		{Name: "user", Clients: []string{"app"}, ReplyTo: "desk@x.example"},
		{Name: "other", Clients: []string{"web"}, From: "web@x.example"},
		{Name: "regexp", Senders: []string{`/(.+)@OLD\.example/`}, Sender: "$1@new.example",
			From: "${1}@new.example"},
		{Name: "recipient", Recipients: []string{"@.partner.example"}, Add: []Field{{"X-Partner", "yes"}}},
		{Name: "upstream", Upstreams: []string{"ses"}, From: "ses@x.example"},
		{Name: "null", Senders: []string{"<>"}, Sender: "bounces@x.example",
			Set: []Field{{"Subject", "a bounce"}}},
	}
	for _, tt := range []struct {
		name, from, to, sender, header string
		rules                          []string
	}{
		{"first counts", "app@old.example", "a@x.example", "app@new.example",
			"From: \"Shop\" <shop@x.example>\nX-Original-From: A <a@b.example>\nReply-To: desk@x.example\n",
			[]string{"client", "user", "regexp"}},
		{"the whole address", "app@old.example.org", "a@mail.partner.example", "app@old.example.org",
			"From: \"Shop\" <shop@x.example>\nX-Original-From: A <a@b.example>\nReply-To: desk@x.example\n" +
				"X-Partner: yes\n", []string{"client", "user", "recipient"}},
		{"the null sender stays", "", "a@x.example", "",
			"From: \"Shop\" <shop@x.example>\nX-Original-From: A <a@b.example>\nReply-To: desk@x.example\n" +
				"Subject: a bounce\n", []string{"client", "user", "null"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{Rules: rules})
			tx := w.transaction(message(tt.from, tt.to), "From: A <a@b.example>\r\n\r\n")
			if got, want := sent(t, tx), crlf(tt.header+"\n"); got != want || tx.From != tt.sender {
				t.Errorf("from <%s>\n%s\nwant <%s>\n%s", tx.From, got, tt.sender, want)
			}
			if got := w.Rules(tx); !slices.Equal(got, tt.rules) {
				t.Errorf("rules %q, want %q", got, tt.rules)
			}
		})
	}
	if _, err := New(Options{Rules: []Rule{{Name: "bad", Senders: []string{"/(/"}}}}); err == nil ||
		!strings.Contains(err.Error(), "rewrite bad: /(/") {
		t.Errorf("a bad expression: %v", err)
	}
}

// TestInvalidResult: a rule that makes no address changes nothing, and the log says so.
func TestInvalidResult(t *testing.T) {
	w := newWorld(t, Options{Rules: []Rule{{Name: "long", Senders: []string{"/(.+)@.*/"},
		Sender: "$1$1@x.example", From: "$1$1@x.example"}}})
	from := strings.Repeat("a", 40) + "@x.example"
	tx := w.transaction(message(from, "b@x.example"), "From: a@x.example\r\n\r\n")
	if got := sent(t, tx); tx.From != from || got != "From: a@x.example\r\n\r\n" {
		t.Errorf("from <%s>: %q", tx.From, got)
	}
	if !strings.Contains(w.log.String(), "rule=long") {
		t.Errorf("log: %s", w.log.String())
	}
}

// TestHeaders: fields are added, set and removed, never two of which there may be one.
func TestHeaders(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("word ", 40))
	w := newWorld(t, Options{Add: []Field{{"X-Env", "staging"}, {"List-Unsubscribe", "<https://x.example>"},
		{"Subject", "none"}},
		Rules: []Rule{{Name: "h", Set: []Field{{"X-Mailer", "ours"}, {"X-Long", long}},
			Remove: []string{"x-secret", "X-None"}}, {Name: "later", Set: []Field{{"x-mailer", "theirs"}}}}})
	tx := w.transaction(message("a@x.example", "b@x.example"), crlf("Subject: is there\nX-Mailer: a\n"+
		"X-Secret: 1\n 2\nlist-unsubscribe: <mailto:x>\nX-Mailer: b\nX-Env: app\n\nX-Secret: in the body\n"))
	want := "Subject: is there\nX-Mailer: ours\nlist-unsubscribe: <mailto:x>\nX-Env: app\nX-Long:" +
		strings.Repeat(" word", 14) + "\n" + strings.Repeat(" word", 15) + "\n" +
		strings.Repeat(" word", 11) +
		"\nX-Env: staging\n\nX-Secret: in the body\n"
	if got := sent(t, tx); got != crlf(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if want := []string{"x-secret removed", "x-mailer set", "x-long set",
		"x-env added"}; !slices.Equal(tx.Changed, want) {
		t.Errorf("changed %q", tx.Changed)
	}
}

// TestNoHeader: contents without a body, or without an end of the header, keep every byte that is not ours.
func TestNoHeader(t *testing.T) {
	for content, want := range map[string]string{
		"":                            "X-Env: s\r\n",
		"\r\n":                        "X-Env: s\r\n\r\n",
		"A: b":                        "A: b\r\nX-Env: s\r\n",
		"A: b\r\n":                    "A: b\r\nX-Env: s\r\n",
		"A: b\r\nno field\r\n\r\nc":   "A: b\r\nX-Env: s\r\nno field\r\n\r\nc",
		"\r\nbody: x\r\n":             "X-Env: s\r\n\r\nbody: x\r\n",
		"A: b\r\n c\r\n\td\r\n\r\n:x": "A: b\r\n c\r\n\td\r\nX-Env: s\r\n\r\n:x",
	} {
		w := newWorld(t, Options{Add: []Field{{"X-Env", "s"}}})
		if got := sent(t, w.transaction(message("a@x.example", "b@x.example"), content)); got != want {
			t.Errorf("%q became %q, want %q", content, got, want)
		}
	}
}

// TestHugeHeader: a header that does not fit into memory is an error, so the mail waits.
func TestHugeHeader(t *testing.T) {
	w := newWorld(t, Options{Add: []Field{{"X-Env", "s"}}})
	tx := w.transaction(message("a@x.example", "b@x.example"), strings.Repeat("A: b\r\n", MaxHeader/6+2000))
	if _, err := tx.Open(); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("got %v", err)
	}
}

// TestLongLines: no line becomes longer than SMTP allows.
func TestLongLines(t *testing.T) {
	w := newWorld(t, toAccount())
	name := strings.Repeat("n", 970)
	got := sent(t, w.transaction(message("a@x.example", "b@x.example"),
		"From: "+name+" <a@x.example>\r\n\r\n"))
	if n := lineLength([]byte(got)); n > maxLine || !strings.Contains(got, "From: noreply@corp.example\r\n") {
		t.Errorf("a line of %d bytes\n%s", n, got)
	}
}

// TestSignatures: a signature that a change breaks is told once, and stays.
func TestSignatures(t *testing.T) {
	w := newWorld(t, toAccount())
	const signature = "DKIM-Signature: v=1; d=Corp.example; h=To :\r\n from; b=x\r\n"
	tx := w.transaction(message("a@x.example", "b@x.example"),
		signature+"DKIM-Signature: d=esp.example; h=To; b=y\r\nFrom: a@x.example\r\n\r\n")
	for range 2 {
		if got := sent(t, tx); !strings.Contains(got, signature) {
			t.Errorf("the signature is gone:\n%s", got)
		}
	}
	if n := strings.Count(w.log.String(), "domains=corp.example "); n != 1 ||
		!slices.Contains(tx.Changed, "dkim signature broken") {
		t.Errorf("told %d times: %s; changed %q", n, w.log.String(), tx.Changed)
	}
}

// TestRecipients: recipients are replaced by the first rule that matches, and become one where they become
// the same.
func TestRecipients(t *testing.T) {
	w := newWorld(t, Options{Rules: []Rule{
		{Name: "one", Recipients: []string{`/(.+)@old\.example/`}, Recipient: "$1@new.example"},
		{Name: "two", Recipients: []string{"@old.example", "c@x.example"}, Recipient: "all@new.example"},
		{Name: "not", Clients: []string{"web"}, Recipient: "web@x.example"},
	}})
	m := message("app@shop.example", "a@old.example", "A@new.example", "c@x.example", "d@x.example",
		"a@new.example")
	m.Recipients[0].Notify = relay.NotifyFailure
	m.Recipients[2].ORCPT = "rfc822;given"
	w.Accept(m)
	want := []relay.Recipient{
		{Address: "a@new.example", Given: []string{"a@old.example"}, ORCPT: "rfc822;a@old.example",
			Notify: relay.NotifyFailure},
		{Address: "A@new.example"},
		{Address: "all@new.example", Given: []string{"c@x.example"}, ORCPT: "rfc822;given"},
		{Address: "d@x.example"},
	}
	if !reflect.DeepEqual(m.Recipients, want) {
		t.Errorf("got  %+v\nwant %+v", m.Recipients, want)
	}
	if !slices.Equal(m.Changed, []string{"recipient rewritten"}) {
		t.Errorf("changed %q", m.Changed)
	}
}

// TestRuleSeesWhatWasGiven: a rule that replaced a recipient matches it at the attempt too.
func TestRuleSeesWhatWasGiven(t *testing.T) {
	w := newWorld(t, Options{Rules: []Rule{{Name: "r", Recipients: []string{"@old.example"},
		Recipient: "a@new.example", Add: []Field{{"X-Moved", "yes"}}}}})
	m := message("app@shop.example", "a@old.example", "b@x.example")
	w.Accept(m)
	if got := sent(t, w.transaction(m, "A: b\r\n\r\n")); got != "A: b\r\nX-Moved: yes\r\n\r\n" {
		t.Errorf("got %q", got)
	}
	if w.Alike(m, 0, 1) || !w.Alike(m, 1, 1) {
		t.Error("recipients that a rule tells apart are alike")
	}
}

// TestSandbox: recipients that are not allowed become one, whose mail names them and has a mark.
func TestSandbox(t *testing.T) {
	w := newWorld(t, Options{Sandbox: Sandbox{On: true, Redirect: "qa@x.example", Subject: "[SANDBOX]",
		Allow: []string{"@ours.example"}}})
	m := message("app@shop.example", "joe@there.example", "me@ours.example", "\"a  b\"@there.example")
	w.Accept(m)
	want := []relay.Recipient{{Address: "me@ours.example"}, {Address: "qa@x.example", Sandboxed: true,
		Given: []string{"joe@there.example", "\"a  b\"@there.example"}}}
	if !reflect.DeepEqual(m.Recipients, want) || !slices.Equal(m.Changed,
		[]string{"recipients redirected to the sandbox"}) {
		t.Fatalf("got %+v, %q", m.Recipients, m.Changed)
	}
	if w.Alike(m, 0, 1) {
		t.Error("both may travel together")
	}
	if got := sent(t, w.transaction(m, "Subject: x\r\n\r\n")); got != "Subject: x\r\n\r\n" {
		t.Errorf("an allowed recipient gets %q", got)
	}
	m.Recipients = m.Recipients[1:]
	long := strings.Repeat("x", 989)
	for subject, marked := range map[string]string{
		"Subject: x\n":            "Subject: [SANDBOX] x\n",
		"Subject:\n x\n y\n":      "Subject: [SANDBOX] \n x\n y\n",
		"Subject:\n":              "Subject: [SANDBOX] \n",
		"subject: " + long + "\n": "Subject: [SANDBOX]\n " + long + "\n",
	} {
		want := crlf(marked + "X-Original-To: joe@there.example\nX-Original-To: \"a  b\"@there.example\n\n")
		if got := sent(t, w.transaction(m, crlf(subject+"\n"))); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	if got := sent(t, w.transaction(m, "\r\n")); !strings.HasSuffix(got, "\r\nSubject: [SANDBOX]\r\n\r\n") {
		t.Errorf("without a subject: %q", got)
	}
}

// TestArchive: copies go to archives that match, once each, and nobody is told of them.
func TestArchive(t *testing.T) {
	archives := []Archive{
		{Bcc: "all@archive.example"}, {Bcc: "ALL@archive.example"},
		{Bcc: "crm@archive.example", Clients: []string{"crm"}, Recipients: []string{"@there.example"}},
		{Bcc: "web@archive.example", Clients: []string{"web"}},
		{Bcc: "sales@archive.example", Senders: []string{"sales@shop.example"}},
	}
	copies := func(o Options, m *relay.Message) (to []string) {
		newWorld(t, o).Accept(m)
		for _, r := range m.Recipients {
			if r.Notify == relay.NotifyNever {
				to = append(to, r.Address)
			}
		}
		return to
	}
	o := Options{Archives: archives}
	if got := copies(o, message("app@shop.example", "a@x.example", "joe@there.example")); !slices.Equal(got,
		[]string{"all@archive.example", "crm@archive.example"}) {
		t.Errorf("copies to %q", got)
	}
	if got := copies(o, message("Sales@shop.example", "all@archive.example")); !slices.Equal(got,
		[]string{"sales@archive.example"}) {
		t.Errorf("copies to %q", got)
	}
	o.Sandbox = Sandbox{On: true, Redirect: "qa@x.example", Allow: []string{"crm@archive.example"}}
	m := message("sales@shop.example", "joe@there.example")
	if got := copies(o, m); !slices.Equal(got, []string{"crm@archive.example"}) {
		t.Errorf("in a sandbox copies to %q", got)
	}
	if got := m.Recipients[0]; !slices.Equal(got.Given, []string{"joe@there.example"}) {
		t.Errorf("the redirected mail names %q", got.Given)
	}
}

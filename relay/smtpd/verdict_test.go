package smtpd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// tried is a recipient after an attempt.
func tried(address string, state relay.State, reply string) relay.Recipient {
	r := relay.Recipient{Address: address, State: state}
	r.Last = &relay.Attempt{Stage: diagnose.StageEndOfData, Reply: diagnose.ParseReply(reply)}
	if state != relay.Relayed {
		d := testEngine().Diagnose(diagnose.Symptom{Stage: r.Last.Stage, Reply: r.Last.Reply})
		r.Diagnosis = &d
	}
	return r
}

func testEngine() *diagnose.Engine {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		panic(err)
	}
	return e
}

// TestVerdict: the replies to what an upstream said, whole.
func TestVerdict(t *testing.T) {
	unknown := "550 5.1.1 <a@x.test>: Recipient address rejected: User unknown\r\n"
	for _, tc := range []struct {
		name  string
		after []relay.Recipient
		want  string
	}{
		{"in the spool", nil, "250 2.0.0 Ok: queued as ID\r\n"},
		{"relayed", []relay.Recipient{
			tried("a@x.test", relay.Relayed, "250-2.0.0 Ok:\r\n250 queued as 4ABC\r\n")},
			"250 2.0.0 Ok: relayed, ID, upstream said 250-2.0.0 Ok: 250 queued as 4ABC\r\n"},
		{"deferred", []relay.Recipient{tried("a@x.test", relay.Relayed, "250 ok\r\n"),
			tried("b@x.test", relay.Deferred, "450 4.2.1 later\r\n")}, "250 2.0.0 Ok: queued as ID\r\n"},
		{"some failed", []relay.Recipient{tried("a@x.test", relay.Failed, unknown),
			tried("b@x.test", relay.Relayed, "250 ok\r\n")}, "250 2.0.0 Ok: queued as ID\r\n"},
		{"failed", []relay.Recipient{tried("a@x.test", relay.Failed, unknown)},
			strings.Join([]string{
				"550-5.1.1 <a@x.test>: Recipient address rejected: User unknown " +
					"[Invalid Address: check the address for a typo]",
				"550-5.1.1 Cause: The receiving server does not know this recipient.",
				"550-5.1.1 Fix 1: Check the address for a typo, and ask the recipient for the right one.",
				"550-5.1.1 Fix 2: Check addresses with a validation service before sending to them.",
				"550-5.1.1 Fix 3: Remove the address from your lists if you cannot correct it: " +
					"sending to it again harms your reputation.",
				"550 5.1.1 See ID\r\n"}, "\r\n")},
	} {
		if got := verdict("ID", tc.after); got != tc.want {
			t.Errorf("%s:\n%swant\n%s", tc.name, got, tc.want)
		}
	}
}

// TestVerdictForm: whatever an upstream says, the reply has one code, a few lines of printable ASCII that no
// client cuts, and on the first of them the category.
func TestVerdictForm(t *testing.T) {
	long := strings.Repeat("very long words of a server ", 100)
	for _, reply := range []string{
		"550 5.1.1 " + long + "\r\n",
		"550 " + strings.Repeat("x", 3000) + "\r\n",
		"550-5.7.1 First\r\n550-5.7.1 Second\r\n550 5.7.1 Third\r\n",
		"554 no enhanced code\r\n",
		"554 4.7.1 the wrong class\r\n",
		"550 5.1.1 Grüße \x1b[31m\x00 \u202e\xff\r\n",
		"552 5.2.2 [bracketed] mailbox full]\r\n",
		"550\r\n", "550 \r\n", "",
		"571 5.7.1 blocked\r\n",
	} {
		after := []relay.Recipient{tried("a@x.test", relay.Failed, reply),
			tried(strings.Repeat("b", 64)+"@grüße.test", relay.Failed, "550 5.2.2 full\r\n"),
			tried("c@x.test", relay.Failed, "550 5.7.1 spam\r\n"),
			tried("d@x.test", relay.Failed, "550 no\r\n")}
		for n := 1; n <= len(after); n++ {
			checkForm(t, refusalReply(relay.NewID(time.Now()), after[:n]), after[:n])
		}
	}
}

func checkForm(t *testing.T, got string, after []relay.Recipient) {
	t.Helper()
	if !replyLines.MatchString(got) {
		t.Errorf("not a reply: %q", got)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(got, "\r\n"), "\r\n")
	if len(lines) > 10 {
		t.Errorf("%d lines", len(lines))
	}
	code, rest, _ := strings.Cut(strings.Replace(lines[0], "-", " ", 1), " ")
	enhanced, _, _ := strings.Cut(rest, " ")
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		if !strings.HasPrefix(line, code+sep+enhanced+" ") || len(line) > 500 || code[0] != enhanced[0] {
			t.Errorf("line %d has %d octets: %q", i, len(line), line)
		}
	}
	if !strings.Contains(lines[0], " ["+string(after[0].Diagnosis.Category)+": ") ||
		!strings.HasSuffix(strings.TrimSpace(lines[0]), "]") {
		t.Errorf("no category in the first line: %q", lines[0])
	}
	if r := after[0].Last.Reply; r.Code != 0 && code != fmt.Sprint(r.Code) {
		t.Errorf("the code %s, and the upstream's is %d", code, r.Code)
	}
}

// TestVerdictWithoutReply: a message that the upstream announced it would not take, or that an HTTP API
// refused, has a code that says so.
func TestVerdictWithoutReply(t *testing.T) {
	for kind, want := range map[diagnose.NetKind]string{
		diagnose.NetSizeExceeded: "552-5.3.4 ", diagnose.NetUTF8Unavailable: "553-5.6.7 ",
		diagnose.NetEightUnavailable: "554-5.6.3 ", diagnose.NetAPI: "554-5.0.0 ",
		diagnose.NetCorrupt: "451-4.3.0 ",
	} {
		r := relay.Recipient{Address: "a@x.test", State: relay.Failed,
			Last: &relay.Attempt{NetErr: diagnose.NetErr{Kind: kind, Text: "why"}}}
		if got := refusalReply("ID", []relay.Recipient{r}); !strings.HasPrefix(got, want+"why") {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}

// tryOptions are those of a server that offers all mail to an upstream, which says after to it.
func tryOptions(st *store, after func(*relay.Message) ([]relay.Recipient, error)) Options {
	o := testOptions(st)
	o.Try = func(_ context.Context, m *relay.Message, r io.Reader, _ bool) ([]relay.Recipient, error) {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return nil, err
		}
		return after(m)
	}
	return o
}

// begin is a transaction up to its content.
func (c *client) begin(recipients ...string) {
	c.t.Helper()
	c.say("MAIL FROM:<a@b.test>", "250")
	for _, r := range recipients {
		c.say("RCPT TO:<"+r+">", "250")
	}
	c.say("DATA", "354")
}

// TestTrySession: the client hears the upstream's verdict, and the session goes on.
func TestTrySession(t *testing.T) {
	st := &store{}
	state := relay.Failed
	o := tryOptions(st, func(m *relay.Message) ([]relay.Recipient, error) {
		if state == relay.Failed {
			return []relay.Recipient{tried("c@d.test", state, "550 5.1.1 no such user here\r\n")}, nil
		}
		return []relay.Recipient{tried("c@d.test", state, "250 2.0.0 taken as 7\r\n")}, nil
	})
	_, addr := start(t, o, Listen{Accept: AcceptTry})
	c := dial(t, addr)
	c.want("220")
	c.say("EHLO client.test", "250")
	c.begin("c@d.test")
	got := c.say("Subject: x\r\n\r\nb\r\n.", "550-5.1.1 no such user here [Invalid Address: ")
	if !strings.Contains(got, "\n550-5.1.1 Cause: ") || !strings.Contains(got, "\n550 5.1.1 See ") {
		t.Errorf("the refusal is %q", got)
	}
	state = relay.Relayed
	c.begin("c@d.test")
	if got := c.say("Subject: x\r\n\r\nb\r\n.", "250 2.0.0 Ok: relayed, "); !strings.HasSuffix(got,
		", upstream said 250 2.0.0 taken as 7") {
		t.Errorf("the reply is %q", got)
	}
	c.say("QUIT", "221")
	if r := st.refusals(); len(r) != 1 || r[0].Stage != diagnose.StageEndOfData {
		t.Errorf("refusals %+v", r)
	}
}

// TestTryWhose: the setting of a client's network counts before that of its listener.
func TestTryWhose(t *testing.T) {
	for _, tc := range []struct {
		listener, client AcceptMode
		tries            bool
	}{
		{AcceptQueue, AcceptAsListener, false}, {AcceptTry, AcceptAsListener, true},
		{AcceptTry, AcceptQueue, false}, {AcceptQueue, AcceptTry, true},
	} {
		st := &store{}
		o := tryOptions(st, func(*relay.Message) ([]relay.Recipient, error) {
			return []relay.Recipient{tried("c@d.test", relay.Relayed, "250 ok\r\n")}, nil
		})
		o.Access.Networks[0].Accept = tc.client
		_, addr := start(t, o, Listen{Accept: tc.listener})
		c := dial(t, addr)
		c.want("220")
		c.say("EHLO client.test", "250")
		c.begin("c@d.test")
		want := "250 2.0.0 Ok: queued as "
		if tc.tries {
			want = "250 2.0.0 Ok: relayed, "
		}
		c.say("Subject: x\r\n\r\nb\r\n.", want)
	}
}

// TestTryFails: what cannot be stored when it must be is a reply of our own.
func TestTryFails(t *testing.T) {
	st := &store{}
	_, addr := start(t, tryOptions(st, func(*relay.Message) ([]relay.Recipient, error) {
		return []relay.Recipient{tried("c@d.test", relay.Deferred, "450 later\r\n")}, relay.ErrFull
	}), Listen{Accept: AcceptTry})
	c := dial(t, addr)
	c.want("220")
	c.say("EHLO client.test", "250")
	c.begin("c@d.test")
	c.say("Subject: x\r\n\r\nb\r\n.", "452 4.3.1 ")
}

// TestLMTP: each recipient that was taken has a reply of its own, in their order (RFC 2033, 4.2).
func TestLMTP(t *testing.T) {
	st := &store{}
	o := tryOptions(st, func(m *relay.Message) ([]relay.Recipient, error) {
		return []relay.Recipient{
			tried("a@d.test", relay.Failed, "550 5.1.1 no such user here\r\n"),
			tried("b@d.test", relay.Relayed, "250 2.0.0 taken\r\n"),
			tried("c@d.test", relay.Deferred, "450 4.2.1 later\r\n"),
		}, nil
	})
	o.Access.DenyRecipients = []string{"denied@d.test"}
	_, addr := start(t, o, Listen{Accept: AcceptTry, LMTP: true})
	c := dial(t, addr)
	if got := c.want("220"); !strings.Contains(got, " LMTP ") {
		t.Errorf("greeting %q", got)
	}
	c.say("EHLO client.test", "500 5.5.1 ")
	c.say("HELO client.test", "500 5.5.1 ")
	c.say("MAIL FROM:<a@b.test>", "503 5.5.1 Send LHLO first")
	if got := c.say("LHLO client.test", "250"); !strings.Contains(got, "PIPELINING") {
		t.Errorf("LHLO: %q", got)
	}
	c.say("MAIL FROM:<a@b.test>", "250")
	c.say("RCPT TO:<denied@d.test>", "550")
	c.say("DATA", "503 ")
	c.say("RCPT TO:<a@d.test>", "250")
	c.say("RCPT TO:<b@d.test>", "250")
	c.say("RCPT TO:<c@d.test>", "250")
	c.say("RCPT TO:<a@d.test>", "250") // again
	c.say("DATA", "354")
	c.say("Subject: x\r\n\r\nb\r\n.", "550-5.1.1 no such user here [")
	c.want("250 2.0.0 Ok: relayed, ")
	c.want("250 2.0.0 Ok: queued as ")
	c.want("550-5.1.1 no such user here [")
	c.say("NOOP", "250")
	var to []string
	for _, e := range st.refusals() {
		if e.Stage == diagnose.StageEndOfData {
			to = append(to, e.To)
		}
	}
	if fmt.Sprint(to) != "[a@d.test a@d.test]" {
		t.Errorf("refusals of %v", to)
	}
}

// TestModesReload: a reload changes what is done with a listener's mail.
func TestModesReload(t *testing.T) {
	st := &store{}
	o := tryOptions(st, func(*relay.Message) ([]relay.Recipient, error) {
		return []relay.Recipient{tried("a@d.test", relay.Relayed, "250 2.0.0 taken\r\n")}, nil
	})
	srv, addr := start(t, o, Listen{Accept: AcceptTry})
	for _, step := range []struct {
		modes map[string]AcceptMode
		reply string
	}{
		{nil, "250 2.0.0 Ok: relayed"}, {map[string]AcceptMode{addr: AcceptQueue}, "250 2.0.0 Ok: queued"},
		{map[string]AcceptMode{addr: AcceptTry}, "250 2.0.0 Ok: relayed"},
	} {
		o.Modes = step.modes
		if err := srv.Reload(o); err != nil {
			t.Fatal(err)
		}
		c := dial(t, addr)
		c.want("220")
		c.say("EHLO client.test", "250")
		c.begin("a@d.test")
		c.say("Subject: x\r\n\r\nb\r\n.", step.reply)
	}
}

// suppressing are the options of a server that has all mail to a@d.test, b@d.test and c@d.test suppressed,
// after it has put moved@d.test in the place of the first and the last.
func suppressing(st *store) Options {
	o := testOptions(st)
	o.Accept = func(_ context.Context, m *relay.Message, _ io.Reader) error {
		since := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
		entries := []*relay.Suppression{
			{Address: "moved@d.test", FirstSeen: since, Reply: "554 5.2.1 moved away"},
			{Address: "b@d.test", FirstSeen: since, Note: "left"}, nil,
		}
		m.Recipients = []relay.Recipient{
			{Address: "moved@d.test", Given: []string{"a@d.test", "c@d.test"}}, {Address: "b@d.test"},
			{Address: "archive@d.test"},
		}
		for i, entry := range entries[:2] {
			a := relay.SuppressedAttempt("up", entry, time.Now())
			d := testEngine().Diagnose(diagnose.Symptom{Stage: a.Stage, NetErr: a.NetErr, Final: true})
			m.Recipients[i].Last, m.Recipients[i].Diagnosis = &a, &d
		}
		return &relay.SuppressedError{Entries: entries}
	}
	return o
}

// The lines of the replies to mail that suppressing suppresses, without codes and id.
const (
	movedLine = "<moved@d.test>: suppressed since 2026-11-02 because of: 554 5.2.1 moved away " + removeIt
	leftLine  = "<b@d.test>: suppressed since 2026-11-02 by the operator: left " + removeIt
	removeIt  = "[Invalid Address: remove this address from your lists]"
	whyAndFix = "Cause: The relay did not try to deliver: the address is on its suppression list.\n" +
		"Fix 1: Remove this address from your lists, or correct it.\n" +
		"Fix 2: If it is valid, have the operator of the relay take it off the suppression list (mailwhy " +
		"suppress remove ADDRESS; mailwhy suppress check ADDRESS says why it is there), and send again.\n"
)

// wantReply wants a reply with codes, and the lines.
func (c *client) wantReply(code, enhanced, lines string) {
	c.t.Helper()
	got := c.want(code + "-" + enhanced)
	var text []string
	for line := range strings.SplitSeq(got, "\n") {
		if len(line) > 500 || !strings.HasPrefix(line[3:], "-"+enhanced) && !strings.HasPrefix(line[3:],
			" "+enhanced) {
			c.t.Errorf("line %q", line)
		}
		text = append(text, line[len(code)+len(enhanced)+2:])
	}
	last := text[len(text)-1]
	text[len(text)-1] = "See"
	want, id := lines+"See", strings.TrimPrefix(last, "See ")
	if strings.Join(text, "\n") != want || !relay.ValidID(id) {
		c.t.Errorf("the reply is\n%s\nwant\n%s", got, want)
	}
}

// TestSuppressedReply: where all recipients are suppressed the reply is the whole story, with the codes of
// the refusal that suppressed the first, over SMTP and LMTP; and the events say the same as those of
// suppression.
func TestSuppressedReply(t *testing.T) {
	for _, lmtp := range []bool{false, true} {
		st := &store{}
		_, addr := start(t, suppressing(st), Listen{LMTP: lmtp})
		c := dial(t, addr)
		c.want("220")
		if lmtp {
			c.say("LHLO client.test", "250")
		} else {
			c.say("EHLO client.test", "250")
		}
		c.begin("a@d.test", "b@d.test", "c@d.test")
		c.send("Subject: x\r\n\r\nx\r\n.")
		if lmtp {
			c.wantReply("554", "5.2.1", movedLine+"\n"+whyAndFix)
			c.wantReply("550", "5.1.1", leftLine+"\n"+whyAndFix)
			c.wantReply("554", "5.2.1", movedLine+"\n"+whyAndFix)
		} else {
			c.wantReply("554", "5.2.1", movedLine+"\n"+whyAndFix+leftLine+"\n")
		}
		var to []string
		for _, e := range st.refusals() {
			to = append(to, e.To)
			if e.Diagnosis == nil || e.Diagnosis.Reason != diagnose.ReasonSuppressed || e.ID == "" {
				t.Errorf("event %+v", e)
			}
		}
		if fmt.Sprint(to) != "[a@d.test b@d.test c@d.test]" {
			t.Errorf("refusals of %v", to)
		}
	}
}

// TestVerdictEvents: the event of an upstream's refusal names each recipient and what the refusal means.
func TestVerdictEvents(t *testing.T) {
	st := &store{}
	_, addr := start(t, tryOptions(st, func(*relay.Message) ([]relay.Recipient, error) {
		return []relay.Recipient{tried("a@d.test", relay.Failed, "550 5.1.1 no such user here\r\n"),
			tried("b@d.test", relay.Failed, "552 5.2.2 mailbox full\r\n")}, nil
	}), Listen{Accept: AcceptTry})
	c := hello(t, addr)
	c.begin("a@d.test", "b@d.test")
	c.say("Subject: x\r\n\r\nb\r\n.", "550-5.1.1 ")
	var got []string
	for _, e := range st.refusals() {
		if e.Diagnosis == nil {
			t.Fatalf("no diagnosis in %+v", e)
		}
		got = append(got, fmt.Sprint(e.To, " ", e.Diagnosis.Reason, " ", e.First, " ", e.ID != ""))
	}
	if want := "a@d.test user_unknown true true, b@d.test mailbox_full false true"; strings.Join(got,
		", ") != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestLMTPQueue: a reply that is the same for all recipients is sent for each, a refusal too.
func TestLMTPQueue(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	_, addr := start(t, o, Listen{LMTP: true})
	c := dial(t, addr)
	c.want("220")
	c.say("LHLO client.test", "250")
	c.begin("a@d.test", "b@d.test")
	c.say("Subject: x\r\n\r\nb\r\n.", "250 2.0.0 Ok: queued as ")
	c.want("250 2.0.0 Ok: queued as ")
	c.begin("a@d.test", "b@d.test")
	c.say("Subject: x\r\n\r\n\x00\r\n.", "554 5.6.0 ")
	c.want("554 5.6.0 ")
	if got := st.messages(); len(got) != 1 || !strings.Contains(got[0].content, " with LMTP id ") {
		t.Errorf("accepted %+v", got)
	}
}

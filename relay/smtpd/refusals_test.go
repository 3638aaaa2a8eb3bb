package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtpd/refusal"
	"mailwhy/relay/smtptest"
)

var update = flag.Bool("update", false, "write the table of refusals into docs/refusals.md")

// provocation is how a client comes by a refusal: each line is sent when the reply to the one before was
// read, after EHLO unless raw; the last reply is the refusal.
type provocation struct {
	raw    bool // no EHLO, and the first line may be empty: only the greeting is read
	change func(*Options)
	listen Listen
	lines  []string
}

// transaction are the lines up to the content, then content.
func transactionOf(content ...string) []string {
	return append([]string{"MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA"}, content...)
}

// provocations are one for each refusal of the table that one client can come by at once.
func provocations(t *testing.T) map[string]provocation {
	serverTLS, _ := testTLS(t)
	withTLS := func(o *Options) { o.TLS = func() *tls.Config { return serverTLS } }
	limits := func(change func(*Limits)) func(*Options) { return func(o *Options) { change(&o.Limits) } }
	failing := func(err error) func(*Options) {
		return func(o *Options) {
			o.Accept = func(_ context.Context, _ *relay.Message, content io.Reader) error {
				io.Copy(io.Discard, content)
				return err
			}
		}
	}
	users := func(o *Options) { o.Access.Users, o.Access.AuthInClear = testUsers(t, "app", "right"), true }
	stranger := func(o *Options) { o.Access.Networks = nil }
	bounces := func(o *Options) {
		o.Bounces = &Bounces{Keep: 1 << 20, Expected: func(a string) bool { return a == "known@r.test" },
			Take: func(context.Context, *Bounce) error { return ErrNotBounce }}
	}
	utf8 := func(o *Options) {
		o.Capabilities = func() (relay.Capabilities, bool) { return relay.Capabilities{Size: 1000}, true }
	}
	return map[string]provocation{
		"client_connections": {raw: true, change: limits(func(l *Limits) { l.ClientConns = 1 })},
		"no_clients": {raw: true, lines: []string{""}, change: func(o *Options) {
			o.Access.Networks, o.Access.Unnamed = nil, true
		}},
		"all_connections": {raw: true, change: limits(func(l *Limits) { l.Connections = 1 })},
		"tls_unexpected": {raw: true,
			lines: []string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xxxxxxxxxx"}},
		"tls_expected": {raw: true, listen: Listen{TLS: true},
			change: withTLS, lines: []string{"EHLO x"}},
		"idle":                {change: limits(func(l *Limits) { l.CommandTimeout = 50 * time.Millisecond })},
		"unknown_command":     {lines: []string{"FROB x"}},
		"not_implemented":     {lines: []string{"EXPN x"}},
		"lmtp":                {raw: true, listen: Listen{LMTP: true}, lines: []string{"", "EHLO x"}},
		"chunking":            {lines: []string{"BDAT 3 LAST"}},
		"http":                {lines: []string{"GET / HTTP/1.1"}},
		"tab":                 {lines: []string{"MAIL\tFROM:<a@b.test>"}},
		"control_characters":  {lines: []string{"NOOP \x01"}},
		"command_too_long":    {lines: []string{"NOOP " + strings.Repeat("x", 5000)}},
		"hello_first":         {raw: true, lines: []string{"", "MAIL FROM:<a@b.test>"}},
		"hello_name":          {raw: true, lines: []string{"", "EHLO"}},
		"transaction_open":    {lines: []string{"MAIL FROM:<a@b.test>", "MAIL FROM:<a@b.test>"}},
		"mail_first":          {lines: []string{"RCPT TO:<a@b.test>"}},
		"rcpt_first":          {lines: []string{"DATA"}},
		"no_valid_recipients": {lines: []string{"MAIL FROM:<a@b.test>", "RCPT TO:<a b@c.test>", "DATA"}},
		"no_parameters":       {lines: []string{"MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA x"}},
		"too_many_commands": {lines: []string{"NOOP", "NOOP", "NOOP"},
			change: limits(func(l *Limits) { l.OtherCommands = 3 })},
		"too_many_messages": {lines: transactionOf(".", "MAIL FROM:<a@b.test>"),
			change: limits(func(l *Limits) { l.Messages = 1 })},
		"tls_unavailable": {lines: []string{"STARTTLS"}},
		"tls_after_auth": {lines: []string{"AUTH PLAIN " + b64("\x00app\x00right"), "STARTTLS"},
			change: users},
		"auth_required": {lines: []string{"MAIL FROM:<a@b.test>"},
			change: func(o *Options) { users(o); stranger(o) }},
		"auth_required_tls": {lines: []string{"MAIL FROM:<a@b.test>"}, change: func(o *Options) {
			users(o)
			stranger(o)
			withTLS(o)
			o.Access.AuthInClear = false
		}},
		"relay_denied":     {lines: []string{"MAIL FROM:<a@b.test>"}, change: stranger},
		"auth_bounces":     {lines: []string{"AUTH PLAIN"}, listen: Listen{Bounces: true}, change: bounces},
		"auth_unavailable": {lines: []string{"AUTH PLAIN"}},
		"auth_needs_tls": {lines: []string{"AUTH PLAIN"},
			change: func(o *Options) { users(o); withTLS(o); o.Access.AuthInClear = false }},
		"auth_in_transaction": {lines: []string{"MAIL FROM:<a@b.test>", "AUTH PLAIN"}, change: users},
		"auth_twice": {lines: []string{"AUTH PLAIN " + b64("\x00app\x00right"), "AUTH PLAIN"},
			change: users},
		"auth_syntax":              {lines: []string{"AUTH"}, change: users},
		"auth_mechanism":           {lines: []string{"AUTH CRAM-MD5"}, change: users},
		"auth_response":            {lines: []string{"AUTH PLAIN " + b64("junk")}, change: users},
		"auth_failed":              {lines: []string{"AUTH PLAIN " + b64("\x00app\x00wrong")}, change: users},
		"path_expected":            {lines: []string{"MAIL a@b.test"}},
		"inner_brackets":           {lines: []string{"MAIL FROM:< a@b.test>"}},
		"brackets":                 {lines: []string{"MAIL FROM: a@b.test"}},
		"text_after_address":       {lines: []string{"MAIL FROM:<a@b.test>x"}},
		"sender_syntax":            {lines: []string{"MAIL FROM:<a b@c.test>"}},
		"recipient_syntax":         {lines: []string{"MAIL FROM:<a@b.test>", "RCPT TO:<a@b..test>"}},
		"sender_domain_missing":    {lines: []string{"MAIL FROM:<root>"}},
		"recipient_domain_missing": {lines: []string{"MAIL FROM:<a@b.test>", "RCPT TO:<root>"}},
		"needs_smtputf8":           {lines: []string{"MAIL FROM:<ä@b.test>"}},
		"upstream_without_utf8":    {lines: []string{"MAIL FROM:<ä@b.test> SMTPUTF8"}, change: utf8},
		"parameter_syntax":         {lines: []string{"MAIL FROM:<a@b.test> SIZE=x"}},
		"parameter_unknown":        {lines: []string{"MAIL FROM:<a@b.test> FROB=1"}},
		"sender_not_allowed": {lines: []string{"MAIL FROM:<a@b.test>"},
			change: func(o *Options) { o.Access.DenySenders = []string{"@b.test"} }},
		"recipient_not_allowed": {lines: []string{"MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>"},
			change: func(o *Options) { o.Access.AllowRecipients = []string{"@own.test"} }},
		"too_many_recipients": {
			lines:  []string{"MAIL FROM:<a@b.test>", "RCPT TO:<a@d.test>", "RCPT TO:<b@d.test>"},
			change: limits(func(l *Limits) { l.Recipients = 1 })},
		"no_return_path": {lines: []string{"MAIL FROM:<>", "RCPT TO:<x@r.test>"},
			listen: Listen{Bounces: true}, change: bounces},
		"not_a_bounce": {lines: []string{"MAIL FROM:<p@q.test>", "RCPT TO:<known@r.test>", "DATA", "Hi\r\n."},
			listen: Listen{Bounces: true}, change: bounces},
		"too_large": {lines: []string{"MAIL FROM:<a@b.test> SIZE=2000"},
			change: limits(func(l *Limits) { l.MessageSize = 1000 })},
		"too_large_upstream": {lines: []string{"MAIL FROM:<a@b.test> SIZE=2000"}, change: utf8},
		"header_too_long": {lines: transactionOf("x: y\r\n."), change: func(o *Options) {
			o.Mend = func(*relay.Message, bool, io.Reader) io.Reader {
				return iotest.ErrReader(relay.ErrHeaderTooLong)
			}
		}},
		"loop": {lines: transactionOf(strings.Repeat("Received: x\r\n", 3) + "\r\nx\r\n."),
			change: limits(func(l *Limits) { l.Received = 2 })},
		"bare_lf": {lines: transactionOf("a\nb\r\n.")},
		"bare_cr": {lines: transactionOf("a\rb\r\n.")},
		"nul":     {lines: transactionOf("a\x00b\r\n.")},
		"line_too_long": {lines: transactionOf(strings.Repeat("x", 3000) + "\r\n."),
			change: limits(func(l *Limits) { l.ContentLine = 2000 })},
		"out_of_memory": {lines: transactionOf(strings.Repeat("xxxxxxx\r\n", 3000) + "."),
			change: limits(func(l *Limits) { l.Memory = 10000 })},
		"too_slow": {lines: transactionOf("x"), change: limits(func(l *Limits) {
			l.DataTimeout, l.DataGrace = 50*time.Millisecond, 10*time.Millisecond
		})},
		"spool_full":  {lines: transactionOf("."), change: failing(relay.ErrFull)},
		"not_stored":  {lines: transactionOf("."), change: failing(errors.New("broken"))},
		"no_upstream": {lines: transactionOf("."), change: failing(relay.ErrNoRoute)},
	}
}

// provokedElsewhere are the refusals that other tests of this package and of wire provoke, since they need
// more than one client or an event in the middle.
func provokedElsewhere() []string {
	return []string{
		"shutting_down", "tls_in_tls", "internal_error", "too_many_errors", "tls_active",
		"input_after_starttls", "auth_busy", "too_many_logins", "connection_lost", "other",
	}
}

// TestRefusals: each row of the table is what a client reads and what the event says, and there is no
// refusal without a row.
func TestRefusals(t *testing.T) {
	table, err := refusal.Load()
	if err != nil {
		t.Fatal(err)
	}
	all := provocations(t)
	for _, r := range table.All() {
		p, there := all[r.ID]
		if !there {
			if !slices.Contains(provokedElsewhere(), r.ID) {
				t.Errorf("%s: nothing provokes it", r.ID)
			}
			continue
		}
		delete(all, r.ID)
		t.Run(r.ID, func(t *testing.T) { p.provoke(t, &r) })
	}
	for id := range all {
		t.Errorf("%s: the table does not have it", id)
	}
}

// provoke comes by a refusal.
func (p *provocation) provoke(t *testing.T, r *refusal.Refusal) {
	st := &store{}
	o := testOptions(st)
	if p.change != nil {
		p.change(&o)
	}
	_, addr := start(t, o, p.listen)
	if p.raw && len(p.lines) == 0 { // the second client gets it
		dial(t, addr).want("220")
	}
	c := dial(t, addr)
	lines := p.lines
	got := ""
	if !p.raw {
		c.want("220")
		c.say("EHLO client.test", "250")
	}
	if len(lines) == 0 {
		got = c.reply()
	}
	for _, line := range lines {
		if line != "" {
			c.send(line)
		}
		got = c.reply()
		if strings.HasPrefix(got, "220 ") && line != "" { // it was the greeting
			got = c.reply()
		}
	}
	fixed, _, _ := strings.Cut(r.Text, "%")
	if want := fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, fixed); !strings.HasPrefix(got, want) {
		t.Fatalf("reply %q, want %q", got, want)
	}
	if r.ID == "idle" { // nobody is refused anything
		return
	}
	p.event(t, r, st, got)
}

// event checks the event of a refusal.
func (p *provocation) event(t *testing.T, r *refusal.Refusal, st *store, reply string) {
	t.Helper()
	var e relay.Event
	smtptest.WaitFor(t, "the event", func() bool {
		events := st.refusals()
		if len(events) == 0 {
			return false
		}
		e = events[len(events)-1]
		return e.Diagnosis != nil && e.Diagnosis.Rule == "front_door."+r.ID
	})
	d := e.Diagnosis
	if e.Reply != strings.Split(reply, "\n")[0] || d.Reason != r.Reason || d.Cause == "" ||
		len(d.Fix) == 0 {
		t.Errorf("%+v, %+v", e, d)
	}
	switch e.Stage {
	case diagnose.StageRcpt:
		if e.To == "" && r.ID != "mail_first" {
			t.Errorf("the recipient is missing: %+v", e)
		}
	case diagnose.StageEndOfData:
		if e.To == "" {
			t.Errorf("the recipient of the content is missing: %+v", e)
		}
	case diagnose.StageMail:
		if e.From == "" && r.ID != "hello_first" {
			t.Errorf("the sender is missing: %+v", e)
		}
	}
	if r.ID == "auth_failed" && e.User != "app" {
		t.Errorf("the user is missing: %+v", e)
	}
}

// TestRefusedContentNamesAllRecipients: an event for each, of which one counts.
func TestRefusedContentNamesAllRecipients(t *testing.T) {
	st := &store{fail: relay.ErrFull}
	_, addr := start(t, testOptions(st), Listen{})
	c := hello(t, addr)
	c.say("MAIL FROM:<a@b.test>", "250")
	c.say("RCPT TO:<c@d.test>", "250")
	c.say("RCPT TO:<e@f.test>", "250")
	c.say("DATA", "354")
	c.say(".", "452")
	var to []string
	first := 0
	for _, e := range st.refusals() {
		to = append(to, e.To)
		if e.First {
			first++
		}
	}
	if !slices.Equal(to, []string{"c@d.test", "e@f.test"}) || first != 1 {
		t.Errorf("%v, %d first", to, first)
	}
}

// TestNoPasswordIsRepeated: a client that goes on with its AUTH exchange after a refusal sends its password
// as a command.
func TestNoPasswordIsRepeated(t *testing.T) {
	st := &store{}
	_, addr := start(t, testOptions(st), Listen{})
	c := hello(t, addr)
	c.say("AUTH LOGIN", "502")
	password := b64("correct horse battery")
	if got := c.say(password, "500"); strings.Contains(got, password) {
		t.Error(got)
	}
	for _, e := range st.refusals() {
		if strings.Contains(e.Reply, password) {
			t.Errorf("%+v", e)
		}
	}
}

// TestRepliesAreShort: whatever a client sends, a reply is one line of ASCII of at most 500 octets.
func TestRepliesAreShort(t *testing.T) {
	table, err := refusal.Load()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ä\r\n\x1b[31m%s", 500)
	for _, r := range table.All() {
		var args []any
		for i := range len(r.Text) - 1 {
			switch r.Text[i : i+2] {
			case "%s":
				args = append(args, long)
			case "%d":
				args = append(args, int64(1)<<62)
			}
		}
		line := table.Line(refusal.New(r.ID, args...))
		if len(line) > 500 || strings.Contains(line, "%!") || strings.IndexFunc(line[:len(line)-2],
			func(c rune) bool { return c < ' ' || c > '~' }) >= 0 {
			t.Errorf("%s: %q", r.ID, line)
		}
	}
}

// TestDocumentedRefusals: the page has the table.
func TestDocumentedRefusals(t *testing.T) {
	table, err := refusal.Load()
	if err != nil {
		t.Fatal(err)
	}
	const file, begin, end = "../../docs/refusals.md", "<!-- refusals -->\n", "<!-- end of refusals -->\n"
	var b strings.Builder
	for _, r := range table.All() {
		fmt.Fprintf(&b, "### %s\n\n", strings.ReplaceAll(r.ID, "_", " "))
		b.WriteString(wrapped("", fmt.Sprintf("`%d %s` %s", r.Code, r.Enhanced,
			strings.NewReplacer("%s", "...", "%d", "N", "<", "\\<").Replace(r.Text))) + "\n")
		b.WriteString(wrapped("", fmt.Sprintf("`%s`, %s. %s", r.Reason, r.Category, r.Cause)) + "\n")
		for i, step := range r.Fix {
			b.WriteString(wrapped("   ", fmt.Sprintf("%d. %s", i+1, step)))
		}
		b.WriteByte('\n')
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks its marks", file)
	}
	want := head + begin + b.String() + end + tail
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Error("docs/refusals.md is not the table: go test ./relay/smtpd -run DocumentedRefusals -update")
	}
}

// wrapped breaks a paragraph into lines for the page; those after the first are indented.
func wrapped(indent, text string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > 106 {
			b.WriteString("\n" + indent)
			column = len(indent)
		} else if column > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String() + "\n"
}

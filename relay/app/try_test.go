package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// trying is a relay that offers mail to its upstream while the client waits.
type trying struct {
	*door
	upstream *smtptest.Server
}

// openTrying starts one. spool is further configuration of that.
func openTrying(t *testing.T, script func(smtptest.Command) smtptest.Action, spool string,
	policies ...string) *trying {
	t.Helper()
	dir := t.TempDir()
	up := smtptest.New(t, smtptest.Options{Script: script})
	host, port, _ := strings.Cut(up.Addr(), ":")
	d, err := openDoor(t, dir, `
hostname = "relay.test"
shutdown_grace = "4s"
[accept]
mode = "try"
try_for = "400ms"
[[listen]]
address = "127.0.0.1:0"
[[listen]]
address = "[::1]:0"
protocol = "lmtp"
[spool]
dir = "`+dir+`/spool"
inline_limit = "8KiB"
`+spool+`
[delivery_log]
file = "`+dir+`/log"
[dsn]
collect = "0s"
[suppression]
mode = "off"
[retry]
schedule = "1h"
[upstream.default]
host = "`+host+`"
port = `+port+`
tls = "none"
concurrency = 2
`+strings.Join(policies, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	<-d.app.Ready()
	return &trying{d, up}
}

// send sends a message with a body to recipients, and returns the reply to its content.
func (w *trying) send(from, body string, to ...string) string {
	w.t.Helper()
	v := w.visit(0, "")
	defer v.Close()
	v.say("", "220")
	v.say("EHLO client.test", "250")
	v.say("MAIL FROM:<"+from+">", "250")
	for _, r := range to {
		v.say("RCPT TO:"+r, "250")
	}
	v.say("DATA", "354")
	return v.say("Subject: x\r\nFrom: app@client.test\r\n\r\n"+body+"\r\n.", "")
}

// events are those of the delivery log, as "event to".
func (w *trying) events() (list []string) {
	w.t.Helper()
	w.app.FlushLog()
	b, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var e struct{ Event, To string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatal(err)
		}
		list = append(list, strings.TrimSpace(e.Event+" "+e.To))
	}
	return list
}

// sameEvents reports whether two lists have the same events. The lane records its own after the session has
// been told.
func sameEvents(a, b string) bool {
	sorted := func(list string) []string { return slices.Sorted(strings.SplitSeq(list, ", ")) }
	return slices.Equal(sorted(a), sorted(b))
}

// messages is how many messages the spool holds.
func (w *trying) messages() int64 {
	w.t.Helper()
	stat, err := w.app.Stat(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return stat.Messages
}

// taken is how many messages the upstream took for a recipient.
func (w *trying) taken(to string) (n int) {
	for _, m := range w.upstream.Messages() {
		for _, r := range m.To {
			if r.Address == to {
				n++
			}
		}
	}
	return n
}

// TestTry: what an application hears, what is stored, and what is recorded, by what the upstream says.
func TestTry(t *testing.T) {
	for _, tc := range []struct {
		name   string
		to     []string
		reply  string
		waits  int64 // messages in the spool afterwards
		events string
	}{
		{"taken", []string{"<good@x.test>"}, "250 2.0.0 Ok: relayed, ", 0,
			"accepted good@x.test, relayed good@x.test"},
		{"refused", []string{"<unknown@x.test>"}, "550-5.1.1 ", 0,
			"failed unknown@x.test, refused unknown@x.test"},
		{"deferred", []string{"<full@x.test>"}, "250 2.0.0 Ok: queued as ", 1,
			"accepted full@x.test, deferred full@x.test"},
		{"our own account", []string{"<noauth@x.test>"}, "250 2.0.0 Ok: queued as ", 1,
			"accepted noauth@x.test, deferred noauth@x.test, lane"},
		{"no answer to the dot", []string{"<drop@x.test>"}, "250 2.0.0 Ok: queued as ", 1,
			"accepted drop@x.test, deferred drop@x.test"},
		{"mixed", []string{"<good@x.test>", "<unknown@x.test>"}, "250 2.0.0 Ok: queued as ", 0,
			"accepted good@x.test, accepted unknown@x.test, relayed good@x.test, failed unknown@x.test, " +
				"dsn unknown@x.test, dsn app@client.test, relayed app@client.test"},
		{"success asked for", []string{"<unknown@x.test> NOTIFY=SUCCESS,FAILURE"},
			"250 2.0.0 Ok: queued as ", 0,
			"accepted unknown@x.test, failed unknown@x.test, dsn unknown@x.test, dsn app@client.test, " +
				"relayed app@client.test"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := openTrying(t, smtptest.Practice(), "")
			got := w.send("app@client.test", "text", tc.to...)
			if !strings.HasPrefix(got, tc.reply) {
				t.Errorf("the reply is %q, want %q", got, tc.reply)
			}
			var events string
			smtptest.WaitFor(t, "the events", func() bool {
				events = strings.Join(w.events(), ", ")
				return len(events) >= len(tc.events) && w.messages() == tc.waits
			})
			if !sameEvents(events, tc.events) {
				t.Errorf("events\n%s\nwant\n%s", events, tc.events)
			}
		})
	}
}

// TestTryNullSender: mail with the null sender goes to the spool at once; nobody would hear of a refusal.
func TestTryNullSender(t *testing.T) {
	w := openTrying(t, smtptest.Practice(), "")
	if got := w.send("", "text", "<unknown@x.test>"); !strings.HasPrefix(got, "250 2.0.0 Ok: queued as ") {
		t.Errorf("the reply is %q", got)
	}
}

// TestTryContents: contents of all sizes arrive whole, and leave nothing behind.
func TestTryContents(t *testing.T) {
	w := openTrying(t, smtptest.Practice(), "")
	line := strings.Repeat("x", 76) + "\r\n"
	for _, lines := range []int{0, 100, 40000} {
		body := strings.Repeat(line, lines) + "end"
		got := w.send("app@client.test", body, "<good@x.test>")
		if !strings.HasPrefix(got, "250 2.0.0 Ok: relayed, ") {
			t.Fatalf("%d lines: %q", lines, got)
		}
		ms := w.upstream.Messages()
		if !strings.Contains(string(ms[len(ms)-1].Content), body) {
			t.Errorf("%d lines: the content did not arrive whole", lines)
		}
	}
	left, err := os.ReadDir(filepath.Join(w.dir, "spool", "content"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the directory of contents: %v, %v", left, err)
	}
}

// slowly makes the upstream take its time with the final dot.
func slowly(d time.Duration) func(smtptest.Command) smtptest.Action {
	return func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData {
			return smtptest.Action{Delay: d}
		}
		return smtptest.Action{}
	}
}

// TestTrySlow: a client that has waited long enough is told that its mail is queued, and the attempt under
// way is the one that relays it.
func TestTrySlow(t *testing.T) {
	w := openTrying(t, slowly(1500*time.Millisecond), "")
	began := time.Now()
	got := w.send("app@client.test", strings.Repeat("x\r\n", 20000), "<good@x.test>")
	if !strings.HasPrefix(got, "250 2.0.0 Ok: queued as ") || time.Since(began) > 1400*time.Millisecond {
		t.Errorf("the reply is %q after %v", got, time.Since(began))
	}
	if n := w.messages(); n != 1 {
		t.Errorf("%d messages are in the spool", n)
	}
	smtptest.WaitFor(t, "the attempt to end", func() bool { return w.messages() == 0 })
	if n := w.taken("good@x.test"); n != 1 {
		t.Errorf("the upstream took it %d times", n)
	}
	smtptest.WaitFor(t, "its events", func() bool {
		return sameEvents(strings.Join(w.events(), ", "), "accepted good@x.test, relayed good@x.test")
	})
}

// TestTryDown: while the upstream cannot be reached mail is queued, and relayed when it is back.
func TestTryDown(t *testing.T) {
	down := make(chan struct{})
	w := openTrying(t, func(c smtptest.Command) smtptest.Action {
		select {
		case <-down:
		default:
			if c.Stage == diagnose.StageGreeting {
				return smtptest.Action{Reply: "421 4.3.2 Down for maintenance", End: smtptest.EndClose}
			}
		}
		return smtptest.Action{}
	}, "")
	for range 3 {
		got := w.send("app@client.test", "text", "<good@x.test>")
		if !strings.HasPrefix(got, "250 2.0.0 Ok: queued as ") {
			t.Errorf("the reply is %q", got)
		}
	}
	close(down)
	smtptest.WaitFor(t, "the mail", func() bool {
		w.app.lanes.tryNow() // a probe that began before may still fail
		return w.taken("good@x.test") == 3
	})
}

// TestTryDrains: a relay that stops while a client waits answers it, and relays its mail once, in this run or
// the next.
func TestTryDrains(t *testing.T) {
	for _, d := range []time.Duration{time.Second, 3 * time.Second} {
		w := openTrying(t, slowly(d), "")
		cfg := *w.app.cfg.Load()
		cfg.Accept.TryFor = time.Minute
		w.app.cfg.Store(&cfg)
		reply := make(chan string, 1)
		go func() { reply <- w.send("app@client.test", "text", "<good@x.test>") }()
		smtptest.WaitFor(t, "the attempt", func() bool {
			for _, s := range w.upstream.Sessions() {
				if len(s.Commands) > 0 {
					return true
				}
			}
			return len(w.upstream.Messages()) > 0
		})
		w.stop()
		if got := <-reply; !strings.HasPrefix(got, "250 2.0.0 Ok: ") {
			t.Errorf("after %v: the reply is %q", d, got)
		}
		if n := w.taken("good@x.test"); n != 1 {
			t.Errorf("after %v: the upstream took it %d times", d, n)
		}
	}
}

// TestTryClientLeaves: an attempt whose client has gone is finished and recorded.
func TestTryClientLeaves(t *testing.T) {
	w := openTrying(t, slowly(200*time.Millisecond), "")
	v := w.visit(0, "EHLO c.test\r\nMAIL FROM:<app@client.test>\r\nRCPT TO:<good@x.test>\r\nDATA\r\n")
	for range 5 {
		v.say("", "")
	}
	v.Write([]byte("Subject: x\r\n\r\ntext\r\n.\r\n"))
	v.Close()
	smtptest.WaitFor(t, "the event", func() bool {
		return strings.Contains(strings.Join(w.events(), ", "), "relayed good@x.test")
	})
	if n := w.taken("good@x.test"); n != 1 || w.messages() != 0 {
		t.Errorf("taken %d times, %d messages in the spool", n, w.messages())
	}
}

// TestTryFullSpool: a relay whose spool is full still gives verdicts, and says 452 to what would have to be
// stored.
func TestTryFullSpool(t *testing.T) {
	w := openTrying(t, smtptest.Practice(), "max_messages = 1")
	if got := w.send("app@client.test", "text", "<full@x.test>"); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	for to, want := range map[string]string{
		"<good@x.test>": "250 2.0.0 Ok: relayed, ", "<unknown@x.test>": "550-5.1.1 ",
		"<full@x.test>": "452 4.3.1 ",
	} {
		if got := w.send("app@client.test", "text", to); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
}

// TestTryPolicy: what the operator ordered for refusals holds in the session too.
func TestTryPolicy(t *testing.T) {
	for _, tc := range []struct{ policy, to, reply, events string }{
		{"action = \"hold\"\nreasons = [\"user_unknown\"]", "unknown@x.test", "250 2.0.0 Ok: queued as ",
			"accepted unknown@x.test, held unknown@x.test"},
		{"action = \"fail\"\ncategories = [\"Mailbox Full\"]", "full@x.test", "554-5.0.0 ",
			"failed full@x.test, refused full@x.test"},
	} {
		w := openTrying(t, smtptest.Practice(), "", "[[policy]]\nname = \"odd\"\n"+tc.policy)
		if got := w.send("app@client.test", "text", "<"+tc.to+">"); !strings.HasPrefix(got, tc.reply) {
			t.Errorf("%s: the reply is %q", tc.policy, got)
		}
		smtptest.WaitFor(t, "the events", func() bool {
			return sameEvents(strings.Join(w.events(), ", "), tc.events)
		})
	}
}

// TestTryArchive: an archive gets one copy of mail that is relayed in the session or waits, and none of mail
// that is refused.
func TestTryArchive(t *testing.T) {
	w := openTrying(t, smtptest.Practice(), "", "[[archive]]\nbcc = \"archive@x.test\"")
	copies := 0
	for _, tc := range []struct {
		to, reply string
		copied    bool
		waiting   int64
	}{
		{"good@x.test", "250 2.0.0 Ok: relayed, ", true, 0}, {"unknown@x.test", "550-5.1.1 ", false, 0},
		{"full@x.test", "250 2.0.0 Ok: queued as ", true, 1},
		{"good@x.test", "250 2.0.0 Ok: relayed, ", true, 1},
	} {
		if got := w.send("app@client.test", "text", "<"+tc.to+">"); !strings.HasPrefix(got, tc.reply) {
			t.Errorf("%s: the reply is %q", tc.to, got)
		}
		if tc.copied {
			copies++
		}
		smtptest.WaitFor(t, "the copy", func() bool { return w.taken("archive@x.test") >= copies })
		// A copy that is not settled yet holds a connection, and the next mail may find none free.
		smtptest.WaitFor(t, "the spool", func() bool { return int64(w.messages()) == tc.waiting })
	}
	if n, good := w.taken("archive@x.test"), w.taken("good@x.test"); n != copies || good != 2 {
		t.Errorf("%d copies, want %d; %d of two mails were relayed", n, copies, good)
	}
}

// TestTryPolicyTells: an operator gets a report about mail that was refused in the session; its sender, who
// was told, gets none.
func TestTryPolicyTells(t *testing.T) {
	w := openTrying(t, smtptest.Practice(), "", "[[policy]]\nname = \"tell\"\naction = \"notify\"\n"+
		"reasons = [\"user_unknown\"]\nnotify = \"ops@x.test\"")
	if got := w.send("app@client.test", "text", "<unknown@x.test>"); !strings.HasPrefix(got, "550-5.1.1 ") {
		t.Errorf("the reply is %q", got)
	}
	smtptest.WaitFor(t, "the report", func() bool { return w.taken("ops@x.test") == 1 })
	smtptest.WaitFor(t, "an empty spool", func() bool { return w.messages() == 0 })
	if n := w.taken("app@client.test"); n != 0 {
		t.Errorf("%d bounces", n)
	}
	if got := strings.Join(w.events(), ", "); strings.Contains(got, "accepted") {
		t.Errorf("events %s", got)
	}
}

// TestTryLMTP: each recipient's reply is its own verdict, and nothing is owed for those that were refused.
func TestTryLMTP(t *testing.T) {
	w := openTrying(t, smtptest.Practice(), "")
	v := w.visit(1, "")
	v.say("", "220")
	v.say("LHLO client.test", "250")
	v.say("MAIL FROM:<app@client.test>", "250")
	for _, to := range []string{"unknown", "good", "full"} {
		v.say("RCPT TO:<"+to+"@x.test>", "250")
	}
	v.say("DATA", "354")
	v.say("Subject: x\r\n\r\ntext\r\n.", "550-5.1.1 ")
	v.say("", "250 2.0.0 Ok: relayed, ")
	v.say("", "250 2.0.0 Ok: queued as ")
	want := "accepted good@x.test, accepted full@x.test, failed unknown@x.test, relayed good@x.test, " +
		"deferred full@x.test, refused unknown@x.test"
	smtptest.WaitFor(t, "the events", func() bool { return len(w.events()) >= 6 })
	if got := strings.Join(w.events(), ", "); !sameEvents(got, want) {
		t.Errorf("events\n%s\nwant\n%s", got, want)
	}
	if stat, err := w.app.Stat(t.Context()); err != nil || stat.Messages != 1 || stat.Owed != 0 {
		t.Errorf("the spool has %+v, %v", stat, err)
	}
}

package app

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"

	"mailwhy/config"
	"mailwhy/relay/smtptest"
)

// The DSN parameters are tested from an application's side of the relay to the upstream's side, with
// clients that others wrote.

// dsnRelay is a relay between a client and an upstream that does or does not know DSN.
type dsnRelay struct {
	t        *testing.T
	app      *Relay
	addr     string
	log      string // the delivery log's file
	upstream *smtptest.Server
}

// newDSNRelay starts both. The upstream refuses, defers for ever, or takes, as the recipient's local part
// says.
func newDSNRelay(t *testing.T, o smtptest.Options, more ...config.Flag) *dsnRelay {
	t.Helper()
	script := o.Script
	o.Script = func(c smtptest.Command) smtptest.Action {
		if script != nil {
			if a := script(c); !a.IsZero() {
				return a
			}
		}
		switch {
		case strings.HasPrefix(c.Line, "RCPT") && strings.HasPrefix(c.Address, "unknown"):
			return smtptest.Action{Reply: "550-5.1.1 No such user\n550 5.1.1 here"}
		case strings.HasPrefix(c.Line, "RCPT") && strings.HasPrefix(c.Address, "later"):
			return smtptest.Action{Reply: "451 4.7.1 Greylisted, try again later"}
		}
		return smtptest.Action{}
	}
	dir := t.TempDir()
	r := &dsnRelay{t: t, log: filepath.Join(dir, "log"), upstream: smtptest.New(t, o)}
	flag := func(key, value string) config.Flag { return config.Flag{Name: key, Key: key, Value: value} }
	cfg, err := config.Load(config.Source{Flags: append([]config.Flag{
		flag("hostname", "relay.example.com"), flag("listen", "127.0.0.1:0"),
		flag("upstream", r.upstream.URL()),
		flag("spool.dir", filepath.Join(dir, "spool")), flag("delivery_log.file", r.log),
		flag("retry.schedule", "300ms"), flag("retry.expire_after", "4s"), flag("dsn.collect", "100ms"),
		flag("dsn.delay_after", "1s"),
	}, more...)})
	if err != nil {
		t.Fatal(err)
	}
	app, err := New(Options{Config: cfg, Engine: embedded(),
		Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	r.app, r.addr = app, app.Addrs()[0].String()
	return r
}

// python hands a message in with smtplib.
func (r *dsnRelay) python(mailOptions, rcptOptions string, to ...string) {
	r.t.Helper()
	r.pythonFrom("app@example.com", mailOptions, rcptOptions, to...)
}

// pythonFrom does it with another envelope sender.
func (r *dsnRelay) pythonFrom(from, mailOptions, rcptOptions string, to ...string) {
	r.t.Helper()
	r.pythonMail(from, mailOptions, rcptOptions,
		"From: app@example.com\r\nSubject: Order 7\r\nMessage-ID: <7@app.example.com>\r\n\r\nthe body\r\n",
		to...)
}

// pythonMail does it with another content.
func (r *dsnRelay) pythonMail(from, mailOptions, rcptOptions, content string, to ...string) {
	r.t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		r.t.Skip("skipping: python3 is not installed")
	}
	host, port, _ := net.SplitHostPort(r.addr)
	const script = `
import smtplib, sys
host, port, sender, mail, rcpt, content = sys.argv[1:7]
s = smtplib.SMTP(host, int(port), local_hostname="app.example.com")
s.sendmail(sender, sys.argv[7:], content.encode(), mail_options=mail.split(), rcpt_options=rcpt.split())
s.quit()
`
	args := append([]string{"-c", script, host, port, from, mailOptions, rcptOptions, content}, to...)
	out, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
}

// msmtp hands a message in with msmtp.
func (r *dsnRelay) msmtp(args ...string) {
	r.t.Helper()
	msmtp, err := exec.LookPath("msmtp")
	if err != nil {
		r.t.Skip("skipping: msmtp is not installed")
	}
	host, port, _ := net.SplitHostPort(r.addr)
	cmd := exec.Command(msmtp,
		append([]string{"--file=" + os.DevNull, "--host=" + host, "--port=" + port, "--from=app@example.com"},
			args...)...)
	cmd.Stdin = strings.NewReader("From: app@example.com\nSubject: Order 7\nMessage-ID: " +
		"<7@app.example.com>\n\nthe body\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
}

// arrivals waits until n messages have come to the upstream and returns them: mail and bounces.
func (r *dsnRelay) arrivals(n int) (mail, bounces []smtptest.Message) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.upstream.Wait(ctx, n); err != nil {
		r.t.Fatalf("%d messages came, not %d: %v", len(r.upstream.Messages()), n, err)
	}
	for _, m := range r.upstream.Messages() {
		if m.From == "app@example.com" {
			mail = append(mail, m)
		} else {
			bounces = append(bounces, m)
		}
	}
	return mail, bounces
}

// nothingMore holds that no further message comes.
func (r *dsnRelay) nothingMore(n int) {
	r.t.Helper()
	time.Sleep(700 * time.Millisecond)
	if got := len(r.upstream.Messages()); got != n {
		r.t.Errorf("%d messages came, not %d", got, n)
	}
}

// takenApart is a bounce: the blocks of its delivery status, and the type and text of what it returns.
type takenApart struct {
	header   message.Header
	blocks   []textproto.MIMEHeader
	returned string
	content  string
}

// read takes a bounce apart with go-message.
func (r *dsnRelay) read(m smtptest.Message) (x takenApart) {
	r.t.Helper()
	e, err := message.Read(bytes.NewReader(m.Content))
	if err != nil {
		r.t.Fatal(err)
	}
	x.header = e.Header
	parts := e.MultipartReader()
	for i := 0; ; i++ {
		p, err := parts.NextPart()
		if err == io.EOF {
			return x
		}
		if err != nil {
			r.t.Fatal(err)
		}
		kind, _, _ := p.Header.ContentType()
		b, err := io.ReadAll(p.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		switch i {
		case 1:
			for block := range strings.SplitSeq(string(b), "\r\n\r\n") {
				fields := strings.NewReader(strings.TrimRight(block, "\r\n") + "\r\n\r\n")
				h, err := textproto.NewReader(bufio.NewReader(fields)).ReadMIMEHeader()
				if err != nil {
					r.t.Fatal(err)
				}
				x.blocks = append(x.blocks, h)
			}
		case 2:
			x.returned, x.content = kind, string(b)
		}
	}
}

// expect compares fields of a block.
func (r *dsnRelay) expect(block textproto.MIMEHeader, want map[string]string) {
	r.t.Helper()
	for name, value := range want {
		if got := block.Get(name); got != value {
			r.t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

// checkEnvelope holds what RFC 3461, 6.1 says of a bounce's own envelope.
func (r *dsnRelay) checkEnvelope(m smtptest.Message, from string) {
	r.t.Helper()
	if m.From != from || len(m.To) != 1 || m.To[0].Address != "app@example.com" ||
		strings.Contains(m.FromParams, "RET=") {
		r.t.Errorf("the bounce's envelope: from %q %s to %+v", m.From, m.FromParams, m.To)
	}
	if p := strings.ToUpper(m.To[0].Params); strings.Contains(p, "NOTIFY=") &&
		!strings.Contains(p, "NOTIFY=NEVER") {
		r.t.Errorf("the bounce asks for %s", p)
	}
}

const (
	dsnMail = "RET=HDRS ENVID=QQ+2B314159"
	dsnRcpt = "NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Orig+2Bx@Example.com"
)

// TestDSNPassedOn: an upstream with DSN gets the parameters as they came, and owes the news of success
// itself.
func TestDSNPassedOn(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{})
	r.python(dsnMail, dsnRcpt, "good@example.net")
	mail, _ := r.arrivals(1)
	if got := strings.Fields(mail[0].FromParams); !slices.Contains(got, "RET=HDRS") ||
		!slices.Contains(got, "ENVID=QQ+2B314159") {
		t.Errorf("MAIL with %q", got)
	}
	if got := strings.Fields(mail[0].To[0].Params); !slices.Contains(got, "NOTIFY=SUCCESS,FAILURE,DELAY") ||
		!slices.Contains(got, "ORCPT=rfc822;Orig+2Bx@Example.com") {
		t.Errorf("RCPT with %q", got)
	}
	r.nothingMore(1)
}

// TestDSNFailed: a refusal is reported to the letter, by an upstream with DSN and by one without.
func TestDSNFailed(t *testing.T) {
	for name, without := range map[string][]string{"with DSN": nil, "without DSN": {"DSN"}} {
		t.Run(name, func(t *testing.T) {
			r := newDSNRelay(t, smtptest.Options{Without: without})
			r.python(dsnMail, dsnRcpt, "unknown@example.net")
			_, bounces := r.arrivals(1)
			r.checkEnvelope(bounces[0], "")
			x := r.read(bounces[0])
			if len(x.blocks) != 2 {
				t.Fatalf("%d blocks", len(x.blocks))
			}
			r.expect(x.blocks[0],
				map[string]string{"Original-Envelope-Id": "QQ+314159",
					"Reporting-Mta": "dns; relay.example.com"})
			r.expect(x.blocks[1], map[string]string{
				"Original-Recipient": "rfc822; Orig+x@Example.com",
				"Final-Recipient":    "rfc822; unknown@example.net",
				"Action":             "failed", "Status": "5.1.1",
				"Diagnostic-Code":    "smtp; 550-5.1.1 No such user 550 5.1.1 here",
				"X-Mailwhy-Category": "Invalid Address", "Will-Retry-Until": "",
			})
			if x.returned != "text/rfc822-headers" || strings.Contains(x.content, "the body") ||
				!strings.Contains(x.content, "<7@app.example.com>") {
				t.Errorf("RET=HDRS returned %s: %q", x.returned, x.content)
			}
			r.nothingMore(1)
		})
	}
}

// TestDSNRelayed: an upstream without DSN gets no parameters, and a success that was asked for is told (RFC
// 3461, 5.2.2).
func TestDSNRelayed(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{Without: []string{"DSN"}})
	r.python(dsnMail, dsnRcpt, "good@example.net")
	mail, bounces := r.arrivals(2)
	if p := mail[0].FromParams + mail[0].To[0].Params; strings.Contains(p, "NOTIFY") ||
		strings.Contains(p, "RET") || strings.Contains(p, "ENVID") || strings.Contains(p, "ORCPT") {
		t.Errorf("parameters that were not offered: %s", p)
	}
	r.checkEnvelope(bounces[0], "")
	x := r.read(bounces[0])
	r.expect(x.blocks[1], map[string]string{"Action": "relayed",
		"Final-Recipient": "rfc822; good@example.net", "X-Mailwhy-Category": ""})
	if !strings.HasPrefix(x.blocks[1].Get("Status"), "2.") || x.returned != "text/rfc822-headers" {
		t.Errorf("Status %s, returned %s", x.blocks[1].Get("Status"), x.returned)
	}
	r.nothingMore(2)
}

// TestDSNDelayedAndExpired: first word of the delay, once, and then of the failure.
func TestDSNDelayedAndExpired(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{})
	r.python("RET=FULL", dsnRcpt, "later@example.net")
	_, bounces := r.arrivals(2)
	delayed, expired := r.read(bounces[0]), r.read(bounces[1])
	r.expect(delayed.blocks[1], map[string]string{"Action": "delayed", "Status": "4.7.1"})
	if delayed.blocks[1].Get("Will-Retry-Until") == "" || delayed.returned != "text/rfc822-headers" {
		t.Errorf("the delay notice: %v, returned %s", delayed.blocks[1], delayed.returned)
	}
	r.expect(expired.blocks[1], map[string]string{
		"Action": "failed", "Status": "4.7.1",
		"Diagnostic-Code": "smtp; 451 4.7.1 Greylisted, try again later", "Will-Retry-Until": "",
	})
	if expired.returned != "message/rfc822" || !strings.Contains(expired.content, "the body") {
		t.Errorf("RET=FULL returned %s: %q", expired.returned, expired.content)
	}
	r.nothingMore(2)
}

// TestDSNNever: NOTIFY=NEVER is silence.
func TestDSNNever(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{Without: []string{"DSN"}})
	r.python("", "NOTIFY=NEVER", "unknown@example.net", "good@example.net")
	r.arrivals(1)
	r.nothingMore(1)
}

// TestDSNOneForAll: recipients that fail together share a bounce.
func TestDSNOneForAll(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{})
	r.python("", "", "unknown1@example.net", "good@example.net", "unknown2@example.net")
	_, bounces := r.arrivals(2)
	if len(bounces) != 1 || len(r.read(bounces[0]).blocks) != 3 {
		t.Fatalf("%d bounces", len(bounces))
	}
	r.nothingMore(2)
}

// TestDSNFromMSMTP: another client.
func TestDSNFromMSMTP(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{Without: []string{"DSN"}})
	r.msmtp("--dsn-notify=success,failure", "--dsn-return=full", "unknown@example.net", "good@example.net")
	_, bounces := r.arrivals(3)
	actions := map[string]string{}
	for _, b := range bounces {
		r.checkEnvelope(b, "")
		x := r.read(b)
		actions[x.blocks[1].Get("Action")] = x.returned
	}
	if actions["failed"] != "message/rfc822" || actions["relayed"] != "text/rfc822-headers" {
		t.Errorf("told: %v", actions)
	}
	r.nothingMore(3)
}

// TestDSNFallbackSender: where the upstream refuses the null sender the bounce goes out with the configured
// one.
func TestDSNFallbackSender(t *testing.T) {
	refuse := func(c smtptest.Command) smtptest.Action {
		if strings.HasPrefix(c.Line, "MAIL FROM:<>") {
			return smtptest.Action{Reply: "501 Invalid MAIL FROM address provided"}
		}
		return smtptest.Action{}
	}
	r := newDSNRelay(t, smtptest.Options{Script: refuse},
		config.Flag{Name: "f", Key: "dsn.fallback_sender", Value: "bounces@example.com"})
	for n := range 2 {
		r.python("", "", "unknown@example.net")
		_, bounces := r.arrivals(n + 1)
		r.checkEnvelope(bounces[n], "bounces@example.com")
	}
	nulls := 0
	for _, s := range r.upstream.Sessions() {
		for _, c := range s.Commands {
			if strings.HasPrefix(c, "MAIL FROM:<>") {
				nulls++
			}
		}
	}
	if nulls != 1 {
		t.Errorf("the null sender was tried %d times: its refusal should have been remembered", nulls)
	}
}

// TestDSNComesBack: our own bounce, handed in again with the null sender, is not bounced.
func TestDSNComesBack(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{})
	r.python("", "", "unknown@example.net")
	_, bounces := r.arrivals(1)
	r.handIn("", string(bounces[0].Content))
	r.nothingMore(1)
}

// TestBounceIDUsedAgain: mail with an envelope sender is that sender's own, whatever stands in its header,
// and is bounced: an answer to a bounce that has its Message-ID, and the bounce itself when somebody sends
// it on.
func TestBounceIDUsedAgain(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{})
	r.python("", "", "unknown@example.net")
	_, bounces := r.arrivals(1)
	_, rest, _ := strings.Cut(string(bounces[0].Content), "Message-ID: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	r.handIn("ann@example.com", "Message-ID: "+id+"\r\nSubject: Look at this\r\n\r\nhello\r\n")
	r.arrivals(2)
	r.handIn("bob@example.com", string(bounces[0].Content))
	r.arrivals(3)
}

// handIn sends a message of this content, with an envelope sender, to an address that the upstream does not
// know.
func (r *dsnRelay) handIn(from, content string) {
	r.t.Helper()
	conn, err := textproto.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	for _, step := range []struct {
		say  string
		want int
	}{{"", 220}, {"EHLO app.example.com", 250}, {"MAIL FROM:<" + from + ">", 250},
		{"RCPT TO:<unknown@example.net>", 250}, {"DATA", 354}} {
		if step.say != "" {
			fmt.Fprintf(conn.W, "%s\r\n", step.say)
			conn.W.Flush()
		}
		if _, _, err := conn.ReadResponse(step.want); err != nil {
			r.t.Fatal(step.say, err)
		}
	}
	w := conn.DotWriter()
	io.WriteString(w, content)
	w.Close()
	if _, _, err := conn.ReadResponse(250); err != nil {
		r.t.Fatal(err)
	}
}

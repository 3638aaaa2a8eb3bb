package democmd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"mailwhy/cmd/mailwhy/internal/practicecmd"
	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay/record"
	"mailwhy/relay/smtptest"
)

// refusedAfter is how long after the 250 a message is refused.
const refusedAfter = 300 * time.Millisecond

// sender sends the demo's mail and gets its bounces.
const sender = "app@shop.example"

// Two recipients with a full mailbox: one whose server the upstream asks at once, and one whose server
// refuses the mail after the upstream accepted it.
const (
	fullAtOnce = "overquota@gmail.example"
	fullLater  = "late-overquota@gmail.example"
)

// mail are the demo's messages: a success, each category of the guide, from replies of well-known providers,
// and one that is refused later.
var mail = [...]struct {
	subject string
	to      []string
}{
	{"Your receipt", []string{"alice@customer.example"}},
	{"Welcome", []string{"bob@customer.example", "unknown@gmail.example"}},
	{"Password reset", []string{"nomailbox@outlook.example"}},
	{"Invoice 1041", []string{fullAtOnce}},
	{"Newsletter", []string{"dmarc@gmail.example"}},
	{"Reminder", []string{"ratelimit@gmail.example"}},
	{"Contract", []string{"blocked@gmail.example"}},
	{"To the team", []string{"denied@office365.example"}},
	{"Forwarded", []string{"loop@office365.example"}},
	{"Offer", []string{"reputation@gmail.example"}},
	{"Invoice 1042", []string{fullLater}},
}

// makeUpstream starts an upstream that reports what becomes of mail as Brevo does: by the id in its 250.
func (d *demo) makeUpstream() (err error) {
	if d.webhooks, err = smtptest.FreeAddr(); err != nil {
		return err
	}
	d.later, err = practicecmd.New(practicecmd.Options{URL: "http://" + d.webhooks + "/brevo",
		Provider: "brevo", After: refusedAfter, Speed: 600, Log: func(string, string) {}})
	if err != nil {
		return err
	}
	var taken atomic.Int64
	practice := smtptest.Practice()
	o := smtptest.Options{Hostname: "practice.test", Deliver: func(*smtptest.Message) error { return nil },
		Script: func(cmd smtptest.Command) smtptest.Action {
			a := practice(cmd)
			if cmd.Stage == diagnose.StageEndOfData && a.IsZero() {
				a.Reply = fmt.Sprintf("250 2.0.0 OK: queued as <%d@practice.test>", taken.Add(1))
			}
			return a
		}}
	d.later.Watch(&o)
	d.upstream, err = smtptest.Start(o)
	return err
}

// makeRelay makes a relay that is wired as serve's is, with a short schedule.
func (d *demo) makeRelay() error {
	file := filepath.Join(d.dir, "relay.toml")
	feedback := fmt.Sprintf("[feedback]\nlisten = %q\n%s", d.webhooks, d.later.Webhook())
	if err := os.WriteFile(file, []byte(feedback), 0o600); err != nil {
		return err
	}
	flag := func(key, value string) config.Flag { return config.Flag{Name: key, Key: key, Value: value} }
	cfg, err := config.Load(config.Source{File: file, Flags: []config.Flag{
		flag("hostname", "relay.mailwhy.example"),
		flag("listen", "127.0.0.1:0"),
		flag("upstream", d.upstream.URL()),
		flag("spool.dir", filepath.Join(d.dir, "spool")),
		flag("delivery_log.file", d.logFile()),
		flag("retry.schedule", "1s"),
		flag("retry.expire_after", "3s"),
		flag("dsn.collect", "100ms"),
	}})
	if err != nil {
		return err
	}
	d.relay, err = d.o.Relay(cfg, d.out)
	return err
}

func (d *demo) logFile() string { return filepath.Join(d.dir, "delivery.log") }

// exchange sends the mail, waits until all of it is settled and reported, and reads the delivery log.
func (d *demo) exchange(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	addr := d.relay.Addrs()[0].String()
	fmt.Fprintf(d.out, "A practice upstream listens on %s, a relay on %s.\n", d.upstream.Addr(), addr)
	fmt.Fprintf(d.out, "%d messages go through the relay; one of them is tried for three seconds.\n",
		len(mail))
	for i := range mail {
		if err := send(addr, i); err != nil {
			return fmt.Errorf("sending message %d: %w", i+1, err)
		}
	}
	if err := d.wait(ctx); err != nil {
		return err
	}
	return d.readLog()
}

// send sends one of the messages through the front door.
func send(addr string, i int) error {
	m := mail[i]
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	body := fmt.Sprintf("From: Shop <%s>\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\n"+
		"Message-ID: <demo-%d@shop.example>\r\n\r\nHello from the demo.\r\n",
		sender, strings.Join(m.to, ", "), m.subject, time.Now().Format(time.RFC1123Z), i+1)
	if err := c.SendMail(sender, m.to, strings.NewReader(body)); err != nil {
		return err
	}
	return c.Quit()
}

// wait returns when the spool is empty: every message relayed or bounced, every bounce handed over, that of
// the late refusal too.
func (d *demo) wait(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := d.relay.Stat(ctx)
		if err != nil {
			return err
		}
		if _, reported := d.bounceOf(fullLater); reported && stat.Messages == 0 && stat.Owed == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the relay has not finished: %d messages still wait", stat.Messages)
		case <-tick.C:
		}
	}
}

// readLog reads the delivery log.
func (d *demo) readLog() error {
	d.relay.FlushLog()
	f, err := os.Open(d.logFile())
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		l, err := record.Parse(sc.Bytes())
		if err != nil {
			return err
		}
		d.lines, d.raw = append(d.lines, l), append(d.raw, sc.Text())
	}
	return sc.Err()
}

// bounceOf is a bounce that the upstream was handed, with a text in it.
func (d *demo) bounceOf(text string) (content string, ok bool) {
	for _, m := range d.upstream.Messages() {
		if m.From == "" && strings.Contains(string(m.Content), text) {
			return string(m.Content), true
		}
	}
	return "", false
}

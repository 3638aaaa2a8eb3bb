package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/practicecmd"
	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/app"
	"mailwhy/relay/record"
	"mailwhy/relay/record/deliverylog"
	"mailwhy/relay/smtptest"
)

// demoPatience bounds the demo: a relay that has not finished by then is broken.
const demoPatience = 45 * time.Second

// demoAfter is how long after the 250 a message is refused.
const demoAfter = 300 * time.Millisecond

// demoSender sends the demo's mail and gets its bounces.
const demoSender = "app@shop.example"

// Two recipients with a full mailbox: one whose server the upstream asks at once, and one whose server
// refuses the mail after the upstream took it.
const (
	demoEarly = "overquota@gmail.example"
	demoLate  = "late-overquota@gmail.example"
)

// demoMail are the demo's messages: a success, each category of the guide, from replies of well-known
// providers, and one that is refused later.
var demoMail = [...]struct {
	subject string
	to      []string
}{
	{"Your receipt", []string{"alice@customer.example"}},
	{"Welcome", []string{"unknown@gmail.example", "bob@customer.example"}},
	{"Password reset", []string{"nomailbox@outlook.example"}},
	{"Invoice 1041", []string{demoEarly}},
	{"Newsletter", []string{"dmarc@gmail.example"}},
	{"Reminder", []string{"ratelimit@gmail.example"}},
	{"Contract", []string{"blocked@gmail.example"}},
	{"To the team", []string{"denied@office365.example"}},
	{"Forwarded", []string{"loop@office365.example"}},
	{"Offer", []string{"reputation@gmail.example"}},
	{"Invoice 1042", []string{demoLate}},
}

func newDemoCommand() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole relay at work, on this machine only",
		Long: `Starts a practice upstream and a relay on free ports with a temporary spool, sends a handful
of messages through the relay, and shows the delivery log, one bounce, and the queue. One message is
accepted first and refused later, as with most providers: the upstream's webhook reports it, and the
refusal is explained like the others. It needs no configuration, and nothing leaves this machine.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := untilFirstSignal(c.Context())
			defer stop()
			return demo(ctx, c.OutOrStdout(), keep)
		},
	}
	c.Flags().BoolVar(&keep, "keep", false,
		"go on running until interrupted, for an application to be pointed at")
	return c
}

// demoRun is a demo under way.
type demoRun struct {
	out      io.Writer
	dir      string
	upstream *smtptest.Server
	later    *practicecmd.Events // what the upstream tells by webhook
	webhooks string              // the relay's address for it
	relay    *app.Relay
	lines    []record.Event // of the delivery log
}

func demo(ctx context.Context, out io.Writer, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "mailwhy-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demoRun{out: out, dir: dir}
	if err := d.makeUpstream(); err != nil {
		return err
	}
	defer d.upstream.Close()
	defer d.later.Close()
	if err := d.makeRelay(); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.relay.Run(running) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	if err := d.show(ctx); err != nil {
		return err
	}
	if keep {
		d.explainKeep()
		<-ctx.Done()
	}
	return nil
}

// makeUpstream starts an upstream that tells of mail as Brevo does: by the id that is in its 250.
func (d *demoRun) makeUpstream() (err error) {
	if d.webhooks, err = smtptest.FreeAddr(); err != nil {
		return err
	}
	d.later, err = practicecmd.New(practicecmd.Options{URL: "http://" + d.webhooks + "/brevo",
		Provider: "brevo", After: demoAfter, Speed: 600, Log: func(string, string) {}})
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
func (d *demoRun) makeRelay() error {
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
	d.relay, err = newRelay(cfg, d.out, slog.New(slog.DiscardHandler))
	return err
}

func (d *demoRun) logFile() string { return filepath.Join(d.dir, "delivery.log") }

// show sends the mail, waits until all of it is settled and reported, and shows what came of it.
func (d *demoRun) show(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	addr := d.relay.Addrs()[0].String()
	fmt.Fprintf(d.out, "practice upstream on %s, relay on %s; %d messages go through the relay\n",
		d.upstream.Addr(), addr, len(demoMail))
	for i := range demoMail {
		if err := demoSend(addr, i); err != nil {
			return fmt.Errorf("sending message %d: %w", i+1, err)
		}
	}
	if err := d.wait(ctx); err != nil {
		return err
	}
	seen, err := d.showLog()
	if err != nil {
		return err
	}
	if err := d.showTable(); err != nil {
		return err
	}
	if err := d.showBounce(); err != nil {
		return err
	}
	return d.showEnd(ctx, seen)
}

// demoSend sends one of the messages through the front door.
func demoSend(addr string, i int) error {
	m := demoMail[i]
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	body := fmt.Sprintf("From: Shop <%s>\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\n"+
		"Message-ID: <demo-%d@shop.example>\r\n\r\nHello from the demo.\r\n",
		demoSender, strings.Join(m.to, ", "), m.subject, time.Now().Format(time.RFC1123Z), i+1)
	if err := c.SendMail(demoSender, m.to, strings.NewReader(body)); err != nil {
		return err
	}
	return c.Quit()
}

// wait returns when the spool is empty: every message relayed or bounced, every bounce handed over, that of
// the late refusal too.
func (d *demoRun) wait(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := d.relay.Stat(ctx)
		if err != nil {
			return err
		}
		if _, told := d.bounceOf(demoLate); told && stat.Messages == 0 && stat.Owed == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the relay has not finished: %d messages still wait", stat.Messages)
		case <-tick.C:
		}
	}
}

// showLog shows the delivery log in words and returns the categories in it.
func (d *demoRun) showLog() (map[diagnose.Category]bool, error) {
	d.title("The delivery log, as `mailwhy log` shows it")
	d.relay.FlushLog()
	f, err := os.Open(d.logFile())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	seen := map[diagnose.Category]bool{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	sample := ""
	for sc.Scan() {
		l, err := record.Parse(sc.Bytes())
		if err != nil {
			return nil, err
		}
		d.out.Write(deliverylog.AppendText(nil, &l))
		d.lines = append(d.lines, l)
		if l.Diagnosis == nil {
			continue
		}
		seen[l.Diagnosis.Category] = true
		if sample == "" {
			sample = sc.Text()
		}
	}
	d.title("One of these lines as it stands in the file")
	fmt.Fprintln(d.out, sample)
	return seen, sc.Err()
}

// showTable shows two refusals side by side: one in the session, one after the upstream took the mail.
func (d *demoRun) showTable() error {
	d.title("Refused in the session, and refused later: explained alike")
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "recipient\trefused\treply\tcategory\treason\twho must act")
	rows := 0
	for i := range d.lines {
		l := &d.lines[i]
		when := "in the session"
		switch {
		case l.Kind == relay.EventBounced && l.To == demoLate:
			when = fmt.Sprintf("%.1f s after its 250, told by %s", l.DelayS, l.Source)
		case l.Kind != relay.EventFailed || l.To != demoEarly:
			continue
		}
		reply := strings.Fields(l.Reply)
		fmt.Fprintf(t, "%s\t%s\t%s ...\t%s\t%s\t%s\n", l.To, when,
			strings.Join(reply[:min(4, len(reply))], " "), l.Diagnosis.Category, l.Diagnosis.Reason,
			l.Diagnosis.Owner)
		rows++
	}
	if err := t.Flush(); err != nil || rows != 2 {
		return errors.Join(err, fmt.Errorf("%d of 2 refusals were explained", rows))
	}
	return nil
}

// showBounce shows one bounce whole, as the sender gets it.
func (d *demoRun) showBounce() error {
	content, ok := d.bounceOf(" " + demoEarly)
	if !ok {
		return errors.New("the bounce for a full mailbox did not arrive")
	}
	d.title("One of the bounces, as " + demoSender + " gets it")
	fmt.Fprint(d.out, strings.ReplaceAll(content, "\r\n", "\n"))
	return nil
}

// bounceOf is a bounce that the upstream was handed, with a text in it.
func (d *demoRun) bounceOf(text string) (content string, ok bool) {
	for _, m := range d.upstream.Messages() {
		if m.From == "" && strings.Contains(string(m.Content), text) {
			return string(m.Content), true
		}
	}
	return "", false
}

// showEnd shows the queue's end state and what was seen of the guide.
func (d *demoRun) showEnd(ctx context.Context, seen map[diagnose.Category]bool) error {
	stat, err := d.relay.Stat(ctx)
	if err != nil {
		return err
	}
	bounces := 0
	for _, m := range d.upstream.Messages() {
		if m.From == "" {
			bounces++
		}
	}
	d.title("The queue at the end")
	fmt.Fprintf(d.out, "%d messages wait; %d messages were relayed, %d bounces were sent\n",
		stat.Messages, len(d.upstream.Messages())-bounces, bounces)
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range e.Categories() {
		if c.Name.InGuide() && !seen[c.Name] {
			missing = append(missing, string(c.Name))
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("not seen of the guide's categories: %s", strings.Join(missing, ", "))
	}
	fmt.Fprintln(d.out, "all nine categories of the guide were met")
	return nil
}

// explainKeep prints how to point an application at the relay.
func (d *demoRun) explainKeep() {
	host, port, _ := strings.Cut(d.relay.Addrs()[0].String(), ":")
	d.title("Still running")
	fmt.Fprintf(d.out, `Point an application at it: host %s, port %s, no TLS, no password.
  SMTP_URL=smtp://%s:%s
Write to 550-5.1.1@any.test, full@any.test or any case of mailwhy practice --help, and watch:
  mailwhy log -f %s
Interrupt to end; everything is removed then.
`, host, port, host, port, d.logFile())
}

func (d *demoRun) title(s string) { fmt.Fprintf(d.out, "\n=== %s\n\n", s) }

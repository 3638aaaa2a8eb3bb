package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/practicecmd"
	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
)

// practiceSize is the largest message that the practice upstream takes, bytes.
const practiceSize = 50 << 20

// practiceFlags are the flags of the command.
type practiceFlags struct {
	listen, dump, as, credentials string
	speed                         float64
	events                        practicecmd.Options
}

func newPracticeCommand() *cobra.Command {
	var f practiceFlags
	c := &cobra.Command{
		Use:   "practice",
		Short: "Run an upstream that refuses as asked, for rehearsal",
		Long: `Takes mail as an upstream does and passes none of it on. The local part of a recipient's
address asks for an answer; every other recipient is accepted.

  550-5.1.1@any.test         that reply to RCPT; the enhanced code may be left out
  452-4.2.2+data@any.test    that reply to the content
  451-4.3.0+once@any.test    only the first time for this sender and recipient
  full@any.test              a named case; full+anything@any.test is another such recipient

The named cases:

` + practiceCases() + `
With --as it behaves as a provider's server: greeting, EHLO, AUTH, limits, the cut of idle
connections, the form of the final reply, and what it says to the null sender and to a sender that
is not verified (unverified@any.test). TLS and AUTH are real; the certificate is made at the start,
and its fingerprint is printed.

With --events and --as it also reports on the mail later, as the provider does: it posts the provider's
signed event to the relay's webhook, and retries as the provider does. The recipient's address asks for
an event; the mail itself is accepted:

  late-550-5.1.1@any.test         it bounced with that reply
  late-unknown@any.test           it bounced with the reply of a named case
  late-delay-452-4.2.2@any.test   it was deferred with that reply; the provider is still trying
  delivered@any.test              it arrived
  dropped@any.test                the provider did not try
  complaint@any.test              the recipient reported it as spam

The settings that make the relay accept the events are printed at the start. The keys are generated
then, and are for this rehearsal only.

It takes mail from whoever can reach it, and without --as it asks for no credentials and has no TLS:
keep it on this machine.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:2526", "`address` to listen on, host:port")
	c.Flags().StringVar(&f.dump, "dump", "", "`directory` to keep accepted mail in, as .eml files")
	c.Flags().StringVar(&f.as, "as", "", "`provider` to imitate, by its preset: ses, m365, gmail ...")
	c.Flags().StringVar(&f.credentials, "credentials", "",
		"the one `user:password` that --as takes; any without this flag")
	c.Flags().Float64Var(&f.speed, "speed", 1, "factor by which idle timeouts and the retries of events "+
		"are faster than the provider's")
	f.events.Register(c)
	return c
}

// run serves until the first signal.
func (f *practiceFlags) run(c *cobra.Command) error {
	ctx, stop := untilFirstSignal(c.Context())
	defer stop()
	log := &practiceLog{w: c.OutOrStdout()}
	o, err := f.options(log)
	if err != nil {
		return err
	}
	pin := ""
	if f.as != "" && !f.events.Alone(f.as) {
		if o, pin, err = f.imitate(o); err != nil {
			return err
		}
	}
	log.watch(&o)
	later, err := f.later(log, &o)
	if err != nil {
		return err
	}
	defer later.Close()
	s, err := smtptest.Start(o)
	if err != nil {
		return err
	}
	if pin == "" {
		fmt.Fprintf(c.OutOrStdout(), "practice upstream on %s, for mailwhy serve --upstream '%s'\n", s.Addr(),
			s.URL())
	} else {
		fmt.Fprintf(c.OutOrStdout(), "practice upstream on %s as %s, for MAILWHY_UPSTREAM_PRESET=%s "+
			"MAILWHY_UPSTREAM_FINGERPRINT=%s MAILWHY_UPSTREAM='%s' mailwhy serve\n",
			s.Addr(), f.as, f.as, pin, f.login(s.URL()))
	}
	later.Announce(c.OutOrStdout())
	<-ctx.Done()
	return s.Close()
}

// later has the mail that o takes told of afterwards, if that is wanted.
func (f *practiceFlags) later(log *practiceLog, o *smtptest.Options) (*practicecmd.Events, error) {
	f.events.Provider, f.events.Speed, f.events.Log = f.as, f.speed, func(what, rest string) {
		log.write(what, printable(rest))
	}
	later, err := practicecmd.New(f.events)
	if err == nil {
		later.Watch(o)
	}
	return later, err
}

// login adds the credentials to the URL of the practice upstream.
func (f *practiceFlags) login(address string) string {
	user, password, _ := strings.Cut(cmp.Or(f.credentials, "any:any"), ":")
	scheme, rest, _ := strings.Cut(address, "://")
	return scheme + "://" + url.UserPassword(user, password).String() + "@" + rest
}

// options are those of a practice upstream that logs what it accepts.
func (f *practiceFlags) options(log *practiceLog) (smtptest.Options, error) {
	var files *smtptest.Dump
	if f.dump != "" {
		var err error
		if files, err = smtptest.NewDump(f.dump); err != nil {
			return smtptest.Options{}, err
		}
	}
	return smtptest.Options{
		Addr: f.listen, Hostname: "practice.test", SizeLimit: practiceSize, Forget: true,
		Script: smtptest.Practice(),
		Deliver: func(m *smtptest.Message) error {
			path := ""
			if files != nil {
				var err error
				if path, err = files.Write(m); err != nil {
					log.line("failed", m.From, m.To, err.Error())
					return fmt.Errorf("the message cannot be stored")
				}
			}
			log.line("accepted", m.From, m.To, strings.TrimSpace(fmt.Sprintf("%d bytes  %s", m.Size, path)))
			return nil
		},
	}, nil
}

// imitate makes o behave as the provider, and returns the SHA-256 of its certificate, in hex.
func (f *practiceFlags) imitate(o smtptest.Options) (smtptest.Options, string, error) {
	i, err := imitation.ByName(f.as)
	if err != nil {
		return o, "", fmt.Errorf("--as: %w", err)
	}
	s := imitation.Settings{Speed: f.speed}
	if f.speed <= 0 {
		return o, "", fmt.Errorf("--speed: not above zero: %v", f.speed)
	}
	if f.credentials != "" {
		user, password, _ := strings.Cut(f.credentials, ":")
		if user == "" || password == "" {
			return o, "", errors.New("--credentials: write user:password")
		}
		s.Users = map[string]string{user: password}
	}
	id, err := smtptest.Certificate("localhost", "127.0.0.1", "::1", i.Host)
	if err != nil {
		return o, "", err
	}
	o.TLS = id.Server()
	sum := sha256.Sum256(id.Leaf.Certificate[0])
	o, err = i.Options(o, s)
	return o, hex.EncodeToString(sum[:]), err
}

// practiceCases is a table of the named cases.
func practiceCases() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range smtptest.Cases() {
		about := c.About
		if c.Category != "" {
			about += " (" + string(c.Category) + ")"
		}
		fmt.Fprintf(t, "  %s\t%s\n", c.Name, about)
	}
	t.Flush()
	return b.String()
}

// practiceLog writes a line for each message and each refusal.
type practiceLog struct {
	mu sync.Mutex
	w  io.Writer
}

// watch makes o log what its Script and its Login refuse.
func (l *practiceLog) watch(o *smtptest.Options) {
	script, login := o.Script, o.Login
	o.Script = func(cmd smtptest.Command) smtptest.Action {
		a := script(cmd)
		if a.End != smtptest.EndNot || a.Reply != "" && a.Reply[0] != '2' {
			l.refused(cmd, a)
		}
		return a
	}
	if login == nil {
		return
	}
	o.Login = func(mechanism, user string, matches func(string) bool) string {
		reply := login(mechanism, user, matches)
		if !strings.HasPrefix(reply, "235") {
			l.write("refused", "AUTH "+mechanism+" of "+printable(user)+"  "+firstLine(reply))
		}
		return reply
	}
}

// refused logs what was not accepted: a connection, a sender, a recipient or a content.
func (l *practiceLog) refused(cmd smtptest.Command, a smtptest.Action) {
	reply := firstLine(a.Reply)
	if reply == "" {
		reply = "connection " + string(a.End) + ", no reply"
	}
	switch {
	case cmd.Stage == diagnose.StageMail:
		l.line("refused", cmd.Address, nil, reply)
	case cmd.Arrived == nil:
		l.write("refused", string(cmd.Stage)+"  "+reply)
	case cmd.Stage == diagnose.StageRcpt:
		l.line("refused", cmd.Arrived.From, []smtptest.Recipient{{Address: cmd.Address}}, reply)
	default:
		l.line("refused", cmd.Arrived.From, cmd.Arrived.To, reply)
	}
}

// firstLine is the first line of a reply, and a sign that there are more.
func firstLine(reply string) string {
	first, _, more := strings.Cut(reply, "\n")
	if more {
		first += " ..."
	}
	return first
}

// line writes one line about an envelope. Addresses are shown without controls.
func (l *practiceLog) line(what, from string, to []smtptest.Recipient, rest string) {
	envelope := "<" + printable(from) + ">"
	for i, r := range to {
		if i == 0 {
			envelope += " ->"
		}
		envelope += " <" + printable(r.Address) + ">"
	}
	l.write(what, envelope+"  "+rest)
}

// write writes one line.
func (l *practiceLog) write(what, rest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s %-8s %s\n", time.Now().Format(time.TimeOnly), what, rest)
}

// printable is s as one line that a terminal can show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '?'
	}, s)
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/practicecmd"
	"mailwhy/cmd/mailwhy/internal/practicepage"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
)

// practiceSize is the largest message that the practice upstream takes, bytes.
const practiceSize = 50 << 20

// practiceFlags are the flags of the command.
type practiceFlags struct {
	listen, dump, as string
	speed            float64
	secure           practicecmd.Secure
	page             practicepage.Options
	events           practicecmd.Options
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

AUTH is offered (PLAIN, LOGIN, CRAM-MD5, XOAUTH2, OAUTHBEARER); --credentials demands it. With --tls it
speaks TLS, with a certificate that is made at the start and that --ca-file lets clients trust.

With --page there is a web page with the mail that was taken, on which you choose what is answered
next. It takes mail from whoever can reach it: keep it on this machine.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:2526", "`address` to listen on, host:port")
	c.Flags().StringVar(&f.dump, "dump", "", "`directory` to keep accepted mail in, as .eml files")
	c.Flags().StringVar(&f.as, "as", "", "`provider` to imitate, by its preset: ses, m365, gmail ...")
	c.Flags().Float64Var(&f.speed, "speed", 1, "factor by which idle timeouts and the retries of events "+
		"are faster than the provider's")
	f.secure.Register(c)
	f.page.Register(c)
	f.events.Register(c)
	return c
}

// run serves until the first signal.
func (f *practiceFlags) run(c *cobra.Command) error {
	ctx, stop := untilFirstSignal(c.Context())
	defer stop()
	out, log := c.OutOrStdout(), practicecmd.NewLog(c.OutOrStdout(), printable)
	o, err := f.options(log)
	if err != nil {
		return err
	}
	pin, about := "", ""
	if f.as != "" && !f.events.Alone(f.as) {
		if c.Flags().Changed("tls") {
			return errors.New("--tls: with --as it is that of the provider")
		}
		o, pin, err = f.imitate(o)
	} else {
		pin, about, err = f.secure.Apply(&o)
	}
	if err != nil {
		return err
	}
	page, err := f.watched(&o)
	if err != nil {
		return err
	}
	defer page.Close()
	log.Watch(&o)
	later, err := f.later(log, &o)
	if err != nil {
		return err
	}
	defer later.Close()
	s, err := smtptest.Start(o)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "practice upstream on %s%s\n", s.Addr(), f.announcement(s, pin))
	if about != "" {
		fmt.Fprintln(out, about)
	}
	if page.URL() != "" {
		fmt.Fprintf(out, "page on %s\n", page.URL())
	}
	later.Announce(out)
	<-ctx.Done()
	return s.Close()
}

// watched starts the page, if there is to be one, and makes it see what o takes.
func (f *practiceFlags) watched(o *smtptest.Options) (*practicepage.Page, error) {
	if f.page.Addr == "" {
		return nil, nil
	}
	page, err := practicepage.New(f.page)
	if err != nil {
		return nil, err
	}
	page.Watch(o)
	return page, page.Start()
}

// announcement says for which relay the upstream is.
func (f *practiceFlags) announcement(s *smtptest.Server, pin string) string {
	if f.as != "" && !f.events.Alone(f.as) {
		return fmt.Sprintf(" as %s, for MAILWHY_UPSTREAM_PRESET=%s MAILWHY_UPSTREAM_FINGERPRINT=%s "+
			"MAILWHY_UPSTREAM='%s' mailwhy serve", f.as, f.as, pin, f.login(s.URL(), "any:any"))
	}
	clear := "smtp://" + s.Addr() + "?tls=none"
	switch {
	case f.secure.Credentials == "" && f.secure.TLS == "none":
		return fmt.Sprintf(", for mailwhy serve --upstream '%s'", clear)
	case f.secure.TLS == "none":
		return fmt.Sprintf(", for MAILWHY_UPSTREAM_ALLOW_PLAINTEXT_AUTH=true MAILWHY_UPSTREAM='%s' "+
			"mailwhy serve", f.login(clear, ""))
	}
	return fmt.Sprintf(", for MAILWHY_UPSTREAM_FINGERPRINT=%s MAILWHY_UPSTREAM='%s' mailwhy serve", pin,
		f.login(s.URL(), ""))
}

// later has the mail that o takes told of afterwards, if that is wanted.
func (f *practiceFlags) later(log *practicecmd.Log, o *smtptest.Options) (*practicecmd.Events, error) {
	f.events.Provider, f.events.Speed, f.events.Log = f.as, f.speed, func(what, rest string) {
		log.Write(what, printable(rest))
	}
	later, err := practicecmd.New(f.events)
	if err == nil {
		later.Watch(o)
	}
	return later, err
}

// login adds the credentials, or others if there are none, to the URL of the practice upstream.
func (f *practiceFlags) login(address, others string) string {
	user, password, ok := strings.Cut(cmp.Or(f.secure.Credentials, others), ":")
	if !ok {
		return address
	}
	scheme, rest, _ := strings.Cut(address, "://")
	return scheme + "://" + url.UserPassword(user, password).String() + "@" + rest
}

// options are those of a practice upstream that logs what it accepts.
func (f *practiceFlags) options(log *practicecmd.Log) (smtptest.Options, error) {
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
			about := fmt.Sprintf("%d bytes", m.Size)
			if m.User != "" {
				about += "  as " + printable(m.User)
			}
			if files != nil {
				path, err := files.Write(m)
				if err != nil {
					log.Line("failed", m.From, m.To, err.Error())
					return fmt.Errorf("the message cannot be stored")
				}
				about += "  " + path
			}
			log.Line("accepted", m.From, m.To, about)
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
	if f.speed <= 0 {
		return o, "", fmt.Errorf("--speed: not above zero: %v", f.speed)
	}
	s := imitation.Settings{Speed: f.speed}
	if s.Users, err = f.secure.Users(); err != nil {
		return o, "", err
	}
	id, pin, err := f.secure.Identity(i.Host)
	if err != nil {
		return o, "", err
	}
	o.TLS = id.Server()
	o, err = i.Options(o, s)
	return o, pin, err
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

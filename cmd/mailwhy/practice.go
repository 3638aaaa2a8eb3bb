package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// practiceSize is the largest message that the practice upstream takes, bytes.
const practiceSize = 50 << 20

func newPracticeCommand() *cobra.Command {
	var listen, dump string
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
It takes mail from whoever can reach it, asks for no credentials and has no TLS: keep it on this
machine.`,
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:2526", "`address` to listen on, host:port")
	c.Flags().StringVar(&dump, "dump", "", "`directory` to keep accepted mail in, as .eml files")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := untilFirstSignal(c.Context())
		defer stop()
		o, err := practiceOptions(c.OutOrStdout(), listen, dump)
		if err != nil {
			return err
		}
		s, err := smtptest.Start(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "practice upstream on %s, for mailwhy serve --upstream '%s'\n", s.Addr(),
			s.URL())
		<-ctx.Done()
		return s.Close()
	}
	return c
}

// practiceOptions are those of a practice upstream that writes what it does to w, a line each. dump may be
// empty.
func practiceOptions(w io.Writer, listen, dump string) (smtptest.Options, error) {
	var files *smtptest.Dump
	if dump != "" {
		var err error
		if files, err = smtptest.NewDump(dump); err != nil {
			return smtptest.Options{}, err
		}
	}
	log := &practiceLog{w: w}
	script := smtptest.Practice()
	return smtptest.Options{
		Addr: listen, Hostname: "practice.test", SizeLimit: practiceSize, Forget: true,
		Script: func(cmd smtptest.Command) smtptest.Action {
			a := script(cmd)
			if a.Reply != "" || a.End != smtptest.EndNot {
				log.refused(cmd, a)
			}
			return a
		},
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

// refused logs a recipient, or a content, that was not accepted.
func (l *practiceLog) refused(cmd smtptest.Command, a smtptest.Action) {
	to := cmd.Arrived.To
	if cmd.Stage == diagnose.StageRcpt {
		to = []smtptest.Recipient{{Address: cmd.Address}}
	}
	first, _, more := strings.Cut(a.Reply, "\n")
	switch {
	case first == "":
		first = "connection " + string(a.End) + ", no reply"
	case more:
		first += " ..."
	}
	l.line("refused", cmd.Arrived.From, to, first)
}

// line writes one line. Addresses are shown without controls.
func (l *practiceLog) line(what, from string, to []smtptest.Recipient, rest string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-8s <%s> ->", time.Now().Format(time.TimeOnly), what, printable(from))
	for _, r := range to {
		fmt.Fprintf(&b, " <%s>", printable(r.Address))
	}
	b.WriteString("  " + rest + "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.w, b.String())
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

// Package sendmailcmd is `mailwhy sendmail`, for programs that call /usr/sbin/sendmail: cron, PHP, git,
// monitoring. It reads the arguments (argv.go), finds the running relay (relay.go), hands the mail over by
// relay/submit, and says with the exit status of sysexits.h what became of it (answer.go).
package sendmailcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/submit"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	Exit   func(status int, err error) error         // chooses the exit status; a nil err prints nothing
	Load   func(file string) (*config.Config, error) // reads the configuration; "" is the environment's
	File   string                                    // the configuration if none is named and this is there
	Socket string                                    // of a relay, if nothing names one and this is there
	Syslog func(line string)                         // hears of mail that was not handed over
	Now    func() time.Time
}

// The exit statuses of sysexits.h that callers of sendmail know.
const (
	exUsage       = 64 // the arguments are wrong
	exDataErr     = 65 // the message is wrong, or an address in it
	exNoUser      = 67 // the recipient is refused
	exUnavailable = 69 // the relay refuses the mail
	exTempFail    = 75 // nobody has the mail: the caller must try again
)

// Args are the arguments of a program that may be called by one of sendmail's names.
func Args(program string, args []string) []string {
	switch filepath.Base(program) {
	case "sendmail":
		return append([]string{"sendmail"}, args...)
	case "mailq":
		return append([]string{"sendmail", "-bp"}, args...)
	case "newaliases":
		return append([]string{"sendmail", "-bi"}, args...)
	}
	return args
}

// New is the command.
func New(o Options) *cobra.Command {
	return &cobra.Command{
		Use:   "sendmail [flags] [RECIPIENT...]",
		Short: "Hand mail to the running relay, with the arguments of sendmail",
		Long: `Reads a message from standard input and hands it to the relay. It takes the arguments of
sendmail, and ignores those that it does not know, so that it can replace it:

  ln -s /usr/local/bin/mailwhy /usr/sbin/sendmail        mailq and newaliases work too
  sendmail_path = "/usr/local/bin/mailwhy sendmail -t -i"    in php.ini

  -t           the recipients are in To, Cc and Bcc; Bcc is removed
  -i, -oi      a line with a single dot does not end the message
  -f ADDRESS   envelope sender (also -r); "<>" is the null sender
  -F NAME      name of the author, if the message has no From
  -N, -R, -V   NOTIFY, RET and ENVID for delivery status notifications (RFC 3461)
  -v           say which relay is chosen and why, and show the SMTP dialogue
  -bs          speak SMTP on standard input and output
  -bp          print the queue
  -q           try waiting mail now
  -C FILE      configuration of the relay
  --relay ADDRESS    listener of the relay, host:port or unix:/path

The relay is the first of these that is set or exists: --relay, MAILWHY_SENDMAIL_RELAY, a listener of the
configuration (-C, MAILWHY_CONFIG or /etc/mailwhy/relay.toml), unix:/run/mailwhy/smtp.sock, 127.0.0.1:2525.

Exit status: 0 the relay has accepted the mail, 64 wrong arguments, 65 invalid message or address,
67 recipient refused, 69 mail refused, 75 try again later.`,
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			what, err := parse(args)
			if err != nil {
				return o.Exit(exUsage, err)
			}
			r := &run{o: &o, call: what, cmd: c, ctx: c.Context()}
			return r.run()
		},
	}
}

// run is one run of the command.
type run struct {
	o    *Options
	call *call
	cmd  *cobra.Command
	ctx  context.Context
}

func (r *run) run() error {
	switch r.call.mode {
	case help:
		return r.cmd.Help()
	case aliases:
		return nil // there are none to rebuild
	}
	if r.call.mode == deliver && len(r.call.to) == 0 && !r.call.fromHeader {
		return r.o.Exit(exUsage, errors.New("no recipients: name them, or give -t to take the message's"))
	}
	to, err := r.o.findRelay(r.call)
	if err != nil {
		return r.o.Exit(exUsage, err)
	}
	switch r.call.mode {
	case session:
		return r.session(to)
	case queue, flush:
		return r.control(to)
	}
	return r.deliver(to)
}

// deliver reads a message and hands it over.
func (r *run) deliver(to *target) error {
	content, err := submit.Read(r.cmd.InOrStdin(), !r.call.ignoreDots)
	if err != nil {
		return r.lost(exTempFail, fmt.Errorf("the message could not be read: %w", err))
	}
	defer content.Close()
	m, err := content.Mail(r.options(to))
	if err != nil {
		return r.lost(exDataErr, err)
	}
	conn, chosen, err := to.dial(r.ctx)
	if err != nil {
		return r.lost(exTempFail, err)
	}
	s := submit.Session{Hello: to.hello(), Notify: r.call.notify, Ret: r.call.ret, EnvID: r.call.envID}
	if r.call.verbose {
		s.Trace = func(line string) { fmt.Fprintln(r.cmd.OutOrStdout(), submit.Printable(line)) }
		s.Trace(fmt.Sprintf("The relay is at %s (%s).", chosen, chosen.why))
	}
	out, err := submit.Send(conn, s, m)
	if err != nil {
		return r.lost(exTempFail, fmt.Errorf("relay at %s: %w", chosen, err))
	}
	return r.answer(m, &out)
}

// options are what is to be made of the message.
func (r *run) options(to *target) submit.Options {
	me := userName()
	if domain := to.domain(); domain != "" {
		me += "@" + domain
	}
	o := submit.Options{
		From: me, Author: me, Name: r.call.name,
		To: r.call.to, FromHeader: r.call.fromHeader,
		Domain: to.domain(), Host: to.hello(), Now: r.o.Now(),
	}
	if r.call.fromSet {
		o.From = r.call.from
	}
	return o
}

// userName is the name of the user who runs the command.
func userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	for _, variable := range []string{"LOGNAME", "USER"} {
		if name := os.Getenv(variable); name != "" {
			return name
		}
	}
	return "uid" + strconv.Itoa(os.Getuid())
}

// session connects standard input and output with the relay.
func (r *run) session(to *target) error {
	conn, _, err := to.dial(r.ctx)
	if err != nil {
		text := strings.ReplaceAll(submit.Printable(strings.ReplaceAll(err.Error(), "\n", "; ")), "\r", "")
		fmt.Fprintf(r.cmd.OutOrStdout(), "421 4.3.2 %s\r\n", text)
		return r.o.Exit(exTempFail, err)
	}
	defer conn.Close()
	go func() {
		io.Copy(conn, r.cmd.InOrStdin())
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	if _, err := io.Copy(r.cmd.OutOrStdout(), conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return r.o.Exit(exTempFail, err)
	}
	return nil
}

// lost says that nobody has the mail, to the caller and to the system's log: cron and others show nothing of
// what the caller hears.
func (r *run) lost(status int, err error) error {
	if errors.Is(err, submit.ErrUncertain) {
		r.o.Syslog(fmt.Sprintf("mail may not have been handed over: %v", err))
	} else {
		r.o.Syslog(fmt.Sprintf("mail was not handed over: %v", err))
	}
	return r.o.Exit(status, err)
}

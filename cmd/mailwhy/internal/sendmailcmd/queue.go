package sendmailcmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/submit"
)

// control prints the queue or has it tried, by the relay's control socket.
func (r *run) control(to *target) error {
	cfg := to.config
	if cfg == nil {
		return r.o.Exit(exUnavailable, fmt.Errorf("the control socket is not known: %w", to.ignored))
	}
	act := r.flush
	if r.call.mode == queue {
		act = r.print
	}
	if err := act(cfg); err != nil {
		return r.o.Exit(exUnavailable, err)
	}
	return nil
}

// flush has all that waits tried now.
func (r *run) flush(cfg *config.Config) error {
	var errs []error
	err := admin.NewClient(cfg.Admin.Socket).Act(r.ctx, admin.Retry, relay.QueueFilter{}, true,
		func(o admin.Outcome) error {
			if o.Error != "" {
				errs = append(errs, fmt.Errorf("%s: %s", o.ID, submit.Printable(o.Error)))
			}
			return nil
		})
	return errors.Join(append(errs, err)...)
}

// print prints the queue in the form of Postfix, which monitoring reads.
func (r *run) print(cfg *config.Config) error {
	w := bufio.NewWriter(r.cmd.OutOrStdout())
	messages, size := 0, int64(0)
	err := admin.NewClient(cfg.Admin.Socket).List(r.ctx, relay.QueueFilter{}, func(s admin.Summary) error {
		if messages++; messages == 1 {
			fmt.Fprintf(w, "%-25s %8s %-20s %s\n", "-Queue ID-",
				"-Size-", "-Arrival Time-", "-Sender/Recipient-")
		}
		size += s.Size
		printMessage(w, &s)
		return nil
	})
	switch {
	case err != nil:
		return errors.Join(err, w.Flush())
	case messages == 0:
		fmt.Fprintln(w, "Mail queue is empty")
	default:
		fmt.Fprintf(w, "-- %d Kbytes in %d Request%s.\n", (size+1023)/1024, messages, plural(messages))
	}
	return w.Flush()
}

// printMessage prints a message and the recipients that wait. An exclamation mark says that it is held.
func printMessage(w io.Writer, s *admin.Summary) {
	mark := " "
	for i := range s.Recipients {
		if s.Recipients[i].State == relay.Held {
			mark = "!"
		}
	}
	from := s.From
	if from == "" {
		from = "MAILER-DAEMON"
	}
	fmt.Fprintf(w, "%-25s %8d %-20s %s\n", s.ID+mark, s.Size, s.Arrived.Local().Format("Mon Jan _2 15:04:05"),
		submit.Printable(from))
	for i := range s.Recipients {
		one := &s.Recipients[i]
		if one.State.Final() {
			continue
		}
		if one.Code != 0 {
			fmt.Fprintf(w, "%27s(%d %s %s: %s)\n", "", one.Code, one.Enhanced, one.Category, one.Reason)
		}
		fmt.Fprintf(w, "%56s%s\n", "", submit.Printable(one.Address))
	}
	fmt.Fprintln(w)
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

package sendmailcmd

import (
	"fmt"
	"log/syslog"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay/submit"
)

// answer says what the relay did, and chooses the exit status. Nothing is printed of mail that was taken.
func (r *run) answer(m *submit.Mail, out *submit.Outcome) error {
	if len(out.Refused) == 0 {
		return nil
	}
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		return r.lost(exTempFail, err)
	}
	status := 0
	var b strings.Builder
	for i := range out.Refused {
		refused := &out.Refused[i]
		d := engine.Diagnose(diagnose.Symptom{Stage: refused.Stage, Reply: refused.Reply})
		writeRefusal(&b, refused, &d)
		if one := statusOf(refused, &d); status == 0 || status == exTempFail {
			status = one
		}
	}
	if n := len(out.Taken); n > 0 {
		fmt.Fprintf(&b, "mailwhy: %d of %d recipients have it, do not send it to them again: %s\n",
			n, len(m.To), submit.Printable(strings.Join(out.Taken, ", ")))
	}
	for line := range strings.Lines(b.String()) {
		r.o.Syslog(strings.TrimSpace(line))
	}
	fmt.Fprint(r.cmd.ErrOrStderr(), b.String())
	return r.o.Exit(status, nil)
}

// statusOf is the exit status for a refusal. A 4yz is 75, whatever it is about.
func statusOf(refused *submit.Refusal, d *diagnose.Diagnosis) int {
	switch {
	case refused.Reply.Class() != 5:
		return exTempFail
	case d.Scope == diagnose.ScopeRecipient:
		return exNoUser
	case d.Scope == diagnose.ScopeMessage:
		return exDataErr
	}
	return exUnavailable
}

// writeRefusal writes the reply of the relay, line by line, with the category and what to do.
func writeRefusal(b *strings.Builder, refused *submit.Refusal, d *diagnose.Diagnosis) {
	whom := ""
	if refused.Recipient != "" {
		whom = " to " + submit.Printable(refused.Recipient)
	}
	fmt.Fprintf(b, "mailwhy: error: the relay refused the mail%s, at %s:\n", whom, refused.Stage)
	for line := range strings.Lines(refused.Reply.Raw) {
		fmt.Fprintf(b, "  %s\n", submit.Printable(strings.TrimRight(line, "\r\n")))
	}
	if explained(refused.Reply.Raw) {
		return
	}
	fmt.Fprintf(b, "  category: %s\n", d.Category)
	for _, step := range fix(refused, d) {
		fmt.Fprintf(b, "  fix: %s\n", step)
	}
}

// explained reports whether a reply has category and fix in it, as the verdicts of accept.mode "try" do.
func explained(raw string) bool {
	return strings.Contains(raw, " Fix: ") || strings.Contains(raw, " Fix 1: ")
}

// fix is what to do about a reply of the relay itself. What the rules say is about upstreams; where the relay
// speaks of its own state or of its permissions, its operator must act.
func fix(refused *submit.Refusal, d *diagnose.Diagnosis) []string {
	switch {
	case refused.Reply.Class() == 4:
		return []string{"Send it again later; `mailwhy health` where the relay runs says how it is."}
	case refused.Reply.Enhanced.Subject == 7 || refused.Reply.Code == 530:
		return []string{"Have the operator of the relay allow it: [[client]] and [access] in its " +
			"configuration say who may send what to whom."}
	}
	return d.Fix
}

// Syslog writes a line to the system's log, if there is one.
func Syslog(line string) {
	log, err := syslog.New(syslog.LOG_MAIL|syslog.LOG_ERR, "mailwhy-sendmail")
	if err != nil {
		return // the caller hears it all the same
	}
	defer log.Close()
	log.Err(line)
}

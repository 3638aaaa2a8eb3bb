package upstream

import (
	"strings"
	"time"

	"mailwhy/diagnose"
)

// resetTimeout bounds the wait for the reply to RSET that shows whether a session that refused MAIL is
// still alive.
const resetTimeout = 10 * time.Second

// stale returns the loss of a reused connection that turns out to be over at the first reply of a
// transaction: the server says so, or closes the connection after refusing MAIL. It then refused the
// session, not p.
func (x *exchange) stale(p *part, mail reply) *loss {
	refused := mail.class() == 4 || mail.class() == 5
	if !refused || !x.c.reused || p.again {
		return nil
	}
	if sessionOver(mail) {
		return &loss{stage: diagnose.StageMail, rep: mail}
	}
	if x.c.ext.Pipelining {
		return nil // the replies to RCPT and DATA show whether it is alive
	}
	// RSET would begin the next envelope anyway; its reply shows whether there can be one.
	x.buf.out = append(x.buf.out[:0], "RSET\r\n"...)
	if x.c.write(x.buf.out, x.p.opt.Timeouts.Write) != nil {
		return &loss{stage: diagnose.StageMail, rep: mail}
	}
	r, l := x.heed(diagnose.StageReset, min(resetTimeout, x.p.opt.Timeouts.Command))
	if l != nil || r.class() != 2 {
		return &loss{stage: diagnose.StageMail, rep: mail}
	}
	p.cleared = true
	return nil
}

// afterRefusal is the loss l of a connection after MAIL was answered. If MAIL was refused, that refusal is
// the reason.
func afterRefusal(mail reply, l *loss) *loss {
	if l != nil && l.rep.err != nil && (mail.class() == 4 || mail.class() == 5) {
		return &loss{stage: diagnose.StageMail, rep: mail}
	}
	return l
}

// sessionOver reports whether r, the first reply in a transaction, is about the session and not about the
// transaction: a bad connection (RFC 3463, 3.5: X.4.2), or a timeout because we were silent for too long.
func sessionOver(r reply) bool {
	said := diagnose.ParseReply(r.raw)
	if said.Enhanced.Subject == 4 && said.Enhanced.Detail == 2 {
		return true
	}
	before := ""
	for w := range strings.FieldsSeq(strings.ToLower(said.Text)) {
		w = strings.Trim(w, ".,:;!()[]-") // whole words only: addresses and host names can contain these
		switch {
		case w == "timeout", w == "time-out", w == "idle", w == "idling", w == "inactive", w == "inactivity":
			return true
		case w == "out" && (before == "timed" || before == "time"):
			return true
		}
		before = w
	}
	return false
}

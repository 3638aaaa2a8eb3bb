package upstream

import (
	"strings"
	"time"

	"mailwhy/diagnose"
)

// resetTimeout bounds the wait for the reply that tells whether a session that refused MAIL goes on.
const resetTimeout = 10 * time.Second

// stale reports the loss of a reused connection that turns out to be over at the first reply of a
// transaction, be it that the server says so or that it closes after refusing MAIL. What it refused then is
// the session, not p.
func (x *exchange) stale(p *part, mail reply) *loss {
	refused := mail.class() == 4 || mail.class() == 5
	if !refused || !x.c.reused || p.again {
		return nil
	}
	if sessionOver(mail) {
		return &loss{stage: diagnose.StageMail, rep: mail}
	}
	if x.c.ext.Pipelining {
		return nil // the replies to RCPT and DATA tell whether it goes on
	}
	// RSET would lead the next envelope anyway; here its reply tells whether there can be one.
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

// afterRefusal is the loss l of a connection after MAIL was answered. What a server says before it goes is
// what it has to say.
func afterRefusal(mail reply, l *loss) *loss {
	if l != nil && l.rep.err != nil && (mail.class() == 4 || mail.class() == 5) {
		return &loss{stage: diagnose.StageMail, rep: mail}
	}
	return l
}

// sessionOver reports whether r, the first that a server says to a transaction, speaks of the session rather
// than of the transaction: of a bad connection (RFC 3463, 3.5: X.4.2), or of our having been silent for too
// long.
func sessionOver(r reply) bool {
	said := diagnose.ParseReply(r.raw)
	if said.Enhanced.Subject == 4 && said.Enhanced.Detail == 2 {
		return true
	}
	before := ""
	for w := range strings.FieldsSeq(strings.ToLower(said.Text)) {
		w = strings.Trim(w, ".,:;!()[]-") // whole words: addresses and host names have these in them too
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

package upstream

import (
	"strings"
	"time"

	"mailwhy/diagnose"
)

// envelope appends the commands of p's envelope to dst: all of them for a server with PIPELINING, else only
// RSET.
func (x *exchange) envelope(dst []byte, p *part) []byte {
	c := x.c
	c.transactions++
	p.written, p.reset, c.dirty = true, c.dirty, false
	if p.reset {
		dst = append(dst, "RSET\r\n"...)
	}
	if !c.ext.Pipelining {
		return dst
	}
	dst = appendMail(dst, p, &c.ext)
	for _, i := range p.rcpts {
		dst = appendRcpt(dst, p.d.recipient(i), &c.ext)
	}
	return append(dst, "DATA\r\n"...)
}

// offer writes the envelope.
func (x *exchange) offer() *loss {
	if len(x.buf.out) == 0 {
		return nil
	}
	if err := x.c.write(x.buf.out, x.p.opt.Timeouts.Write); err != nil {
		return &loss{stage: diagnose.StageMail, rep: x.c.lastWords(err)}
	}
	return nil
}

// answers reads the replies to the envelope. Each refused recipient, or all of them if MAIL was refused,
// then has its attempt. data is the reply to DATA, empty if DATA was not sent. again means that the same
// part must be tried again.
func (x *exchange) answers(p *part) (data reply, again bool, l *loss) {
	if p.reset {
		r, l := x.heed(diagnose.StageReset, x.p.opt.Timeouts.Command)
		if l == nil && r.class() != 2 {
			l = &loss{stage: diagnose.StageReset, rep: r}
		}
		if l != nil {
			return data, false, l
		}
	}
	mail, l := x.ask(diagnose.StageMail, x.p.opt.Timeouts.Command, func(b []byte) []byte {
		return appendMail(b, p, &x.c.ext)
	})
	if l == nil {
		l = x.stale(p, mail)
	}
	if l != nil {
		return data, false, l
	}
	over, l := x.recipients(p, mail)
	if l != nil {
		return data, false, afterRefusal(mail, l)
	}
	if x.c.ext.Pipelining || len(p.accepted) > 0 {
		data, l = x.ask(diagnose.StageData, x.p.opt.Timeouts.Data,
			func(b []byte) []byte { return append(b, "DATA\r\n"...) })
	}
	switch {
	case l != nil:
		return data, false, afterRefusal(mail, l)
	case mail.class() == 2:
		x.overflow(p, over)
		return data, false, nil
	// MAIL refused but DATA accepted: no dot may follow
	case data.code == 354 && (len(p.accepted) > 0 || p.ahead):
		return data, false, &loss{stage: diagnose.StageMail, rep: mail}
	}
	if p.ahead && mail.code == 503 { // for this server, the transaction before it was not over
		x.c.dirty = true
		return data, true, nil
	}
	p.accepted = nil
	p.d.settle(p.rcpts, x.attempt(p, diagnose.StageMail, mail))
	p.d.settle(p.d.waiting, x.attempt(p, diagnose.StageMail, mail))
	p.d.waiting = nil
	return data, false, nil
}

// recipients reads the reply for each recipient. over are the recipients beyond the server's limit for one
// transaction.
func (x *exchange) recipients(p *part, mail reply) (over []int, l *loss) {
	if mail.class() != 2 && !x.c.ext.Pipelining {
		return nil, nil
	}
	p.accepted = make([]int, 0, len(p.rcpts))
	for _, i := range p.rcpts {
		r, l := x.ask(diagnose.StageRcpt, x.p.opt.Timeouts.Command, func(b []byte) []byte {
			return appendRcpt(b, p.d.recipient(i), &x.c.ext)
		})
		switch {
		case l != nil:
			return nil, l
		case r.class() == 2:
			p.accepted = append(p.accepted, i)
		case mail.class() != 2:
		case len(p.accepted) > 0 && tooMany(r):
			over = append(over, i)
		default:
			p.d.attempts[i] = x.attempt(p, diagnose.StageRcpt, r)
		}
	}
	return over, nil
}

// overflow puts the recipients beyond the server's limit into another transaction (RFC 5321, 4.5.3.1.10).
func (x *exchange) overflow(p *part, over []int) {
	if len(over) > 0 {
		x.c.rcptMax = len(p.accepted)
		p.d.waiting = append(over, p.d.waiting...)
	}
}

// tooMany reports whether r refuses a recipient only because of those before it in the transaction.
func tooMany(r reply) bool {
	if r.class() != 4 && r.class() != 5 {
		return false
	}
	said := diagnose.ParseReply(r.raw)
	return said.Enhanced.Subject == 5 && said.Enhanced.Detail == 3 ||
		strings.Contains(strings.ToLower(said.Text), "too many recipients")
}

// ask sends one command, unless it was sent already, and reads its reply.
func (x *exchange) ask(
	stage diagnose.Stage, limit time.Duration, command func([]byte) []byte,
) (reply, *loss) {
	if !x.c.ext.Pipelining {
		x.buf.out = command(x.buf.out[:0])
		if err := x.c.write(x.buf.out, x.p.opt.Timeouts.Write); err != nil {
			return reply{}, &loss{stage: stage, rep: x.c.lastWords(err)}
		}
	}
	return x.heed(stage, limit)
}

// heed reads one reply. A reply that ends the connection is a loss, and so is one that does not fit the
// command.
func (x *exchange) heed(stage diagnose.Stage, limit time.Duration) (reply, *loss) {
	r := x.c.await(limit)
	odd := r.class() == 3 && (r.code != 354 || stage != diagnose.StageData) || r.class() == 2 &&
		stage == diagnose.StageData
	if r.err == nil && odd {
		r = reply{err: &protocolError{r.raw}}
	}
	if r.err != nil || r.ending() {
		return r, &loss{stage: stage, rep: r}
	}
	return r, nil
}

// nothing ends the data of a transaction without accepted recipients (RFC 2920, 3.1).
func (x *exchange) nothing() *loss {
	if err := x.c.write([]byte(".\r\n"), x.p.opt.Timeouts.Write); err != nil {
		return &loss{stage: diagnose.StageData, rep: x.c.lastWords(err)}
	}
	_, l := x.heed(diagnose.StageEndOfData, x.p.opt.Timeouts.EndOfData)
	x.c.dirty = true
	return l
}

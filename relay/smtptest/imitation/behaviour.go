package imitation

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// behaviour is the script of one running imitation.
type behaviour struct {
	i     *Imitation
	first func(smtptest.Command) smtptest.Action // asked before the provider; may be nil
	cross time.Duration                          // longer idle is cut at the next command; 0: no

	mu    sync.Mutex
	open  map[int]bool // sessions within the limit of connections
	heard map[int]time.Time
}

// script implements smtptest.Options.Script: what the caller wants first, then what the provider does.
func (b *behaviour) script(cmd smtptest.Command) smtptest.Action {
	if b.late(cmd.Session) {
		return b.end(b.i.Idle.Reply, cmd)
	}
	if b.first != nil {
		if a := b.first(cmd); !a.IsZero() {
			return a
		}
	}
	switch cmd.Stage {
	case diagnose.StageGreeting:
		return b.greet(cmd)
	case diagnose.StageHello:
		return b.hello(cmd)
	}
	if !cmd.TLS || cmd.User == "" {
		return smtptest.Action{} // the server says what comes first
	}
	if !b.within(cmd.Session) && b.refusesAt(b.i.Connections, cmd.Stage) {
		return b.say(b.i.Connections.Reply, cmd)
	}
	switch cmd.Stage {
	case diagnose.StageMail:
		return b.mail(cmd)
	case diagnose.StageRcpt:
		return b.rcpt(cmd)
	case diagnose.StageEndOfData:
		return b.content(cmd)
	}
	return smtptest.Action{}
}

// late notes that a session was heard, and reports whether it was silent for too long before.
func (b *behaviour) late(session int) bool {
	if b.cross == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last, known := b.heard[session]
	b.heard[session] = time.Now()
	return known && time.Since(last) > b.cross
}

// greet answers a connection.
func (b *behaviour) greet(cmd smtptest.Command) smtptest.Action {
	if !b.within(cmd.Session) && b.refusesAt(b.i.Connections, cmd.Stage) {
		return b.end(b.i.Connections.Reply, cmd)
	}
	return b.say(b.i.Greeting, cmd)
}

// within reports whether a session is one of those that the limit of connections allows, and makes it one
// where there is room.
func (b *behaviour) within(session int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := b.i.Connections.Limit
	if !b.open[session] && (limit == 0 || int64(len(b.open)) < limit) {
		b.open[session] = true
	}
	return b.open[session]
}

// ended forgets a session, and then tells next, which may be nil.
func (b *behaviour) ended(next func(int)) func(int) {
	return func(session int) {
		b.mu.Lock()
		delete(b.open, session)
		delete(b.heard, session)
		b.mu.Unlock()
		if next != nil {
			next(session)
		}
	}
}

// refusesAt reports whether a limit is enforced at a stage.
func (b *behaviour) refusesAt(l Limit, stage diagnose.Stage) bool {
	at, ok := stageOf(l.At)
	return ok && at == stage
}

// hello answers EHLO with the provider's lines. HELO and an empty name are left to the server.
func (b *behaviour) hello(cmd smtptest.Command) smtptest.Action {
	verb, name, _ := strings.Cut(cmd.Line, " ")
	if !strings.EqualFold(verb, "EHLO") || name == "" {
		return smtptest.Action{}
	}
	if b.i.Hello.Reply != "" && !public(name) {
		return b.end(b.i.Hello.Reply, cmd)
	}
	var lines []string
	for _, line := range b.i.Ehlo {
		word, _, _ := strings.Cut(line, " ")
		if word == "STARTTLS" && cmd.TLS || strings.HasPrefix(word, "AUTH") && !cmd.TLS && !b.i.AuthInClear {
			continue
		}
		lines = append(lines, "250-"+line)
	}
	last := len(lines) - 1
	lines[last] = "250 " + strings.TrimPrefix(lines[last], "250-")
	return b.say(strings.Join(lines, "\n"), cmd)
}

// public reports whether a name of EHLO can be a public host name: localhost and a container's name cannot.
func public(name string) bool {
	return strings.Contains(name, ".") && !strings.HasSuffix(name, ".local") &&
		!strings.HasSuffix(name, ".localdomain")
}

// mail answers MAIL where the provider refuses it.
func (b *behaviour) mail(cmd smtptest.Command) smtptest.Action {
	if limit := b.i.Messages.Limit; limit > 0 && int64(cmd.Message) > limit {
		return b.end(b.i.Messages.Reply, cmd)
	}
	if size := b.i.Size; size.Limit > 0 && declaredSize(cmd.Params) > size.Limit {
		return b.say(size.Reply, cmd)
	}
	return b.sender(cmd, cmd.Address)
}

// rcpt answers RCPT where the provider refuses it.
func (b *behaviour) rcpt(cmd smtptest.Command) smtptest.Action {
	if cmd.Arrived == nil {
		return smtptest.Action{}
	}
	if limit := b.i.Recipients.Limit; limit > 0 && int64(len(cmd.Arrived.To)) >= limit {
		return b.say(b.i.Recipients.Reply, cmd)
	}
	return b.sender(cmd, cmd.Arrived.From)
}

// content answers the message.
func (b *behaviour) content(cmd smtptest.Command) smtptest.Action {
	if size := b.i.Size; size.Limit > 0 && cmd.Arrived.Size > size.Limit {
		return b.say(size.Reply, cmd)
	}
	if a := b.sender(cmd, cmd.Arrived.From); !a.IsZero() {
		return a
	}
	return b.say(b.i.Accepted, cmd)
}

// sender refuses a sender at the stage at which the provider does.
func (b *behaviour) sender(cmd smtptest.Command, from string) smtptest.Action {
	r := b.i.NullSender
	if from != "" {
		local, _, _ := strings.Cut(from, "@")
		if local != "unverified" {
			return smtptest.Action{}
		}
		r = b.i.Unverified
	}
	if at, ok := stageOf(r.At); !ok || at != cmd.Stage {
		return smtptest.Action{}
	}
	return b.say(r.Reply, cmd)
}

// say is a reply, filled in.
func (b *behaviour) say(text string, cmd smtptest.Command) smtptest.Action {
	return smtptest.Action{Reply: b.fill(text, cmd)}
}

// end is a last reply, which may be empty.
func (b *behaviour) end(text string, cmd smtptest.Command) smtptest.Action {
	return smtptest.Action{Reply: b.fill(text, cmd), End: smtptest.EndClose}
}

// declaredSize is the value of SIZE in the parameters of MAIL, or 0.
func declaredSize(params string) int64 {
	for p := range strings.FieldsSeq(params) {
		if value, ok := strings.CutPrefix(strings.ToUpper(p), "SIZE="); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

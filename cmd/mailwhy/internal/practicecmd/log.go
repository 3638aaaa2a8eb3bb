package practicecmd

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// Log writes a line for each message and each refusal. It is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	w     io.Writer
	clean func(string) string
}

// NewLog is a log that writes to w; clean makes one line that a terminal can show of what a client said.
func NewLog(w io.Writer, clean func(string) string) *Log { return &Log{w: w, clean: clean} }

// Watch makes o log what its Script and its Login refuse.
func (l *Log) Watch(o *smtptest.Options) {
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
			l.Write("refused", "AUTH "+mechanism+" of "+l.clean(user)+"  "+firstLine(reply))
		}
		return reply
	}
}

// refused logs what was not accepted: a connection, a sender, a recipient or a content.
func (l *Log) refused(cmd smtptest.Command, a smtptest.Action) {
	reply := firstLine(a.Reply)
	if reply == "" {
		reply = "connection " + string(a.End) + ", no reply"
	}
	switch {
	case cmd.Stage == diagnose.StageMail:
		l.Line("refused", cmd.Address, nil, reply)
	case cmd.Arrived == nil:
		l.Write("refused", string(cmd.Stage)+"  "+reply)
	case cmd.Stage == diagnose.StageRcpt:
		l.Line("refused", cmd.Arrived.From, []smtptest.Recipient{{Address: cmd.Address}}, reply)
	default:
		l.Line("refused", cmd.Arrived.From, cmd.Arrived.To, reply)
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

// Line writes one line about an envelope. Addresses are shown without controls.
func (l *Log) Line(what, from string, to []smtptest.Recipient, rest string) {
	envelope := "<" + l.clean(from) + ">"
	for i, r := range to {
		if i == 0 {
			envelope += " ->"
		}
		envelope += " <" + l.clean(r.Address) + ">"
	}
	l.Write(what, envelope+"  "+rest)
}

// Write writes one line, with what happened in front.
func (l *Log) Write(what, rest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s %-8s %s\n", time.Now().Format(time.TimeOnly), what, rest)
}

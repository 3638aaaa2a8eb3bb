package smtptest

import (
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
)

// command is what the Script is shown. It is cheap when there is no Script.
func (c *session) command(stage diagnose.Stage, line string) Command {
	return Command{
		Session: c.info.ID, Message: c.n, Stage: stage, Line: line,
		User: c.info.User, TLS: c.info.TLS != "", Arrived: c.tx,
	}
}

// ask lets the Script decide.
func (c *session) ask(cmd Command) Action {
	if c.srv.opt.Script == nil {
		return Action{}
	}
	return c.srv.opt.Script(cmd)
}

// answer lets the Script decide, does that, and returns the code that was said.
func (c *session) answer(cmd Command, fallback string) int {
	return c.perform(c.ask(cmd), fallback)
}

// speaks reports whether a leaves the server nothing to say.
func (a *Action) speaks() bool { return a.Bytes != nil || a.Reply != "" || a.End != EndNot }

// says is the reply's bytes under an Action: its own, or the server's where it leaves that to it.
func (a *Action) says(fallback string) string {
	switch {
	case a.Bytes != nil:
		return string(a.Bytes)
	case a.Reply != "":
		return crlf(a.Reply)
	case a.speaks():
		return ""
	}
	return crlf(fallback)
}

// code is the basic code of what is said, or 0.
func (a *Action) code(fallback string) int {
	said := a.says(fallback)
	if len(said) < 3 {
		return 0
	}
	n, _ := strconv.Atoi(said[:3])
	return n
}

// perform does what an Action says, and returns the code that was said.
func (c *session) perform(a Action, fallback string) int {
	if a.IsZero() {
		c.say(fallback)
		return a.code(fallback)
	}
	if a.Delay > 0 {
		c.w.Flush()
		c.sleep(a.Delay)
	}
	said := a.says(fallback)
	if a.Drip > 0 {
		c.drip(said, a.Drip)
	} else {
		c.w.WriteString(said)
	}
	if a.End != EndNot {
		c.end(a.End)
	}
	return a.code(fallback)
}

// say writes a reply into the buffer.
func (c *session) say(reply string) {
	if strings.IndexByte(reply, '\n') < 0 {
		c.w.WriteString(reply)
		c.w.WriteString("\r\n")
		return
	}
	c.w.WriteString(crlf(reply))
}

// drip writes byte by byte.
func (c *session) drip(said string, pause time.Duration) {
	c.w.Flush()
	for i := range len(said) {
		c.sleep(pause)
		if _, err := c.conn.Write([]byte{said[i]}); err != nil {
			return
		}
	}
}

// sleep waits, but not beyond the server's end.
func (c *session) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.srv.stop:
	}
}

// crlf ends every line of a reply as SMTP wants it.
func crlf(reply string) string {
	return strings.ReplaceAll(strings.ReplaceAll(reply, "\r\n", "\n"), "\n", "\r\n") + "\r\n"
}

package submit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/clean"
	"mailwhy/relay/internal/xtext"
)

// ErrUncertain says that the connection broke after the whole message was sent and before the relay
// answered: it may have taken it.
var ErrUncertain = errors.New("the relay got the whole message and did not answer: it may have taken it")

// How long the relay may take to answer a command, and the content (RFC 5321, 4.5.3.2.6).
const (
	commandTimeout = time.Minute
	contentTimeout = 10 * time.Minute
	quitTimeout    = time.Second // nothing depends on it
)

// Session says how a message is handed over. Hello is required.
type Session struct {
	Hello string // name in EHLO
	// Delivery status notifications, where the relay offers them (RFC 3461, 4); "" leaves them out.
	Notify string // NEVER, or a list of SUCCESS, FAILURE, DELAY
	Ret    string // FULL or HDRS
	EnvID  string // of the sender, printable
	// Trace hears each line of the dialogue but the content, if it is not nil.
	Trace func(line string)
}

// Refusal is a reply that is no success.
type Refusal struct {
	Stage     diagnose.Stage
	Recipient string // "" concerns all of them
	Reply     diagnose.Reply
}

// Outcome is what became of a message. If the relay took it for some recipients, it is its to deliver to
// those, and must not be sent to them again.
type Outcome struct {
	Taken   []string       // recipients
	Reply   diagnose.Reply // to the content, if Taken
	Refused []Refusal
}

// Send hands a message to the relay that answers on conn, and closes conn. A refusal is no error. After an
// error nobody got the message, unless it is an ErrUncertain.
func Send(conn net.Conn, s Session, m *Mail) (Outcome, error) {
	c := &client{conn: conn, text: textproto.NewConn(conn), session: &s, extensions: map[string]bool{}}
	defer c.text.Close()
	var out Outcome
	err := c.transact(m, &out)
	if refused, ok := errors.AsType[*refusedError](err); ok {
		out.Refused = append(out.Refused, refused.Refusal)
		err = nil
	}
	if err == nil && !c.inContent {
		c.quit()
	}
	return out, err
}

// quit ends the session politely (RFC 5321, 4.1.1.10). What the relay answers changes nothing.
func (c *client) quit() {
	c.conn.SetDeadline(time.Now().Add(quitTimeout))
	if c.command("QUIT") == nil {
		c.reply(diagnose.StageQuit, 2)
	}
}

// client is one session.
type client struct {
	conn       net.Conn
	text       *textproto.Conn
	session    *Session
	extensions map[string]bool // keywords of EHLO
	inContent  bool            // a command would end the content
}

// refusedError ends a transaction.
type refusedError struct{ Refusal }

func (e *refusedError) Error() string { return e.Reply.Text }

// transact is a session up to the answer to the content.
func (c *client) transact(m *Mail, out *Outcome) error {
	if err := c.want(diagnose.StageGreeting, ""); err != nil {
		return err
	}
	if err := c.hello(); err != nil {
		return err
	}
	if err := c.want(diagnose.StageMail, c.mail(m)); err != nil {
		return err
	}
	var taken []string
	for _, to := range m.To {
		err := c.want(diagnose.StageRcpt, c.rcpt(to))
		refused, ok := errors.AsType[*refusedError](err)
		switch {
		case ok && refused.Reply.Code == 421: // the session is over (RFC 5321, 3.8)
			return err
		case ok:
			refused.Recipient = to
			out.Refused = append(out.Refused, refused.Refusal)
		case err != nil:
			return err
		default:
			taken = append(taken, to)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	reply, err := c.content(m)
	if err == nil {
		out.Taken, out.Reply = taken, reply
	}
	return err
}

// hello says EHLO and keeps what the relay offers.
func (c *client) hello() error {
	reply, err := c.ask(diagnose.StageHello, 2, "EHLO "+c.session.Hello)
	if err != nil {
		return err
	}
	for line := range strings.Lines(reply.Raw) {
		word, _, _ := strings.Cut(strings.TrimSpace(line[min(4, len(line)):]), " ")
		c.extensions[strings.ToUpper(word)] = true
	}
	return nil
}

// mail is the MAIL command.
func (c *client) mail(m *Mail) string {
	s := "MAIL FROM:<" + m.From + ">"
	if c.extensions["SIZE"] {
		s += fmt.Sprintf(" SIZE=%d", m.Size) // RFC 1870, 5
	}
	if m.EightBit && c.extensions["8BITMIME"] {
		s += " BODY=8BITMIME" // RFC 6152, 2
	}
	foreign := func(a string) bool { return !address.IsASCII(a) }
	if c.extensions["SMTPUTF8"] && (foreign(m.From) || slices.ContainsFunc(m.To, foreign)) {
		s += " SMTPUTF8" // RFC 6531, 3.4
	}
	if c.extensions["DSN"] && c.session.Ret != "" {
		s += " RET=" + c.session.Ret
	}
	if c.extensions["DSN"] && c.session.EnvID != "" {
		s += " ENVID=" + xtext.Encode(c.session.EnvID)
	}
	return s
}

// rcpt is a RCPT command.
func (c *client) rcpt(to string) string {
	s := "RCPT TO:<" + to + ">"
	if c.extensions["DSN"] && c.session.Notify != "" {
		s += " NOTIFY=" + c.session.Notify
	}
	return s
}

// content sends the content and returns the answer to it.
func (c *client) content(m *Mail) (diagnose.Reply, error) {
	if _, err := c.ask(diagnose.StageData, 3, "DATA"); err != nil {
		return diagnose.Reply{}, err
	}
	w := c.text.DotWriter()
	c.inContent = true
	body := io.MultiReader(bytes.NewReader(m.header), m.body)
	if _, err := io.CopyBuffer(&patient{w, c.conn}, body, make([]byte, 32<<10)); err != nil {
		return diagnose.Reply{}, c.brokenOff(err) // without the dot: the relay takes nothing
	}
	c.conn.SetDeadline(time.Now().Add(contentTimeout))
	if err := w.Close(); err != nil {
		return diagnose.Reply{}, errors.Join(ErrUncertain, err)
	}
	c.inContent = false
	reply, err := c.reply(diagnose.StageEndOfData, 2)
	if _, refused := errors.AsType[*refusedError](err); err != nil && !refused {
		err = errors.Join(ErrUncertain, err)
	}
	return reply, err
}

// brokenOff is the refusal that the relay may have given before it stopped reading the content, or else err.
func (c *client) brokenOff(err error) error {
	c.conn.SetReadDeadline(time.Now().Add(time.Second))
	if _, said := c.reply(diagnose.StageEndOfData, 2); said != nil {
		if refused, ok := errors.AsType[*refusedError](said); ok {
			return refused
		}
	}
	return err
}

// patient gives each piece of a content time of its own.
type patient struct {
	io.Writer
	conn net.Conn
}

func (p *patient) Write(b []byte) (int, error) {
	p.conn.SetDeadline(time.Now().Add(commandTimeout))
	return p.Writer.Write(b)
}

// want says a command, if it is not empty, and wants a 2yz.
func (c *client) want(stage diagnose.Stage, command string) error {
	_, err := c.ask(stage, 2, command)
	return err
}

// ask says a command, if it is not empty, and returns its reply. One of another class than wanted is a
// refusedError.
func (c *client) ask(stage diagnose.Stage, class int, command string) (diagnose.Reply, error) {
	c.conn.SetDeadline(time.Now().Add(commandTimeout))
	if command != "" {
		if err := c.command(command); err != nil {
			return diagnose.Reply{}, err
		}
	}
	return c.reply(stage, class)
}

// command says a line.
func (c *client) command(line string) error {
	c.trace(">>> " + line)
	return c.text.PrintfLine("%s", line)
}

// reply reads a reply, every line of it (RFC 5321, 4.2.1).
func (c *client) reply(stage diagnose.Stage, class int) (diagnose.Reply, error) {
	code, text, err := c.text.ReadResponse(0)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the relay closed the connection")
		}
		return diagnose.Reply{}, err
	}
	var raw strings.Builder
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		fmt.Fprintf(&raw, "%d%s%s\r\n", code, separator, line)
		c.trace(fmt.Sprintf("%d%s%s", code, separator, line))
	}
	reply := diagnose.ParseReply(raw.String())
	if code/100 != class {
		return reply, &refusedError{Refusal{Stage: stage, Reply: reply}}
	}
	return reply, nil
}

func (c *client) trace(line string) {
	if c.session.Trace != nil {
		c.session.Trace(line)
	}
}

// Printable is a text of others as one safe line.
func Printable(s string) string { return clean.Line(s, 4096) }

package smtptest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"mailwhy/relay/smtptest/ledger"
)

// Client is one connection of an SMTP client that says what its caller wants, in order or not, and whole or
// not. What it says is buffered until it reads a reply, so that commands can be pipelined. The error of a
// call that writes shows at the next reply. One goroutine may read replies while others write to Conn
// themselves.
type Client struct {
	Conn    net.Conn      // for what no client should do: half a line, a reset, silence
	Timeout time.Duration // for each reply, and for the writing before it
	r       *bufio.Reader
	w       *bufio.Writer
}

// ClientOptions say how a Client connects. The zero ClientOptions are a connection in clear.
type ClientOptions struct {
	From    string        // address to connect from, an IP of this machine; any when empty
	TLS     *tls.Config   // TLS from the first byte; nil is none
	Timeout time.Duration // for the connection and each reply; 20 seconds when 0
	Buffer  int           // bytes held back at most; 4096 when 0
}

// Reply is what a server said: its code, and the text of its last line.
type Reply struct {
	Code int
	Text string
}

// String is the last line of the reply.
func (r Reply) String() string { return fmt.Sprintf("%03d %s", r.Code, r.Text) }

// ErrRefused is a reply of another class than the one that was wanted; the connection can go on.
var ErrRefused = errors.New("refused")

// Connect opens a connection. The greeting is not read.
func Connect(ctx context.Context, addr string, o ClientOptions) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	if o.Buffer == 0 {
		o.Buffer = 4096
	}
	d := net.Dialer{Timeout: o.Timeout}
	if o.From != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o.From)}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		conn = tls.Client(conn, o.TLS)
	}
	c := &Client{
		Conn:    conn,
		Timeout: o.Timeout,
		r:       bufio.NewReader(conn),
		w:       bufio.NewWriterSize(conn, o.Buffer),
	}
	return c, conn.SetDeadline(time.Now().Add(o.Timeout))
}

// Greet opens a connection, reads the greeting and says EHLO.
func Greet(ctx context.Context, addr, name string, o ClientOptions) (*Client, error) {
	c, err := Connect(ctx, addr, o)
	if err != nil {
		return nil, err
	}
	if err = c.Expect(2); err == nil {
		err = c.Command("EHLO %s", name)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connection, without QUIT.
func (c *Client) Close() error { return c.Conn.Close() }

// Put says bytes, as they are.
func (c *Client) Put(b []byte) { c.w.Write(b) }

// Say says a line, and adds its end.
func (c *Client) Say(format string, args ...any) {
	fmt.Fprintf(c.w, format, args...)
	c.w.WriteString("\r\n")
}

// Command says a line and wants a 2xx.
func (c *Client) Command(format string, args ...any) error {
	c.Say(format, args...)
	return c.Expect(2)
}

// Flush sends what was said so far.
func (c *Client) Flush() error {
	c.Conn.SetDeadline(time.Now().Add(c.Timeout))
	return c.w.Flush()
}

// Expect reads a reply of a class, 2 to 5. Another one is an ErrRefused with the reply's text.
func (c *Client) Expect(class int) error {
	code, text, err := c.read()
	if err == nil && code/100 != class {
		err = fmt.Errorf("%w: %d %s", ErrRefused, code, text)
	}
	return err
}

// Reply sends what was said so far and reads one reply.
func (c *Client) Reply() (Reply, error) {
	code, text, err := c.read()
	return Reply{Code: code, Text: string(text)}, err
}

// Whole is Reply, but returns all lines of the reply as they came, with their line ends.
func (c *Client) Whole() (string, error) {
	var b strings.Builder
	for {
		line, _, last, err := c.line()
		if err != nil {
			return "", err
		}
		b.Write(line)
		if last {
			return b.String(), nil
		}
	}
}

// read is Reply without a copy: text is good until the next call.
func (c *Client) read() (code int, text []byte, err error) {
	for {
		line, code, last, err := c.line()
		if err != nil {
			return 0, nil, err
		}
		if last {
			line = bytes.TrimRight(line, "\r\n")
			return code, line[min(4, len(line)):], nil
		}
	}
}

// line sends what was said so far and reads one line of a reply; last says that it is the last one. It is
// good until the next call.
func (c *Client) line() (line []byte, code int, last bool, err error) {
	if c.r.Buffered() == 0 {
		if err := c.Flush(); err != nil {
			return nil, 0, false, err
		}
	}
	if line, err = c.r.ReadSlice('\n'); err != nil {
		return nil, 0, false, err
	}
	code, ok := replyCode(line)
	if !ok {
		return nil, 0, false, fmt.Errorf("not a reply: %q", line)
	}
	return line, code, line[3] != '-', nil
}

// replyCode is the code that a line of a reply begins with (RFC 5321, 4.2).
func replyCode(line []byte) (code int, ok bool) {
	if len(line) < 4 { // with its end
		return 0, false
	}
	for _, digit := range line[:3] {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		code = 10*code + int(digit-'0')
	}
	return code, true
}

// Offer is a message as a client offers it, but for its content.
type Offer struct {
	ID        string // as in the content, see ledger.Mark
	From      string
	To        []string
	Params    string // of MAIL, such as "BODY=8BITMIME"
	Sum       string // of the content; may also be given to Finish
	Pipelined bool   // MAIL, RCPT and DATA in one write (RFC 2920)
}

// Begin enters the offer into the ledger and brings it as far as the 354. What follows is the content, by
// Put, with its dots doubled (RFC 5321, 4.5.2), and Finish.
func (c *Client) Begin(l *ledger.Ledger, o *Offer) error {
	if err := l.Write(
		ledger.Record{What: ledger.Began, ID: o.ID, From: o.From, To: o.To, Sum: o.Sum},
	); err != nil {
		return err
	}
	c.w.WriteString("MAIL FROM:<" + o.From + ">")
	if o.Params != "" {
		c.w.WriteString(" " + o.Params)
	}
	c.w.WriteString("\r\n")
	if err := c.step(o, 2); err != nil {
		return err
	}
	for _, to := range o.To {
		c.w.WriteString("RCPT TO:<" + to + ">\r\n")
		if err := c.step(o, 2); err != nil {
			return err
		}
	}
	c.w.WriteString("DATA\r\n")
	if !o.Pipelined {
		return c.Expect(3)
	}
	var errs []error
	for range 1 + len(o.To) {
		errs = append(errs, c.Expect(2))
	}
	return errors.Join(append(errs, c.Expect(3))...)
}

// step reads a reply, unless it is read later with the others.
func (c *Client) step(o *Offer, class int) error {
	if o.Pipelined {
		return nil
	}
	return c.Expect(class)
}

// Finish says the final dot and reads the answer; both are entered into the ledger, the dot before it is
// said. sum is the content's checksum, or "" where the Offer has it. Another answer than 2xx is an
// ErrRefused.
func (c *Client) Finish(l *ledger.Ledger, o *Offer, sum string) (Reply, error) {
	if err := l.Write(ledger.Record{What: ledger.Dotted, ID: o.ID, Sum: sum}); err != nil {
		return Reply{}, err
	}
	c.w.WriteString(".\r\n")
	r, err := c.Reply()
	switch {
	case err != nil:
		return r, err
	case r.Code/100 != 2:
		l.Write(ledger.Record{What: ledger.Refused, ID: o.ID, Code: r.Code, Note: r.Text})
		return r, fmt.Errorf("%w: %v", ErrRefused, r)
	}
	return r, l.Write(ledger.Record{What: ledger.Acked, ID: o.ID, To: o.To, Queue: lastWord(r.Text)})
}

// lastWord is the id in "2.0.0 Ok: queued as ID".
func lastWord(text string) string {
	return text[strings.LastIndexByte(text, ' ')+1:]
}

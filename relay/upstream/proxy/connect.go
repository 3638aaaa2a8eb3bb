package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"

	"mailwhy/relay/internal/clean"
)

// maxHeader bounds what is read of a proxy's answer.
const maxHeader = 16 << 10

// connect has an HTTP proxy connect c to address (RFC 9110, 9.3.6).
func (p *Proxy) connect(ctx context.Context, c net.Conn, address, password string) (net.Conn, error) {
	if p.tls != nil {
		t := tls.Client(c, p.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, p.failed(ReasonUnreachable, "cannot be reached with TLS: "+err.Error())
		}
		c = t
	}
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if p.user != "" {
		pair := base64.StdEncoding.EncodeToString([]byte(p.user + ":" + password)) // RFC 7617, 2
		request += "Proxy-Authorization: Basic " + pair + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return nil, err
	}
	// A server that greets at once may do so in the packet of the answer: what was read too much is kept.
	in := bufio.NewReader(io.LimitReader(c, maxHeader))
	status, reason, err := readAnswer(in)
	switch {
	case err != nil:
		return nil, err
	case status/100 == 2:
		early, _ := in.Peek(in.Buffered())
		return &spoken{Conn: c, early: early}, nil
	case status == 407: // RFC 9110, 15.5.8
		if p.user == "" {
			return nil, p.failed(ReasonCredentials, "wants a user and a password: "+reason)
		}
		return nil, p.failed(ReasonCredentials, "refuses the user "+p.user+" or the password: "+reason)
	}
	return nil, p.failed(ReasonRefused, "refuses to connect to "+address+": "+reason)
}

// readAnswer reads the status line and the header of an answer. reason is the status for people.
func readAnswer(in *bufio.Reader) (status int, reason string, err error) {
	text := textproto.NewReader(in)
	line, err := text.ReadLine()
	if err != nil {
		return 0, "", ended(err)
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err = strconv.Atoi(code)
	if err != nil || !strings.HasPrefix(version, "HTTP/1.") || len(code) != 3 {
		return 0, "", fmt.Errorf("it does not answer as an HTTP proxy, but %q", clean.Line(line, 80))
	}
	// A 2xx has no content, whatever its header says; that of a refusal is not read.
	if _, err = text.ReadMIMEHeader(); err != nil && status/100 == 2 {
		return 0, "", ended(err)
	}
	return status, "HTTP status " + clean.Line(rest, 120), nil
}

// ended says what an end of the answer before its time means.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("its answer is cut off or too long")
	}
	return err
}

// spoken is a connection of which something was read already.
type spoken struct {
	net.Conn
	early []byte
}

// Read implements net.Conn.
func (c *spoken) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

package session

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/check"
)

// fault is about a session that did not come about.
func (r *run) fault(ctx context.Context, a *relay.Attempt) {
	d := r.diagnosis(a)
	l := r.add(check.Failure, stageName(a.Stage), "%s: %s", words(a), d.Cause)
	l.Fix = cmp.Or(r.login(a), strings.Join(d.Fix, " "))
	r.hints(ctx, a, &d)
	switch a.NetErr.Kind {
	case diagnose.NetConnectTimeout, diagnose.NetRefused, diagnose.NetUnreachable:
		r.ports(ctx)
	case diagnose.NetTLSAuthority, diagnose.NetTLSExpired, diagnose.NetTLSName, diagnose.NetTLSPin:
		r.certificate(ctx)
	case diagnose.NetTLSProtocol, diagnose.NetNoGreeting:
		r.otherMode(ctx)
	}
}

// otherMode tries the port the other way: with TLS from the first byte, or from a greeting in clear.
func (r *run) otherMode(ctx context.Context) {
	if !r.Implicit {
		if _, err := r.fetch(ctx, true); err == nil {
			l := r.add(check.Warning, "tls", "the server speaks TLS from the first byte on port %d", r.Port)
			l.Fix = `Set tls = "implicit".`
		}
		return
	}
	c, err := r.dial(ctx, r.Port)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(r.Timeout))
	if _, err := greeting(c); err == nil {
		l := r.add(check.Warning, "tls", "the server greets in clear on port %d", r.Port)
		l.Fix = `Set tls = "starttls".`
	}
}

// ports tries the other ports. Many networks let no connection to port 25 out, and some none to 465.
func (r *run) ports(ctx context.Context) {
	open := make([]bool, len(r.Ports))
	var all sync.WaitGroup
	for i, port := range r.Ports {
		if port == r.Port {
			continue
		}
		all.Go(func() {
			if c, err := r.dial(ctx, port); err == nil {
				c.Close()
				open[i] = true
			}
		})
	}
	all.Wait()
	var answers []string
	for i, port := range r.Ports {
		if open[i] {
			answers = append(answers, fmt.Sprint(port))
		}
	}
	if len(answers) == 0 {
		l := r.add(check.Failure, "ports", "no other port of %s answers either", r.Host)
		l.Fix = "Ask whoever runs this network to let connections to one of its ports out, or use a proxy."
		return
	}
	l := r.add(check.Warning, "ports", "other ports of %s answer: %s", r.Host, strings.Join(answers, ", "))
	l.Fix = "Set port = " + answers[0] + "."
	if slices.Contains([]string{"465", "2465", "8465", "443"}, answers[0]) {
		l.Fix = "Set port = " + answers[0] + ` and tls = "implicit".`
	}
}

// dial connects to a port of the host.
func (r *run) dial(ctx context.Context, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	return r.Dial(ctx, "tcp", net.JoinHostPort(r.Host, fmt.Sprint(port)))
}

// certificate shows the certificate that was refused.
func (r *run) certificate(ctx context.Context) {
	leaf, err := r.fetch(ctx, r.Implicit)
	if err != nil {
		return // what was refused before is said already
	}
	l := r.add(check.Warning, "tls", "the server shows %s", describe(leaf))
	l.Fix = "If that is not the provider's, a proxy or an antivirus reads the mail: exempt this host from it."
}

// fetch gets the certificate without verification, and sends nothing over that connection.
func (r *run) fetch(ctx context.Context, implicit bool) (*x509.Certificate, error) {
	c, err := r.dial(ctx, r.Port)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(r.Timeout))
	if !implicit {
		if err := startTLS(c, r.Hello); err != nil {
			return nil, err
		}
	}
	t := tls.Client(c, &tls.Config{ServerName: r.Host, InsecureSkipVerify: true})
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	certs := t.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return nil, errors.New("the server shows no certificate")
	}
	return certs[0], nil
}

// startTLS takes a connection to the point where TLS begins (RFC 3207).
func startTLS(c net.Conn, hello string) error {
	in, err := greeting(c)
	if err != nil {
		return err
	}
	for _, command := range []string{"EHLO " + hello, "STARTTLS"} {
		if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
			return err
		}
		if _, _, err := in.ReadResponse(2); err != nil {
			return err
		}
	}
	return nil
}

// greeting reads the greeting (RFC 5321, 4.3.1) and returns the reader of what follows.
func greeting(c net.Conn) (*textproto.Reader, error) {
	in := textproto.NewReader(bufio.NewReader(c))
	_, _, err := in.ReadResponse(2)
	return in, err
}

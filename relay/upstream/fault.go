package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/upstream/oauth"
	"mailwhy/relay/upstream/proxy"
)

// netError is a failure whose kind is known where it happens.
type netError struct {
	kind diagnose.NetKind
	text string
}

func (e *netError) Error() string { return e.text }

// netErr is the one place where a Go error becomes a diagnose.NetErr. The stage matters where the error is
// not enough: a timeout while connecting differs from a later one.
func netErr(stage diagnose.Stage, err error) diagnose.NetErr {
	var token *oauth.Error
	if errors.As(err, &token) {
		return diagnose.NetErr{Kind: diagnose.NetOAuthToken, Text: token.Error(), Reason: token.Reason}
	}
	var way *proxy.Error
	if errors.As(err, &way) {
		return diagnose.NetErr{Kind: diagnose.NetProxy, Text: way.Error(), Reason: way.Reason}
	}
	return diagnose.NetErr{Kind: netKind(stage, err), Text: netText(err)}
}

// NetErr is netErr for the next hops that are no SMTP servers.
func NetErr(stage diagnose.Stage, err error) diagnose.NetErr { return netErr(stage, err) }

func netKind(stage diagnose.Stage, err error) diagnose.NetKind {
	var own *netError
	var dns *net.DNSError
	var proto *protocolError
	switch {
	case errors.As(err, &own):
		return own.kind
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed),
		errors.Is(err, context.DeadlineExceeded) && stage != diagnose.StageConnect:
		return diagnose.NetCanceled // only we close connections, and only our caller cancels
	case errors.As(err, &dns):
		return dnsKind(dns)
	case errors.As(err, &proto):
		return diagnose.NetProtocol
	}
	if kind := tlsKind(err); kind != diagnose.NetNone {
		return kind
	}
	if kind := errnoKind(err); kind != diagnose.NetNone {
		return kind
	}
	return otherKind(stage, err)
}

func dnsKind(err *net.DNSError) diagnose.NetKind {
	if err.IsNotFound {
		return diagnose.NetDNSNotFound
	}
	return diagnose.NetDNSFailure
}

// errnoKind is the kind of an error from the operating system.
func errnoKind(err error) diagnose.NetKind {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return diagnose.NetNone
	}
	switch no {
	case syscall.ECONNREFUSED:
		return diagnose.NetRefused
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN:
		return diagnose.NetUnreachable
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return diagnose.NetReset
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
		syscall.EADDRINUSE,
		syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT, syscall.EINVAL:
		return diagnose.NetLocal
	}
	return diagnose.NetNone
}

// otherKind is the kind of a timeout or end of file.
func otherKind(stage diagnose.Stage, err error) diagnose.NetKind {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		if stage == diagnose.StageConnect {
			return diagnose.NetConnectTimeout
		}
		return diagnose.NetTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return diagnose.NetClosed
	case stage == diagnose.StageTLS:
		return diagnose.NetTLSProtocol
	case stage == diagnose.StageConnect:
		return diagnose.NetUnreachable
	}
	return diagnose.NetReset
}

// tlsKind is the kind of a failed handshake.
func tlsKind(err error) diagnose.NetKind {
	var pin *tlsconf.PinError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var chain *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError // crypto/tls uses these two names for alerts only
	alert := errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
	switch {
	case errors.As(err, &pin):
		return diagnose.NetTLSPin
	case errors.As(err, &name):
		return diagnose.NetTLSName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return diagnose.NetTLSExpired
	case errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &chain):
		return diagnose.NetTLSAuthority
	case alert, errors.As(err, &record):
		return diagnose.NetTLSProtocol
	}
	return diagnose.NetNone
}

// netText is the text of err for the log.
func netText(err error) string {
	var hint *hintedError
	if errors.As(err, &hint) {
		return hint.Error()
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && digit(record.RecordHeader[0]) {
		return "the server answered the TLS handshake with " +
			strings.TrimSpace(string(record.RecordHeader[:3])) +
			" without TLS: it expects STARTTLS on this port, not implicit TLS"
	}
	if errors.Is(err, io.EOF) {
		return "the server closed the connection"
	}
	return err.Error()
}

package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtpd/refusal"
	"mailwhy/relay/smtpd/wire"
)

// tlsConfig is the configuration for a handshake on the session's listener; nil if there is none.
func (s *session) tlsConfig() *tls.Config {
	cfg := s.options.TLS()
	if cfg == nil || s.listen.MinTLS == 0 {
		return cfg
	}
	cfg = cfg.Clone()
	cfg.MinVersion = s.listen.MinTLS
	if cfg.MinVersion < tls.VersionTLS12 {
		cfg.CipherSuites = oldCiphers()
	}
	return cfg
}

// oldCiphers are the cipher suites for clients that know nothing newer than TLS 1.1: also those without
// forward secrecy, which Go leaves out, but none with RC4 or 3DES.
func oldCiphers() (ids []uint16) {
	for _, suite := range tls.CipherSuites() {
		ids = append(ids, suite.ID)
	}
	return append(ids, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}

// tlsInClear answers a client that begins with a TLS handshake on a listener that begins in clear.
func (s *session) tlsInClear() wire.Action {
	s.verb = "STARTTLS"
	if s.wire.TLS() != nil {
		return s.finish(refusal.New("tls_in_tls"))
	}
	s.options.Log.Warn(`a client speaks TLS on a listener that begins in clear: set the client to STARTTLS `+
		`or to no encryption, or this [[listen]] to tls = "implicit"`, "listener", s.listen.Addr,
		"client", s.clientName(), "addr", s.addrString())
	return s.finish(refusal.New("tls_unexpected"))
}

// heard is a connection that knows whether anything came.
type heard struct {
	net.Conn
	any bool
}

// Read implements net.Conn.
func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.any = h.any || n > 0
	return n, err
}

// implicitTLS does the handshake of a listener that begins with one, under the wire's deadline. A client that
// speaks in clear, or waits in silence for a greeting in clear, is told.
func (s *session) implicitTLS(nc net.Conn) (net.Conn, error) {
	cfg := s.tlsConfig()
	if cfg == nil {
		return nil, errors.New("no TLS certificate")
	}
	h := &heard{Conn: nc}
	tc := tls.Server(h, cfg)
	err := tc.HandshakeContext(context.Background())
	if err == nil {
		return tc, nil
	}
	var noTLS tls.RecordHeaderError
	if !h.any && errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &noTLS) && noTLS.Conn != nil {
		s.clearInTLS(nc)
		return nil, fmt.Errorf("%w: %w", wire.ErrAnswered, err)
	}
	return nil, fmt.Errorf("TLS handshake: %w", err)
}

// clearInTLS answers a client that speaks no TLS on a listener that begins with it.
func (s *session) clearInTLS(nc net.Conn) {
	s.options.Log.Warn(`a client speaks no TLS on a listener that begins with it: set the client to `+
		`SSL/TLS, not STARTTLS, or this [[listen]] to tls = "starttls"`, "listener", s.listen.Addr,
		"client", s.clientName(), "addr", s.addrString())
	why := refusal.New("tls_expected")
	line := s.server.refusals.Line(why)
	s.refused(diagnose.StageTLS, why, strings.TrimRight(line, "\r\n"))
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write([]byte(line))
}

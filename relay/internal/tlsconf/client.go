// Package tlsconf turns the TLS settings of an upstream into a crypto/tls configuration.
//
// The upstream room calls it once for each upstream. What always holds: a certificate is verified, for the
// name that was configured, unless the settings say in so many words that it is not; a pinned fingerprint
// takes the place of the chain, never of the check; nothing below TLS 1.2 is spoken unless it is asked for
// (RFC 8996). A client certificate is read again at every handshake, so that a renewed one needs no restart.
package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Mode says when TLS is used.
type Mode string

// The modes.
const (
	None          Mode = "none"          // never
	Opportunistic Mode = "opportunistic" // STARTTLS where it is offered and works
	StartTLS      Mode = "starttls"      // STARTTLS or nothing
	Implicit      Mode = "implicit"      // from the first byte (RFC 8314)
)

// Client are the TLS settings of one upstream. The zero Client speaks no TLS.
type Client struct {
	Mode       Mode   // "" is None
	ServerName string // the name that the certificate must be for; "" is the host's
	CAFile     string // PEM; in place of the system's authorities
	// Fingerprint lists the SHA-256 sums, in hex with or without colons, of the certificates that the server
	// may show; they take the place of the authorities.
	Fingerprint []string
	CertFile    string // PEM; the client certificate with its chain
	KeyFile     string // PEM; "" is CertFile
	MinVersion  uint16 // of crypto/tls; required unless Mode is None
	NoVerify    bool   // accept any certificate
}

// Trust reports whether the settings themselves say whom to trust.
func (c Client) Trust() bool { return c.CAFile != "" || len(c.Fingerprint) > 0 || c.ServerName != "" }

// PinError is the failure of a handshake with a server whose certificate is not a pinned one.
type PinError struct {
	Got string // SHA-256 of the certificate that was shown, in hex
}

// Error implements error.
func (e *PinError) Error() string {
	return "the certificate's SHA-256 fingerprint is " + e.Got + ", which is not a pinned one"
}

// Config makes the configuration for handshakes with host, or nil for None. It reads the files and reports
// all that is wrong with the settings at once. Without verify any certificate is accepted, as with
// NoVerify.
func (c Client) Config(host string, verify bool) (*tls.Config, error) {
	if !c.Mode.valid() {
		return nil, fmt.Errorf(
			"not a TLS mode: %q; there are none, opportunistic, starttls and implicit", c.Mode)
	}
	if c.Mode == None || c.Mode == "" {
		return nil, nil
	}
	if c.MinVersion == 0 {
		return nil, errors.New("the lowest TLS version must be set")
	}
	conf := &tls.Config{
		ServerName:         c.ServerName,
		MinVersion:         c.MinVersion,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		InsecureSkipVerify: c.NoVerify || !verify,
	}
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	err := errors.Join(c.authorities(conf), c.pins(conf), c.certificate(conf))
	if err != nil {
		return nil, err
	}
	return conf, nil
}

func (m Mode) valid() bool {
	switch m {
	case "", None, Opportunistic, StartTLS, Implicit:
		return true
	}
	return false
}

// authorities replaces the system's authorities by those of the CA file.
func (c Client) authorities(conf *tls.Config) error {
	if c.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return fmt.Errorf("CA file: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("CA file %s: it holds no PEM certificate", c.CAFile)
	}
	return nil
}

// pins has the server's certificate compared with the fingerprints, at resumed handshakes too.
func (c Client) pins(conf *tls.Config) error {
	if len(c.Fingerprint) == 0 {
		return nil
	}
	var pins [][]byte
	for _, f := range c.Fingerprint {
		pin, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(f))
		if err != nil || len(pin) != sha256.Size {
			return fmt.Errorf("fingerprint %q is not a SHA-256 in hex (64 digits)", f)
		}
		pins = append(pins, pin)
	}
	conf.InsecureSkipVerify = true // VerifyConnection verifies
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		got := sha256.Sum256(s.PeerCertificates[0].Raw)
		for _, pin := range pins {
			if bytes.Equal(pin, got[:]) {
				return nil
			}
		}
		return &PinError{Got: hex.EncodeToString(got[:])}
	}
	return nil
}

// certificate has the client certificate shown to servers that ask for one.
func (c Client) certificate(conf *tls.Config) error {
	if c.CertFile == "" {
		if c.KeyFile != "" {
			return errors.New("client key file without a certificate file")
		}
		return nil
	}
	key := c.KeyFile
	if key == "" {
		key = c.CertFile
	}
	load := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(c.CertFile, key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		return &cert, nil
	}
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	_, err := load()
	return err
}

package practicecmd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/relay/smtptest"
)

// Secure are the flags for TLS and AUTH. The certificate is made at each start.
type Secure struct {
	TLS         string // starttls, required, implicit or none
	CAFile      string // gets the certificate of the authority
	Credentials string // the one user:password that is taken, as a token too; "" takes any and needs none
}

// Register adds the flags to a command.
func (s *Secure) Register(c *cobra.Command) {
	f := c.Flags()
	// Many clients use STARTTLS where it is offered, and then want a certificate that they trust.
	f.StringVar(&s.TLS, "tls", "none",
		"`mode`: none, starttls (offered), required (nothing before STARTTLS) or implicit")
	f.StringVar(&s.CAFile, "ca-file", "",
		"`file` to write the certificate authority to, for clients to trust")
	f.StringVar(&s.Credentials, "credentials", "",
		"the one `user:password` that is taken, also as an access token; without this flag any is, or none")
}

// Users are the credentials, by user; nil without any.
func (s *Secure) Users() (map[string]string, error) {
	if s.Credentials == "" {
		return nil, nil
	}
	user, password, _ := strings.Cut(s.Credentials, ":")
	if user == "" || password == "" {
		return nil, errors.New("--credentials: write user:password")
	}
	return map[string]string{user: password}, nil
}

// Identity makes the certificate, for this machine and some further names, and writes its authority. The
// fingerprint is the SHA-256 of the certificate, in hex.
func (s *Secure) Identity(names ...string) (id *smtptest.Identity, fingerprint string, err error) {
	names = append(names, "localhost", "127.0.0.1", "::1", "practice")
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	if id, err = smtptest.Certificate(names...); err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(id.Leaf.Certificate[0])
	if s.CAFile != "" {
		err = writeCertificate(s.CAFile, id.CAPEM)
	}
	return id, hex.EncodeToString(sum[:]), err
}

// Apply gives o the TLS and AUTH that the flags ask for, and returns the fingerprint of the certificate, if
// there is one, and what to print.
func (s *Secure) Apply(o *smtptest.Options) (fingerprint, about string, err error) {
	users, err := s.Users()
	if err != nil {
		return "", "", err
	}
	o.Mechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"}
	o.RequireAuth = users != nil
	o.Login = func(_, user string, matches func(string) bool) string {
		if secret, known := users[user]; users != nil && !(known && matches(secret)) {
			return "535 5.7.8 Authentication credentials invalid"
		}
		return "235 2.7.0 Authentication successful"
	}
	login := "any login is taken, and none is needed"
	if user, _, _ := strings.Cut(s.Credentials, ":"); user != "" {
		login = "the login of " + user + " is needed"
	}
	switch s.TLS {
	case "none":
		if s.CAFile != "" {
			return "", "", errors.New("--ca-file: there is no certificate with --tls none")
		}
		return "", "without TLS; " + login, nil
	case "starttls", "required", "implicit":
	default:
		return "", "", fmt.Errorf("--tls: %q is not none, starttls, required or implicit", s.TLS)
	}
	host, _, _ := net.SplitHostPort(o.Addr)
	id, fingerprint, err := s.Identity(usable(host)...)
	if err != nil {
		return "", "", err
	}
	o.TLS, o.ImplicitTLS, o.RequireTLS = id.Server(), s.TLS == "implicit", s.TLS == "required"
	words := map[string]string{"starttls": "STARTTLS is offered", "required": "STARTTLS is required",
		"implicit": "implicit TLS"}
	return fingerprint, fmt.Sprintf("%s, fingerprint %s; %s", words[s.TLS], fingerprint, login), nil
}

// usable is a host that a client can connect to, as a list; empty for all addresses.
func usable(host string) []string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil
	}
	return []string{host}
}

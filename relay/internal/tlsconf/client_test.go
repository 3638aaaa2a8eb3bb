package tlsconf

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pin := strings.Repeat("ab:", 31) + "ab"
	tests := []struct {
		name  string
		c     Client
		check func(*tls.Config) bool
		errs  []string
	}{
		{"zero", Client{}, func(c *tls.Config) bool { return c == nil }, nil},
		{"none", Client{Mode: None}, func(c *tls.Config) bool { return c == nil }, nil},
		{"least", Client{Mode: StartTLS, MinVersion: tls.VersionTLS12}, func(c *tls.Config) bool {
			return c.ServerName == "mail.test" && c.MinVersion == tls.VersionTLS12 && !c.InsecureSkipVerify &&
				c.RootCAs == nil
		}, nil},
		{"set", Client{Mode: Implicit, ServerName: "x.test", MinVersion: tls.VersionTLS13},
			func(c *tls.Config) bool {
				return c.ServerName == "x.test" && c.MinVersion == tls.VersionTLS13 && !c.InsecureSkipVerify
			}, nil},
		{"pinned", Client{Mode: Implicit, MinVersion: tls.VersionTLS12, Fingerprint: []string{pin}},
			func(c *tls.Config) bool { return c.VerifyConnection != nil }, nil},
		{"not verified", Client{Mode: Implicit, MinVersion: tls.VersionTLS12, NoVerify: true},
			func(c *tls.Config) bool { return c.InsecureSkipVerify }, nil},
		{"no version", Client{Mode: StartTLS}, nil, []string{"lowest TLS version"}},
		{"mode", Client{Mode: "tls"}, nil, []string{`"tls"`}},
		{"all at once", Client{Mode: StartTLS, MinVersion: tls.VersionTLS12, CAFile: empty,
			CertFile: "/nonexistent", Fingerprint: []string{"xy"}}, nil,
			[]string{"no PEM certificate", "client certificate", "SHA-256"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf, err := tt.c.Config("mail.test", true)
			if (err != nil) != (tt.errs != nil) || err == nil && !tt.check(conf) {
				t.Fatalf("%+v, %v", conf, err)
			}
			for _, e := range tt.errs {
				if !strings.Contains(err.Error(), e) {
					t.Errorf("%v: does not say %q", err, e)
				}
			}
		})
	}
}

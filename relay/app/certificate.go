package app

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"mailwhy/config"
	"mailwhy/relay/app/options"
)

// certificate is the front door's, read again when its files change: renewed certificates need no reload.
// It is safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	minVersion        uint16
	log               *slog.Logger

	mu      sync.Mutex
	conf    *tls.Config
	version string    // of the files that conf was made from
	looked  time.Time // when the files were last looked at
}

// certLookEvery bounds how often handshakes look at the files.
const certLookEvery = time.Second

// newCertificate reads the certificate; nil when there is none.
func newCertificate(cfg *config.TLS, log *slog.Logger) (*certificate, error) {
	if cfg.CertFile == "" {
		return nil, nil
	}
	c := &certificate{certFile: cfg.CertFile, keyFile: cfg.KeyFile,
		minVersion: options.TLSVersion(cfg.MinVersion),
		log:        log}
	c.version = c.filesVersion()
	return c, c.read()
}

// current is the configuration for a handshake; nil when there is no certificate. Files that cannot be read
// leave the old one in force.
func (c *certificate) current() *tls.Config {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certLookEvery {
		c.looked = now
		if v := c.filesVersion(); v != c.version {
			if err := c.read(); err != nil {
				c.log.Error("the renewed certificate cannot be used: the old one stays in force", "err", err)
			} else {
				c.log.Info("certificate read again", "file", c.certFile)
				c.version = v
			}
		}
	}
	return c.conf
}

// read makes the configuration from the files.
func (c *certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("tls.cert_file: %w", err)
	}
	c.conf = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: c.minVersion}
	return nil
}

// filesVersion changes when one of the files does.
func (c *certificate) filesVersion() string {
	v := ""
	for _, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			v += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), ";")
		}
	}
	return v
}

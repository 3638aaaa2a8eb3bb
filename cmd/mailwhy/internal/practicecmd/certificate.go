package practicecmd

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

// writeCertificate writes the certificates, in place of earlier ones of practice and of nothing else.
func writeCertificate(name string, text []byte) error {
	old, err := os.ReadFile(name)
	switch {
	case err == nil && !practices(old):
		return fmt.Errorf("%s is there already, and is no certificate of practice", name)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// practices reports whether a file begins with a certificate that practice wrote.
func practices(text []byte) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	name := c.Subject.CommonName
	return name == events.CommonName || name == smtptest.Authority
}

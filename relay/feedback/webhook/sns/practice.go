package sns

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
)

// Practice takes the certificates out of a file, whatever URL a message names: for a rehearsal, whose
// messages cannot be the service's own. It has no place in a relay that hears of real mail: whoever has the
// key of the file's certificate can tell it anything, and the service's own messages are not believed. The
// file is read each time, so that a rehearsal may begin anew.
type Practice struct{ File string }

// Certificates implements what Fetcher does, without a network.
func (p Practice) Certificates(context.Context, string) ([]*x509.Certificate, error) {
	file, err := os.ReadFile(p.File)
	if err != nil {
		return nil, err
	}
	return certificates(file)
}

// Confirm confirms nothing: nobody has subscribed.
func (p Practice) Confirm(context.Context, string) error {
	return errors.New("there are no subscriptions in a rehearsal")
}

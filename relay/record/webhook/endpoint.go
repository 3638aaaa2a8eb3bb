package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"mailwhy/relay/record/webhook/eventlog"
)

// Settings configure a webhook. All are required but the filters and CAFile.
type Settings struct {
	Name         string
	URL          string
	Secrets      []string      // each signs: the new and the old one while they are changed
	Events       []string      // names of the delivery log
	Categories   []string      // only events with such a diagnosis; empty: all
	Clients      []string      // only events about mail of such a client or user; empty: all
	Batch        int           // most events in a request; above 1 each request is a batch
	Concurrency  int           // most requests at a time
	Timeout      time.Duration // of a request
	DisableAfter time.Duration // of nothing but failures
	Private      bool          // private addresses are connected to
	CAFile       string        // what the certificate is checked with; "" is the system's
}

// Endpoint is a webhook that can be sent to.
type Endpoint struct {
	s       Settings
	signers []*standardwebhooks.Webhook
	client  http.Client
	shown   string       // the URL without what may be secret in it
	dropped atomic.Int64 // events that were lost before they were in the log
}

// The lengths of a secret, bytes (Standard Webhooks 1.0.0, Signature scheme).
const (
	minSecret = 24
	maxSecret = 64
)

// CheckSecret says what is wrong with a secret.
func CheckSecret(secret string) error {
	text, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	switch {
	case !ok:
		return errors.New("does not begin with whsec_")
	case err != nil:
		return errors.New("is not base64 after whsec_")
	case len(key) < minSecret || len(key) > maxSecret:
		return fmt.Errorf("has %d bytes, and must have %d to %d", len(key), minSecret, maxSecret)
	}
	return nil
}

// NewEndpoint makes an Endpoint. Its errors are mistakes in the configuration.
func NewEndpoint(s Settings) (*Endpoint, error) {
	e := &Endpoint{s: s, shown: withoutSecrets(s.URL)}
	for _, secret := range s.Secrets {
		if err := CheckSecret(secret); err != nil {
			return nil, fmt.Errorf("webhook %s: a secret %w", s.Name, err)
		}
		signer, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("webhook %s: %w", s.Name, err)
		}
		e.signers = append(e.signers, signer)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("webhook %s: ca_file: %w", s.Name, err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("webhook %s: ca_file %s holds no certificate in PEM", s.Name, s.CAFile)
		}
	}
	e.client = newClient(&s, conf)
	return e, nil
}

// wants reports whether an event is one for the webhook.
func (e *Endpoint) wants(ev *eventlog.Event) bool {
	return e.wantsKind(ev.Kind, ev.Category, ev.Client, ev.User)
}

// wantsKind is wants for an event that is not encoded yet.
func (e *Endpoint) wantsKind(kind, category, client, user string) bool {
	s := &e.s
	return slices.Contains(s.Events, kind) &&
		(len(s.Categories) == 0 || slices.Contains(s.Categories, category)) &&
		(len(s.Clients) == 0 || slices.Contains(s.Clients, client) ||
			user != "" && slices.Contains(s.Clients, user))
}

// withoutSecrets is a URL without what may be secret in it.
func withoutSecrets(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

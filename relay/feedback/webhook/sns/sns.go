// Package sns checks the messages of Amazon's Simple Notification Service and of Scaleway's Topics and
// Events, which speaks the same protocol. Package webhook calls it for the providers that deliver their
// events through a topic.
//
// A message is proved in this order, and nothing of it has an effect before:
//
//  1. Its topic is one of those configured. Anybody can have a topic of their own deliver here, and those
//     messages are well signed too.
//  2. The certificate's URL is on the service's own host (Service.certificateHost), for the region of the
//     topic. No other URL is ever fetched.
//  3. The certificate is valid now and issued to the service. Amazon serves the certificate alone, without
//     those that signed it; its origin is proved by the TLS connection that it was fetched over, as in
//     Amazon's own SDKs. Where roots are configured, the chain up to them is verified too. Scaleway's files
//     lie in a store that has other customers, so its roots are required.
//  4. The signature is over the fields in the documented order; see Message.signed.
//
// Verify is pure. Fetcher is the only part that uses the network.
package sns

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The types of messages.
const (
	TypeNotification = "Notification"
	TypeSubscribe    = "SubscriptionConfirmation"
	TypeUnsubscribe  = "UnsubscribeConfirmation"
)

// Message is what the service posts.
type Message struct {
	Type             string
	MessageID        string `json:"MessageId"`
	TopicArn         string
	Subject          *string // signed only if it is present
	Message          string  // what was published to the topic
	Timestamp        string
	Token            string // of the two confirmations
	SubscribeURL     string // likewise
	SignatureVersion string
	Signature        string
	SigningCertURL   string
}

// Parse reads a message.
func Parse(body []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("not an SNS message: %w", err)
	}
	if m.Type == "" || m.TopicArn == "" {
		return nil, errors.New("not an SNS message: Type or TopicArn is missing; is raw message delivery on?")
	}
	return &m, nil
}

// signed is what the signature is over: names and values in a line each, in the order that the service
// documents for the type. The values are those behind the JSON escapes.
func (m *Message) signed() ([]byte, error) {
	var b strings.Builder
	add := func(name, value string) { b.WriteString(name + "\n" + value + "\n") }
	add("Message", m.Message)
	add("MessageId", m.MessageID)
	switch m.Type {
	case TypeNotification:
		if m.Subject != nil {
			add("Subject", *m.Subject)
		}
		add("Timestamp", m.Timestamp)
	case TypeSubscribe, TypeUnsubscribe:
		add("SubscribeURL", m.SubscribeURL)
		add("Timestamp", m.Timestamp)
		add("Token", m.Token)
	default:
		return nil, fmt.Errorf("type %.50q is not known", m.Type)
	}
	add("TopicArn", m.TopicArn)
	add("Type", m.Type)
	return []byte(b.String()), nil
}

// algorithm is how the message is signed.
func (m *Message) algorithm() (x509.SignatureAlgorithm, error) {
	switch m.SignatureVersion {
	case "1":
		return x509.SHA1WithRSA, nil
	case "2":
		return x509.SHA256WithRSA, nil
	}
	return 0, fmt.Errorf("signature version %.50q is not known", m.SignatureVersion)
}

// Listed reports whether the message comes from one of the topics.
func (m *Message) Listed(topics []string) bool { return slices.Contains(topics, m.TopicArn) }

// Verify reports why a message is not proved: nil if it is. The chain is what was fetched from the message's
// SigningCertURL, its own certificate first; roots may be nil for a service that does not require them.
func (s *Service) Verify(m *Message, chain []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	if err := s.verifyCertificate(m, chain, roots, now); err != nil {
		return err
	}
	text, err := m.signed()
	if err != nil {
		return err
	}
	algorithm, err := m.algorithm()
	if err != nil {
		return err
	}
	signature, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil {
		return errors.New("the signature is not base64")
	}
	if err := chain[0].CheckSignature(algorithm, text, signature); err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	return nil
}

// verifyCertificate checks dates and name of the certificate, and its chain if there are roots.
func (s *Service) verifyCertificate(m *Message, chain []*x509.Certificate, roots *x509.CertPool,
	now time.Time) error {
	own := chain[0]
	if now.Before(own.NotBefore) || now.After(own.NotAfter) {
		return errors.New("the certificate is not valid now")
	}
	if names := s.names(region(m.TopicArn)); len(names) > 0 &&
		!slices.ContainsFunc(names, func(name string) bool { return own.VerifyHostname(name) == nil }) {
		return fmt.Errorf("the certificate is not for %s", names[0])
	}
	if roots == nil {
		if s.needsRoots {
			return errors.New("the service's root certificates are not configured")
		}
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := own.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// Published is when the message was published; zero if it does not say so readably.
func (m *Message) Published() time.Time {
	t, _ := time.Parse(time.RFC3339, m.Timestamp)
	return t
}

package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook/sns"
)

// topic is the proof of the providers whose events come through an SNS topic. Raw message delivery must be
// off: it takes the envelope away, and the signature with it.
type topic struct {
	service *sns.Service
	source  Source
	fetcher Fetcher
}

// openTopic checks what a topic is configured with.
func openTopic(service *sns.Service, s Source, f Fetcher) (topic, error) {
	t := topic{service, s, f}
	if len(s.Topics) == 0 {
		return t, fmt.Errorf("%s needs the ARN of the topic that it publishes to", s.Provider)
	}
	for _, arn := range s.Topics {
		if err := service.CheckTopic(arn); err != nil {
			return t, err
		}
	}
	if service.NeedsRoots() && s.Roots == nil {
		return t, fmt.Errorf("%s needs the certificates that its signers go back to", s.Provider)
	}
	if slices.ContainsFunc(s.Credentials, isBasicAuth) {
		return t, fmt.Errorf("%s sends a user and a password only when asked for them, which is refused here",
			s.Provider)
	}
	if f == nil {
		return t, errors.New("no fetcher")
	}
	return t, nil
}

// isBasicAuth reports whether a credential is a user and a password.
func isBasicAuth(s string) bool {
	c, err := parseCredential(s)
	return err == nil && c.kind == basicAuth
}

// prove implements provider.
func (t *topic) prove(ctx context.Context, r *Request, now time.Time) error {
	m, err := sns.Parse(r.Body)
	if err != nil {
		return err
	}
	if !m.Listed(t.source.Topics) {
		return fmt.Errorf("the topic %.200q is not configured", m.TopicArn)
	}
	url, err := t.service.CertificateURL(m)
	if err != nil {
		return err
	}
	chain, err := t.fetcher.Certificates(ctx, url)
	if err != nil {
		return err
	}
	return t.service.Verify(m, chain, t.source.Roots, now)
}

// greets implements greeter.
func (t *topic) greets(r *Request) bool {
	m, err := sns.Parse(r.Body)
	return err == nil && m.Type == sns.TypeSubscribe
}

// greet confirms the subscription to a configured topic, which prove has checked.
func (t *topic) greet(ctx context.Context, r *Request) ([]byte, error) {
	m, err := sns.Parse(r.Body)
	if err != nil {
		return nil, err
	}
	url, err := t.service.ConfirmationURL(m)
	if err != nil {
		return nil, err
	}
	return nil, t.fetcher.Confirm(ctx, url)
}

// published is what was published to the topic. An error tells the operator that nothing will come any more.
func (t *topic) published(raw *feedback.Raw) (*sns.Message, error) {
	m, err := sns.Parse(raw.Body)
	if err != nil {
		return nil, err
	}
	if m.Type == sns.TypeUnsubscribe {
		return nil, fmt.Errorf("the subscription to %.200s was cancelled", m.TopicArn)
	}
	return m, nil
}

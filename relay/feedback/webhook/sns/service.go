package sns

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Service is one operator of the protocol: on which hosts its certificates and confirmations lie. Use Amazon
// or Scaleway.
type Service struct {
	arn              string                       // how the names of its topics begin
	certificateHost  func(region string) string   // where SigningCertURL must point to
	certificatePath  string                       // how its path begins
	confirmationHost func(region string) string   // where SubscribeURL must point to
	names            func(region string) []string // one of which the certificate is for; none: not checked
	needsRoots       bool
}

// Amazon is Amazon's service, in its commercial, GovCloud and Chinese regions.
func Amazon() *Service {
	return &Service{
		arn: "arn:aws", certificateHost: amazonHost, certificatePath: "/SimpleNotificationService-",
		confirmationHost: amazonHost, names: amazonNames,
	}
}

// Scaleway is Scaleway's Topics and Events. Its host of certificates has other customers' files too: what
// makes one of them the service's own is the chain to the roots that it publishes.
func Scaleway() *Service {
	return &Service{
		arn:              "arn:scw:",
		certificateHost:  func(string) string { return "messaging.s3.fr-par.scw.cloud" },
		certificatePath:  "/",
		confirmationHost: func(region string) string { return "sns.mnq." + region + ".scaleway.com" },
		names:            func(string) []string { return nil },
		needsRoots:       true,
	}
}

// NeedsRoots reports whether the service's messages cannot be proved without its root certificates.
func (s *Service) NeedsRoots() bool { return s.needsRoots }

// CheckTopic reports why an ARN does not name a topic of the service: nil if it does.
func (s *Service) CheckTopic(arn string) error {
	if !strings.HasPrefix(arn, s.arn) || region(arn) == "" || strings.Count(arn, ":") != 5 {
		return fmt.Errorf("not the ARN of a topic: %q", arn)
	}
	return nil
}

// CertificateURL is the URL of the certificate that signed m, if it is one that the service may have written.
func (s *Service) CertificateURL(m *Message) (string, error) {
	u, err := onHost(m.SigningCertURL, s.certificateHost(region(m.TopicArn)))
	if err != nil {
		return "", fmt.Errorf("SigningCertURL: %w", err)
	}
	if !strings.HasPrefix(u.Path, s.certificatePath) || !strings.HasSuffix(u.Path, ".pem") ||
		u.RawQuery != "" || strings.Contains(u.Path, "..") {
		return "", errors.New("SigningCertURL: not the path of a certificate")
	}
	return u.String(), nil
}

// ConfirmationURL is the URL that confirms the subscription which m asks about, if the service may have
// written it. The caller has verified m.
func (s *Service) ConfirmationURL(m *Message) (string, error) {
	u, err := onHost(m.SubscribeURL, s.confirmationHost(region(m.TopicArn)))
	if err != nil {
		return "", fmt.Errorf("SubscribeURL: %w", err)
	}
	q := u.Query()
	if q.Get("Action") != "ConfirmSubscription" || q.Get("TopicArn") != m.TopicArn {
		return "", errors.New("SubscribeURL: does not confirm a subscription to the topic")
	}
	return u.String(), nil
}

// onHost parses a URL that must be https on exactly this host, without a port or a user.
func onHost(raw, host string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if u.Scheme != "https" || u.Host != host || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return nil, fmt.Errorf("not on https://%s", host)
	}
	return u, nil
}

// region is the region in the ARN of a topic, "arn:aws:sns:REGION:ACCOUNT:NAME", or "" if it is not one that
// can stand in a host name.
func region(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[2] != "sns" {
		return ""
	}
	name := parts[3]
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ""
		}
	}
	return name
}

// amazonHost is the host of the service in a region.
func amazonHost(region string) string { return "sns." + region + "." + amazonDomain(region) }

// amazonDomain is the domain of a region's hosts.
func amazonDomain(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// amazonNames are the names that Amazon issues signing certificates for. Older regions share the first, those
// that an account must opt in to have their own, GovCloud shares one.
func amazonNames(region string) []string {
	domain := amazonDomain(region)
	switch {
	case strings.HasPrefix(region, "cn-"):
		return []string{"sns-" + region + "." + domain, amazonHost(region)}
	case strings.HasPrefix(region, "us-gov-"):
		return []string{"sns-us-gov-west-1." + domain, amazonHost(region)}
	}
	return []string{"sns." + domain, "sns-signing." + region + "." + domain, amazonHost(region)}
}

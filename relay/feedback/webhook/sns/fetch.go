package sns

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// ErrUnreachable reports that the service could not be asked: whether a message is its own is not known yet.
var ErrUnreachable = errors.New("the service cannot be reached")

const (
	maxFile  = 64 << 10        // bytes of a certificate file
	maxFiles = 16              // certificate files that are remembered
	fetchFor = 5 * time.Second // how long one request may take
)

// Fetcher gets certificates and confirms subscriptions. It follows no redirect and reads at most 64 KiB. The
// caller gives it only URLs that Service.CertificateURL or Service.ConfirmationURL returned. It is safe for
// concurrent use.
type Fetcher struct {
	client http.Client

	mu    sync.Mutex
	files map[string][]*x509.Certificate
}

// NewFetcher makes a fetcher that connects through t. The transport verifies the hosts' certificates, which
// all trust in Amazon's messages rests on.
func NewFetcher(t http.RoundTripper) *Fetcher {
	return &Fetcher{
		client: http.Client{Transport: t, Timeout: fetchFor,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		files: map[string][]*x509.Certificate{},
	}
}

// Certificates gets the certificates of a file, and remembers them. The error wraps ErrUnreachable where the
// host gave no answer, or said that it cannot answer now.
func (f *Fetcher) Certificates(ctx context.Context, url string) ([]*x509.Certificate, error) {
	f.mu.Lock()
	chain := f.files[url]
	f.mu.Unlock()
	if chain != nil {
		return chain, nil
	}
	file, err := f.get(ctx, url)
	if err != nil {
		return nil, err
	}
	if chain, err = certificates(file); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.files) >= maxFiles { // they change once a year: whichever goes is fetched again
		clear(f.files)
	}
	f.files[url] = chain
	return chain, nil
}

// Confirm calls a URL that confirms a subscription.
func (f *Fetcher) Confirm(ctx context.Context, url string) error {
	_, err := f.get(ctx, url)
	return err
}

// get reads what stands at a URL.
func (f *Fetcher) get(ctx context.Context, target string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		if in := (*url.Error)(nil); errors.As(err, &in) {
			err = in.Err // without the URL: that of a confirmation is a secret
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return nil, fmt.Errorf("%w: %s", ErrUnreachable, resp.Status)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the service answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if len(body) > maxFile {
		return nil, errors.New("the service's answer is too long")
	}
	return body, nil
}

// certificates reads a PEM file.
func certificates(file []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		block, rest := pem.Decode(file)
		if block == nil {
			break
		}
		file = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("the file holds no certificate")
	}
	return chain, nil
}

package awsauth

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"mailwhy/relay/internal/clean"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/oauth"
)

// Source gets new credentials each time it is asked. Its error is safe to show.
type Source interface {
	Fetch(ctx context.Context) (Credentials, error)
}

// Static are access keys that somebody configured.
type Static struct {
	AccessKeyID string
	Secret      func() (string, error) // read at each use
}

// Fetch implements Source.
func (s *Static) Fetch(context.Context) (Credentials, error) {
	secret, err := s.Secret()
	if err != nil {
		return Credentials{}, fmt.Errorf("the secret access key cannot be read: %w", err)
	}
	return Credentials{AccessKeyID: s.AccessKeyID, Secret: oauth.NewSecret(secret)}, nil
}

// WebIdentity is a role of IAM that is assumed with a token in a file, as EKS does it for service accounts.
type WebIdentity struct {
	RoleARN   string
	TokenFile string
	Session   string // the name that the role's sessions get
	Endpoint  string // of STS, a URL
	Client    *httpapi.Client
}

// stsAnswer is what AssumeRoleWithWebIdentity answers.
type stsAnswer struct {
	Credentials struct {
		AccessKeyID  string    `xml:"AccessKeyId"`
		Secret       string    `xml:"SecretAccessKey"`
		SessionToken string    `xml:"SessionToken"`
		Expires      time.Time `xml:"Expiration"`
	} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	Code    string `xml:"Error>Code"`
	Message string `xml:"Error>Message"`
}

// Fetch implements Source.
func (w *WebIdentity) Fetch(ctx context.Context) (Credentials, error) {
	token, err := os.ReadFile(w.TokenFile)
	if err != nil {
		return Credentials{}, fmt.Errorf("the web identity token cannot be read: %w", err)
	}
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"},
		"RoleArn": {w.RoleARN}, "RoleSessionName": {w.Session},
		"WebIdentityToken": {strings.TrimSpace(string(token))}}
	body := []byte(form.Encode())
	a, err := w.Client.Call(ctx, &httpapi.Request{
		Method: http.MethodPost, URL: w.Endpoint, Length: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Body:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	})
	if err != nil {
		return Credentials{}, fmt.Errorf("STS does not answer: %w", err)
	}
	var answer stsAnswer
	bad := xml.Unmarshal(a.Body, &answer)
	if a.Status != http.StatusOK || bad != nil || answer.Credentials.AccessKeyID == "" {
		said := strings.ReplaceAll(answer.Message, form.Get("WebIdentityToken"), "[hidden]")
		return Credentials{}, fmt.Errorf("STS gives no credentials for %s: %s", w.RoleARN,
			a.Words(answer.Code, said, time.Now()))
	}
	c := answer.Credentials
	return Credentials{c.AccessKeyID, oauth.NewSecret(c.Secret), oauth.NewSecret(c.SessionToken),
		c.Expires}, nil
}

// Container is the endpoint that a container's host offers: of ECS, or of EKS Pod Identity.
type Container struct {
	URL    string
	Token  func() (string, error) // for Authorization, read at each use; nil: none
	Client *httpapi.Client
}

// Fetch implements Source.
func (c *Container) Fetch(ctx context.Context) (Credentials, error) {
	h := http.Header{}
	if c.Token != nil {
		token, err := c.Token()
		if err != nil {
			return Credentials{}, fmt.Errorf("the container's authorization token cannot be read: %w", err)
		}
		h.Set("Authorization", token)
	}
	return fetchJSON(ctx, c.Client, c.URL, h, "the container's credentials endpoint")
}

// Instance is the metadata service of an EC2 instance, version 2.
type Instance struct {
	Base   string // http://169.254.169.254
	Client *httpapi.Client
}

// tokenLife is how long a session with the metadata service may last; one is made for each request.
const tokenLife = "60"

// Fetch implements Source.
func (i *Instance) Fetch(ctx context.Context) (Credentials, error) {
	const what = "the instance's metadata service"
	base := strings.TrimSuffix(i.Base, "/") + "/latest/"
	token, err := i.get(ctx, http.MethodPut, base+"api/token",
		http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {tokenLife}})
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w", what, err)
	}
	h := http.Header{"X-Aws-Ec2-Metadata-Token": {token}}
	roles := base + "meta-data/iam/security-credentials/"
	role, err := i.get(ctx, http.MethodGet, roles, h)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s names no role: %w", what, err)
	}
	role, _, _ = strings.Cut(role, "\n")
	return fetchJSON(ctx, i.Client, roles+url.PathEscape(role), h, what)
}

// get asks the metadata service for a line.
func (i *Instance) get(ctx context.Context, method, from string, h http.Header) (string, error) {
	a, err := i.Client.Call(ctx, &httpapi.Request{Method: method, URL: from, Header: h})
	if err != nil {
		return "", err
	}
	if a.Status != http.StatusOK {
		return "", fmt.Errorf("HTTP %d", a.Status)
	}
	return strings.TrimSpace(string(a.Body)), nil
}

// fetchJSON gets credentials in the form that the endpoints of containers and instances have.
func fetchJSON(ctx context.Context, client *httpapi.Client, from string, h http.Header, what string) (
	Credentials, error) {
	a, err := client.Call(ctx, &httpapi.Request{Method: http.MethodGet, URL: from, Header: h})
	if err != nil {
		return Credentials{}, fmt.Errorf("%s does not answer: %w", what, err)
	}
	var c struct {
		AccessKeyID  string    `json:"AccessKeyId"`
		Secret       string    `json:"SecretAccessKey"`
		SessionToken string    `json:"Token"`
		Expires      time.Time `json:"Expiration"`
		Code         string
		Message      string
	}
	bad := json.Unmarshal(a.Body, &c)
	if a.Status != http.StatusOK || bad != nil || c.AccessKeyID == "" {
		return Credentials{}, fmt.Errorf("%s gives no credentials: %s", what,
			a.Words(clean.Line(c.Code, 100), c.Message, time.Now()))
	}
	return Credentials{c.AccessKeyID, oauth.NewSecret(c.Secret), oauth.NewSecret(c.SessionToken),
		c.Expires}, nil
}

package options

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"mailwhy/config"
	"mailwhy/relay/upstream/graph"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/sesapi"
	"mailwhy/relay/upstream/sesapi/awsauth"
)

// Limits of an API that are not settings.
const (
	metadataTimeout = 5 * time.Second // for the endpoints of containers and instances
	stsSession      = "mailwhy"       // name of a role's sessions, for the log of AWS
)

// apiOptions are what both APIs have in common.
func apiOptions(cfg *config.Config, name string, log *slog.Logger) (httpapi.Options, error) {
	u := cfg.Upstream[name]
	endpoint, err := url.Parse(u.Endpoint)
	o := httpapi.Options{
		Name: name, Endpoint: endpoint, TLS: upstreamTLS(u), RcptMax: u.MaxRecipients,
		Connections: u.Concurrency, MaxIdle: u.IdleTimeout, Grace: cfg.ShutdownGrace, Log: log, Now: time.Now,
		Timeouts: httpapi.Timeouts{Connect: u.ConnectTimeout, Command: u.CommandTimeout, Write: u.DataTimeout,
			EndOfData: u.FinalTimeout},
		Dial: new(net.Dialer).DialContext,
	}
	way, bad := WayOut(u)
	if way != nil {
		o.Dial = way.DialContext
	}
	if err = errors.Join(err, bad); err != nil {
		err = fmt.Errorf("upstream %s: %w", name, err)
	}
	return o, err
}

// SES makes a next hop that is the API of Amazon SES.
func SES(cfg *config.Config, name string, log *slog.Logger) (*sesapi.Upstream, error) {
	o, err := apiOptions(cfg, name, log)
	if err != nil {
		return nil, err
	}
	o.Size = sesapi.MaxSize
	client, err := httpapi.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	u := cfg.Upstream[name]
	source, err := awsSource(u, o, client)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	return sesapi.New(sesapi.Options{Options: o, Region: u.Region,
		Credentials: awsauth.NewCached(name, source, log, time.Now)}, client)
}

// awsSource is where an upstream's credentials come from.
func awsSource(u *config.Upstream, o httpapi.Options, client *httpapi.Client) (awsauth.Source, error) {
	switch {
	case u.AccessKeyID != "":
		return &awsauth.Static{AccessKeyID: u.AccessKeyID,
			Secret: secretOf(u.SecretAccessKey, u.SecretAccessKeyFile)}, nil
	case u.WebIdentityTokenFile != "":
		return &awsauth.WebIdentity{RoleARN: u.RoleARN, TokenFile: u.WebIdentityTokenFile,
			Session: stsSession, Endpoint: u.STSEndpoint, Client: client}, nil
	}
	// These endpoints are this machine's own: no proxy leads to them, and they answer at once.
	o.Dial = new(net.Dialer).DialContext
	o.Timeouts = httpapi.Timeouts{Connect: metadataTimeout, Command: metadataTimeout, Write: metadataTimeout,
		EndOfData: metadataTimeout}
	own, err := httpapi.NewClient(o)
	if err != nil {
		return nil, err
	}
	if u.ContainerCredentialsURI == "" {
		return &awsauth.Instance{Base: config.InstanceMetadata, Client: own}, nil
	}
	c := &awsauth.Container{URL: u.ContainerCredentialsURI, Client: own}
	if u.ContainerTokenFile != "" || !u.ContainerToken.IsZero() {
		c.Token = secretOf(u.ContainerToken, u.ContainerTokenFile)
	}
	return c, nil
}

// Graph makes a next hop that is Microsoft Graph.
func Graph(cfg *config.Config, name string, tokens graph.Tokens, log *slog.Logger) (*httpapi.Upstream,
	error) {
	o, err := apiOptions(cfg, name, log)
	if err != nil {
		return nil, err
	}
	o.Size = graph.MaxSize
	client, err := httpapi.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	return graph.New(graph.Options{Options: o, Mailbox: cfg.Upstream[name].Mailbox, Tokens: tokens}, client)
}

// CheckAPI makes the next hop of an API, for the mistakes that only it can see.
func CheckAPI(cfg *config.Config, name string) error {
	log := slog.New(slog.DiscardHandler)
	if cfg.Upstream[name].Type == "graph" {
		_, err := Graph(cfg, name, nil, log)
		return err
	}
	_, err := SES(cfg, name, log)
	return err
}

package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mailwhy/config/value"
)

// Upstream is the next hop.
type Upstream struct {
	// Preset is the provider from whose preset come the keys that are not configured: its name, "none", or
	// empty for the one to which the host belongs, if any.
	Preset string `toml:"preset"`
	Region string `toml:"region"` // in the host of preset ses, and for password_kind aws_secret

	// Type is what the next hop is: an SMTP server, or an HTTP API of the provider, which has an Endpoint in
	// place of host, port and tls.
	Type     string `toml:"type" oneof:"smtp ses-api graph"`
	Endpoint string `toml:"endpoint"`

	// Where type ses-api gets its credentials: an access key, a role by web identity, a container's endpoint,
	// or, when all are empty, the instance's metadata. The environment of AWS has the defaults of the roles.
	AccessKeyID             string       `toml:"access_key_id"`
	SecretAccessKey         value.Secret `toml:"secret_access_key"`
	SecretAccessKeyFile     string       `toml:"secret_access_key_file"`
	RoleARN                 string       `toml:"role_arn"`
	WebIdentityTokenFile    string       `toml:"web_identity_token_file" read:"file"`
	STSEndpoint             string       `toml:"sts_endpoint"`
	ContainerCredentialsURI string       `toml:"container_credentials_uri"`
	ContainerToken          value.Secret `toml:"container_token"`
	ContainerTokenFile      string       `toml:"container_token_file"`

	Mailbox string `toml:"mailbox"` // that type graph sends with

	Host               string       `toml:"host"`
	Port               int          `toml:"port" min:"0" max:"65535"`
	TLS                string       `toml:"tls" oneof:"none opportunistic starttls implicit"`
	TLSMinVersion      string       `toml:"tls_min_version" oneof:"1.0 1.1 1.2 1.3"`
	ServerName         string       `toml:"server_name"`
	CAFile             string       `toml:"ca_file" read:"file"`
	Fingerprint        []string     `toml:"fingerprint"` // SHA-256 of the certificate, hexadecimal
	CertFile           string       `toml:"cert_file" read:"file"`
	KeyFile            string       `toml:"key_file" read:"secret"`
	Username           string       `toml:"username"`
	Password           value.Secret `toml:"password"`
	PasswordFile       string       `toml:"password_file"`
	PasswordKind       string       `toml:"password_kind" oneof:"password aws_secret"`
	Auth               []string     `toml:"auth"` // mechanisms, best first; by the credentials when empty
	AllowPlaintextAuth bool         `toml:"allow_plaintext_auth"`

	// How access tokens for the mechanisms xoauth2 and oauthbearer are got; all empty: not at all. The grant
	// follows from the files, if it is not set.
	OAuthProvider           string       `toml:"oauth_provider"` // of OAuthProviders
	OAuthGrant              string       `toml:"oauth_grant"`
	OAuthClientID           string       `toml:"oauth_client_id"`
	OAuthTenant             string       `toml:"oauth_tenant"`
	OAuthClientSecret       value.Secret `toml:"oauth_client_secret"`
	OAuthClientSecretFile   string       `toml:"oauth_client_secret_file"`
	OAuthSecretExpires      value.Date   `toml:"oauth_secret_expires"` // for warnings: no endpoint tells it
	OAuthCertFile           string       `toml:"oauth_cert_file" read:"file"`
	OAuthKeyFile            string       `toml:"oauth_key_file" read:"secret"`
	OAuthFederatedTokenFile string       `toml:"oauth_federated_token_file" read:"file"`
	OAuthTokenFile          string       `toml:"oauth_token_file"` // written by mailwhy auth login
	// OAuthRefreshToken is used until there is a token file, which is made when the token is replaced.
	OAuthRefreshToken       value.Secret `toml:"oauth_refresh_token"`
	OAuthRefreshTokenFile   string       `toml:"oauth_refresh_token_file"`
	OAuthServiceAccountFile string       `toml:"oauth_service_account_file" read:"secret"`
	OAuthSubject            string       `toml:"oauth_subject"` // mailbox of the service account's token
	OAuthScope              string       `toml:"oauth_scope"`
	OAuthTokenURL           string       `toml:"oauth_token_url"`
	OAuthAuthority          string       `toml:"oauth_authority"` // of Microsoft: a URL

	Hello     string   `toml:"hello"`      // name in EHLO; hostname when empty
	LocalAddr []string `toml:"local_addr"` // IP addresses to connect from, at most one of each family
	IPv6      bool     `toml:"ipv6"`       // off: only IPv4 addresses are connected to
	// Proxy is what the upstream and the token endpoint are reached through: socks5, http or https; empty:
	// none. The environment is not looked at.
	Proxy             string       `toml:"proxy"`
	ProxyPassword     value.Secret `toml:"proxy_password"`
	ProxyPasswordFile string       `toml:"proxy_password_file"`
	ProxyCAFile       string       `toml:"proxy_ca_file" read:"file"`

	Concurrency int        `toml:"concurrency" min:"1" max:"1000"`
	Rate        value.Rate `toml:"rate"`
	// Domains are those of the senders that it may send for; empty: all.
	Domains []string `toml:"domains"`
	// Weight is its share of a route's mail. Those without one take what is left.
	Weight int `toml:"weight" min:"0" max:"1000"`
	// DailyCap is for recipients, by the day of UTC; 0: no limit.
	DailyCap                 int `toml:"daily_cap" min:"0"`
	MaxMessagesPerConnection int `toml:"max_messages_per_connection" min:"0"` // 0: no limit
	MaxRecipients            int `toml:"max_recipients" min:"1"`              // per transaction
	// NullSender is what the upstream does with the sender of bounces. Refused ones have dsn.fallback_sender.
	NullSender string `toml:"null_sender" oneof:"accepted refused"`
	// Tag is whether mail gets the header field that the provider returns with its events, if the
	// application set none: auto for providers that take it out before they deliver.
	Tag string `toml:"tag" oneof:"auto always none"`
	// Pipelining is used when the server offers it.
	Pipelining       bool          `toml:"pipelining"`
	IdleTimeout      time.Duration `toml:"idle_timeout" min:"0s" max:"1h"`
	MaxConnectionAge time.Duration `toml:"max_connection_age" min:"1s" max:"24h"`
	ConnectTimeout   time.Duration `toml:"connect_timeout" min:"100ms" max:"10m"`
	GreetingTimeout  time.Duration `toml:"greeting_timeout" min:"100ms" max:"1h"`
	CommandTimeout   time.Duration `toml:"command_timeout" min:"100ms" max:"1h"`
	DataTimeout      time.Duration `toml:"data_timeout" min:"100ms" max:"1h"`
	FinalTimeout     time.Duration `toml:"final_timeout" min:"100ms" max:"1h"`
}

// DefaultUpstream is an upstream that lacks only the host. Port, TLS and AUTH depend on the credentials: see
// Upstream.complete.
func DefaultUpstream() *Upstream {
	return &Upstream{
		Type:                     "smtp",
		TLSMinVersion:            "1.2",
		Concurrency:              20,
		MaxMessagesPerConnection: 100,
		MaxRecipients:            100, // RFC 5321, 4.5.3.1.8: every server accepts this many
		PasswordKind:             "password",
		NullSender:               "accepted",
		Tag:                      "auto",
		Pipelining:               true,
		IPv6:                     true,
		IdleTimeout:              30 * time.Second,
		MaxConnectionAge:         10 * time.Minute,
		ConnectTimeout:           30 * time.Second,
		GreetingTimeout:          30 * time.Second, // RFC 5321, 4.5.3.2.1 has 5 minutes
		CommandTimeout:           5 * time.Minute,  // RFC 5321, 4.5.3.2.2 and 4.5.3.2.3
		DataTimeout:              3 * time.Minute,  // RFC 5321, 4.5.3.2.5
		FinalTimeout:             10 * time.Minute, // RFC 5321, 4.5.3.2.6
	}
}

// The mechanisms of auth, by what they need: a password, an access token, a client certificate.
const external = "external"

func passwordMechanisms() []string { return []string{"plain", "login", "scram-sha-256", "cram-md5"} }
func tokenMechanisms() []string    { return []string{"xoauth2", "oauthbearer"} }

// logsIn reports whether there is anything to log in to the upstream with.
func (u *Upstream) logsIn() bool { return u.Username != "" || u.HasOAuth() || u.byCertificate() }

// byCertificate reports whether the client certificate can be the login.
func (u *Upstream) byCertificate() bool { return u.CertFile != "" && slices.Contains(u.Auth, external) }

func (u *Upstream) hasPassword() bool { return !u.Password.IsZero() || u.PasswordFile != "" }

// anyOf reports whether one of the mechanisms may be used.
func (u *Upstream) anyOf(mechanisms []string) bool {
	return slices.ContainsFunc(mechanisms, func(m string) bool { return slices.Contains(u.Auth, m) })
}

// validateAuth checks the credentials. They are never sent in the clear unless the configuration explicitly
// allows it.
func (u *Upstream) validateAuth(path string, report reportFunc) {
	known := slices.Concat(passwordMechanisms(), tokenMechanisms(), []string{external})
	for i, m := range u.Auth {
		if !slices.Contains(known, m) {
			report(fmt.Sprintf("%s.auth[%d]", path, i),
				fmt.Sprintf("%q is not a mechanism that mailwhy supports", m),
				"use "+strings.Join(known, ", "))
		}
	}
	switch {
	case u.HasOAuth(): // validateOAuth checks the rest
	case u.Username != "" && !u.hasPassword() && !u.byCertificate():
		report(path+".password", "is not set, but username is",
			"set password_file, --password-file, or password")
	case u.Username == "" && u.hasPassword():
		report(path+".username", "is not set, but a password is", "")
	}
	u.validateMechanisms(path, report)
	u.validateClear(path, report)
}

// completeAuth fills in the mechanisms. PLAIN comes first: under TLS it is as good as any, and servers offer
// others for which they lack what they need.
func (u *Upstream) completeAuth() {
	if len(u.Auth) > 0 {
		return
	}
	u.Auth = passwordMechanisms()
	if u.HasOAuth() {
		u.Auth = tokenMechanisms()
	}
}

// validateMechanisms checks that the credentials have a mechanism.
func (u *Upstream) validateMechanisms(path string, report reportFunc) {
	switch {
	case slices.Contains(u.Auth, external) && u.CertFile == "":
		report(path+".auth", "has external, which needs a client certificate", "set cert_file and key_file")
	case u.HasOAuth() && !u.anyOf(tokenMechanisms()):
		report(path+".auth", "has no mechanism for an access token",
			"add "+strings.Join(tokenMechanisms(), " or ")+", or leave it out for the default")
	case !u.HasOAuth() && u.hasPassword() && !u.anyOf(passwordMechanisms()):
		report(path+".auth", "has no mechanism for a password", "leave it out for the default")
	}
}

// validateClear refuses credentials that could be sent without TLS.
func (u *Upstream) validateClear(path string, report reportFunc) {
	if u.TLS == "starttls" || u.TLS == "implicit" || u.AllowPlaintextAuth || !u.logsIn() {
		return
	}
	what := "the password"
	switch {
	case u.HasOAuth():
		what = "the access token"
	case !u.hasPassword() && u.byCertificate():
		report(path+".tls", fmt.Sprintf("is %q, but external needs TLS", u.TLS),
			"write starttls or implicit")
		return
	}
	report(path+".tls", fmt.Sprintf("is %q, so %s could be sent in the clear", u.TLS, what),
		"write starttls or implicit, or set "+path+".allow_plaintext_auth = true")
}

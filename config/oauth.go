package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// The values of oauth_grant.
const (
	grantClient  = "client_credentials" // RFC 6749, 4.4
	grantRefresh = "refresh_token"      // RFC 6749, 6
	grantService = "service_account"    // RFC 7523, 2.1
)

// HasOAuth reports whether the upstream is logged in to with an access token.
func (u *Upstream) HasOAuth() bool { return u.OAuthGrant != "" || len(u.oauthKeys()) > 0 }

// oauthKeys are the names of the oauth_ keys that have a value, in the order of the struct.
func (u *Upstream) oauthKeys() (names []string) {
	walk("", reflect.ValueOf(u).Elem(), func(k key) {
		if strings.HasPrefix(k.path, "oauth_") && !k.value.IsZero() {
			names = append(names, k.path)
		}
	})
	return names
}

// completeOAuth fills in what the grant, the provider and the environment of an Azure workload identity
// imply. What is configured goes first.
func (u *Upstream) completeOAuth(env []string) {
	if !u.HasOAuth() {
		return
	}
	if u.OAuthGrant == "" {
		u.OAuthGrant = u.impliedGrant()
	}
	if u.OAuthGrant == grantService {
		setDefault(&u.OAuthProvider, "google")
		setDefault(&u.OAuthSubject, u.Username)
	}
	p, known := OAuthProviders()[u.OAuthProvider]
	if !known {
		return
	}
	if p.Tenant && u.OAuthGrant == grantClient && !u.hasOAuthProof() {
		setDefault(&u.OAuthFederatedTokenFile, lookup(env, "AZURE_FEDERATED_TOKEN_FILE"))
		if u.OAuthFederatedTokenFile != "" {
			setDefault(&u.OAuthClientID, lookup(env, "AZURE_CLIENT_ID"))
			setDefault(&u.OAuthTenant, lookup(env, "AZURE_TENANT_ID"))
			setDefault(&u.OAuthAuthority, lookup(env, "AZURE_AUTHORITY_HOST"))
		}
	}
	if u.OAuthGrant == grantRefresh {
		setDefault(&u.OAuthScope, p.UserScope)
	} else {
		setDefault(&u.OAuthScope, p.AppScope)
	}
	located, err := p.For(u.OAuthTenant, u.OAuthAuthority)
	// Google's key file names the endpoint itself, and a bad authority is enough of a mistake.
	if err == nil && u.OAuthGrant != grantService && (u.OAuthAuthority == "" || secureURL(u.OAuthAuthority)) {
		setDefault(&u.OAuthTokenURL, located.TokenURL)
	}
}

// impliedGrant is the grant that the files ask for.
func (u *Upstream) impliedGrant() string {
	switch {
	case u.OAuthServiceAccountFile != "":
		return grantService
	case u.OAuthTokenFile != "":
		return grantRefresh
	}
	return grantClient
}

// hasOAuthProof reports whether anything shows the token endpoint who we are.
func (u *Upstream) hasOAuthProof() bool {
	return u.hasClientSecret() || u.OAuthCertFile != "" || u.OAuthFederatedTokenFile != ""
}

func (u *Upstream) hasClientSecret() bool {
	return !u.OAuthClientSecret.IsZero() || u.OAuthClientSecretFile != ""
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func grants() []string { return []string{grantClient, grantRefresh, grantService} }

// unusedOAuthKeys are the keys that a grant has no use for.
func unusedOAuthKeys(grant string) []string {
	switch grant {
	case grantClient:
		return []string{"oauth_token_file", "oauth_service_account_file", "oauth_subject"}
	case grantRefresh:
		return []string{"oauth_service_account_file", "oauth_subject"}
	case grantService:
		return []string{"oauth_client_id", "oauth_tenant", "oauth_authority", "oauth_client_secret",
			"oauth_client_secret_file", "oauth_secret_expires", "oauth_cert_file", "oauth_key_file",
			"oauth_federated_token_file", "oauth_token_file"}
	}
	return nil
}

// validateOAuth checks how the upstream's access tokens are got. What only the files can show, the program
// that makes the source checks.
func (u *Upstream) validateOAuth(path string, report reportFunc) {
	if !u.HasOAuth() {
		return
	}
	at := func(name, what, hint string) { report(path+"."+name, what, hint) }
	if !slices.Contains(grants(), u.OAuthGrant) {
		at("oauth_grant", fmt.Sprintf("is %q", u.OAuthGrant), "write one of "+strings.Join(grants(), ", "))
	}
	unused := unusedOAuthKeys(u.OAuthGrant)
	for _, name := range u.oauthKeys() {
		if slices.Contains(unused, name) {
			at(name, "is not used with oauth_grant = \""+u.OAuthGrant+`"`, "leave it out")
		}
	}
	if u.Username == "" {
		at("username", "is not set, but OAuth is", "write the address of the mailbox that mail is sent with")
	} else if strings.ContainsFunc(u.Username, func(r rune) bool { return r <= ' ' || r > '~' }) {
		at("username", "has other than visible ASCII in it, which OAuth does not allow", "")
	}
	if !u.Password.IsZero() || u.PasswordFile != "" {
		at("password", "is set, and OAuth too", "keep one of them")
	}
	u.validateEndpoint(at)
	u.validateProof(at)
	switch u.OAuthGrant {
	case grantRefresh:
		if u.OAuthTokenFile == "" {
			at("oauth_token_file", "is not set", "name the file that mailwhy auth login writes")
		}
	case grantService:
		if u.OAuthServiceAccountFile == "" {
			at("oauth_service_account_file", "is not set", "name the service account's JSON key")
		}
	}
}

// validateEndpoint checks where tokens come from.
func (u *Upstream) validateEndpoint(at reportFunc) {
	p, known := OAuthProviders()[u.OAuthProvider]
	if !known && u.OAuthProvider != "" {
		at("oauth_provider", fmt.Sprintf("is %q", u.OAuthProvider),
			"write one of "+strings.Join(OAuthProviderNames(), ", "))
		return
	}
	if u.OAuthTokenURL != "" && !secureURL(u.OAuthTokenURL) {
		at("oauth_token_url", fmt.Sprintf("%q is not an https URL", u.OAuthTokenURL),
			"the secret travels in the request; http is for this machine alone")
	}
	if u.OAuthAuthority != "" && !secureURL(u.OAuthAuthority) {
		at("oauth_authority", fmt.Sprintf("%q is not an https URL", u.OAuthAuthority),
			`write "https://login.microsoftonline.us"`)
	}
	if known {
		u.validateTenant(p, at)
	}
	if u.OAuthGrant != grantClient {
		return
	}
	if manyTenants(u.OAuthTenant) {
		at("oauth_tenant", fmt.Sprintf("%q stands for many tenants", u.OAuthTenant),
			"client credentials need the id or a domain of one")
	}
	if !known && u.OAuthTokenURL == "" {
		at("oauth_provider", "is not set, and oauth_token_url neither",
			"write one of "+strings.Join(OAuthProviderNames(), ", "))
	}
	if !known && u.OAuthScope == "" {
		at("oauth_scope", "is not set, and oauth_provider neither", "")
	}
	if u.OAuthClientID == "" {
		at("oauth_client_id", "is not set", "write the application (client) id of the app registration")
	}
}

// validateTenant checks whose directory the tokens come from. A token file names its own endpoint.
func (u *Upstream) validateTenant(p OAuthProvider, at reportFunc) {
	needed := u.OAuthGrant == grantClient && p.Tenant && u.OAuthTokenURL == ""
	if u.OAuthGrant == grantService || !needed && u.OAuthTenant+u.OAuthAuthority == "" {
		return
	}
	name := "oauth_tenant"
	if u.OAuthTenant == "" && !p.Tenant {
		name = "oauth_authority"
	}
	if _, err := p.For(u.OAuthTenant, u.OAuthAuthority); err != nil {
		bad, _ := errors.AsType[*badValue](err)
		at(name, bad.what, bad.hint)
	}
}

// validateProof checks how the client shows who it is: in one way.
func (u *Upstream) validateProof(at reportFunc) {
	if u.OAuthGrant == grantService {
		return
	}
	var proofs []string
	for _, p := range []struct {
		name string
		set  bool
	}{{"oauth_client_secret", u.hasClientSecret()}, {"oauth_cert_file", u.OAuthCertFile != ""},
		{"oauth_federated_token_file", u.OAuthFederatedTokenFile != ""}} {
		if p.set {
			proofs = append(proofs, p.name)
		}
	}
	switch {
	case len(proofs) > 1:
		at(proofs[0], "is set, and "+strings.Join(proofs[1:], " and ")+" too", "keep one of them")
	case len(proofs) == 0 && u.OAuthGrant == grantClient:
		at("oauth_client_secret", "is not set, nor oauth_cert_file or oauth_federated_token_file",
			"client credentials need one of them")
	}
	if u.OAuthKeyFile != "" && u.OAuthCertFile == "" {
		at("oauth_cert_file", "is not set, but oauth_key_file is", "name the certificate of the key")
	}
	if !u.OAuthSecretExpires.IsZero() && !u.hasClientSecret() {
		at("oauth_secret_expires", "is set, but there is no client secret", "leave it out")
	}
}

// secureURL reports whether a secret may be sent to a URL: by https, or to this machine.
func secureURL(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost")
}

// secretExpiryWarning is how long before its end a client secret is warned of.
const secretExpiryWarning = 30 * 24 * time.Hour

// expiryWarning warns of a client secret that has expired or soon will; "" otherwise.
func (u *Upstream) expiryWarning(path string, now time.Time) string {
	at := u.OAuthSecretExpires.Time()
	switch left := at.Sub(now); {
	case at.IsZero() || left > secretExpiryWarning:
		return ""
	case left <= 0:
		return fmt.Sprintf("%s.oauth_secret_expires: the client secret expired on %s; create a new one", path,
			u.OAuthSecretExpires)
	default:
		return fmt.Sprintf("%s.oauth_secret_expires: the client secret expires on %s; create a new one", path,
			u.OAuthSecretExpires)
	}
}

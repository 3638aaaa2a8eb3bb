package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailwhy/config/mistake"
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

func (u *Upstream) hasRefreshToken() bool {
	return !u.OAuthRefreshToken.IsZero() || u.OAuthRefreshTokenFile != ""
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
		return []string{"oauth_token_file", "oauth_refresh_token", "oauth_refresh_token_file",
			"oauth_service_account_file", "oauth_subject"}
	case grantRefresh:
		return []string{"oauth_service_account_file", "oauth_subject"}
	case grantService:
		return []string{"oauth_client_id", "oauth_tenant", "oauth_authority", "oauth_client_secret",
			"oauth_client_secret_file", "oauth_secret_expires", "oauth_cert_file", "oauth_key_file",
			"oauth_federated_token_file", "oauth_token_file", "oauth_refresh_token",
			"oauth_refresh_token_file"}
	}
	return nil
}

// validateOAuth checks how the upstream's access tokens are got. What only the files can show, the program
// that makes the source checks.
func (u *Upstream) validateOAuth(path string, report reportFunc) {
	if !u.HasOAuth() || u.Type == typeSES {
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
	if u.Username == "" && u.Type == typeGraph { // validateType reports the mailbox
	} else if u.Username == "" {
		at("username", "is not set, but OAuth is", "write the address of the mailbox that mail is sent with")
	} else if strings.ContainsFunc(u.Username, func(r rune) bool { return r <= ' ' || r > '~' }) {
		at("username", "contains characters other than visible ASCII, which OAuth does not allow", "")
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
		u.validateRefreshToken(at)
	case grantService:
		if u.OAuthServiceAccountFile == "" {
			at("oauth_service_account_file", "is not set", "name the service account's JSON key")
		}
	}
}

// validateRefreshToken checks that it is known what the refresh token belongs to. A token file says so.
func (u *Upstream) validateRefreshToken(at reportFunc) {
	switch {
	case !u.hasRefreshToken():
	case u.OAuthClientID == "":
		at("oauth_client_id", "is not set, but oauth_refresh_token is", "write the client that got the token")
	case u.OAuthTokenURL == "":
		at("oauth_token_url", "is not set, nor is oauth_provider, but oauth_refresh_token is",
			"write the token endpoint that the refresh token is of")
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
			"the secret travels in the request; http is allowed for this machine only")
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
		at("oauth_provider", "is not set, nor is oauth_token_url",
			"write one of "+strings.Join(OAuthProviderNames(), ", "))
	}
	if !known && u.OAuthScope == "" {
		at("oauth_scope", "is not set, nor is oauth_provider", "")
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
		bad, _ := errors.AsType[*mistake.Value](err)
		at(name, bad.What, bad.Hint)
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

// OAuthProvider is where a provider of mail gives access tokens, and for what. "{tenant}" in a URL stands for
// the customer's directory.
type OAuthProvider struct {
	TokenURL  string
	AuthURL   string // of a login in a browser
	DeviceURL string // of a login by device code; "" where that gives no token for mail
	AppScope  string // for an application that logs in as itself
	UserScope string // for an application that acts for a person; "" where that is not possible
	Tenant    bool   // the URLs need a tenant
	Offline   bool   // a refresh token is given only if access_type=offline asks for it
}

const microsoft = "https://login.microsoftonline.com"

// OAuthProviders are the values that oauth_provider can have, and what they stand for. oauth_scope,
// oauth_token_url and oauth_authority override them.
func OAuthProviders() map[string]OAuthProvider {
	return map[string]OAuthProvider{
		"m365": entra(microsoft,
			"https://outlook.office365.com/.default", "https://outlook.office.com/SMTP.Send"),
		// The national clouds have no public page for SMTP; these are what others report to work.
		"m365-gcc-high": entra("https://login.microsoftonline.us",
			"https://outlook.office365.us/.default", "https://outlook.office365.us/SMTP.Send"),
		"m365-dod": entra("https://login.microsoftonline.us",
			"https://outlook-dod.office365.us/.default", "https://outlook.office365.us/SMTP.Send"),
		"m365-21vianet": entra("https://login.partner.microsoftonline.cn",
			"https://partner.outlook.cn/.default", "https://partner.outlook.cn/SMTP.Send"),
		"azure": entra(microsoft, "https://communication.azure.com/.default", ""),
		"google": {
			TokenURL: "https://oauth2.googleapis.com/token",
			AuthURL:  "https://accounts.google.com/o/oauth2/v2/auth",
			AppScope: "https://mail.google.com/", UserScope: "https://mail.google.com/",
			Offline: true,
		},
	}
}

// entra is a cloud of Microsoft's. Without offline_access it gives no refresh token.
func entra(authority, app, user string) OAuthProvider {
	if user != "" {
		user += " offline_access"
	}
	base := authority + "/{tenant}/oauth2/v2.0/"
	return OAuthProvider{
		Tenant: true, AppScope: app, UserScope: user,
		TokenURL: base + "token", AuthURL: base + "authorize", DeviceURL: base + "devicecode",
	}
}

// OAuthProviderNames are the names of OAuthProviders, sorted.
func OAuthProviderNames() []string { return slices.Sorted(maps.Keys(OAuthProviders())) }

// tenantName is a GUID, a domain, or one of Microsoft's words for many tenants.
var tenantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

// For is the provider with the tenant in its URLs, and the authority in place of their host if it is not "".
func (p OAuthProvider) For(tenant, authority string) (OAuthProvider, error) {
	switch {
	case !p.Tenant && tenant+authority == "":
		return p, nil
	case !p.Tenant:
		return p, mistake.Bad("this provider has neither tenants nor authorities", "leave it out")
	case tenant == "":
		return p, mistake.Bad("is not set", "write the directory's id or one of its domains")
	case !tenantName.MatchString(tenant):
		return p, mistake.Bad(fmt.Sprintf("%q is neither an id nor a domain", tenant),
			"write the directory's id or one of its domains")
	}
	for _, u := range []*string{&p.TokenURL, &p.AuthURL, &p.DeviceURL} {
		before, after, _ := strings.Cut(*u, "/{tenant}/")
		if authority != "" {
			before = strings.TrimSuffix(authority, "/")
		}
		*u = before + "/" + tenant + "/" + after
	}
	return p, nil
}

// manyTenants reports whether a tenant stands for more than one. An application that logs in as itself needs
// exactly one (AADSTS9001023).
func manyTenants(tenant string) bool {
	return slices.Contains([]string{"common", "organizations", "consumers"}, strings.ToLower(tenant))
}

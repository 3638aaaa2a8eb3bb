package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

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
		return p, &badValue{"this provider has neither tenants nor authorities", "leave it out"}
	case tenant == "":
		return p, &badValue{"is not set", "write the directory's id or one of its domains"}
	case !tenantName.MatchString(tenant):
		return p, &badValue{fmt.Sprintf("%q is neither an id nor a domain", tenant),
			"write the directory's id or one of its domains"}
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

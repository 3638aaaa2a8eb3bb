package oauth

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Provider is where a provider of mail gives tokens, and for what. "{tenant}" in a URL stands for the
// customer's directory.
type Provider struct {
	Name      string
	SMTPHost  string
	TokenURL  string
	AuthURL   string // for a login in a browser
	DeviceURL string // for a login by device code; "" where mail is not allowed with it
	AppScope  string // for an application that logs in as itself
	UserScope string // for an application that acts for a person
	Tenant    bool   // the URLs need a tenant
	Offline   bool   // a refresh token is given only if access_type=offline asks for it
}

const microsoft = "https://login.microsoftonline.com"

// Providers are those that are known, by name. Each value can be overridden: what a sovereign cloud uses is
// taken from third parties, because its pages are not public.
func Providers() map[string]Provider {
	all := map[string]Provider{}
	for _, p := range []Provider{
		entra("m365", "smtp.office365.com", microsoft,
			"https://outlook.office365.com/.default", "https://outlook.office.com/SMTP.Send"),
		entra("m365-gcc-high", "smtp.office365.us", "https://login.microsoftonline.us",
			"https://outlook.office365.us/.default", "https://outlook.office365.us/SMTP.Send"),
		entra("m365-dod", "outlook-dod.office365.us", "https://login.microsoftonline.us",
			"https://outlook-dod.office365.us/.default", "https://outlook-dod.office365.us/SMTP.Send"),
		entra("m365-21vianet", "smtp.partner.outlook.cn", "https://login.partner.microsoftonline.cn",
			"https://partner.outlook.cn/.default", "https://partner.outlook.cn/SMTP.Send"),
		entra("azure", "smtp.azurecomm.net", microsoft, "https://communication.azure.com/.default", ""),
		{
			Name: "google", SMTPHost: "smtp.gmail.com",
			TokenURL: "https://oauth2.googleapis.com/token",
			AuthURL:  "https://accounts.google.com/o/oauth2/v2/auth",
			AppScope: "https://mail.google.com/", UserScope: "https://mail.google.com/",
			Offline: true,
		},
	} {
		all[p.Name] = p
	}
	return all
}

// entra is a cloud of Microsoft's. Without offline_access it gives no refresh token.
func entra(name, host, authority, app, user string) Provider {
	if user != "" {
		user += " offline_access"
	}
	base := authority + "/{tenant}/oauth2/v2.0/"
	return Provider{
		Name: name, SMTPHost: host, Tenant: true, AppScope: app, UserScope: user,
		TokenURL: base + "token", AuthURL: base + "authorize", DeviceURL: base + "devicecode",
	}
}

// ProviderNames are the names of Providers, sorted.
func ProviderNames() []string { return slices.Sorted(maps.Keys(Providers())) }

// tenantName is a GUID, a domain, or one of Microsoft's words for many tenants.
var tenantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

// For is the provider with the tenant in its URLs.
func (p Provider) For(tenant string) (Provider, error) {
	switch {
	case !p.Tenant:
		return p, nil
	case tenant == "":
		return p, fmt.Errorf("%s needs a tenant: the directory's id or one of its domains", p.Name)
	case !tenantName.MatchString(tenant):
		return p, fmt.Errorf("not a valid tenant: %q is neither an id nor a domain", tenant)
	}
	for _, u := range []*string{&p.TokenURL, &p.AuthURL, &p.DeviceURL} {
		*u = strings.ReplaceAll(*u, "{tenant}", tenant)
	}
	return p, nil
}

// Authority replaces the host that gives Microsoft's tokens, as AZURE_AUTHORITY_HOST does.
func (p Provider) Authority(host string) Provider {
	host = strings.TrimSuffix(host, "/")
	for _, u := range []*string{&p.TokenURL, &p.AuthURL, &p.DeviceURL} {
		if i := strings.Index(*u, "/{tenant}/"); i >= 0 {
			*u = host + (*u)[i:]
		}
	}
	return p
}

// OneTenant reports an error for a tenant that stands for many: an application that logs in as itself has
// exactly one (AADSTS9001023).
func OneTenant(tenant string) error {
	switch strings.ToLower(tenant) {
	case "common", "organizations", "consumers":
		return fmt.Errorf("client credentials need the tenant itself, not %q", tenant)
	}
	return nil
}

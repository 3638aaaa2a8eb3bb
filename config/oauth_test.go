package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config/value"
)

// oauthOf is an upstream with OAuth, as the file and the environment make it.
func oauthOf(t *testing.T, keys string, env ...string) (*Upstream, *Config) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "relay.toml")
	text := "[upstream.default]\nhost = \"smtp.example.com\"\nusername = \"box@example.com\"\n" + keys
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Source{File: file, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return c.Upstream["default"], c
}

// TestOAuthDefaults: what provider, files and environment imply, and what goes before them.
func TestOAuthDefaults(t *testing.T) {
	const m365 = "oauth_provider = \"m365\"\noauth_tenant = \"example.com\"\noauth_client_id = \"id\"\n"
	const secret = "oauth_client_secret = \"hunter2\"\n"
	const microsoftToken = "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"
	for name, tt := range map[string]struct {
		keys                string
		env                 []string
		grant, scope, token string
	}{
		"client": {m365 + secret, nil, grantClient, "https://outlook.office365.com/.default", microsoftToken},
		"refresh": {m365 + "oauth_token_file = \"t.json\"", nil, grantRefresh,
			"https://outlook.office.com/SMTP.Send offline_access", microsoftToken},
		"refresh, the file says all": {"oauth_token_file = \"t.json\"", nil, grantRefresh, "", ""},
		"service": {"oauth_service_account_file = \"/dev/null\"", nil, grantService,
			"https://mail.google.com/", ""},
		"generic": {"oauth_token_url = \"http://127.0.0.1:1/t\"\noauth_scope = \"mail\"\noauth_client_id = " +
			"\"id\"\n" + secret, nil, grantClient, "mail", "http://127.0.0.1:1/t"},
		"overridden": {m365 + secret + "oauth_scope = \"other\"\noauth_token_url = \"https://x.test/t\"",
			nil, grantClient, "other", "https://x.test/t"},
		"authority": {m365 + secret + "oauth_authority = \"https://login.example.cn/\"", nil, grantClient,
			"https://outlook.office365.com/.default",
			"https://login.example.cn/example.com/oauth2/v2.0/token"},
		"GCC High": {strings.Replace(m365, "m365", "m365-gcc-high", 1) + secret, nil, grantClient,
			"https://outlook.office365.us/.default",
			"https://login.microsoftonline.us/example.com/oauth2/v2.0/token"},
		"workload": {"oauth_provider = \"m365\"", []string{"AZURE_CLIENT_ID=id", "AZURE_TENANT_ID=t",
			"AZURE_FEDERATED_TOKEN_FILE=/dev/null", "AZURE_AUTHORITY_HOST=https://login.microsoftonline.us/"},
			grantClient, "https://outlook.office365.com/.default",
			"https://login.microsoftonline.us/t/oauth2/v2.0/token"},
		"the environment is not used beside a secret": {m365 + secret,
			[]string{"AZURE_TENANT_ID=t", "AZURE_FEDERATED_TOKEN_FILE=/dev/null"}, grantClient,
			"https://outlook.office365.com/.default", microsoftToken},
		"all by variables": {"", []string{"MAILWHY_UPSTREAM_OAUTH_PROVIDER=m365",
			"MAILWHY_UPSTREAM_OAUTH_TENANT=example.com", "MAILWHY_UPSTREAM_OAUTH_CLIENT_ID=id",
			"MAILWHY_UPSTREAM_OAUTH_CLIENT_SECRET=hunter2"}, grantClient,
			"https://outlook.office365.com/.default", microsoftToken},
	} {
		t.Run(name, func(t *testing.T) {
			u, c := oauthOf(t, tt.keys, tt.env...)
			if u.OAuthGrant != tt.grant || u.OAuthScope != tt.scope || u.OAuthTokenURL != tt.token {
				t.Errorf("%s, scope %q, token URL %q", u.OAuthGrant, u.OAuthScope, u.OAuthTokenURL)
			}
			if u.TLS != "starttls" || u.Port != 587 {
				t.Errorf("port %d with tls %s", u.Port, u.TLS)
			}
			var b strings.Builder
			if c.Write(&b) != nil || strings.Contains(b.String(), "hunter2") {
				t.Error("the secret is printed")
			}
		})
	}
	if u, _ := oauthOf(t, "oauth_service_account_file = \"/dev/null\""); u.OAuthSubject != "box@example.com" {
		t.Errorf("the subject is %q", u.OAuthSubject)
	}
	if u, _ := oauthOf(t, "password = \"p\"", "AZURE_FEDERATED_TOKEN_FILE=/dev/null"); u.HasOAuth() {
		t.Error("the environment alone switches OAuth on")
	}
}

// TestExternal: a client certificate can be the whole login.
func TestExternal(t *testing.T) {
	const keys = "cert_file = \"/dev/null\"\nkey_file = \"/dev/null\"\n"
	u, _ := oauthOf(t, keys+"auth = [\"external\"]")
	if u.TLS != "starttls" || u.Port != 587 {
		t.Errorf("port %d with tls %s", u.Port, u.TLS)
	}
}

// TestSecretExpires: who states when the client secret expires is warned from 30 days before.
func TestSecretExpires(t *testing.T) {
	at, err := value.ParseDate("2027-01-31")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{OAuthSecretExpires: at}
	for now, want := range map[string]string{"2026-12-31": "", "2027-01-02": "expires on 2027-01-31",
		"2027-01-31": "expired on 2027-01-31", "2028-01-01": "expired on"} {
		day, _ := value.ParseDate(now)
		got := u.expiryWarning("u", day.Time())
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("on %s: %q", now, got)
		}
	}
	if got := new(Upstream).expiryWarning("u", time.Now()); got != "" {
		t.Error(got)
	}
}

// TestInlineClientSecret: a client secret in a file that others may read is warned of, as a password is.
func TestInlineClientSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "relay.toml")
	text := "[upstream.default]\nhost = \"h.test\"\nusername = \"u\"\noauth_provider = \"google\"\n" +
		"oauth_client_id = \"id\"\noauth_client_secret = \"hunter2\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.Warnings, func(w string) bool {
		return strings.HasPrefix(w, "upstream.default.oauth_client_secret: ") &&
			strings.Contains(w, "chmod 0600")
	}) {
		t.Errorf("%q", c.Warnings)
	}
}

// TestProviders: each is complete, and its URLs are for https.
func TestProviders(t *testing.T) {
	for name, p := range OAuthProviders() {
		tenant := ""
		if p.Tenant {
			tenant = "example.com"
		}
		p, err := p.For(tenant, "")
		if err != nil || !secureURL(p.TokenURL) || !secureURL(p.AuthURL) || p.AppScope == "" ||
			p.DeviceURL != "" && !secureURL(p.DeviceURL) || strings.Contains(p.TokenURL, "{") {
			t.Errorf("%s: %v %+v", name, err, p)
		}
	}
}

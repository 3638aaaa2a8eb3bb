package config

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"mailwhy/relay/preset"
)

// awsSecret is the value of password_kind for a secret access key.
const awsSecret = "aws_secret"

// validateProvider checks what the provider of an upstream demands.
func (u *Upstream) validateProvider(path string, report reportFunc) {
	if p := presetNamed(u.Preset); p != nil && p.Hello.Value && !publicName(u.Hello) {
		report(path+".hello", fmt.Sprintf("is %q, but %s accepts only a public host name", u.Hello, p.Title),
			`write a name such as "relay.example.com"`)
	}
	switch {
	case u.PasswordKind != awsSecret:
	case u.Region == "":
		report(path+".region", `is not set, but password_kind is "aws_secret"`,
			"the password is derived for one region; write that of the host")
	case !u.Password.IsZero() && isSESPassword(u.Password):
		report(path+".password_kind", `is "aws_secret", but the password is already an SMTP password`,
			"leave password_kind out")
	}
}

// Account says which account of which server an upstream logs in to. Upstreams with the same one share its
// connections and its rate. It is comparable and shows no secret.
type Account struct {
	host, tls string
	port      int
	login     [sha256.Size]byte
}

// Account is the account of the upstream. Without credentials a server knows us by where we come from. A
// mailbox that is logged in to with OAuth is the account, whoever gets the token.
func (u *Upstream) Account() Account {
	login := []string{u.Username, u.Password.Reveal(), u.PasswordKind}
	switch {
	case u.HasOAuth():
		login = []string{u.Username, "oauth"}
	case !u.logsIn():
		login = append([]string{u.Proxy, u.Hello}, u.LocalAddr...)
	}
	if slices.Contains(u.Auth, "external") {
		login = append(login, u.CertFile)
	}
	return Account{strings.ToLower(u.Host), u.TLS, u.Port, sha256.Sum256(fmt.Appendf(nil, "%q", login))}
}

// accountFree are the keys in which upstreams of one account may differ: which mail they get, and what names
// where it goes.
func accountFree() []string {
	return []string{"preset", "region", "host", "domains", "weight", "daily_cap", "null_sender", "tag", "password",
		"password_file"}
}

// validateAccounts refuses upstreams of one account that differ in how it is used: they share the connections
// to it, so only one of two values could hold.
func (c *Config) validateAccounts(report reportFunc) {
	first := map[Account]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Upstream)) {
		u := c.Upstream[name]
		other, twice := first[u.Account()]
		if !twice {
			first[u.Account()] = name
			continue
		}
		theirs := map[string]string{}
		walk("", reflect.ValueOf(c.Upstream[other]).Elem(), func(k key) { theirs[k.path] = show(k.value) })
		walk("", reflect.ValueOf(u).Elem(), func(k key) {
			if slices.Contains(accountFree(), k.path) || show(k.value) == theirs[k.path] {
				return
			}
			report(upstreamSection+"."+name+"."+k.path,
				fmt.Sprintf("is %s, but %s.%s, which is the same account of the same server, has %s",
					show(k.value), upstreamSection, other, theirs[k.path]),
				"they share its connections and its rate: write the same in both")
		})
	}
}

// presetNamed is the preset of a name; nil where there is none.
func presetNamed(name string) *preset.Preset {
	set, err := preset.Load()
	if err != nil {
		return nil // applyPresets has reported it
	}
	return set.ByName(name)
}

// isSESPassword reports whether a secret has the form of an SMTP password of Amazon SES.
func isSESPassword(s Secret) bool {
	ses := presetNamed("ses")
	return ses != nil && len(ses.CheckCredentials("", s.Reveal())) == 0
}

// publicName reports whether a name in EHLO can be that of a public host.
func publicName(name string) bool {
	return strings.Contains(name, ".") && !ownNetwork(name) && !strings.HasSuffix(name, ".localdomain")
}

// warnProvider warns of credentials that are not such as the provider hands out, and of bounces that it
// refuses.
func (c *Config) warnProvider(path string, u *Upstream) {
	if p := presetNamed(u.Preset); p != nil {
		c.warnCredentials(path, u, p)
	}
	unsure := c.presets[path+".null_sender"] == preset.SafeRow
	byMail := c.DSN.Route != "maildir" && c.DSN.Route != "off"
	if u.NullSender == string(preset.Refused) && !unsure && byMail && c.DSN.FallbackSender == "" {
		c.Warnings = append(c.Warnings, path+" refuses the null sender, so no bounce can go through it; "+
			"set dsn.fallback_sender or another dsn.route")
	}
}

// warnCredentials compares the credentials with what the provider hands out.
func (c *Config) warnCredentials(path string, u *Upstream, p *preset.Preset) {
	password := u.Password.Reveal()
	if u.PasswordKind == awsSecret {
		password = "" // the key; the password is derived from it
	}
	for _, f := range p.CheckCredentials(u.Username, password) {
		c.Warnings = append(c.Warnings, path+"."+f.Key+": "+f.Text)
	}
}

package config

import (
	"fmt"
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

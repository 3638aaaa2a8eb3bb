package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// DKIM is a key that signs the mail of a domain (RFC 6376). Several of one domain sign its mail side by side.
type DKIM struct {
	Domain   string   `toml:"domain"`   // of the From field, or the organizational domain of that; d=
	Selector string   `toml:"selector"` // s=
	KeyFile  string   `toml:"key_file" read:"secret"`
	Headers  []string `toml:"headers"`  // fields that are signed; the usual ones when empty
	Oversign []string `toml:"oversign"` // those that nobody can add another of; the usual ones when empty
}

// complete fills in the fields that are signed.
func (d *DKIM) complete() {
	if len(d.Headers) == 0 {
		d.Headers = dkimHeaders()
	}
	if len(d.Oversign) == 0 {
		for _, name := range dkimOversign() {
			if d.signs(name) {
				d.Oversign = append(d.Oversign, name)
			}
		}
	}
}

// signs reports whether a field is signed.
func (d *DKIM) signs(name string) bool {
	return slices.ContainsFunc(d.Headers, func(h string) bool { return strings.EqualFold(h, name) })
}

// dkimHeaders are the fields that are signed by default: those that a person or a program acts on (RFC 6376,
// 5.4.1). Date and Message-ID are not among them, since Amazon SES replaces them, and the signature would be
// worthless.
func dkimHeaders() []string {
	return []string{
		"From", "Sender", "Reply-To", "Subject", "To", "Cc", "MIME-Version", "Content-Type",
		"Content-Transfer-Encoding", "Content-ID", "Content-Description", "In-Reply-To", "References",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post",
		"List-Owner", "List-Archive", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc",
	}
}

// dkimOversign are the fields that are oversigned by default: those that a second one of could mislead the
// reader (RFC 6376, 8.15).
func dkimOversign() []string {
	return []string{"From", "Subject", "To", "Cc", "Reply-To", "Content-Type"}
}

// validateDKIM checks the keys that sign.
func (c *Config) validateDKIM(report reportFunc) {
	seen := map[string]bool{}
	for i := range c.DKIM {
		d := &c.DKIM[i]
		path := fmt.Sprintf("dkim[%d]", i)
		d.validate(path, report)
		name := strings.ToLower(d.Selector + "._domainkey." + d.Domain)
		if seen[name] {
			report(path+".selector", fmt.Sprintf("%q is listed twice for %s", d.Selector, d.Domain),
				"each key has a selector of its own")
		}
		seen[name] = true
	}
}

// validate checks one key.
func (d *DKIM) validate(path string, report reportFunc) {
	if !validHost(d.Domain) || strings.HasPrefix(d.Domain, "[") {
		report(path+".domain", fmt.Sprintf("%q is not a domain", d.Domain), `write "example.com"`)
	}
	if !validHost(d.Selector) || strings.HasPrefix(d.Selector, "[") {
		report(path+".selector", fmt.Sprintf("%q is not a selector", d.Selector),
			`write "mail1", the name in front of ._domainkey`)
	}
	if d.KeyFile == "" {
		report(path+".key_file", "is not set", "mailwhy dkim keygen DOMAIN makes a key, and its DNS record")
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"headers", d.Headers}, {"oversign", d.Oversign}} {
		for j, name := range list.names {
			if !regexp.MustCompile(`^[!-9;-~]+$`).MatchString(name) {
				report(fmt.Sprintf("%s.%s[%d]", path, list.key, j),
					fmt.Sprintf("%q is not the name of a header field", name),
					`write "Subject", without a colon`)
			} else if list.key == "oversign" && !d.signs(name) {
				report(fmt.Sprintf("%s.oversign[%d]", path, j), fmt.Sprintf("%q is not in headers", name),
					"add it there")
			}
		}
	}
	if !d.signs("From") {
		report(path+".headers", "From is not among them, and must be signed (RFC 6376, 5.4)", "add it")
	}
}

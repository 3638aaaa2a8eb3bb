package config

import (
	"fmt"
	"slices"
	"strings"
)

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

// Package sespassword derives the SMTP password of Amazon SES from the secret access key of an IAM user.
//
// Amazon hands out secret access keys, but its SMTP servers want a password that is derived from one, for one
// region. Whoever writes the secret key into the configuration gets 535 and no reason. So the password is
// derived here, and a raw key is recognised. Only the keys of IAM users work: temporary ones (ASIA, of roles)
// cannot use SMTP.
//
// The algorithm is in the Amazon SES Developer Guide, "Obtaining Amazon SES SMTP credentials by converting
// existing AWS credentials". Pure: no input or output, and nothing is logged.
package sespassword

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
)

// version is the first byte of a password of the current form. Passwords of the older one, 2, do not depend
// on the region and cannot be told from a secret key any more.
const version = 0x04

// Derive returns the SMTP password for a secret access key in a region such as eu-central-1.
func Derive(secretKey, region string) string {
	key := []byte("AWS4" + secretKey)
	for _, message := range []string{"11111111", region, "ses", "aws4_request", "SendRawEmail"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(message))
		key = mac.Sum(nil)
	}
	return base64.StdEncoding.EncodeToString(append([]byte{version}, key...))
}

// Kind is what a value in the place of an SMTP password is.
type Kind string

// The kinds.
const (
	Password Kind = "password" // an SMTP password
	Secret   Kind = "secret"   // a raw secret access key, from which the password is derived
	Other    Kind = "other"    // neither
)

var (
	keyForm      = regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`)
	passwordForm = regexp.MustCompile(`^[AB][A-Za-z0-9+/]{43}$`)
)

// KindOf says what a value is, by its form alone.
func KindOf(value string) Kind {
	switch {
	case passwordForm.MatchString(value):
		return Password
	case keyForm.MatchString(value):
		return Secret
	}
	return Other
}

// Temporary reports whether an access key id is a temporary one, which cannot use SMTP.
func Temporary(keyID string) bool { return strings.HasPrefix(keyID, "ASIA") }

// Region is the region in a host name of Amazon SES, such as email-smtp.eu-central-1.amazonaws.com; "" for
// any other name.
func Region(host string) string {
	m := hostForm.FindStringSubmatch(strings.ToLower(strings.TrimSuffix(host, ".")))
	if m == nil {
		return ""
	}
	return m[1]
}

var hostForm = regexp.MustCompile(`^email-smtp(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com$`)

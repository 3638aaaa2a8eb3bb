// Package sespassword derives the SMTP password of Amazon SES from the secret access key of an IAM user.
//
// Amazon hands out secret access keys, but its SMTP servers want a password that is derived from one, for one
// region. Whoever writes the secret key into the configuration gets 535 and no reason. Only the keys of IAM
// users work: temporary ones (ASIA, of roles) cannot use SMTP.
//
// The algorithm is in the Amazon SES Developer Guide, "Obtaining Amazon SES SMTP credentials by converting
// existing AWS credentials". Pure: no input or output, and nothing is logged.
package sespassword

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// version is the first byte of a password of the current form. Those of the older one, 2, do not depend on
// the region.
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

package events

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"hash"
	"net/http"
	"strings"
)

// mac is the MAC of a text.
func mac(newHash func() hash.Hash, key, text string) []byte {
	m := hmac.New(newHash, []byte(key))
	m.Write([]byte(text))
	return m.Sum(nil)
}

// ecdsaKey is the key that a text stands for.
func ecdsaKey(text string) (key *ecdsa.PrivateKey, public string, err error) {
	sum := sha256.Sum256([]byte(text))
	if key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:]); err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return key, base64.StdEncoding.EncodeToString(der), err
}

// signECDSA is a signature in base64.
func signECDSA(key *ecdsa.PrivateKey, text string) (string, error) {
	sum := sha256.Sum256([]byte(text))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	return base64.StdEncoding.EncodeToString(signature), err
}

// present puts a credential into a request: "user:password", "Header-Name: value" or "?name=value", as the
// configuration of a webhook has it.
func present(r *http.Request, credential string) {
	if parameter, ok := strings.CutPrefix(credential, "?"); ok {
		name, value, _ := strings.Cut(parameter, "=")
		q := r.URL.Query()
		q.Set(name, value)
		r.URL.RawQuery = q.Encode()
		return
	}
	if name, value, ok := strings.Cut(credential, ": "); ok {
		r.Header.Set(name, value)
		return
	}
	user, password, _ := strings.Cut(credential, ":")
	r.SetBasicAuth(user, password)
}

package sign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
)

// Generate makes a private key and its PEM file (PKCS #8): "rsa", of MinBits, or "ed25519".
func Generate(kind string) (signer crypto.Signer, file []byte, err error) {
	switch kind {
	case "rsa":
		signer, err = rsa.GenerateKey(rand.Reader, MinBits)
	case "ed25519":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("%q is not a kind of key; use rsa or ed25519", kind)
	}
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	return signer, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// Record is the TXT record to publish at SELECTOR._domainkey.DOMAIN for a key (RFC 6376, 3.6.1; RFC 8463, 4).
func Record(signer crypto.Signer) (string, error) {
	switch key := signer.Public().(type) {
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key), nil
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(key)
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), err
	default:
		return "", fmt.Errorf("DKIM knows no keys of the kind %T", key)
	}
}

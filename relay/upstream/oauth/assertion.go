package oauth

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// claimSet are the claims of a JWT (RFC 7519, 4), or its header.
type claimSet map[string]any

// algorithm is a way of signing a JWT (RFC 7518, 3).
type algorithm string

// The algorithms.
const (
	ps256 algorithm = "PS256"
	rs256 algorithm = "RS256"
)

// newID is an identifier that never comes again.
func newID() string { return rand.Text() }

// signJWT is the JWT with the claims, signed (RFC 7515, 7.1). header are further header fields.
func signJWT(key *rsa.PrivateKey, alg algorithm, header, claims claimSet) (string, error) {
	full := claimSet{"alg": string(alg), "typ": "JWT"}
	for k, v := range header {
		full[k] = v
	}
	head, err := encodeJSON(full)
	if err != nil {
		return "", err
	}
	body, err := encodeJSON(claims)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(head + "." + body))
	var sig []byte
	if alg == ps256 {
		sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:],
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) // RFC 7518, 3.5
	} else {
		sig, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	}
	if err != nil {
		return "", err
	}
	return head + "." + body + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

func encodeJSON(c claimSet) (string, error) {
	b, err := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// thumbprint names a certificate in a JWT's header (RFC 7515, 4.1.8).
func thumbprint(cert *x509.Certificate) claimSet {
	sum := sha256.Sum256(cert.Raw)
	return claimSet{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
}

// readCertificate reads a certificate and its RSA key from PEM files.
func readCertificate(certFile, keyFile string) (*x509.Certificate, *rsa.PrivateKey, error) {
	block, err := readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", certFile, err)
	}
	keyFile = cmp.Or(keyFile, certFile)
	if block, err = readPEM(keyFile, "PRIVATE KEY", "RSA PRIVATE KEY"); err != nil {
		return nil, nil, err
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of the certificate in %s", keyFile, certFile)
	}
	return cert, key, nil
}

// readPEM finds the first block of one of the types in a file.
func readPEM(file string, types ...string) (*pem.Block, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return nil, fmt.Errorf("%s has no PEM block %q", file, types[0])
		}
		for _, t := range types {
			if block.Type == t {
				return block, nil
			}
		}
	}
}

// parseKey reads an RSA key in either of its forms.
func parseKey(block *pem.Block) (*rsa.PrivateKey, error) {
	if block.Type == "RSA PRIVATE KEY" {
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a valid private key: it cannot be parsed as PKCS #8")
	}
	if k, ok := key.(*rsa.PrivateKey); ok {
		return k, nil
	}
	return nil, errors.New("not a valid key for this: PS256 and RS256 need an RSA key")
}

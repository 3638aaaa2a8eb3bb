package events

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"time"
)

// CommonName is whom the certificates of a Signer name.
const CommonName = "mailwhy practice, not Amazon"

// Signer signs the messages of a topic with a certificate of its own making. The real services' certificates
// lie on hosts of theirs, and nothing else makes a relay believe a message; for a rehearsal the relay must be
// told in so many words to believe this one.
type Signer struct {
	key *rsa.PrivateKey
	// PEM is the certificate, and the authority that signed it behind it.
	PEM []byte
}

// NewSigner makes a key, an authority and a certificate that is good for some days.
func NewSigner(now time.Time) (*Signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: CommonName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: CommonName},
		DNSNames: []string{"sns.amazonaws.com"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
	}
	s := &Signer{key: key}
	for _, c := range []struct {
		what   *x509.Certificate
		public crypto.PublicKey
	}{{own, key.Public()}, {authority, root.Public()}} {
		der, err := x509.CreateCertificate(rand.Reader, c.what, authority, c.public, root)
		if err != nil {
			return nil, err
		}
		s.PEM = append(s.PEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return s, nil
}

// notification is a message of a topic with something published. The string to sign has the fields in the
// order that the service documents.
func (s *Signer) notification(topic, certificate string, published any, at time.Time) ([]byte, error) {
	text, err := json.Marshal(published)
	if err != nil {
		return nil, err
	}
	m := map[string]string{
		"Type": "Notification", "MessageId": newUUID(), "TopicArn": topic, "Message": string(text),
		"Timestamp": stamp(at), "SignatureVersion": "2", "SigningCertURL": certificate,
	}
	var b strings.Builder
	for _, name := range []string{"Message", "MessageId", "Timestamp", "TopicArn", "Type"} {
		b.WriteString(name + "\n" + m[name] + "\n")
	}
	sum := sha256.Sum256([]byte(b.String()))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, err
	}
	m["Signature"] = base64.StdEncoding.EncodeToString(signature)
	return json.Marshal(m)
}

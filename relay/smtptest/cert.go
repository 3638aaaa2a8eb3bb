package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// Authority is the common name of the authorities, which nothing else has.
const Authority = "smtptest authority"

// Identity is a server certificate with the authority that signed it, both made for the occasion.
type Identity struct {
	Leaf    tls.Certificate
	Pool    *x509.CertPool // holds the authority
	CAPEM   []byte
	CertPEM []byte
	KeyPEM  []byte
}

// Server is the configuration of the side that shows the certificate.
func (i *Identity) Server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{i.Leaf}, MinVersion: tls.VersionTLS12}
}

// Client is the configuration of the side that trusts the authority. It names no server.
func (i *Identity) Client() *tls.Config {
	return &tls.Config{RootCAs: i.Pool, MinVersion: tls.VersionTLS12}
}

// Certificate makes an authority and a certificate for the names, host names or IP addresses, that is valid
// now.
func Certificate(names ...string) (*Identity, error) {
	now := time.Now()
	return CertificateAt(now.Add(-time.Hour), now.Add(24*time.Hour), names...)
}

// NewCertificate is Certificate for tests.
func NewCertificate(tb TB, names ...string) *Identity {
	tb.Helper()
	id, err := Certificate(names...)
	if err != nil {
		tb.Fatalf("making a certificate: %v", err)
	}
	return id
}

// CertificateAt is Certificate with a validity of its own, for tests of expiry.
func CertificateAt(notBefore, notAfter time.Time, names ...string) (*Identity, error) {
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Authority},
		NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
			continue
		}
		leaf.DNSNames = append(leaf.DNSNames, n)
	}
	return sign(leaf, ca, caKey, caDER)
}

// sign makes the leaf's key and certificate.
func sign(leaf, ca *x509.Certificate, caKey *ecdsa.PrivateKey, caDER []byte) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	id := &Identity{
		Pool:    x509.NewCertPool(),
		CAPEM:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	id.Pool.AppendCertsFromPEM(id.CAPEM)
	id.Leaf, err = tls.X509KeyPair(id.CertPEM, id.KeyPEM)
	return id, err
}

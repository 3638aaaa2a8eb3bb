package smtpd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// testTLS makes a certificate for relay.test and configurations of both sides.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"relay.test"},
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool, ServerName: "relay.test"}
}

// testUsers are one user with a cheap hash; more may be given as lines.
func testUsers(t testing.TB, name, password string, lines ...string) *Users {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	u, err := ParseUsers(strings.NewReader(name + ":" + string(hash) + "\n" + strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestClearListener: a listener that is to stay in clear offers no STARTTLS, whatever certificate there is.
func TestClearListener(t *testing.T) {
	o := testOptions(&store{})
	conf, _ := testTLS(t)
	o.TLS = func() *tls.Config { return conf }
	_, addr := start(t, o, Listen{Clear: true})
	c := dial(t, addr)
	c.want("220 ")
	if got := c.say("EHLO client.test", "250"); strings.Contains(got, "STARTTLS") {
		t.Errorf("offered: %q", got)
	}
	c.say("STARTTLS", "502 5.5.1 ")
	c.say("NOOP", "250")
}

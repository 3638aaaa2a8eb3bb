package smtpd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
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

// TestTLSOnAClearListener: a client that begins with TLS where it should not is told, and so is the operator.
func TestTLSOnAClearListener(t *testing.T) {
	var logged smtptest.Buffer
	st := &store{}
	o := testOptions(st)
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	_, addr := start(t, o, Listen{})
	raw := dial(t, addr)
	tls.Client(raw, &tls.Config{InsecureSkipVerify: true}).Handshake()
	raw.r.Reset(raw) // what the handshake left
	raw.Close()
	smtptest.WaitFor(t, "the warning", func() bool {
		return strings.Contains(logged.String(), "listener="+addr) &&
			strings.Contains(logged.String(), `tls = \"implicit\"`)
	})
	for _, hello := range []string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\nMAIL FROM:<a@b.test>\r\n",
		"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", "\x80\x64\x01\x03\x01\x00\x4b"} {
		c := dial(t, addr)
		c.want("220 ")
		c.Write([]byte(hello))
		c.want("554 5.7.0 This port begins in clear")
		c.want("")
	}
	events := st.refusals()
	if e := events[len(events)-1]; e.Stage != diagnose.StageTLS || !strings.HasPrefix(e.Reply, "554 5.7.0 ") {
		t.Errorf("%+v", e)
	}
}

// TestClearOnATLSListener: a client that does not speak TLS where it should, or waits in silence, is told,
// and so is the operator.
func TestClearOnATLSListener(t *testing.T) {
	server, _ := testTLS(t)
	for name, said := range map[string]string{"speaks": "EHLO client.test\r\nMAIL FROM:<a@b.test>\r\n",
		"silent": ""} {
		var logged smtptest.Buffer
		st := &store{}
		o := testOptions(st)
		o.Log = slog.New(slog.NewTextHandler(&logged, nil))
		o.Limits.HandshakeTime = 100 * time.Millisecond
		o.TLS = func() *tls.Config { return server }
		_, addr := start(t, o, Listen{TLS: true})
		c := dial(t, addr)
		io.WriteString(c, said)
		c.want("421 4.7.0 This port begins with TLS")
		c.want("")
		if got := logged.String(); !strings.Contains(got, "listener="+addr) ||
			!strings.Contains(got, `tls = \"starttls\"`) {
			t.Errorf("%s: logged %q", name, got)
		}
		if e := st.refusals(); len(e) != 1 || e[0].Stage != diagnose.StageTLS {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestOldTLS: a listener of its own takes TLS 1.0 and its ciphers; the others do not.
func TestOldTLS(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions(&store{})
	conf := &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	o.TLS = func() *tls.Config { return conf }
	for _, implicit := range []bool{true, false} {
		for _, min := range []uint16{0, tls.VersionTLS10} {
			_, addr := start(t, o, Listen{TLS: implicit, MinTLS: min})
			c := dial(t, addr)
			if !implicit {
				c.want("220 ")
				c.say("EHLO x", "250")
				c.say("STARTTLS", "220 ")
			}
			old := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10,
				MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}})
			if err := old.Handshake(); (err == nil) != (min != 0) {
				t.Errorf("implicit %v, at least %x: %v", implicit, min, err)
			}
		}
	}
	if conf.MinVersion != tls.VersionTLS12 || conf.CipherSuites != nil {
		t.Error("the configuration of all listeners was changed")
	}
}

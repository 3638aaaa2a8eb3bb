package oauth

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest/oauthtest"
)

// certificate makes a key and a self-signed certificate in one PEM file.
func certificate(t *testing.T) (file string, key *rsa.PrivateKey, cert *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mailwhy"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour).Truncate(time.Second)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	file = write(t, "client.pem", string(b))
	cert, _ = x509.ParseCertificate(der)
	return file, key, cert
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// fetched is the token of a Source, which must give one that s knows.
func fetched(t *testing.T, s *oauthtest.Server, source Source) Token {
	t.Helper()
	token, err := source.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !s.Valid(token.Access.Reveal()) {
		t.Fatalf("the endpoint did not give %q", token.Access.Reveal())
	}
	return token
}

func TestClientSecret(t *testing.T) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Secret: "right", Life: 90 * time.Minute})
	token := fetched(t, s, withSecret(s, "right"))
	if life := token.Expires.Sub(token.Issued); life < 89*time.Minute || life > 90*time.Minute {
		t.Errorf("the token lives %s", life)
	}
	form := s.Requests()[0].Form
	if form.Get("grant_type") != "client_credentials" || form.Get("scope") != "scope" ||
		form.Get("client_id") != clientID || len(form) != 4 {
		t.Errorf("asked %v", form)
	}
	if f := fetchError(t, withSecret(s, "")); f.Reason != ReasonUnreadable {
		t.Errorf("%+v", f)
	}
}

// TestCertificate: the endpoint verifies signature, audience, times and that each id is new.
func TestCertificate(t *testing.T) {
	file, key, cert := certificate(t)
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Key: &key.PublicKey})
	proof := &Certificate{CertFile: file}
	c := &ClientCredentials{Scope: "scope", Endpoint: Endpoint{TokenURL: s.URL("/token"), ClientID: clientID,
		HTTP: s, Proof: proof}}
	fetched(t, s, c)
	fetched(t, s, c)
	var head map[string]string
	first, _, _ := strings.Cut(s.Requests()[0].Form.Get("client_assertion"), ".")
	b, _ := base64.RawURLEncoding.DecodeString(first)
	json.Unmarshal(b, &head)
	sum := sha256.Sum256(cert.Raw)
	if head["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) || head["alg"] != "PS256" ||
		head["typ"] != "JWT" {
		t.Errorf("header %v", head)
	}
	if !proof.NotAfter().Equal(cert.NotAfter) {
		t.Errorf("expires %s, want %s", proof.NotAfter(), cert.NotAfter)
	}
	other, _, _ := certificate(t)
	proof.CertFile = other
	if f := fetchError(t, c); f.Reason != ReasonCertificate || f.Who != WhoAppAdmin {
		t.Errorf("%+v", f)
	}
	proof.CertFile, proof.KeyFile = file, other
	if f := fetchError(t, c); f.Reason != ReasonUnreadable || !strings.Contains(f.Error(),
		"is not the key of") {
		t.Errorf("%+v", f)
	}
}

// TestFederated: the platform replaces the file, so it is read at each request.
func TestFederated(t *testing.T) {
	file := write(t, "token", "marked-first\n")
	s := oauthtest.New(oauthtest.Options{ClientID: clientID,
		Script: func(r oauthtest.Request) *oauthtest.Answer {
			return &oauthtest.Answer{Body: `{"access_token":"a","expires_in":60}`}
		}})
	c := &ClientCredentials{Scope: "scope", Endpoint: Endpoint{TokenURL: s.URL("/token"), ClientID: clientID,
		HTTP: s, Proof: &Federated{File: file}}}
	for _, content := range []string{"marked-first", "marked-second"} {
		os.WriteFile(file, []byte(content), 0o600)
		if _, err := c.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		requests := s.Requests()
		form := requests[len(requests)-1].Form
		if form.Get("client_assertion") != content || form.Get("client_assertion_type") != assertionType {
			t.Errorf("sent %v", form)
		}
	}
	os.Remove(file)
	if f := fetchError(t, c); f.Reason != ReasonUnreadable {
		t.Errorf("%+v", f)
	}
}

func TestServiceAccount(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := oauthtest.New(oauthtest.Options{Key: &key.PublicKey})
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	content, _ := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "relay@project.iam.gserviceaccount.com",
		"private_key_id": "marked-id", "token_uri": s.URL("/token"),
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	})
	a := &ServiceAccount{KeyFile: write(t, "key.json", string(content)), Subject: "box@example.org",
		Scope: "https://mail.google.com/", HTTP: s}
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	fetched(t, s, a)
	_, rest, _ := strings.Cut(s.Requests()[0].Form.Get("assertion"), ".")
	body, _, _ := strings.Cut(rest, ".")
	b, _ := base64.RawURLEncoding.DecodeString(body)
	var claims struct{ Iss, Sub, Scope, Aud string }
	json.Unmarshal(b, &claims)
	if claims.Iss != "relay@project.iam.gserviceaccount.com" || claims.Sub != a.Subject ||
		claims.Scope != a.Scope || claims.Aud != s.URL("/token") {
		t.Errorf("claims %+v", claims)
	}
	for _, bad := range []string{"{", `{"type":"authorized_user"}`, `{"type":"service_account"}`} {
		a.KeyFile = write(t, "key.json", bad)
		if f := fetchError(t, a); f.Reason != ReasonUnreadable {
			t.Errorf("%s: %+v", bad, f)
		}
	}
}

// TestSignatures: what Go verifies, others do.
func TestSignatures(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := signJWT(key, ps256, nil, claimSet{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	i := strings.LastIndexByte(jwt, '.')
	sig, _ := base64.RawURLEncoding.DecodeString(jwt[i+1:])
	sum := sha256.Sum256([]byte(jwt[:i]))
	if err := rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, sum[:], sig,
		&rsa.PSSOptions{SaltLength: 32}); err != nil {
		t.Error(err)
	}
}

func TestClaims(t *testing.T) {
	jwt := func(body string) Secret {
		return NewSecret("e30." + base64.RawURLEncoding.EncodeToString([]byte(body)) + ".sig")
	}
	c, ok := ReadClaims(jwt(`{"aud":"https://outlook.test","roles":["SMTP.SendAsApp"],"exp":1764000000}`))
	if !ok || c.Audience != "https://outlook.test" || c.Lacks() != "" || c.Expires.Unix() != 1764000000 {
		t.Errorf("%+v", c)
	}
	c, _ = ReadClaims(jwt(`{"aud":"00000002-0000-0ff1-ce00-000000000000","roles":["Mail.Send"]}`))
	if c.Lacks() != "SMTP.SendAsApp" {
		t.Errorf("lacks %q", c.Lacks())
	}
	if c, _ = ReadClaims(jwt(`{"scp":"openid SMTP.Send","upn":"a@b.test"}`)); c.Lacks() != "" ||
		c.User != "a@b.test" {
		t.Errorf("%+v", c)
	}
	c, _ = ReadClaims(jwt(`{"aud":"https://outlook.office.com","scp":"openid IMAP.AccessAsUser.All"}`))
	if c.Lacks() != "SMTP.Send" {
		t.Errorf("lacks %q", c.Lacks())
	}
	if c, _ = ReadClaims(jwt(`{"aud":"https://communication.azure.com"}`)); c.Lacks() != "" {
		t.Errorf("lacks %q", c.Lacks())
	}
	for _, other := range []string{"", "ya29.opaque", "a.b.c", "a.!.c"} {
		if _, ok := ReadClaims(NewSecret(other)); ok {
			t.Errorf("%q is read as a JWT", other)
		}
	}
}

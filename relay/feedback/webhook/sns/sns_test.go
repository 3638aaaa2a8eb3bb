package sns

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"
)

var testTime = time.Date(2025, 11, 28, 12, 0, 0, 0, time.UTC)

// authority issues certificates for one key.
type authority struct {
	t    *testing.T
	key  *rsa.PrivateKey
	root *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key}
	a.root = a.issue("root", nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	return a
}

// issue makes a certificate, signed by parent or by itself.
func (a *authority) issue(name string, parent *x509.Certificate,
	edit func(*x509.Certificate)) *x509.Certificate {
	a.t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: testTime.Add(-time.Hour), NotAfter: testTime.Add(time.Hour)}
	if edit != nil {
		edit(c)
	}
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, a.key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	return c
}

// signed is a notification of a topic, signed with the key.
func (a *authority) signed(topic string) *Message {
	m := &Message{Type: TypeNotification, TopicArn: topic, Message: "m", MessageID: "1",
		Timestamp: "2025-11-28T12:00:00.000Z", SignatureVersion: "2"}
	sum := sha256.Sum256([]byte("Message\nm\nMessageId\n1\nTimestamp\n2025-11-28T12:00:00.000Z\nTopicArn\n" +
		topic + "\nType\nNotification\n"))
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	m.Signature = base64.StdEncoding.EncodeToString(signature)
	return m
}

func TestCertificates(t *testing.T) {
	a := newAuthority(t)
	ca := func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	between := a.issue("between", a.root, ca)
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	others := x509.NewCertPool()
	others.AddCert(newAuthority(t).root)
	own := a.issue("sns.amazonaws.com", between, nil)
	old := func(c *x509.Certificate) { c.NotAfter = testTime.Add(-time.Minute) }
	early := func(c *x509.Certificate) { c.NotBefore = testTime.Add(time.Minute) }
	chain := func(c ...*x509.Certificate) []*x509.Certificate { return c }
	alone := func(name string) []*x509.Certificate { return chain(a.issue(name, a.root, nil)) }
	const (
		topic, optIn   = "arn:aws:sns:eu-west-1:1:mail", "arn:aws:sns:af-south-1:1:mail"
		china, gov     = "arn:aws-cn:sns:cn-north-1:1:mail", "arn:aws-us-gov:sns:us-gov-east-1:1:mail"
		scaleway       = "arn:scw:sns:fr-par:project-1:mail"
		unknown        = "unknown authority"
		regionalSigner = "sns-signing.af-south-1.amazonaws.com"
	)
	for _, c := range []struct {
		why, topic string
		chain      []*x509.Certificate
		roots      *x509.CertPool
		refused    string // "" is proved
	}{
		{"its own certificate alone", topic, chain(own), nil, ""},
		{"with its chain", topic, chain(own, between), roots, ""},
		{"a chain to elsewhere", topic, chain(own, between), others, unknown},
		{"an incomplete chain", topic, chain(own), roots, unknown},
		{"no certificate", topic, nil, nil, "no certificate"},
		{"expired", topic, chain(a.issue("sns.amazonaws.com", a.root, old)), nil, "not valid now"},
		{"not yet valid", topic, chain(a.issue("sns.amazonaws.com", a.root, early)), nil, "not valid now"},
		{"for another host", topic, alone("s3.amazonaws.com"), nil, "not for"},
		{"for another region", topic, alone(regionalSigner), nil, "not for"},
		{"a region of its own", optIn, alone(regionalSigner), nil, ""},
		{"China", china, alone("sns-cn-north-1.amazonaws.com.cn"), nil, ""},
		{"GovCloud", gov, alone("sns-us-gov-west-1.amazonaws.com"), nil, ""},
		{"another key", topic, chain(newAuthority(t).issue("sns.amazonaws.com", nil, nil)), nil, "signature"},
		{"Scaleway", scaleway, chain(a.issue("any", between, nil), between), roots, ""},
		{"Scaleway, without roots", scaleway, chain(own), nil, "not configured"},
		{"Scaleway, a file of another customer", scaleway, chain(own), others, unknown},
	} {
		service := Amazon()
		if c.topic == scaleway {
			service = Scaleway()
		}
		err := service.Verify(a.signed(c.topic), c.chain, c.roots, testTime)
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

func TestTopics(t *testing.T) {
	for arn, ok := range map[string]bool{
		"arn:aws:sns:eu-west-1:1:mail": true, "arn:aws-cn:sns:cn-north-1:1:mail": true,
		"arn:aws-us-gov:sns:us-gov-west-1:1:mail": true, "arn:scw:sns:fr-par:project-1:mail": false,
		"arn:aws:sqs:eu-west-1:1:mail": false, "arn:aws:sns:eu.west:1:mail": false,
		"arn:aws:sns::1:mail": false, "arn:aws:sns:eu-west-1:1": false,
		"arn:aws:sns:eu-west-1:1:mail:uuid-of-the-subscription": false, "": false,
	} {
		if err := Amazon().CheckTopic(arn); (err == nil) != ok {
			t.Errorf("%q: %v", arn, err)
		}
	}
	if err := Scaleway().CheckTopic("arn:scw:sns:fr-par:project-1:mail"); err != nil {
		t.Error(err)
	}
}

func TestURLs(t *testing.T) {
	const host, topic = "https://sns.cn-north-1.amazonaws.com.cn", "arn:aws-cn:sns:cn-north-1:1:mail"
	m := &Message{TopicArn: topic, SigningCertURL: host + "/SimpleNotificationService-1.pem",
		SubscribeURL: host + "/?Action=ConfirmSubscription&Token=t&TopicArn=" + topic}
	if url, err := Amazon().CertificateURL(m); err != nil || url != m.SigningCertURL {
		t.Errorf("%q, %v", url, err)
	}
	if url, err := Amazon().ConfirmationURL(m); err != nil || url != m.SubscribeURL {
		t.Errorf("%q, %v", url, err)
	}
	if url, err := Scaleway().CertificateURL(m); err == nil {
		t.Errorf("another service's: %q", url)
	}
	for _, url := range []string{
		"https://sns.cn-north-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=" + topic,
		host + "/?Action=ConfirmSubscription&TopicArn=" + topic + "2",
		host + "/?Action=Subscribe&TopicArn=" + topic, "",
	} {
		m.SubscribeURL = url
		if got, err := Amazon().ConfirmationURL(m); err == nil {
			t.Errorf("%q", got)
		}
	}
}

func TestParse(t *testing.T) {
	for _, body := range []string{"", "{}", "[]", `{"Type":"Notification"}`,
		`{"notificationType":"Bounce","bounce":{}}`} { // raw message delivery is on
		if m, err := Parse([]byte(body)); err == nil {
			t.Errorf("%q: %+v", body, m)
		}
	}
	m, err := Parse([]byte(`{"Type":"Notification","TopicArn":"a","Message":"x\n",` +
		`"Timestamp":"2025-11-28T12:00:00.5Z"}`))
	if err != nil || m.Message != "x\n" || m.Subject != nil {
		t.Fatalf("%+v, %v", m, err)
	}
	if at := m.Published(); !at.Equal(testTime.Add(500 * time.Millisecond)) {
		t.Errorf("published at %v", at)
	}
	if !m.Listed([]string{"b", "a"}) || m.Listed([]string{"aa"}) {
		t.Error("listed")
	}
}

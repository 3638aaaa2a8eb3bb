package webhook

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay/feedback/webhook/sns"
)

// testTime is 1764331200, when the samples say that things happened.
var testTime = time.Date(2025, 11, 28, 12, 0, 0, 0, time.UTC)

const (
	testTopic     = "arn:aws:sns:eu-west-1:123456789012:mail"
	scalewayTopic = "arn:scw:sns:fr-par:project-1:mail"
	testUser      = "mailwhy:a-long-random-password"
	testURL       = "https://u:p@hooks.example/mandrill"
	hmacKey       = "test-signing-key"
	svixKey       = "whsec_bWFpbHdoeS10ZXN0LWtleS0wMTIzNDU2Nzg5YWJjZGVm"
)

// signers are the keys of the providers with public ones, and their certificates.
type signers struct {
	rsa      *rsa.PrivateKey
	chain    []*x509.Certificate // for sns.amazonaws.com, signed by roots' only certificate
	roots    *x509.CertPool
	ecdsa    *ecdsa.PrivateKey
	ecdsaPub string // as SendGrid shows it
}

// testSigners makes the keys, once.
var testSigners = sync.OnceValue(func() *signers {
	s := &signers{roots: x509.NewCertPool()}
	var err error
	must := func() {
		if err != nil {
			panic(err)
		}
	}
	s.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must()
	s.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must()
	der, err := x509.MarshalPKIXPublicKey(s.ecdsa.Public())
	must()
	s.ecdsaPub = base64.StdEncoding.EncodeToString(der)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: testTime.Add(-time.Hour), NotAfter: testTime.AddDate(1, 0, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	own := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "sns.amazonaws.com"},
		NotBefore: testTime.Add(-time.Hour), NotAfter: testTime.AddDate(0, 6, 0),
		DNSNames: []string{"sns.amazonaws.com"}}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, s.ecdsa.Public(), s.ecdsa)
	must()
	ownDER, err := x509.CreateCertificate(rand.Reader, own, root, s.rsa.Public(), s.ecdsa)
	must()
	rootCert, err := x509.ParseCertificate(rootDER)
	must()
	ownCert, err := x509.ParseCertificate(ownDER)
	must()
	s.roots.AddCert(rootCert)
	s.chain = []*x509.Certificate{ownCert}
	return s
})

// fakeFetcher is a Fetcher without a network.
type fakeFetcher struct {
	mu        sync.Mutex
	down      bool     // it gets no certificates
	deaf      bool     // it confirms nothing
	asked     []string // for certificates
	confirmed []string
}

func (f *fakeFetcher) Certificates(_ context.Context, url string) ([]*x509.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, url)
	if f.down {
		return nil, fmt.Errorf("%w: test", sns.ErrUnreachable)
	}
	return testSigners().chain, nil
}

func (f *fakeFetcher) Confirm(_ context.Context, url string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deaf {
		return fmt.Errorf("%w: test", sns.ErrUnreachable)
	}
	f.confirmed = append(f.confirmed, url)
	return nil
}

// calls are the URLs that were asked for.
func (f *fakeFetcher) calls() (certificates, confirmed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked), slices.Clone(f.confirmed)
}

// sourceOf is a webhook that proves what signedRequest makes.
func sourceOf(provider string) Source {
	s := Source{Name: provider + "-hook", Provider: provider}
	switch provider {
	case "ses":
		s.Topics = []string{testTopic}
	case "scaleway":
		s.Topics, s.Roots = []string{scalewayTopic}, testSigners().roots
	case "sendgrid":
		s.Keys = []string{testSigners().ecdsaPub}
	case "resend":
		s.Keys = []string{svixKey}
	case "mandrill":
		s.Keys, s.URL = []string{hmacKey}, testURL
	case "mailgun", "mailersend":
		s.Keys = []string{hmacKey}
	default:
		s.Credentials = []string{testUser}
	}
	return s
}

func newHook(t testing.TB, provider string) *Hook {
	return hookOf(t, sourceOf(provider), &fakeFetcher{})
}

func hookOf(t testing.TB, s Source, f Fetcher) *Hook {
	t.Helper()
	h, err := New(s, f)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// signedRequest is a request that the provider would make at that time with one event in it.
func signedRequest(t testing.TB, provider string, at time.Time) *Request {
	t.Helper()
	r := &Request{Header: http.Header{}, Query: url.Values{}, Body: []byte(`[{"event":"x"}]`)}
	stamp := strconv.FormatInt(at.Unix(), 10)
	switch provider {
	case "ses":
		r.Body = signSNS(t, notification(testTopic, "{}"))
	case "scaleway":
		r.Body = signSNS(t, notification(scalewayTopic, "{}"))
	case "sendgrid":
		digest := sha256.Sum256([]byte(stamp + string(r.Body)))
		signature, err := ecdsa.SignASN1(rand.Reader, testSigners().ecdsa, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(sendGridSignature, base64.StdEncoding.EncodeToString(signature))
		r.Header.Set(sendGridTimestamp, stamp)
	case "mailgun":
		r.Body = mailgunBody(`{"event":"opened"}`, "t1", at)
	case "resend":
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(svixKey, "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		r.Body = []byte(`{"type":"email.opened"}`)
		mac := macOf(sha256.New, string(key), "msg_1."+stamp+"."+string(r.Body))
		r.Header.Set("Svix-Id", "msg_1")
		r.Header.Set("Svix-Timestamp", stamp)
		r.Header.Set("Svix-Signature", "v1,AAAA v1,"+base64.StdEncoding.EncodeToString(mac))
	case "mandrill":
		r.Body = []byte("mandrill_events=%5B%5D")
		mac := macOf(sha1.New, hmacKey, testURL+"mandrill_events[]")
		r.Header.Set("X-Mandrill-Signature", base64.StdEncoding.EncodeToString(mac))
	case "mailersend":
		r.Header.Set("Signature", hex.EncodeToString(macOf(sha256.New, hmacKey, string(r.Body))))
	default:
		user, password, _ := strings.Cut(testUser, ":")
		basic := &http.Request{Header: r.Header}
		basic.SetBasicAuth(user, password)
	}
	return r
}

func macOf(newHash func() hash.Hash, key, text string) []byte {
	mac := hmac.New(newHash, []byte(key))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// mailgunBody is a signed body with an event.
func mailgunBody(event, token string, at time.Time) []byte {
	stamp := strconv.FormatInt(at.Unix(), 10)
	return fmt.Appendf(nil, `{"signature":{"timestamp":"%s","token":"%s","signature":"%x"},"event-data":%s}`,
		stamp, token, macOf(sha256.New, hmacKey, stamp+token), event)
}

// notification are the fields of an SNS message with something published.
func notification(topic, message string) map[string]string {
	return map[string]string{"Type": "Notification", "TopicArn": topic, "Message": message, "Subject": "s"}
}

// confirmation are the fields of an SNS message that asks whether a subscription is wanted.
func confirmation(topic, host string) map[string]string {
	return map[string]string{
		"Type": "SubscriptionConfirmation", "TopicArn": topic, "Message": "You have chosen to subscribe.",
		"Token": "t",
		"SubscribeURL": "https://" + host + "/?" + url.Values{"Action": {"ConfirmSubscription"},
			"TopicArn": {topic}, "Token": {"t"}}.Encode(),
	}
}

// signSNS completes and signs an SNS message. The string to sign is written out here once more, after the
// service's documentation.
func signSNS(t testing.TB, fields map[string]string) []byte {
	t.Helper()
	m := map[string]string{
		"MessageId": "m1", "Timestamp": "2025-11-28T11:59:59.000Z", "SignatureVersion": "2",
		"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
	}
	if fields["TopicArn"] == scalewayTopic {
		m["SigningCertURL"] = "https://messaging.s3.fr-par.scw.cloud/fr-par/sns/sns-cert.pem"
	}
	for name, value := range fields {
		m[name] = value
	}
	order := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if m["Type"] != "Notification" {
		order = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var text strings.Builder
	for _, name := range order {
		if value, ok := m[name]; ok {
			text.WriteString(name + "\n" + value + "\n")
		}
	}
	algorithm, digest := crypto.SHA256, sha256.Sum256([]byte(text.String()))
	sum := digest[:]
	if m["SignatureVersion"] == "1" {
		old := sha1.Sum([]byte(text.String()))
		algorithm, sum = crypto.SHA1, old[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, testSigners().rsa, algorithm, sum)
	if err != nil {
		t.Fatal(err)
	}
	m["Signature"] = base64.StdEncoding.EncodeToString(signature)
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestProof proves a request of each provider, and refuses it with one thing changed.
func TestProof(t *testing.T) {
	for _, name := range Providers() {
		hook := newHook(t, name)
		prove := func(t *testing.T, r *Request, now time.Time) {
			t.Helper()
			if err := hook.Prove(t.Context(), r, now); !errors.Is(err, ErrUnproven) {
				t.Errorf("%v", err)
			}
		}
		t.Run(name+"/genuine", func(t *testing.T) {
			if err := hook.Prove(t.Context(), signedRequest(t, name, testTime), testTime); err != nil {
				t.Error(err)
			}
		})
		t.Run(name+"/nothing", func(t *testing.T) {
			prove(t, &Request{Header: http.Header{}, Body: []byte("{}")}, testTime)
			prove(t, &Request{}, testTime)
		})
		for field := range signedRequest(t, name, testTime).Header {
			t.Run(name+"/without "+field, func(t *testing.T) {
				r := signedRequest(t, name, testTime)
				r.Header.Del(field)
				prove(t, r, testTime)
			})
			t.Run(name+"/other "+field, func(t *testing.T) {
				r := signedRequest(t, name, testTime)
				r.Header.Set(field, r.Header.Get(field)+"0")
				prove(t, r, testTime)
			})
		}
	}
}

// TestAlteredBody changes each byte of a body that is signed.
func TestAlteredBody(t *testing.T) {
	for _, name := range []string{"mailersend", "mandrill", "resend", "sendgrid"} {
		hook, r := newHook(t, name), signedRequest(t, name, testTime)
		genuine := r.Body
		for i := range genuine {
			r.Body = bytes.Clone(genuine)
			r.Body[i] ^= 1
			if hook.Prove(t.Context(), r, testTime) == nil {
				t.Errorf("%s: byte %d can be changed", name, i)
			}
		}
		r.Body = append(bytes.Clone(genuine), " x=y"...)
		if hook.Prove(t.Context(), r, testTime) == nil {
			t.Errorf("%s: more can be appended", name)
		}
	}
}

// TestAlteredMessage changes each signed field of an SNS message.
func TestAlteredMessage(t *testing.T) {
	for name, body := range map[string][]byte{
		"notification": signSNS(t, notification(testTopic, "published")),
		"confirmation": signSNS(t, confirmation(testTopic, "sns.eu-west-1.amazonaws.com")),
		"version 1": signSNS(t, map[string]string{"Type": "Notification", "TopicArn": testTopic,
			"Message": "published", "SignatureVersion": "1"}),
	} {
		hook := newHook(t, "ses")
		if err := hook.Prove(t.Context(), &Request{Body: body}, testTime); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, change := range [][2]string{
			{`"published"`, `"forged"`}, {`"m1"`, `"m2"`}, {"11:59:59", "12:59:59"}, {`"s"`, `"other"`},
			{"Token=t", "Token=u"}, {`"Token":"t"`, `"Token":"u"`}, {`:mail"`, `:other"`},
			{`"Notification"`, `"UnsubscribeConfirmation"`}, {`"Notification"`, `"Other"`},
			{`Version":"2"`, `Version":"1"`}, {`Version":"2"`, `Version":"3"`},
			{`"Signature":"`, `"Signature":"AAAA`},
			{`"Signature":"`, `"Signature":"*`},
		} {
			altered := bytes.Replace(body, []byte(change[0]), []byte(change[1]), 1)
			if bytes.Equal(altered, body) {
				continue
			}
			err := hook.Prove(t.Context(), &Request{Body: altered}, testTime)
			if !errors.Is(err, ErrUnproven) {
				t.Errorf("%s: %s for %s: %v", name, change[1], change[0], err)
			}
		}
	}
}

// TestForeignTopicsAndHosts refuses what is well signed but not ours, and fetches nothing for it.
func TestForeignTopicsAndHosts(t *testing.T) {
	const (
		host = "https://sns.eu-west-1.amazonaws.com"
		file = "/SimpleNotificationService-0123abcd.pem"
	)
	for name, fields := range map[string]map[string]string{
		"another's topic": notification("arn:aws:sns:eu-west-1:999999999999:mail", "x"),
		"another region":  {"SigningCertURL": "https://sns.us-east-1.amazonaws.com" + file},
		"another host":    {"SigningCertURL": "https://evil.example" + file},
		"a suffix":        {"SigningCertURL": host + ".evil.example" + file},
		"a user":          {"SigningCertURL": host + "@evil.example" + file},
		"a user before":   {"SigningCertURL": "https://evil.example@sns.eu-west-1.amazonaws.com" + file},
		"a port":          {"SigningCertURL": host + ":8443" + file},
		"a bucket":        {"SigningCertURL": "https://s3.eu-west-1.amazonaws.com" + file},
		"no TLS":          {"SigningCertURL": "http://sns.eu-west-1.amazonaws.com" + file},
		"another path":    {"SigningCertURL": host + "/other.pem"},
		"up the path":     {"SigningCertURL": host + "/SimpleNotificationService-/../x.pem"},
		"another ending":  {"SigningCertURL": host + "/SimpleNotificationService-1.txt"},
		"a query":         {"SigningCertURL": host + file + "?Action=Publish"},
		"no URL":          {"SigningCertURL": "https://[::1"},
	} {
		all := notification(testTopic, "x")
		for field, value := range fields {
			all[field] = value
		}
		fetcher := &fakeFetcher{}
		hook := hookOf(t, sourceOf("ses"), fetcher)
		err := hook.Prove(t.Context(), &Request{Body: signSNS(t, all)}, testTime)
		if !errors.Is(err, ErrUnproven) {
			t.Errorf("%s: %v", name, err)
		}
		if asked, _ := fetcher.calls(); len(asked) != 0 {
			t.Errorf("%s: fetched %v", name, asked)
		}
	}
}

func TestSigningTimes(t *testing.T) {
	for _, c := range []struct {
		provider string
		age      time.Duration
		proved   bool
	}{
		{"resend", 4 * time.Minute, true}, {"resend", 6 * time.Minute, false},
		{"resend", -4 * time.Minute, true}, {"resend", -6 * time.Minute, false},
		{"mailgun", 23 * time.Hour, true}, {"mailgun", 25 * time.Hour, false},
		{"mailgun", -5 * time.Minute, true}, {"mailgun", -time.Hour, false},
		{"sendgrid", 25 * time.Hour, true}, {"sendgrid", 49 * time.Hour, false},
		{"sendgrid", -2 * time.Hour, false},
	} {
		r := signedRequest(t, c.provider, testTime.Add(-c.age))
		err := newHook(t, c.provider).Prove(t.Context(), r, testTime)
		if (err == nil) != c.proved {
			t.Errorf("%s, signed %v ago: %v", c.provider, c.age, err)
		}
	}
}

// TestKeys proves with either of two keys while one replaces the other, and not with a third.
func TestKeys(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(other.Public())
	if err != nil {
		t.Fatal(err)
	}
	others := map[string]string{"sendgrid": base64.StdEncoding.EncodeToString(der), "mailgun": "another key",
		"resend": "whsec_YW5vdGhlciBrZXk=", "mandrill": "another key", "mailersend": "another key"}
	for name, key := range others {
		both, wrong := sourceOf(name), sourceOf(name)
		both.Keys = []string{key, both.Keys[0]}
		wrong.Keys = []string{key}
		r := signedRequest(t, name, testTime)
		for range 2 {
			if err := hookOf(t, both, nil).Prove(t.Context(), r, testTime); err != nil {
				t.Errorf("%s, two keys: %v", name, err)
			}
			slices.Reverse(both.Keys)
		}
		if err := hookOf(t, wrong, nil).Prove(t.Context(), r, testTime); !errors.Is(err, ErrUnproven) {
			t.Errorf("%s, another key: %v", name, err)
		}
	}
}

// TestVectors proves signatures that others made.
func TestVectors(t *testing.T) {
	const sendGridBody = `[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",` +
		`"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",` +
		`"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",` +
		`"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]` + "\r\n"
	for _, c := range []struct {
		why    string
		source Source
		r      Request
		now    time.Time
	}{{
		why: "Mailgun's description", source: Source{Provider: "mailgun", Keys: []string{"mailgun-key"}},
		r: Request{Body: []byte(`{"signature":{"timestamp":"1764331200","token":"tok0123456789",` +
			`"signature":"d20c0aa92871d02749751196404d2cac6b6964ed8f3a43382654b87764be66ee"}}`)},
		now: testTime,
	}, {
		why: "the Standard Webhooks library", source: Source{Provider: "resend", Keys: []string{svixKey}},
		r: Request{Header: http.Header{"Svix-Id": {"msg_1"}, "Svix-Timestamp": {"1764331200"},
			"Svix-Signature": {"v1,sns86lWtZfvTH4o/RmpPV7LPcEcW+iHn0IP5/Bou2VQ="}},
			Body: []byte(`{"type":"email.bounced"}`)},
		now: testTime,
	}, {
		why:    "Mandrill's description",
		source: Source{Provider: "mandrill", Keys: []string{"mandrill-key"}, URL: testURL},
		r: Request{Header: http.Header{"X-Mandrill-Signature": {"FYDD16BYcv4lhZimPNWsvkRvvPE="}},
			Body: []byte("mandrill_events=%5B%5D")},
		now: testTime,
	}, {
		// https://github.com/sendgrid/sendgrid-go/blob/main/helpers/eventwebhook/eventwebhook_test.go
		why: "SendGrid's library",
		source: Source{Provider: "sendgrid", Keys: []string{"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84" +
			"iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="}},
		r: Request{Header: http.Header{sendGridTimestamp: {"1600112502"}, sendGridSignature: {"MEUCIGHQVtGj" +
			"+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="}},
			Body: []byte(sendGridBody)},
		now: time.Unix(1600112600, 0),
	}} {
		if err := hookOf(t, c.source, nil).Prove(t.Context(), &c.r, c.now); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

// TestCredentials proves by what the provider sends along, wherever it stands, and asks for it in addition
// where the provider signs too.
func TestCredentials(t *testing.T) {
	const secret = "a-long-random-password"
	basic := func(user, password string) *Request {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return &Request{Header: r.Header, Body: []byte("{}")}
	}
	field := func(name, value string) *Request { return &Request{Header: http.Header{name: {value}}} }
	for _, c := range []struct {
		why, credential string
		r               *Request
		proved          bool
	}{
		{"basic", "user:" + secret, basic("user", secret), true},
		{"another password", "user:" + secret, basic("user", secret+"x"), false},
		{"a part of the password", "user:" + secret, basic("user", secret[:8]), false},
		{"another user", "user:" + secret, basic("root", secret), false},
		{"a colon in the password", "user:a:b:" + secret, basic("user", "a:b:"+secret), true},
		{"bearer", "Authorization: Bearer " + secret, field("Authorization", "Bearer "+secret), true},
		{"another bearer", "Authorization: Bearer " + secret, field("Authorization", "Bearer x"), false},
		{"a field", "x-hook-secret: " + secret, field("X-Hook-Secret", secret), true},
		{"another field", "x-hook-secret: " + secret, field("X-Other", secret), false},
		{"a parameter", "?code=" + secret, &Request{Query: url.Values{"code": {secret}}}, true},
		{"another parameter", "?code=" + secret, &Request{Query: url.Values{"other": {secret}}}, false},
		{"a parameter for a field", "?code=" + secret, field("Code", secret), false},
	} {
		source := Source{Provider: "postmark", Credentials: []string{"old:" + secret, c.credential}}
		hook := hookOf(t, source, nil)
		if err := hook.Prove(t.Context(), c.r, testTime); (err == nil) != c.proved {
			t.Errorf("%s: %v", c.why, err)
		} else if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the secret: %v", c.why, err)
		}
	}
	both := sourceOf("mailgun")
	both.Credentials = []string{testUser}
	hook, r := hookOf(t, both, nil), signedRequest(t, "mailgun", testTime)
	if err := hook.Prove(t.Context(), r, testTime); !errors.Is(err, ErrUnproven) {
		t.Errorf("a signature without the credential: %v", err)
	}
	user, password, _ := strings.Cut(testUser, ":")
	with := basic(user, password)
	with.Body = r.Body
	if err := hook.Prove(t.Context(), with, testTime); err != nil {
		t.Errorf("both: %v", err)
	}
}

// TestRefusedSources are webhooks that could prove nothing, or not what they should.
func TestRefusedSources(t *testing.T) {
	topics := func(arn string) Source { return Source{Provider: "ses", Topics: []string{arn}} }
	credential := func(provider, c string) Source {
		return Source{Provider: provider, Credentials: []string{c}}
	}
	keyed := func(provider, key string) Source { return Source{Provider: provider, Keys: []string{key}} }
	both := topics(testTopic)
	both.Credentials = []string{testUser}
	for want, s := range map[string]Source{
		`provider "gmail" is not known`:        {Provider: "gmail"},
		"postmark signs nothing":               {Provider: "postmark"},
		"azure signs nothing":                  keyed("azure", "k"),
		"mailgun needs the key":                credential("mailgun", testUser),
		"a key of mailersend is empty":         keyed("mailersend", ""),
		"at least 16 characters":               credential("brevo", "user:short"),
		`"user:password"`:                      credential("brevo", "abcdefghijklmnopqrstuvwxyz"),
		"the public key is not base64":         keyed("sendgrid", "*"),
		"not a public key":                     keyed("sendgrid", "AAAA"),
		"not a signing secret":                 keyed("resend", "whsec_*"),
		"must be configured":                   keyed("mandrill", "k"),
		"ses needs the ARN":                    {Provider: "ses"},
		"not the ARN of a topic":               topics("arn:aws:sqs:eu-west-1:1:mail"),
		`not the ARN of a topic: "arn:aws:sns`: topics("arn:aws:sns:evil.example/:1:mail"),
		"scaleway needs the certificates":      {Provider: "scaleway", Topics: []string{scalewayTopic}},
		"sends a user and a password only":     both,
	} {
		if _, err := New(s, &fakeFetcher{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		} else if strings.Contains(err.Error(), "abcdefgh") || strings.Contains(err.Error(), "short") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

package dkim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/smtptest/dnstest"
)

// key2048 is the p= of a new key.
func key2048(t testing.TB) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// shortKey is the p= of a key of that many bits, which nobody can sign with.
func shortKey(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	b := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537})
	return base64.StdEncoding.EncodeToString(b)
}

func TestParseKey(t *testing.T) {
	good := key2048(t)
	for _, tc := range []struct{ name, txt, wrong, unwise string }{
		{name: "right", txt: "v=DKIM1; k=rsa; p=" + good},
		{name: "only p", txt: "p=" + good + ";"},
		{name: "white space", txt: "v = DKIM1 ; p = " + good[:99] + " \t" + good[99:]},
		{name: "ed25519", txt: "v=DKIM1; k=ed25519; p=" + strings.Repeat("A", 43) + "="},
		{name: "services", txt: "v=DKIM1; s=other:email; h=sha1:sha256; t=s; p=" + good},
		{name: "unknown tag", txt: "v=DKIM1; x=1; p=" + good},
		{name: "1024", txt: "v=DKIM1; p=" + shortKey(1024), unwise: "1024 bits; 2048 are recommended"},
		{name: "test", txt: "v=DKIM1; t=y:s; p=" + good, unwise: "t=y marks a test"},
		{name: "768", txt: "v=DKIM1; p=" + shortKey(768), wrong: "768 bits, and verifiers refuse"},
		{name: "revoked", txt: "v=DKIM1; p=", wrong: "revoked"},
		{name: "no key", txt: "v=DKIM1; k=rsa", wrong: "there is no p="},
		{name: "cut", txt: "v=DKIM1; p=" + good[:len(good)-50], wrong: "is not"},
		{name: "quotes", txt: `v=DKIM1; p=` + good[:100] + `" "` + good[100:], wrong: "is not base64"},
		{name: "cut behind the tag", txt: "v=DKIM1; p=" + good + "; rest", wrong: `"rest" is not tag=value`},
		{name: "version", txt: "v=DKIM2; p=" + good, wrong: "v= must come first"},
		{name: "version late", txt: "k=rsa; v=DKIM1; p=" + good, wrong: "v= must come first"},
		{name: "twice", txt: "v=DKIM1; p=" + good + "; p=" + good, wrong: "p= is there twice"},
		{name: "hash", txt: "v=DKIM1; h=sha1; p=" + good, wrong: "does not allow sha256"},
		{name: "service", txt: "v=DKIM1; s=other; p=" + good, wrong: "does not allow email"},
		{name: "type", txt: "v=DKIM1; k=dsa; p=" + good, wrong: "k=dsa is not a known type"},
		{name: "ed25519 length", txt: "k=ed25519; p=" + good, wrong: "bytes instead of 32"},
	} {
		k := ParseKey(tc.txt)
		expect(t, tc.name+": wrong", k.Wrong, tc.wrong)
		expect(t, tc.name+": unwise", k.Unwise, tc.unwise)
	}
}

// expect compares sentences with a part of the only one.
func expect(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestLookup(t *testing.T) {
	key := key2048(t)
	txt := `TXT "v=DKIM1; p=" "` + key[:200] + `" "` + key[200:] + `"`
	for _, tc := range []struct {
		name, zone                    string
		valid, doubled, web, dangling bool
		records                       int
	}{
		{name: "missing"},
		{name: "TXT", zone: `s1._domainkey.example.com ` + txt, valid: true, records: 1},
		{name: "CNAME", valid: true, records: 1, zone: `
			s1._domainkey.example.com CNAME s1.keys.example.
			s1.keys.example ` + txt},
		{name: "dangling", dangling: true,
			zone: `s1._domainkey.example.com CNAME s1.keys.example.`},
		{name: "two", records: 2, zone: `
			s1._domainkey.example.com ` + txt + `
			s1._domainkey.example.com TXT "v=DKIM1; p="`},
		{name: "other text beside it", valid: true, records: 1, zone: `
			s1._domainkey.example.com ` + txt + `
			s1._domainkey.example.com TXT "verification 1234"`},
		{name: "doubled", doubled: true,
			zone: `s1._domainkey.example.com.example.com CNAME s1.keys.example.`},
		{name: "web proxy", web: true, zone: `s1._domainkey.example.com A 192.0.2.1`},
	} {
		c := &dnsclient.Client{Servers: []string{dnstest.Start(t, tc.zone).Addr}, Timeout: 5 * time.Second}
		f, err := Lookup(t.Context(), c, "s1", "example.com")
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if f.Valid() != tc.valid || f.Doubled != tc.doubled || f.Web != tc.web ||
			f.Dangling != tc.dangling || f.Records != tc.records {
			t.Errorf("%s: %+v %+v", tc.name, f, f.Key)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("v=DKIM1; k=rsa; h=sha256; s=email; t=y; p=AAAA")
	f.Add("k=ed25519;p=" + strings.Repeat("A", 43) + "=")
	f.Fuzz(func(t *testing.T, txt string) {
		k := ParseKey(txt)
		if len(k.Wrong) == 0 && !IsRecord(txt) {
			t.Fatalf("%q is a valid key, but not one at all", txt)
		}
	})
}

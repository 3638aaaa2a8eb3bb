package sign

import (
	"bytes"
	"crypto"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mailwhy/relay"
	"mailwhy/relay/smtptest/dkimpy"
)

// zone has the records of the keys that a test made.
type zone map[string]string

// lookup answers as DNS would.
func (z zone) lookup(name string) ([]string, error) {
	if txt, ok := z[strings.TrimSuffix(name, ".")]; ok {
		return []string{txt}, nil
	}
	return nil, fmt.Errorf("no TXT record at %s", name)
}

// add makes a key, publishes it and returns its configuration.
func (z zone) add(t testing.TB, kind, domain, selector string) Key {
	t.Helper()
	signer, file, err := Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	z.publish(t, signer, domain, selector)
	name := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return Key{
		Domain: domain, Selector: selector, File: name,
		Headers: []string{"From", "Subject", "To", "Content-Type"}, Oversign: []string{"From", "Subject"},
	}
}

func (z zone) publish(t testing.TB, signer crypto.Signer, domain, selector string) {
	t.Helper()
	txt, err := Record(signer)
	if err != nil {
		t.Fatal(err)
	}
	z[selector+"._domainkey."+domain] = txt
}

// newSigner makes a signer whose clock jumps a minute at each look, so that files are always looked at.
func newSigner(t testing.TB, log io.Writer, keys ...Key) *Signer {
	t.Helper()
	now := time.Now()
	s, err := New(Options{Keys: keys, Log: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time {
		now = now.Add(time.Minute)
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// transaction is one of a content.
func transaction(from, content string) *relay.Transaction {
	return &relay.Transaction{
		Message: &relay.Message{HeaderFrom: from},
		Open:    func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
}

// read is the content of a transaction.
func read(t testing.TB, tx *relay.Transaction) string {
	t.Helper()
	r, err := tx.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// valid are the domains whose signatures verify, in their order; a wrong one is "DOMAIN: why".
func valid(t testing.TB, z zone, content string) (list []string) {
	t.Helper()
	vs, err := dkim.VerifyWithOptions(strings.NewReader(content), &dkim.VerifyOptions{LookupTXT: z.lookup})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		if v.Err != nil {
			list = append(list, v.Domain+": "+v.Err.Error())
			continue
		}
		list = append(list, v.Domain)
	}
	return list
}

const body = "From: Shop\r\n\t<shop@shop.test>\r\nTo: a@b.test\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n\r\n" +
	"Hello\r\n. dot\r\n\r\ntrailing  \r\n\r\n\r\n"

func TestSigns(t *testing.T) {
	for _, tt := range []struct {
		name, content string
	}{
		{"usual", body},
		{"no body", "From: a@shop.test\r\nSubject: x\r\n\r\n"},
		{"no empty line", "From: a@shop.test\r\nSubject: x\r\n"},
		{"no line end", "From: a@shop.test\r\n\r\nlast"},
		{"several of a field",
			"From: a@shop.test\r\nTo: a@b.test\r\nTo: c@d.test\r\nSubject: x\r\n\r\nhi\r\n"},
		{"8-bit", "From: J\xc3\xb6rg <a@shop.test>\r\nSubject: \xff\r\n\r\n\xe4\xf6\xfc\r\n"},
		{"a long header",
			"From: a@shop.test\r\nX-Long: " + strings.Repeat("x\r\n ", 20000) + "y\r\n\r\nhi\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			z := zone{}
			s := newSigner(t, io.Discard,
				z.add(t, "rsa", "shop.test", "s1"), z.add(t, "ed25519", "shop.test", "s2"))
			tx := transaction("shop.test", tt.content)
			s.Prepare(tx)
			got := read(t, tx)
			if !strings.HasSuffix(got, tt.content) {
				t.Fatalf("the content changed:\n%q", got)
			}
			if !strings.Contains(got, "\r\n\r\n") {
				got += "\r\n" // the library wants the line; without a body an empty one is signed
			}
			if v := valid(t, z, got); !slices.Equal(v, []string{"shop.test", "shop.test"}) {
				t.Errorf("signatures %q of\n%s", v, got)
			}
			if again := read(t, tx); !strings.HasPrefix(got, again) {
				t.Error("the content differs when it is opened again")
			}
		})
	}
}

// A field that somebody adds breaks the signature, if it is oversigned; one that is in front and not signed
// does not.
func TestOversigned(t *testing.T) {
	z := zone{}
	s := newSigner(t, io.Discard, z.add(t, "rsa", "shop.test", "s1"))
	tx := transaction("shop.test", body)
	s.Prepare(tx)
	got := read(t, tx)
	for _, tt := range []struct {
		field string
		valid bool
	}{
		{"Subject: win", false}, {"From: evil@x.test", false},
		{"Received: from x", true}, {"Cc: x@x.test", true},
	} {
		v := valid(t, z, tt.field+"\r\n"+got)
		if ok := slices.Equal(v, []string{"shop.test"}); ok != tt.valid {
			t.Errorf("with %s: %q", tt.field, v)
		}
	}
}

func TestWhoseMailIsSigned(t *testing.T) {
	z := zone{}
	shop := z.add(t, "ed25519", "shop.test", "s1")
	news := z.add(t, "ed25519", "news.shop.test", "s1")
	country := z.add(t, "ed25519", "shop.co.uk", "s1")
	s := newSigner(t, io.Discard, shop, news, country, z.add(t, "ed25519", "xn--bcher-kva.test", "s1"))
	for from, want := range map[string]string{
		"shop.test": "shop.test", "Shop.TEST": "shop.test", "a.shop.test": "shop.test",
		"news.shop.test": "news.shop.test", "x.news.shop.test": "shop.test", "other.test": "",
		"notshop.test": "", "Bücher.test": "xn--bcher-kva.test",
		"a.shop.co.uk": "shop.co.uk", "co.uk": "", "": "",
	} {
		tx := transaction(from, body)
		s.Prepare(tx)
		if got := strings.Join(valid(t, z, read(t, tx)), " "); got != want {
			t.Errorf("From %q: signed by %q, want %q", from, got, want)
		}
	}
	tx := transaction("shop.test", body)
	(*Signer)(nil).Prepare(tx)
	if read(t, tx) != body {
		t.Error("nobody signed, and the content changed")
	}
}

// A signature that is there stays valid behind ours.
func TestSignedBefore(t *testing.T) {
	z := zone{}
	first := transaction("app.test", strings.ReplaceAll(body, "shop.test", "app.test"))
	newSigner(t, io.Discard, z.add(t, "rsa", "app.test", "a")).Prepare(first)
	second := transaction("app.test", read(t, first))
	newSigner(t, io.Discard, z.add(t, "ed25519", "app.test", "b")).Prepare(second)
	if v := valid(t, z, read(t, second)); !slices.Equal(v, []string{"app.test", "app.test"}) {
		t.Errorf("signatures %q", v)
	}
}

// A key file that changes is used from then on; one that is damaged leaves the old key in force, and the
// operator reads why.
func TestKeyRotates(t *testing.T) {
	z := zone{}
	c := z.add(t, "ed25519", "shop.test", "s1")
	var log bytes.Buffer
	s := newSigner(t, &log, c)
	check := func(when string) {
		t.Helper()
		tx := transaction("shop.test", body)
		s.Prepare(tx)
		if v := valid(t, z, read(t, tx)); !slices.Equal(v, []string{"shop.test"}) {
			t.Errorf("%s: %q", when, v)
		}
	}
	check("at first")
	if err := os.WriteFile(c.File, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("with a broken file")
	if !strings.Contains(log.String(), "the old one stays in force") ||
		!strings.Contains(log.String(), "not PEM") {
		t.Errorf("log: %s", &log)
	}
	signer, file, err := Generate("rsa")
	if err != nil {
		t.Fatal(err)
	}
	z.publish(t, signer, "shop.test", "s1")
	if err := os.WriteFile(c.File, file, 0o600); err != nil {
		t.Fatal(err)
	}
	check("with another key")
	if err := os.Remove(c.File); err != nil {
		t.Fatal(err)
	}
	check("without a file")
}

// What cannot be signed does not leave.
func TestNothingLeavesUnsigned(t *testing.T) {
	z := zone{}
	s := newSigner(t, io.Discard, z.add(t, "ed25519", "shop.test", "s1"))
	endless := "From: a@shop.test\r\n" + strings.Repeat("X: y\r\n", MaxHeader/4)
	tx := transaction("shop.test", endless)
	s.Prepare(tx)
	if _, err := tx.Open(); !errors.Is(err, errHeader) {
		t.Errorf("an endless header: %v", err)
	}
	broken := errors.New("disk")
	for _, open := range []func() (io.ReadCloser, error){
		func() (io.ReadCloser, error) { return nil, broken },
		func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(body), failing{broken})), nil
		},
	} {
		tx := &relay.Transaction{Message: &relay.Message{HeaderFrom: "shop.test"}, Open: open}
		s.Prepare(tx)
		if _, err := tx.Open(); !errors.Is(err, broken) {
			t.Errorf("a content that cannot be read: %v", err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestKeysThatAreRefused(t *testing.T) {
	short, err := rsa.GenerateKey(cryptorand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	for _, tt := range []struct{ file, want string }{
		{"", "not PEM"},
		{"-----BEGIN", "not PEM"},
		{block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(short)), "1024 bits; at least 2048"},
		{block("CERTIFICATE", []byte("x")), "it holds a CERTIFICATE"},
		{block("ENCRYPTED PRIVATE KEY", []byte("x")), "without a passphrase"},
		{block("PRIVATE KEY", []byte("x")), "cannot be read"},
	} {
		name := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(name, []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Options{Keys: []Key{{Domain: "shop.test", Selector: "s1", File: name}}, Now: time.Now})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v; want %q", tt.file, err, tt.want)
		}
	}
}

// TestVerifiedByDkimpy: what we sign is verified by another implementation too, whatever is in the fields and
// the body.
func TestVerifiedByDkimpy(t *testing.T) {
	z := zone{}
	s := newSigner(t, io.Discard, z.add(t, "rsa", "shop.test", "s1"), z.add(t, "ed25519", "shop.test", "s2"))
	contents := []string{body, "From: a@shop.test\r\n\r\n", "From: a@shop.test\r\nSubject:\r\n\r\nx"}
	for seed := range uint64(300) {
		contents = append(contents, oddContent(rand.New(rand.NewPCG(seed, 1))))
	}
	var mails [][]byte
	for _, content := range contents {
		tx := transaction("shop.test", content)
		s.Prepare(tx)
		mails = append(mails, []byte(read(t, tx)))
	}
	for i, wrong := range dkimpy.Verify(t, z, mails...) {
		if !slices.Equal(wrong, []string{"", ""}) {
			t.Errorf("%q: %q", contents[i], wrong)
		}
	}
}

// oddContent is a content that is hard to canonicalize (RFC 6376, 3.4).
func oddContent(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	some := func(n int, list ...string) (s string) {
		for range r.IntN(n) {
			s += pick(list...)
		}
		return s
	}
	content := "From:" + pick(" ", "", "\t", "\r\n ") + "a@shop.test\r\n"
	for range r.IntN(5) {
		content += pick("Subject", "subject", "To", "X-Y", "Content-Type") + ":" +
			some(6, " ", "\t", "\r\n ", "\r\n\t", "x", "é", "\xff", ":", ";", "=") +
			pick("z", "", " ") + "\r\n"
	}
	return content + "\r\n" + some(9, "x", " ", "\t", "\r\n", "\r\n.", "\xff", "x\r\n\r\n", " \r\n") +
		pick("\r\n", " \r\n") // what comes over SMTP ends so
}

// BenchmarkSign signs a message of 4 KiB.
func BenchmarkSign(b *testing.B) {
	for _, kind := range []string{"rsa", "ed25519"} {
		b.Run(kind, func(b *testing.B) {
			s := newSigner(b, io.Discard, zone{}.add(b, kind, "shop.test", "s1"))
			content := body + strings.Repeat("0123456789\r\n", 340)
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				tx := transaction("shop.test", content)
				s.Prepare(tx)
				read(b, tx)
			}
		})
	}
}

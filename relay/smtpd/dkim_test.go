package smtpd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// TestDKIMStillVerifies holds that a signed message passes with its signature intact, also with missing
// headers to be added, and what the signature oversigns absent.
func TestDKIMStillVerifies(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const message = "From: App <app@client.test>\r\nTo: joe@example.test\r\nSubject: signed\r\n\r\n" +
		".dots\r\n..and more\r\n gr\u00fc\u00dfe \r\n\r\n"
	var signed bytes.Buffer
	if err := dkim.Sign(&signed, strings.NewReader(message), &dkim.SignOptions{
		Domain: "client.test", Selector: "s", Signer: private,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID"},
	}); err != nil {
		t.Fatal(err)
	}
	st := &store{}
	o := testOptions(st)
	_, addr := start(t, o, Listen{})
	hello(t, addr).mail(signed.String(), "250")
	got := st.messages()[0]
	if len(got.m.DKIM) != 1 || got.m.DKIM[0] != "client.test" || got.body() != signed.String() {
		t.Errorf("%q %q", got.m.DKIM, got.content)
	}
	results, err := dkim.VerifyWithOptions(strings.NewReader(got.content), &dkim.VerifyOptions{
		LookupTXT: func(string) ([]string, error) {
			return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
		},
	})
	if err != nil || len(results) != 1 || results[0].Err != nil {
		t.Errorf("%v %+v", err, results)
	}
}

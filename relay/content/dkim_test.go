package content

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// TestSignatureStillVerifies: a message that was signed before it came verifies after it was mended, whatever
// the signature covers; also what it covers the absence of.
func TestSignatureStillVerifies(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const message = "From: app@client.test\r\nTo: root\r\nBcc: x@y.test,\r\n z@y.test\r\n" +
		"Cc : a..b@c.test\r\nX-Y : z\r\n" +
		"Return-Path: <r>\r\nSubject: signed\r\n\r\nBcc: text\r\n.\r\n\r\n"
	for _, tt := range []struct {
		covered []string
		changed string
		relaxed string // where that is something else: it does not cover the blanks before a colon
	}{
		{[]string{"From"},
			"domain added,bcc removed,blank before colon removed,address quoted,return-path removed," +
				"message-id added,date added", ""},
		{[]string{"From", "To", "Subject", "Date", "Message-ID"},
			"bcc removed,blank before colon removed,address quoted,return-path removed", ""},
		{[]string{"From", "To", "Cc", "Bcc", "Return-Path", "Date"},
			"blank before colon removed,message-id added", ""},
		{[]string{"From", "To", "Cc", "Bcc", "Return-Path", "Date", "X-Y"}, "message-id added",
			"blank before colon removed,message-id added"},
	} {
		for _, canonical := range []dkim.Canonicalization{dkim.CanonicalizationSimple,
			dkim.CanonicalizationRelaxed} {
			var signed bytes.Buffer
			if err := dkim.Sign(&signed, strings.NewReader(message), &dkim.SignOptions{
				Domain: "client.test", Selector: "s", Signer: private, HeaderKeys: tt.covered,
				HeaderCanonicalization: canonical, BodyCanonicalization: canonical,
			}); err != nil {
				t.Fatal(err)
			}
			got, m := mend(t, options(), signed.String())
			want := tt.changed
			if canonical == dkim.CanonicalizationRelaxed {
				want = cmp.Or(tt.relaxed, tt.changed)
			}
			if !slices.Equal(m.Changed, strings.Split(want, ",")) {
				t.Errorf("%v: changed %q", tt.covered, m.Changed)
			}
			results, err := dkim.VerifyWithOptions(strings.NewReader(got), &dkim.VerifyOptions{
				LookupTXT: func(string) ([]string, error) {
					return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
				},
			})
			if err != nil || len(results) != 1 || results[0].Err != nil {
				t.Errorf("%v, %s: %v %+v\n%s", tt.covered, canonical, err, results, got)
			}
		}
	}
}

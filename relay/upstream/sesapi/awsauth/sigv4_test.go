package awsauth

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/upstream/oauth"
)

// TestSign: the signatures of requests from the test suite and the guide that AWS has published.
func TestSign(t *testing.T) {
	now := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	keys := Credentials{AccessKeyID: "AKIDEXAMPLE",
		Secret: oauth.NewSecret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")}
	for _, tt := range []struct {
		name, method, url, kind, body, service, headers, signature string
	}{
		{name: "get-vanilla", method: "GET", url: "https://example.amazonaws.com/", service: "service",
			headers:   "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "post-vanilla", method: "POST", url: "https://example.amazonaws.com/", service: "service",
			headers:   "host;x-amz-date",
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{name: "get-vanilla-query-order-key-case", method: "GET", service: "service",
			url: "https://example.amazonaws.com/?Param2=value2&Param1=value1", headers: "host;x-amz-date",
			signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{name: "post-x-www-form-urlencoded", method: "POST", url: "https://example.amazonaws.com/",
			kind: "application/x-www-form-urlencoded", body: "Param1=value1", service: "service",
			headers:   "content-type;host;x-amz-date",
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		{name: "the guide's ListUsers", method: "GET", service: "iam",
			url:       "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
			kind:      "application/x-www-form-urlencoded; charset=utf-8",
			headers:   "content-type;host;x-amz-date",
			signature: "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		r, err := http.NewRequest(tt.method, tt.url, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if tt.kind != "" {
			r.Header.Set("Content-Type", tt.kind)
		}
		hash := sha256.Sum256([]byte(tt.body))
		Sign(r, hex.EncodeToString(hash[:]), keys, "us-east-1", tt.service, now)
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/" + tt.service +
			"/aws4_request, SignedHeaders=" + tt.headers + ", Signature=" + tt.signature
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, want)
		}
	}
}

// TestEncode: a path with an address in it is encoded twice.
func TestEncode(t *testing.T) {
	r, err := http.NewRequest("GET", "https://example.amazonaws.com/v2/email/identities/a%40b.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := canonicalPath(r.URL); got != "/v2/email/identities/a%2540b.test" {
		t.Error(got)
	}
}

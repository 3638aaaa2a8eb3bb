package oauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/oauth2"
)

// FuzzFault: whatever an endpoint answers, its words become one line without what was sent to it.
func FuzzFault(f *testing.F) {
	for _, s := range []string{
		`{"error":"invalid_client","error_description":"AADSTS70002: marked-secret\r\nx","error_codes":[1]}`,
		`{"error":["x"]}`, `{"error_description":"AADSTSx AADSTS99999999999999999999"}`, "<html>", "",
		"error=x&y",
	} {
		f.Add([]byte(s), "5", 400)
	}
	f.Fuzz(func(t *testing.T, body []byte, retryAfter string, status int) {
		e := Endpoint{TokenURL: "https://login.test/token"}
		err := &oauth2.RetrieveError{Body: body, Response: &http.Response{StatusCode: status,
			Header: http.Header{"Retry-After": {retryAfter}, "Location": {string(body)}}}}
		got := e.fault(err, url.Values{"client_secret": {"marked-secret"}}, &observer{})
		text := got.Error() + string(got.Reason) + string(got.Who)
		switch {
		case strings.Contains(got.Error(), "marked-secret"), strings.ContainsFunc(text, unicode.IsControl):
			t.Errorf("%q", got)
		case got.Reason == "" || got.Who == "" || got.Fix == "":
			t.Errorf("%+v", got)
		case got.RetryAfter < 0 || got.RetryAfter > longestWait:
			t.Errorf("waits %s", got.RetryAfter)
		}
	})
}

// FuzzClaims: an access token is of the endpoint's making.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`{"aud":"x","roles":["a"],"exp":1e300}`, `{"scp":"a b","upn":"\u001b[31m"}`, "{", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c, ok := ReadClaims(NewSecret("e30." + base64.RawURLEncoding.EncodeToString([]byte(body)) + ".x"))
		said := strings.Join(append(append(c.Roles, c.Scopes...), c.Audience, c.User, c.Lacks()), "")
		if strings.ContainsFunc(said, unicode.IsControl) || !ok && said != "" && said != c.Lacks() {
			t.Errorf("%v %q", ok, said)
		}
	})
}

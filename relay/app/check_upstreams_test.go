package app

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/app/query"
	"mailwhy/relay/check"
	"mailwhy/relay/smtptest/oauthtest"
)

// A check logs in as the relay does, with a token of its own, and says where that fails.
func TestCheckUpstreamsWithOAuth(t *testing.T) {
	d := signedFiles(t, oauthtest.Options{Secret: "marked-secret"})
	for _, tc := range []struct {
		secret string
		failed bool
		want   string
	}{
		{"marked-secret", false, "logged in as " + oauthMailbox},
		{"marked-wrong", true, "auth"},
	} {
		d.write("secret", tc.secret+"\n")
		d.write("relay.toml", d.conf+clientGrant+
			fmt.Sprintf("oauth_client_secret_file = %q\n", d.dir+"/secret"))
		cfg, err := config.Load(config.Source{File: filepath.Join(d.dir, "relay.toml")})
		if err != nil {
			t.Fatal(err)
		}
		lines, err := query.CheckUpstreams(t.Context(), cfg, &query.Upstreams{Recipient: "b@b.test",
			Senders: query.Senders{Domains: []string{oauthMailbox, "other.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		said := fmt.Sprintf("%+v", lines)
		if check.Failed(lines) != tc.failed || !strings.Contains(said, tc.want) ||
			strings.Contains(said, "marked") {
			t.Errorf("%s: %s", tc.secret, said)
		}
		if !tc.failed && !strings.Contains(said, "mail from postmaster@other.test to b@b.test is taken") {
			t.Errorf("a domain's postmaster was not asked for: %s", said)
		}
	}
	if n := d.upstream.Stats().Messages; n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}

// TestCheckReadsTheToken: a check shows what the access token says of itself, before the server refuses it.
func TestCheckReadsTheToken(t *testing.T) {
	claims := `{"aud":"https://outlook.office365.com","roles":["Mail.Send"],"appid":"app-1","tid":"tenant-1"}`
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".marked"
	answer := oauthtest.Answer{Status: 200, Body: `{"access_token":"` + jwt + `","token_type":"Bearer"}`}
	d := signedFiles(t, oauthtest.Options{Secret: "marked-secret",
		Script: func(oauthtest.Request) *oauthtest.Answer { return &answer }})
	d.write("relay.toml", d.conf+clientGrant+"oauth_client_secret = \"marked-secret\"\n")
	cfg, err := config.Load(config.Source{File: filepath.Join(d.dir, "relay.toml")})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := query.CheckUpstreams(t.Context(), cfg, &query.Upstreams{})
	if err != nil || len(lines) != 2 {
		t.Fatalf("%v: %+v", err, lines)
	}
	token, login := lines[0], lines[1]
	if token.Check != "token" || token.Level != check.Failure ||
		!strings.Contains(token.Text, "of the application app-1 in the tenant tenant-1") ||
		!strings.Contains(token.Fix, "SMTP.SendAsApp") {
		t.Errorf("%+v", token)
	}
	if login.Check != "auth" || login.Level != check.Failure {
		t.Errorf("%+v", login)
	}
	said := fmt.Sprintf("%+v", lines)
	if strings.Contains(said, "marked") || strings.Contains(said, jwt[4:20]) {
		t.Errorf("the token is shown: %s", said)
	}
}

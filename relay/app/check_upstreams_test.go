package app

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/config"
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
		lines, err := CheckUpstreams(t.Context(), cfg, &UpstreamQuery{Recipient: "b@b.test",
			SenderQuery: SenderQuery{Domains: []string{oauthMailbox, "other.test"}}})
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

// TestCheckReadsTheToken: of a token that the upstream refuses, its own claims say whether it lacks the
// permission, or whether the mailbox does not let the application in.
func TestCheckReadsTheToken(t *testing.T) {
	jwt := func(claims string) string {
		e := base64.RawURLEncoding.EncodeToString
		return e([]byte(`{"alg":"none"}`)) + "." + e([]byte(claims)) + "." + e([]byte("marked-signature"))
	}
	for _, tc := range []struct{ claims, want string }{
		{`{"aud":"https://outlook.office365.com","roles":["Mail.Send"]}`,
			"lacks the permission SMTP.SendAsApp"},
		{`{"aud":"https://outlook.office365.com","scp":"Mail.Read"}`, "lacks the permission SMTP.Send"},
		{`{"aud":"https://outlook.office365.com","roles":["SMTP.SendAsApp"]}`, "its service principal"},
		{`{"aud":"https://mail.example"}`, ""},
	} {
		d := signedFiles(t, oauthtest.Options{Secret: "marked-secret",
			Script: func(oauthtest.Request) *oauthtest.Answer {
				return &oauthtest.Answer{Status: 200, Body: fmt.Sprintf(
					`{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, jwt(tc.claims))}
			}})
		d.write("secret", "marked-secret\n")
		d.write("relay.toml", d.conf+clientGrant+
			fmt.Sprintf("oauth_client_secret_file = %q\n", d.dir+"/secret"))
		cfg, err := config.Load(config.Source{File: filepath.Join(d.dir, "relay.toml")})
		if err != nil {
			t.Fatal(err)
		}
		lines, err := CheckUpstreams(t.Context(), cfg, &UpstreamQuery{})
		if err != nil {
			t.Fatal(err)
		}
		told := ""
		for _, l := range lines {
			if l.Check == "token" {
				told = l.Text + " " + l.Fix
			}
		}
		if !check.Failed(lines) || (told == "") != (tc.want == "") || !strings.Contains(told, tc.want) ||
			strings.Contains(fmt.Sprint(lines), "marked") {
			t.Errorf("%s: %q of %+v", tc.claims, told, lines)
		}
	}
}

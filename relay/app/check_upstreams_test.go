package app

import (
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

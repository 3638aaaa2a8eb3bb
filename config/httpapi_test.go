package config

import (
	"strings"
	"testing"

	"mailwhy/config/value"
)

// TestAPIDefaults: what type ses-api and graph make of a few keys and the environment.
func TestAPIDefaults(t *testing.T) {
	token := writeFile(t, "token", "x")
	graph := "type = \"graph\"\nmailbox = \"app@example.com\"\noauth_tenant = \"example.com\"\n" +
		"oauth_client_id = \"x\"\noauth_client_secret_file = \"" + token + "\"\n"
	for name, tt := range map[string]struct {
		keys string
		env  []string
		want []string
	}{
		"EKS": {"type = \"ses-api\"\n", []string{"AWS_REGION=eu-west-1", "AWS_ROLE_ARN=arn:aws:iam::1:role/r",
			"AWS_WEB_IDENTITY_TOKEN_FILE=" + token},
			[]string{`endpoint = "https://email.eu-west-1.amazonaws.com"`,
				`role_arn = "arn:aws:iam::1:role/r"`,
				`sts_endpoint = "https://sts.eu-west-1.amazonaws.com"`, `web_identity_token_file = "` + token,
				`max_recipients = 50`, `null_sender = "refused"`, `host = "email.eu-west-1.amazonaws.com"`,
				`port = 443`, `tls = "implicit"`}},
		"China": {"type = \"ses-api\"\nregion = \"cn-north-1\"\n", nil,
			[]string{`endpoint = "https://email.cn-north-1.amazonaws.com.cn"`}},
		"ECS": {"type = \"ses-api\"\nregion = \"eu-west-1\"\n",
			[]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/keys"},
			[]string{`container_credentials_uri = "http://169.254.170.2/v2/keys"`, `role_arn = ""`}},
		"Pod Identity": {"type = \"ses-api\"\nregion = \"eu-west-1\"\n",
			[]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials",
				"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + token},
			[]string{`container_credentials_uri = "http://169.254.170.23/v1/credentials"`,
				`container_token_file = "` + token}},
		"a key wins over the environment": {"type = \"ses-api\"\nregion = \"eu-west-1\"\n" +
			"access_key_id = \"AKIA\"\nsecret_access_key_file = \"" + token + "\"\n",
			[]string{"AWS_ROLE_ARN=arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE=" + token},
			[]string{`role_arn = ""`, `web_identity_token_file = ""`}},
		"Graph": {graph, nil, []string{`endpoint = "https://graph.microsoft.com"`, `rate = "30/m"`,
			`oauth_scope = "https://graph.microsoft.com/.default"`, `username = "app@example.com"`,
			`oauth_token_url = "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"`}},
		"another cloud": {graph + "oauth_provider = \"m365-gcc-high\"\n", nil,
			[]string{`endpoint = "https://graph.microsoft.us"`,
				`oauth_scope = "https://graph.microsoft.us/.default"`}},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeFile(t, "relay.toml", "[upstream.default]\n"+tt.keys)
			c := mustLoad(t, Source{File: file, Env: tt.env})
			got := values(t, c)
			for _, want := range tt.want {
				if !strings.Contains(got, "\n"+want) {
					t.Errorf("%s is not in %s", want, got[strings.Index(got, "[upstream"):])
				}
			}
			if strings.Contains(got, value.NewSecret("x").String()) {
				return // a secret that stands in a file is shown beside it
			}
			again := writeFile(t, "again.toml", got)
			if c2 := mustLoad(t, Source{File: again}); values(t, c2) != got {
				t.Error("what is printed does not read back as the same")
			}
		})
	}
}

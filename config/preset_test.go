package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailwhy/config/value"
	"mailwhy/relay/preset"
)

// inForce are the values of upstream.default as `check` prints them, with where they come from.
func inForce(t *testing.T, c *Config) map[string]string {
	t.Helper()
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(b.String(), "[upstream.default]\n")
	section, _, _ = strings.Cut(section, "\n\n")
	values := map[string]string{}
	for line := range strings.SplitSeq(section, "\n") {
		name, value, _ := strings.Cut(line, " = ")
		values[name] = value
	}
	return values
}

// TestPresets: the values of a preset stand below what is configured, and each says where it comes from.
func TestPresets(t *testing.T) {
	const safe = "  # unknown provider, a safe value for any provider"
	for _, tt := range []struct {
		name string
		toml string
		env  []string
		url  string // --upstream
		want map[string]string
	}{
		{name: "by name", toml: "preset = 'ses'\nregion = 'eu-west-1'", want: map[string]string{
			"host":           `"email-smtp.eu-west-1.amazonaws.com"  # preset ses, reported by others`,
			"port":           `587  # preset ses, documented by the provider`,
			"tls":            `"starttls"  # preset ses, documented by the provider`,
			"auth":           `["plain", "login"]  # preset ses, reported by others`,
			"concurrency":    `4  # preset ses, a safe value for any provider`,
			"max_recipients": `50  # preset ses, documented by the provider`,
			"idle_timeout":   `"5s"  # preset ses, reported by others`,
			"null_sender":    `"refused"  # preset ses, reported by others`,
			"rate":           `""  # default`,
		}},
		{name: "by host", toml: "host = 'SMTP.office365.com'", want: map[string]string{
			"preset":             `"m365"  # by host`,
			"host":               `"SMTP.office365.com"  # FILE`,
			"rate":               `"30/m"  # preset m365, documented by the provider`,
			"concurrency":        `3  # preset m365, documented by the provider`,
			"max_recipients":     `500  # preset m365, documented by the provider`,
			"max_connection_age": `"15m"  # preset m365, reported by others`,
			"auth":               `["login"]  # preset m365, reported by others`,
			"null_sender":        `"refused"  # preset m365, a safe value for any provider`,
		}},
		{name: "everything of one's own", toml: `preset = "m365"
host = "smtp.example.com"
port = 2525
tls = "none"
auth = ["cram-md5"]
concurrency = 9
rate = ""
max_messages_per_connection = 0
max_recipients = 1
null_sender = "accepted"
idle_timeout = "1m1s"
max_connection_age = "1h"`, want: map[string]string{
			"host": `"smtp.example.com"  # FILE`, "port": `2525  # FILE`, "tls": `"none"  # FILE`,
			"auth": `["cram-md5"]  # FILE`, "concurrency": `9  # FILE`, "rate": `""  # FILE`,
			"max_messages_per_connection": `0  # FILE`, "max_recipients": `1  # FILE`,
			"null_sender": `"accepted"  # FILE`, "idle_timeout": `"1m1s"  # FILE`,
			"max_connection_age": `"1h"  # FILE`,
		}},
		{name: "the mode decides the port", toml: "preset = 'smtp2go'\ntls = 'implicit'",
			want: map[string]string{"port": `465  # preset smtp2go, documented by the provider`}},
		{name: "the port decides the mode", toml: "preset = 'smtp2go'\nport = 443", want: map[string]string{
			"tls": `"implicit"  # preset smtp2go, documented by the provider`, "port": `443  # FILE`,
		}},
		{name: "a port of one's own", toml: "preset = 'postmark'\nport = 465", want: map[string]string{
			"tls": `"implicit"  # default`, "port": `465  # FILE`,
		}},
		{name: "many connections", toml: "preset = 'sendgrid'", want: map[string]string{
			"concurrency":                 `20  # default`,
			"max_messages_per_connection": `5000  # preset sendgrid, documented by the provider`,
		}},
		{name: "URL", url: "smtps://a%40b.test@smtp.zoho.eu", want: map[string]string{
			"preset": `"zoho"  # by host`, "port": `465  # preset zoho, reported by others`,
			"tls": `"implicit"  # --upstream`, "max_recipients": `100  # preset zoho, reported by others`,
		}},
		{name: "a URL takes the preset of the file away", toml: "preset = 'm365'",
			url:  "smtp://127.0.0.1:2526",
			want: map[string]string{"preset": `""`, "rate": `""  # default`, "concurrency": `20  # default`}},
		{name: "a URL and a preset", env: []string{"MAILWHY_UPSTREAM=smtp://127.0.0.1:2526",
			"MAILWHY_UPSTREAM_PRESET=m365"}, want: map[string]string{
			"preset": `"m365"  # MAILWHY_UPSTREAM_PRESET`, "port": `2526  # MAILWHY_UPSTREAM`,
			"rate": `"30/m"  # preset m365, documented by the provider`,
		}},
		{name: "region of the host", toml: "host = 'email-smtp.us-east-2.amazonaws.com'",
			want: map[string]string{"preset": `"ses"  # by host`, "region": `"us-east-2"  # by host`}},
		{name: "none", toml: "host = 'smtp.office365.com'\npreset = 'none'", want: map[string]string{
			"rate": `""  # default`, "concurrency": `20  # default`, "null_sender": `"accepted"  # default`,
		}},
		{name: "unknown provider", toml: "host = 'smtp.example.com'", want: map[string]string{
			"preset": `""`, "concurrency": "4" + safe, "max_recipients": "50" + safe,
			"max_messages_per_connection": "100" + safe, "idle_timeout": `"5s"` + safe,
			"null_sender": `"refused"` + safe, "max_connection_age": `"10m"  # default`,
		}},
		{name: "unknown provider, own values", toml: "host = '203.0.113.5'\nconcurrency = 40",
			want: map[string]string{"concurrency": "40  # FILE", "idle_timeout": `"5s"` + safe}},
		{name: "own network", toml: "host = 'postfix'", want: map[string]string{
			"concurrency": `20  # default`, "null_sender": `"accepted"  # default`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := writeFile(t, "relay.toml",
				"hostname = 'relay.example.com'\n[upstream.default]\n"+tt.toml)
			src := Source{File: file, Env: tt.env}
			if tt.url != "" {
				password := writeFile(t, "password", "x")
				src.Flags = up(tt.url)
				if strings.Contains(tt.url, "@") {
					src.Flags = append(src.Flags,
						Flag{"--password-file", "upstream.default.password_file", password})
				}
			}
			got := inForce(t, mustLoad(t, src))
			for key, want := range tt.want {
				if want = strings.ReplaceAll(want, "FILE", file); got[key] != want {
					t.Errorf("%s = %s, want %s", key, got[key], want)
				}
			}
		})
	}
}

// TestOwnNetwork: which hosts are one's own servers, which keep the defaults.
func TestOwnNetwork(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "postfix": true, "127.0.0.1": true, "::1": true, "10.1.2.3": true, "fd00::1": true,
		"::ffff:192.168.1.1": true, "mail.corp.internal": true, "nas.local": true, "Relay.Home.Arpa.": true,
		"smtp.example.com": false, "8.8.8.8": false, "2001:db8::1": false, "local.example.com": false,
	} {
		if got := ownNetwork(host); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
}

// TestPresetKeys: presetKeys are keys, and just those that some preset or the safe values set.
func TestPresetKeys(t *testing.T) {
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range set.All {
		l := layer{"upstream.x.preset": {p.Name, ""}, "upstream.x.region": {"eu-west-1", ""}}
		sources, ms := l.applyPresets()
		if len(ms) > 0 {
			t.Errorf("%s: %v", p.Name, ms)
		}
		for path := range sources {
			found[strings.TrimPrefix(path, "upstream.x.")] = true
		}
	}
	delete(found, "host")
	got, want := sortedKeys(reflect.ValueOf(found)), slices.Sorted(slices.Values(presetKeys()))
	if !slices.Equal(got, want) {
		t.Errorf("presets set %q, presetKeys are %q", got, want)
	}
	for _, name := range presetKeys() {
		if !slices.Contains(knownPaths([]string{"x"}), "upstream.x."+name) {
			t.Errorf("%s is not a key", name)
		}
	}
}

// TestEveryPresetLoads: a configuration with nothing but a preset and credentials is complete.
func TestEveryPresetLoads(t *testing.T) {
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range set.All {
		c := mustLoad(t, Source{Env: []string{"MAILWHY_HOSTNAME=relay.example.com",
			"MAILWHY_UPSTREAM_PRESET=" + p.Name, "MAILWHY_UPSTREAM_REGION=eu-west-1",
			"MAILWHY_UPSTREAM_USERNAME=u", "MAILWHY_UPSTREAM_PASSWORD=p"}})
		u := c.Upstream["default"]
		if set.ByHost(u.Host) != p || u.TLS == "opportunistic" || u.TLS == "none" {
			t.Errorf("%s: %s, %s", p.Name, u.Host, u.TLS)
		}
	}
}

// TestProviderWarnings: credentials that the provider does not hand out, and bounces that it refuses.
func TestProviderWarnings(t *testing.T) {
	const rawKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	const ses = "preset = 'ses'\nregion = 'eu-west-1'\nusername = 'AKIAIOSFODNN7EXAMPLE'\n"
	const fallback = "\n[dsn]\nfallback_sender = 'bounces@example.com'"
	for _, tt := range []struct{ toml, want string }{
		{ses + "password = '" + rawKey + "'" + fallback, `.password: This is a raw AWS secret access key`},
		{ses + "password = '" + rawKey + "'\npassword_kind = 'aws_secret'" + fallback, ""},
		{ses + "password = 'BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2'" + fallback, ""},
		{ses + "password = 'BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2'", "refuses the null sender"},
		{ses + "password = 'BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2'\n[dsn]\nroute = 'off'", ""},
		{"preset = 'ses'\nregion = 'eu-west-1'\nusername = 'ASIAIOSFODNN7EXAMPLE'\npassword = '" + rawKey +
			"'\npassword_kind = 'aws_secret'" + fallback, ".username: A temporary access key"},
		{"preset = 'sendgrid'\nusername = 'me'\npassword = 'SG.a.b'",
			".username: The username does not look"},
		{"host = 'smtp.example.com'\nusername = 'me'\npassword = '" + rawKey + "'", ""},
		{"host = 'smtp.example.com'\nnull_sender = 'refused'", "refuses the null sender"},
	} {
		c := mustLoad(t, Source{File: writeFile(t, "relay.toml", "[upstream.default]\n"+tt.toml)})
		all := strings.Join(c.Warnings, "\n")
		if (tt.want == "") != (all == "") || !strings.Contains(all, tt.want) {
			t.Errorf("%s:\nwarnings %q, want %q", tt.toml, c.Warnings, tt.want)
		}
		if strings.Contains(all, rawKey) {
			t.Errorf("a warning shows the key: %q", c.Warnings)
		}
	}
}

// TestPresetWithOAuth: with OAuth the preset's mechanisms are those for a token.
func TestPresetWithOAuth(t *testing.T) {
	c := mustLoad(t, Source{Flags: []Flag{
		{"--p", "upstream.default.preset", "m365"}, {"--u", "upstream.default.username", "box@example.com"},
		{"--i", "upstream.default.oauth_client_id", "id"},
		{"--t", "upstream.default.oauth_tenant", "example.com"},
		{"--s", "upstream.default.oauth_client_secret", "hunter2"},
		{"--o", "upstream.default.oauth_provider", "m365"},
	}})
	if got := c.Upstream["default"].Auth; !slices.Contains(got, "xoauth2") || slices.Contains(got, "login") {
		t.Errorf("auth is %q", got)
	}
}

// TestAccount: which upstreams are one account.
func TestAccount(t *testing.T) {
	base := Upstream{Host: "mail.example.com", Port: 587, TLS: "starttls", Username: "u",
		Password: value.NewSecret("p")}
	nobody := Upstream{Host: "mail.example.com", Port: 25, TLS: "none"}
	mailbox := Upstream{Host: "mail.example.com", Port: 587, TLS: "starttls", Username: "u@a.test",
		OAuthGrant: grantClient, OAuthClientID: "1"}
	for _, tt := range []struct {
		name   string
		of     Upstream
		change func(*Upstream)
		same   bool
	}{
		{"domains", base, func(u *Upstream) { u.Domains = []string{"a.test"} }, true},
		{"capitals of the host", base, func(u *Upstream) { u.Host = "MAIL.example.com" }, true},
		{"another host", base, func(u *Upstream) { u.Host = "mail.example.org" }, false},
		{"another port", base, func(u *Upstream) { u.Port = 465 }, false},
		{"another TLS mode", base, func(u *Upstream) { u.TLS = "implicit" }, false},
		{"another user", base, func(u *Upstream) { u.Username = "v" }, false},
		{"another key of the same user", base,
			func(u *Upstream) { u.Password = value.NewSecret("q") }, false},
		{"another source", base, func(u *Upstream) { u.LocalAddr = []string{"192.0.2.1"} }, true},
		{"another source without a user", nobody, func(u *Upstream) { u.LocalAddr = []string{"192.0.2.1"} },
			false},
		{"nobody", nobody, func(u *Upstream) { u.Weight = 10 }, true},
		{"another application of a mailbox", mailbox, func(u *Upstream) { u.OAuthClientID = "2" }, true},
		{"another mailbox", mailbox, func(u *Upstream) { u.Username = "v@a.test" }, false},
	} {
		changed := tt.of
		tt.change(&changed)
		if same := tt.of.Account() == changed.Account(); same != tt.same {
			t.Errorf("%s: the same account: %v", tt.name, same)
		}
		if s := fmt.Sprintf("%+v", changed.Account()); strings.Contains(s, "[112") {
			t.Errorf("%s: the password can be seen: %s", tt.name, s)
		}
	}
}

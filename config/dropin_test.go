package config

import (
	"slices"
	"strings"
	"testing"
)

// boky is an environment as it is written for boky/postfix.
func boky(more ...string) []string {
	return append([]string{"RELAYHOST=[smtp.shop.example]:587", "RELAYHOST_USERNAME=app",
		"RELAYHOST_PASSWORD=hush", "ALLOWED_SENDER_DOMAINS=shop.example",
		"POSTFIX_myhostname=mail.shop.example", "SMTPD_SASL_USERS=app:hush",
		"MASQUERADED_DOMAINS=shop.example", "POSTFIX_biff=no"}, more...)
}

// TestDropIn: the variables of boky/postfix make a whole configuration, which check shows with its origins
// and without a secret.
func TestDropIn(t *testing.T) {
	c := mustLoad(t, Source{Env: boky()})
	u := c.Upstream["default"]
	if u.Host != "smtp.shop.example" || u.Port != 587 || u.TLS != "starttls" || u.Username != "app" ||
		u.Password.Reveal() != "hush" || u.AllowPlaintextAuth || u.Hello != "mail.shop.example" {
		t.Errorf("upstream %+v", u)
	}
	if len(c.Listen) != 1 || c.Listen[0].Address != ":587" || len(c.Client) != 1 ||
		c.Client[0].Auth != "clear" ||
		!slices.Equal(c.Client[0].Senders, []string{"@shop.example", "@.shop.example"}) {
		t.Errorf("listen %+v, client %+v", c.Listen, c.Client)
	}
	if len(c.Rewrite) != 1 || !slices.Equal(c.Rewrite[0].Masquerade, []string{"shop.example"}) {
		t.Errorf("rewrite %+v", c.Rewrite)
	}
	if err := c.CheckUsers(); err != nil || !strings.HasPrefix(c.Access.Users.Reveal(), "app:$2a$") {
		t.Errorf("users: %v", err)
	}
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.DropIn {
		b.WriteString(n.String() + "\n")
	}
	for _, want := range []string{`host = "smtp.shop.example"  # RELAYHOST`,
		"POSTFIX_biff has no counterpart",
		`hostname = "mail.shop.example"  # POSTFIX_myhostname`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "hush") || strings.Contains(b.String(), "$2a$") {
		t.Errorf("a secret is shown:\n%s", b.String())
	}
}

// TestDropInGivesWay: our own settings go before the variables, and an upstream of ours replaces them all.
func TestDropInGivesWay(t *testing.T) {
	c := mustLoad(t, Source{Env: boky("MAILWHY_LISTEN=127.0.0.1:2525", "MAILWHY_UPSTREAM_CONCURRENCY=3",
		"MAILWHY_UPSTREAM_PASSWORD=other")})
	if u := c.Upstream["default"]; c.Listen[0].Address != "127.0.0.1:2525" || u.Host != "smtp.shop.example" ||
		u.Concurrency != 3 || u.Password.Reveal() != "other" {
		t.Errorf("listen %+v, upstream %+v", c.Listen, u)
	}
	for _, want := range []string{"port 587 is overridden by listen of MAILWHY_LISTEN",
		"RELAYHOST_PASSWORD is overridden by upstream.default.password of MAILWHY_UPSTREAM_PASSWORD"} {
		if !noted(c, want) {
			t.Errorf("%q is not in %v", want, c.DropIn)
		}
	}
	ours := Source{Env: boky("MAILWHY_UPSTREAM=smtp://mx.ours.example:25?tls=none")}
	c = mustLoad(t, ours)
	if c.Upstream["default"].Host != "mx.ours.example" || len(c.DropIn) != 1 || c.Access.hasUsers() ||
		!noted(c, "RELAYHOST has no counterpart because an upstream is configured; MAILWHY_POSTFIX_") {
		t.Errorf("upstream %+v, notes %v", c.Upstream["default"], c.DropIn)
	}
	ours.Env = append(ours.Env, "MAILWHY_POSTFIX_VARIABLES=on")
	c = mustLoad(t, ours)
	if c.Upstream["default"].Host != "mx.ours.example" || !c.Access.hasUsers() ||
		!noted(c, "RELAYHOST is overridden by upstream.default.host of MAILWHY_UPSTREAM") ||
		!noted(c, "RELAYHOST_PASSWORD is overridden by ") {
		t.Errorf("switched on: upstream %+v, notes %v", c.Upstream["default"], c.DropIn)
	}
}

// noted reports whether a note begins with text.
func noted(c *Config, text string) bool {
	for _, n := range c.DropIn {
		if strings.HasPrefix(n.String(), text) {
			return true
		}
	}
	return false
}

// TestDropInMistakes: what cannot be understood stops the start, with the variable's name and never its
// secret.
func TestDropInMistakes(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{"ALLOWED_SENDER_DOMAINS=shop.example"}, "RELAYHOST: is not set: boky/postfix then"},
		{boky("MAILWHY_POSTFIX_VARIABLES=off"), "upstream: there is no upstream to relay to"},
		{boky("MAILWHY_POSTFIX_VARIABLES=yes"), `MAILWHY_POSTFIX_VARIABLES: is "yes"; write auto, on or off`},
		{boky("RELAYHOST=a b"), "RELAYHOST: names several hosts"},
		{boky("POSTFIX_mynetworks=0.0.0.0/0"), "client[0].networks[0]: 0.0.0.0/0 would make :587 an open"},
		{boky("MESSAGE_SIZE_LIMIT=x"), `POSTFIX_message_size_limit: smtpd.max_message_size: "x" is not`},
		{boky("RELAYHOST_PASSWORD_FILE=/gone"), "upstream.default.password: is set, and upstream.default." +
			"password_file too"},
	} {
		_, err := Load(Source{Env: tt.env})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v, want %s", tt.env, err, tt.want)
		}
	}
	if c := mustLoad(t, Source{Env: []string{"TZ=UTC"}, Flags: up("smtp://a.example")}); len(c.DropIn) != 0 {
		t.Errorf("an environment that is not for boky/postfix: %v", c.DropIn)
	}
}

// TestDropInTogether: what many variables become is a configuration without a mistake, also with OAuth.
func TestDropInTogether(t *testing.T) {
	c := mustLoad(t, Source{Env: boky("POSTFIX_maximal_queue_lifetime=2d", "POSTFIX_delay_warning_time=4",
		"POSTFIX_smtp_helo_name=a.example", "POSTFIX_default_destination_rate_delay=2s",
		"POSTFIX_inet_protocols=ipv4", "POSTFIX_always_bcc=archive@shop.example",
		"POSTFIX_smtp_sasl_mechanism_filter=login, plain, ntlm", "POSTFIX_smtpd_recipient_limit=500",
		"POSTFIX_smtpd_tls_security_level=none", "POSTFIX_smtp_bind_address=192.0.2.1",
		"POSTFIX_myorigin=shop.example", "POSTFIX_smtp_connect_timeout=20s", "POSTFIX_smtpd_timeout=300s",
		"POSTFIX_hopcount_limit=50", "POSTFIX_smtpd_client_connection_count_limit=50",
		"POSTFIX_smtp_destination_recipient_limit=50", "MESSAGE_SIZE_LIMIT=0", "SMTP_HEADER_CHECKS=1",
		"LOG_FORMAT=plain", "ANONYMIZE_EMAILS=hash?salt=x", "POSTFIX_mynetworks=10.0.0.0/8, [::1]/128")})
	if u := c.Upstream["default"]; u.IPv6 || u.MaxRecipients != 50 || u.Rate.String() != "1800/h" ||
		!slices.Equal(u.Auth, []string{"login", "plain"}) || c.Log.Addresses != "hash" ||
		len(c.Rewrite) != 2 || len(c.Archive) != 1 || c.Content.DefaultDomain != "shop.example" {
		t.Errorf("upstream %+v, rewrite %+v, archive %+v", u, c.Rewrite, c.Archive)
	}
	c = mustLoad(t, Source{Env: []string{"RELAYHOST=[smtp.gmail.com]:587", "RELAYHOST_USERNAME=box@gmail.com",
		"XOAUTH2_CLIENT_ID=id", "XOAUTH2_SECRET=hush", "XOAUTH2_INITIAL_REFRESH_TOKEN=hush",
		"MAILWHY_SPOOL_DIR=/spool"}})
	if u := c.Upstream["default"]; u.OAuthTokenURL != "https://oauth2.googleapis.com/token" ||
		u.OAuthTokenFile != "/spool/oauth-default.json" || u.OAuthRefreshToken.Reveal() != "hush" {
		t.Errorf("by OAuth: %+v", u)
	}
}

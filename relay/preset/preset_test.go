package preset

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T) *Set {
	t.Helper()
	s, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// one is the preset of that name.
func one(t *testing.T, name string) *Preset {
	t.Helper()
	p := load(t).ByName(name)
	if p == nil {
		t.Fatalf("there is no preset %s", name)
	}
	return p
}

func TestEveryRowIsSane(t *testing.T) {
	s := load(t)
	if len(s.All) != 24 {
		t.Errorf("%d presets, want 24: %q", len(s.All), s.Names())
	}
	for _, p := range s.All {
		if p.Idle.Value < 0 || time.Duration(p.Idle.Value) > 5*time.Minute {
			t.Errorf("%s: idle %s", p.Name, p.Idle.Value)
		}
		if p.Ports.Value[0].Number == 25 {
			t.Errorf("%s: port 25, which many networks block, comes first", p.Name)
		}
		for _, n := range []Value[int]{p.Connections, p.Recipients, p.Messages} {
			if n.Value < 1 || !n.Known() || n.Date == "" {
				t.Errorf("%s: a limit is missing: %+v", p.Name, n)
			}
		}
		takesPassword := func(m string) bool { return m == "PLAIN" || m == "LOGIN" }
		if p.Auth.Known() && !slices.ContainsFunc(p.Auth.Value, takesPassword) {
			t.Errorf("%s takes no password: %q", p.Name, p.Auth.Value)
		}
		for _, text := range sentences(p) {
			if !regexp.MustCompile(`^[A-Z0-9].*\.$`).MatchString(text) || strings.Contains(text, "  ") {
				t.Errorf("%s: not a sentence: %q", p.Name, text)
			}
		}
	}
}

// sentences are what a row says to people.
func sentences(p *Preset) (all []string) {
	if p.Note != "" {
		all = append(all, p.Note)
	}
	for _, m := range slices.Concat(p.User.Mistakes, p.Password.Mistakes) {
		all = append(all, m.Says)
	}
	return all
}

func TestValuesOfTheReference(t *testing.T) {
	ses, m365 := one(t, "ses"), one(t, "m365")
	if ses.Idle.Value.String() != "5s" || ses.Recipients.Value != 50 || ses.Size.Value != 40<<20 ||
		ses.TakesNullSender() || ses.Idle.Source != Reported || ses.Idle.Ref != "jstedfast/MailKit#1581" {
		t.Errorf("ses: %+v", ses)
	}
	if m365.Connections.Value != 3 || m365.Rate.Value != (Rate{30, Duration(time.Minute)}) ||
		m365.Age.Value.String() != "15m" || m365.Rate.Date != "2026-11-28" ||
		m365.Auth.Date != "2025-11-30" || m365.Size.Date != "2026-11-28" {
		t.Errorf("m365: %+v", m365)
	}
	if !one(t, "gmail").TakesNullSender() || one(t, "sendgrid").TakesNullSender() {
		t.Error("only a null sender that is known to be accepted counts")
	}
	if !one(t, "gmail-relay").Hello.Value || one(t, "gmail").Hello.Value {
		t.Error("gmail-relay demands a host name in EHLO, gmail does not")
	}
	if got := one(t, "ses").PortsFor(Implicit); !slices.Equal(got, []int{465, 2465}) {
		t.Errorf("ports %d", got)
	}
	if got := one(t, "postmark").PortsFor(Implicit); got != nil {
		t.Errorf("postmark has no implicit TLS: %d", got)
	}
}

func TestSafeRow(t *testing.T) {
	s := load(t)
	if s.Safe.Connections.Value != 4 || s.Safe.Recipients.Value != 50 || s.Safe.Messages.Value != 100 ||
		s.Safe.Idle.Value.String() != "5s" {
		t.Errorf("%+v", s.Safe)
	}
	ovh := s.ByName("ovh")
	if ovh.Recipients.Value != 50 || ovh.Recipients.Source != SafeRow || ovh.Idle.Source != SafeRow ||
		ovh.Size.Source != Reported {
		t.Errorf("ovh: %+v", ovh.Limits)
	}
}

func TestHosts(t *testing.T) {
	s := load(t)
	for host, want := range map[string]string{
		"smtp.office365.com":                           "m365",
		"SMTP.Office365.com.":                          "m365",
		"email-smtp.eu-central-1.amazonaws.com":        "ses",
		"email-smtp.eu-central-1.amazonaws.com.a.test": "",
		"email-smtp.a.b.amazonaws.com":                 "",
		"email-smtp..amazonaws.com":                    "",
		"xsmtp.office365.com":                          "",
		"smtp-relay.gmail.com":                         "gmail-relay",
		"smtp.gmail.com":                               "gmail",
		"mail-eu2.smtp2go.com":                         "smtp2go",
		"mail.example.com":                             "",
		"":                                             "",
	} {
		got := ""
		if p := s.ByHost(host); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("%q is of %q, want %q", host, got, want)
		}
	}
	for _, p := range s.All {
		host, err := p.Host(map[string]string{"region": "eu-west-1"})
		if err != nil || s.ByHost(host) != p {
			t.Errorf("%s: host %q, %v", p.Name, host, err)
		}
	}
	for host, want := range map[string]string{
		"email-smtp.eu-central-1.amazonaws.com":    "eu-central-1",
		"Email-SMTP-FIPS.us-west-2.amazonaws.com.": "us-west-2",
		"email-smtp.amazonaws.com":                 "",
		"smtp.example.com":                         "",
	} {
		if got := one(t, "ses").Parts(host)["region"]; got != want {
			t.Errorf("%s: region %q, want %q", host, got, want)
		}
	}
	_, err := one(t, "ses").Host(nil)
	if err == nil || !strings.Contains(err.Error(), "a region is required") {
		t.Errorf("without a region: %v", err)
	}
	if s.ByName("none") != nil {
		t.Error("a preset that does not exist was found")
	}
}

// TestCredentials: what is right passes, and each mistake is named without its value.
func TestCredentials(t *testing.T) {
	const uuid = "01234567-89ab-cdef-0123-456789abcdef"
	for _, tt := range []struct{ preset, user, password, want string }{
		{"ses", "AKIAIOSFODNN7EXAMPLE", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2", ""},
		{"ses", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "raw AWS secret"},
		{"ses", "ASIAIOSFODNN7EXAMPLE", "", "temporary access key"},
		{"ses", "me@example.com", "", "it is the access key id of an IAM user"},
		{"ses", "AKIAIOSFODNN7EXAMPLE", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2\n", "line break"},
		{"m365", "me@example.com", "any", ""},
		{"m365", uuid, "any", "address of the mailbox"},
		{"gmail", "me@gmail.com", "abcd efgh ijkl mnop", ""},
		{"gmail", "me@gmail.com", "Tr0ub4dor&3", "an app password of 16 letters"},
		{"sendgrid", "apikey", "SG.abc_DEF-1.ghi", ""},
		{"sendgrid", "SG.abc.def", "", "the user is the word apikey"},
		{"sendgrid", "me@example.com", "", "it is the word apikey"},
		{"mailgun", "postmaster@example.com", "key-0123456789abcdef", "API key"},
		{"postmark", uuid, uuid, ""},
		{"postmark", "me@example.com", uuid, "server API token"},
		{"sparkpost", "SMTP_Injection", strings.Repeat("a1", 20), ""},
		{"sparkpost", "apikey", "", "SMTP_Injection"},
		{"mailjet", "me@example.com", "", "API key"},
		{"brevo", "me@example.com", "xsmtpsib-0123-abc", ""},
		{"brevo", "me@example.com", "xkeysib-0123-abc", "API key (xkeysib-)"},
		{"smtp2go", "me", "api-" + strings.Repeat("A", 32), "API key"},
		{"resend", "resend", "re_123", ""},
		{"resend", "me@example.com", "re_123", "the word resend"},
		{"mailersend", "MS_x@example.com", "mlsn.0123", "API token"},
		{"scaleway", "SCW0123456789ABCDEFG", uuid, "access key"},
		{"azure", "res|" + uuid + "|" + uuid, "value~of.secret", ""},
		{"azure", "sender", uuid, "id of a client secret"},
		{"qq", "12345@qq.com", "abcdefghijklmnop", ""},
		{"163", "me@163.com", "password", "authorization code"},
		{"elastic", "any", "any", ""},
	} {
		found := one(t, tt.preset).CheckCredentials(tt.user, tt.password)
		text := ""
		for _, f := range found {
			text += f.Key + ": " + f.Text + "\n"
		}
		if (tt.want == "") != (text == "") || !strings.Contains(text, tt.want) {
			t.Errorf("%s, %q, %q: found %q, want %q", tt.preset, tt.user, tt.password, text, tt.want)
		}
		if len(tt.password) > 12 && strings.Contains(text, tt.password) {
			t.Errorf("%s: the password is in %q", tt.preset, text)
		}
	}
}

// TestStrict: what cannot be right is refused, with the row and the key.
func TestStrict(t *testing.T) {
	good := `date = "2026-01-02"
[safe]
connections = { value = 4 }
recipients = { value = 50 }
messages = { value = 100 }
idle = { value = "5s" }
[[preset]]
name = "a"
title = "A"
hosts = { value = ["smtp.a.test"], source = "D" }
ports = { value = ["587/starttls"], source = "D" }
auth = { value = ["PLAIN"], source = "D" }
`
	if _, err := parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`title = "A"`, `title = "A"` + "\ncolour = 1", `colour`},
		{`title = "A"`, ``, "a title"},
		{`name = "a"`, `name = "A b"`, "a preset needs a name"},
		{`"smtp.a.test"`, `"smtp"`, "not a valid host name"},
		{`["smtp.a.test"]`, `[]`, "hosts is required"},
		{`"587/starttls"`, `"587"`, "not a valid port"},
		{`"587/starttls"`, `"0/implicit"`, "not a valid port"},
		{`"587/starttls"`, `"587/starttls", "587/implicit"`, "port 587 is listed twice"},
		{`"PLAIN"`, `"plain"`, "not a valid mechanism"},
		{`["PLAIN"], source = "D"`, `["PLAIN"]`, "auth: not a valid source"},
		{`["PLAIN"], source = "D"`, `["PLAIN"], source = "S"`, "auth: not a valid source"},
		{`["PLAIN"], source = "D"`, `["PLAIN"], source = "D", date = "soon"`, "auth: not a valid date"},
		{"\nauth", "\nrate = { source = \"D\" }\nauth", "rate has a source, but no value"},
		{"\nauth", "\nrate = { value = \"30\", source = \"D\" }\nauth", "not a valid rate"},
		{"\nauth", "\nnull_sender = { value = \"maybe\", source = \"D\" }\nauth", "null_sender is accepted"},
		{"\nauth", "\nrecipients = { value = -1, source = \"D\" }\nauth", "recipients is less than 1"},
		{"\nauth", "\nage = { value = \"1s\", source = \"D\" }\nauth", "age is not more than idle"},
		{"\nauth", "\nuser = { says = \"x\", source = \"D\", pattern = \"(\" }\nauth", "missing closing )"},
		{"messages = { value = 100 }", "", "the safe row needs"},
	} {
		_, err := parse([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.new, err, tt.want)
		}
	}
	twice := good + good[strings.Index(good, "[[preset]]"):]
	if _, err := parse([]byte(twice)); err == nil || !strings.Contains(err.Error(), `"smtp.a.test" is in`) {
		t.Errorf("a host in two rows: %v", err)
	}
}

func TestReferencesArePublicThreads(t *testing.T) {
	thread := regexp.MustCompile(`^[\w.-]+/[\w.-]+#\d+$`)
	for _, line := range strings.Split(presets, "\n") {
		if _, ref, ok := strings.Cut(line, `ref = "`); ok {
			if ref, _, _ = strings.Cut(ref, `"`); !thread.MatchString(ref) {
				t.Errorf("not a thread: %q", ref)
			}
		}
	}
}

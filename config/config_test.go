package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config/value"
)

// up is the flag that names an upstream, which every configuration needs.
func up(url string) []Flag { return []Flag{{"--upstream", "upstream", url}} }

// mustLoad loads src and fails the test on any mistake.
func mustLoad(t *testing.T, src Source) *Config {
	t.Helper()
	c, err := Load(src)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// writeFile stores text in a file of the test's own.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// values prints a configuration without saying where the values came from.
func values(t *testing.T, c *Config) string {
	t.Helper()
	var b strings.Builder
	plain := *c
	plain.origins = nil
	if err := plain.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDefaultSurvivesLoad: a configuration that says nothing is Default, completed.
func TestDefaultSurvivesLoad(t *testing.T) {
	got := mustLoad(t, Source{Local: true})
	got.origins, got.presets = nil, nil
	want := Default()
	want.complete(nil, nil)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Load of nothing:\n got %+v\nwant %+v", got, want)
	}
}

// TestExample: the example file loads, shows the defaults, and shows every key there is.
func TestExample(t *testing.T) {
	const file = "../relay.example.toml"
	got := values(t, mustLoad(t, Source{File: file}))
	want := values(t, mustLoad(t, Source{Flags: up("smtp://smtp.example.com")}))
	if got != want {
		t.Errorf("the example is not the default:\n got %s\nwant %s", got, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	section, shown := "", map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if m := regexp.MustCompile(`^(?:# )?\[+([a-z_.]+)\]+\s*$`).FindStringSubmatch(line); m != nil {
			section = m[1] + "."
		}
		if m := regexp.MustCompile(`^(?:# )?([a-z0-9_]+) = `).FindStringSubmatch(line); m != nil {
			shown[section+m[1]] = true
		}
	}
	for _, path := range knownPaths([]string{"default"}) {
		plain := strings.ReplaceAll(path, "[0]", "")
		leaf := plain != "access" &&
			!slices.ContainsFunc(knownPaths([]string{"default"}), func(p string) bool {
				return strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[")
			})
		if leaf && !shown[plain] {
			t.Errorf("the example does not show %s", plain)
		}
		delete(shown, plain)
	}
	for path := range shown {
		t.Errorf("the example shows %s, which is not a key", path)
	}
}

// TestMistakes: each testdata/bad-*.toml gives just the mistakes that its "# want:" lines name;
// a line that is indented further goes on with the one before.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/bad-*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if w, ok := strings.CutPrefix(line, "# want: "); ok {
					want = append(want, strings.TrimSpace(w))
				} else if more, ok := strings.CutPrefix(line, "#       "); ok && len(want) > 0 {
					want[len(want)-1] += " " + strings.TrimSpace(more)
				}
			}
			_, err = Load(Source{File: file})
			if err == nil {
				t.Fatal("it was accepted")
			}
			here, absErr := filepath.Abs(".") // relative paths are relative to the file, and become absolute
			if absErr != nil {
				t.Fatal(absErr)
			}
			short := strings.NewReplacer(file+": ", "", here+"/", "")
			message := short.Replace(err.Error())
			got := strings.Split(message, "\n")
			if !slices.Equal(got, want) {
				t.Errorf("mistakes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the password is in the message")
			}
		})
	}
}

// TestPathsAreRelativeToTheFile: wherever the relay is started, a path in a file is the same one; those of
// flags and variables are relative to the working directory, as in a shell.
func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "relay.toml")
	text := "[spool]\ndir = \"spool\"\n[delivery_log]\nfile = \"-\"\n[dsn]\nmaildir = \"../mail\"\n" +
		"[upstream.default]\nhost = \"smtp.example.com\"\nusername = \"me\"\n" +
		"password_file = \"password\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, Source{File: file})
	if c.Spool.Dir != filepath.Join(dir, "spool") || c.DeliveryLog.File != "-" ||
		c.DSN.Maildir != filepath.Join(filepath.Dir(dir), "mail") {
		t.Errorf("spool %s, log %s, maildir %s", c.Spool.Dir, c.DeliveryLog.File, c.DSN.Maildir)
	}
	c = mustLoad(t, Source{File: file, Flags: []Flag{{"--spool", "spool.dir", "other"}}})
	if c.Spool.Dir != "other" {
		t.Errorf("the flag's directory is %s", c.Spool.Dir)
	}
}

// TestTags: every min and max tag can be read as a value of its field.
func TestTags(t *testing.T) {
	for _, k := range keys(withUpstreams([]string{"default"})) {
		for _, name := range []string{"min", "max"} {
			if text, ok := k.tag.Lookup(name); ok {
				bound(text, k.value.Type())
			}
		}
	}
}

func TestUpstreamURL(t *testing.T) {
	password := func(u Upstream) Upstream { u.Password = value.NewSecret("p@ss"); return u }
	for _, tc := range []struct {
		url  string
		want Upstream
	}{
		{"smtp://mail.example.com", Upstream{Host: "mail.example.com", Port: 25, TLS: "opportunistic"}},
		{"smtp://mail.example.com:2526?tls=none",
			Upstream{Host: "mail.example.com", Port: 2526, TLS: "none"}},
		{"smtp://u:p%40ss@mail.example.com",
			password(Upstream{Host: "mail.example.com", Port: 587, TLS: "starttls", Username: "u"})},
		{"smtp://u%40example.com:p%40ss@mail.example.com:465",
			password(Upstream{Host: "mail.example.com", Port: 465, TLS: "implicit",
				Username: "u@example.com"})},
		{"smtps://u:p%40ss@mail.example.com",
			password(Upstream{Host: "mail.example.com", Port: 465, TLS: "implicit", Username: "u"})},
		{"smtp://u:p%40ss@[2001:db8::1]:587?tls=starttls",
			password(Upstream{Host: "2001:db8::1", Port: 587, TLS: "starttls", Username: "u"})},
	} {
		got := mustLoad(t, Source{Flags: up(tc.url)}).Upstream["default"]
		if got.Host != tc.want.Host || got.Port != tc.want.Port || got.TLS != tc.want.TLS ||
			got.Username != tc.want.Username || got.Password.Reveal() != tc.want.Password.Reveal() {
			t.Errorf("%s: got %s:%d tls=%s user=%s", tc.url, got.Host, got.Port, got.TLS, got.Username)
		}
	}
}

func TestUpstreamURLMistakes(t *testing.T) {
	for url, want := range map[string]string{
		"mail.example.com:587":                       "is not an upstream URL",
		"http://mail.example.com":                    "does not begin with smtp:// or smtps://",
		"smtp://u:hunter2#x@mail.example.com":        "is not an upstream URL",
		"smtp://mail.example.com:99999":              `names port "99999"`,
		"smtp://mail.example.com?tls=yes":            `has tls="yes"`,
		"smtp://mail.example.com?timeout=3":          `has the parameter "timeout"`,
		"smtp://mail.example.com/x":                  "has something other than ?tls= after the host",
		"smtps://mail.example.com?tls=none":          `is smtps:// with tls="none"`,
		"smtp://u:hunter2@mail.example.com?tls=none": `is "none", so the password could be sent in the clear`,
		"smtp://u@mail.example.com":                  "is not set, but username is",
		"smtp://127.0.0.1:2525":                      "is this relay itself",
	} {
		_, err := Load(Source{Flags: up(url)})
		if err == nil || !strings.HasPrefix(err.Error(), "--upstream: upstream.default.") &&
			!strings.HasPrefix(err.Error(), "upstream.default.") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: one line without the password is wanted, got %v", url, err)
		}
	}
}

// TestPrecedence: flags go before the environment, the environment before the file, and a URL before the
// parts of one that a lower layer gave.
func TestPrecedence(t *testing.T) {
	file := writeFile(t, "relay.toml", `
hostname = "file.example.com"
[spool]
dir = "/file"
[retry]
schedule = "1m"
[upstream.default]
host = "file.example.net"
port = 2600
tls = "starttls"
username = "file"
password = "file"
`)
	secret := writeFile(t, "secret", "from-file\n")
	c := mustLoad(t, Source{
		File: file,
		Env: []string{"MAILWHY_SPOOL_DIR=/env", "MAILWHY_RETRY_SCHEDULE=2m",
			"MAILWHY_UPSTREAM=smtp://env@env.example.net", "MAILWHY_DSN_OPERATOR="},
		Flags: []Flag{
			{"--spool", "spool.dir", "/flag"},
			{"--password-file", "upstream.default.password_file", secret},
			{"--listen", "listen", "127.0.0.1:2527"},
		},
	})
	u := c.Upstream["default"]
	if c.Hostname != "file.example.com" || c.Spool.Dir != "/flag" ||
		!slices.Equal(c.Retry.Schedule, value.Schedule{2 * time.Minute}) {
		t.Errorf("hostname %q, spool %q, schedule %v", c.Hostname, c.Spool.Dir, c.Retry.Schedule)
	}
	if u.Host != "env.example.net" || u.Port != 587 || u.TLS != "starttls" || u.Username != "env" ||
		u.Password.Reveal() != "from-file" {
		t.Errorf("upstream %s:%d tls=%s user=%s password=%s", u.Host, u.Port, u.TLS, u.Username,
			u.Password.Reveal())
	}
	if len(c.Listen) != 1 || c.Listen[0].Address != "127.0.0.1:2527" {
		t.Errorf("listen %v", c.Listen)
	}
}

// TestEnvironment: every key that holds one value can be set by its variable, also for an upstream that the
// file names.
func TestEnvironment(t *testing.T) {
	file := writeFile(t, "relay.toml", "[upstream.my-ses]\nhost = \"ses.example.net\"\n")
	c := mustLoad(t, Source{File: file, Env: []string{
		"MAILWHY_UPSTREAM_MY_SES_USERNAME=u", "MAILWHY_UPSTREAM_MY_SES_PASSWORD=p",
		"MAILWHY_UPSTREAM_MY_SES_PORT=0588",
		"MAILWHY_UPSTREAM_MY_SES_RATE=300/m", "MAILWHY_UPSTREAM_MY_SES_AUTH=login, plain",
		"MAILWHY_UPSTREAM_MY_SES_ALLOW_PLAINTEXT_AUTH=true",
		"MAILWHY_SMTPD_MAX_MESSAGE_SIZE=25MB", "MAILWHY_RETRY_JITTER=0.25", "MAILWHY_LISTEN=unix:/tmp/x.sock",
		"MAILWHY_CLIENT=10.0.0.0/8,fd00::/8", "OTHER=x", "MAILWHY_CONFIG=/elsewhere", // -c goes before it
	}})
	u := c.Upstream["my-ses"]
	if u == nil || u.Username != "u" || u.Password.Reveal() != "p" || u.Port != 588 ||
		u.Rate != (value.Rate{Messages: 300, Per: time.Minute}) ||
		!slices.Equal(u.Auth, []string{"login", "plain"}) ||
		!u.AllowPlaintextAuth {
		t.Errorf("upstream %+v", u)
	}
	if c.SMTPD.MaxMessageSize != 25*value.MB || c.Retry.Jitter != 0.25 ||
		c.Listen[0].Address != "unix:/tmp/x.sock" {
		t.Errorf("size %v, jitter %v, listen %v", c.SMTPD.MaxMessageSize, c.Retry.Jitter, c.Listen)
	}
	if len(c.Client) != 1 || c.Client[0].Name != "allowed" || len(c.Client[0].Networks) != 2 {
		t.Errorf("clients %v", c.Client)
	}
}

// TestEnvironmentMistakes: what viper cannot see, a misspelt variable, is a mistake; what Kubernetes sets
// for a service of our name is not.
func TestEnvironmentMistakes(t *testing.T) {
	base := []string{"MAILWHY_UPSTREAM=smtp://mail.example.com"}
	for _, tt := range []struct{ pair, want string }{
		{"MAILWHY_SPOOL_DIRR=/x", `MAILWHY_SPOOL_DIRR: unknown setting; did you mean "MAILWHY_SPOOL_DIR"?`},
		{"MAILWHY_FROBNICATE_EVERYTHING=",
			"MAILWHY_FROBNICATE_EVERYTHING: unknown setting; relay.example.toml lists them all"},
		{"MAILWHY_SMTPD_IDLE_TIMEOUT=30",
			`MAILWHY_SMTPD_IDLE_TIMEOUT: smtpd.idle_timeout: "30" is not a duration; ` +
				`write a number with its unit, as in "30s", "5m", "4h" or "5d"`},
		{"MAILWHY_SMTPD_MAX_RECIPIENTS=x",
			`MAILWHY_SMTPD_MAX_RECIPIENTS: smtpd.max_recipients: "x" is not a whole number`},
		{"MAILWHY_UPSTREAM_PASSWORD=s3cr3", "upstream.default.username: is not set, but a password is"},
		{"MAILWHY_UPSTREAM_HOST=x",
			"MAILWHY_UPSTREAM_HOST: upstream.default.host: is also set by the URL; set it once"},
		{"MAILWHY_SERVICE_HOST=10.0.0.1", ""},
		{"MAILWHY_PORT=tcp://10.0.0.1:25", ""},
		{"MAILWHY_PORT_25_TCP_ADDR=10.0.1", ""},
		{"MAILWHY_SERVICE_PORT_SMTP=25", ""},
		{"MAILWHY_UPSTREAM_PORT=tcp://1:2", ""},
	} {
		_, err := Load(Source{Env: append(slices.Clone(base), tt.pair)})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, tt.want) || tt.want == "" && got != "" || strings.Contains(got, "\n") {
			t.Errorf("%s:\n got %s\nwant %s", tt.pair, got, tt.want)
		}
	}
}

// TestEnvNames: no two keys share a variable.
func TestEnvNames(t *testing.T) {
	if _, ms := envNames(nil); len(ms) > 0 {
		t.Error(ms)
	}
	if _, ms := envNames([]string{"allow_plaintext"}); len(ms) == 0 {
		t.Error("two keys share MAILWHY_UPSTREAM_ALLOW_PLAINTEXT_AUTH, and it is not reported")
	}
}

func TestFileFromEnvironment(t *testing.T) {
	file := writeFile(t, "relay.toml", "hostname = \"from.example.com\"\n")
	if c := mustLoad(t, Source{Local: true,
		Env: []string{"MAILWHY_CONFIG=" + file}}); c.Hostname != "from.example.com" {
		t.Errorf("hostname %q", c.Hostname)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(Source{File: "testdata/nowhere.toml"})
	if err == nil ||
		err.Error() != "testdata/nowhere.toml: cannot be read: no such file or directory; name the "+
			"configuration file with -c" {
		t.Errorf("got %v", err)
	}
}

// TestOpenRelay: networks that hold strangers are refused where strangers can come.
func TestOpenRelay(t *testing.T) {
	for _, tc := range []struct {
		listen, client string
		open           bool
	}{
		{"0.0.0.0:25", "0.0.0.0/0", true},
		{":25", "::/0", true},
		{":25", "0.0.0.0/1", true},
		{"192.0.2.1:25", "::ffff:0:0/96", true},
		{":25", "2000::/3", true},
		{":25", "10.0.0.0/8", false},
		{":25", "fd00::/8", false},
		{"127.0.0.1:2525", "0.0.0.0/0", false},
		{"[::1]:2525", "0.0.0.0/0", false},
		{"localhost:2525", "0.0.0.0/0", false},
		{"unix:/run/x.sock", "0.0.0.0/0", false},
	} {
		flags := append(up("smtp://mail.example.com:26"),
			Flag{"--listen", "listen", tc.listen}, Flag{"--client", "client", tc.client})
		_, err := Load(Source{Flags: flags})
		if open := err != nil && strings.Contains(err.Error(), "open relay"); open != tc.open || err != nil &&
			!open {
			t.Errorf("listen %s, client %s: %v", tc.listen, tc.client, err)
		}
	}
}

func TestStateDir(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		uid  int
		want string
	}{
		{nil, 0, "/var/lib/mailwhy"},
		{nil, 1000, ""},
		{[]string{"HOME=/home/x"}, 1000, "/home/x/.local/state/mailwhy"},
		{[]string{"HOME=/home/x", "XDG_STATE_HOME=/state"}, 1000, "/state/mailwhy"},
		{[]string{"HOME=/home/x", "XDG_STATE_HOME=relative"}, 1000, "/home/x/.local/state/mailwhy"},
		{[]string{"STATE_DIRECTORY=/var/lib/a:/var/lib/b"}, 0, "/var/lib/a"},
	} {
		if got := stateDir(tc.env, tc.uid); got != tc.want {
			t.Errorf("stateDir(%v, %d) = %q, want %q", tc.env, tc.uid, got, tc.want)
		}
	}
}

// TestWriteReadsBack: what Write prints is a configuration that means the same.
func TestWriteReadsBack(t *testing.T) {
	c := mustLoad(t, Source{File: "../relay.example.toml", Env: []string{"MAILWHY_UPSTREAM_RATE=7/h"}})
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `rate = "7/h"  # MAILWHY_UPSTREAM_RATE`) {
		t.Errorf("the origin of the rate is not shown:\n%s", b.String())
	}
	again := mustLoad(t, Source{File: writeFile(t, "again.toml", b.String())})
	if got, want := values(t, again), values(t, c); got != want {
		t.Errorf("read back:\n got %s\nwant %s", got, want)
	}
}

// TestHostnameWithoutDomain: it is warned of, and EHLO does not give it.
func TestHostnameWithoutDomain(t *testing.T) {
	up := Flag{Name: "--upstream", Key: "upstream", Value: "smtp://127.0.0.1:9?tls=none"}
	for name, warns := range map[string]string{
		"relay.example.com": "", "[192.0.2.1]": "", "shop": `hostname "shop" has no domain`,
	} {
		c, err := Load(Source{Flags: []Flag{up, {Name: "--hostname", Key: "hostname", Value: name}}})
		if err != nil && name[0] != '[' {
			t.Fatal(err)
		} else if err != nil {
			continue // an address is no host name
		}
		if got := c.HostnameWarning(); !strings.HasPrefix(got, warns) || (got == "") != (warns == "") {
			t.Errorf("%s: %q", name, got)
		}
		if got := c.Upstream["default"].Hello; (got == name) != (warns == "") || got != name && got != "" {
			t.Errorf("%s says EHLO %q", name, got)
		}
	}
	c := &Config{Hostname: "726897b5212e"}
	if got := c.HostnameWarning(); !strings.Contains(got, "is the id of a container") {
		t.Error(got)
	}
}

// TestListenInContainer: there the default is all addresses.
func TestListenInContainer(t *testing.T) {
	up := Flag{Name: "--upstream", Key: "upstream", Value: "smtp://127.0.0.1:9?tls=none"}
	for variable, want := range map[string]string{"container=oci": ":2525", "container=": "127.0.0.1:2525"} {
		c, err := Load(Source{Env: []string{variable}, Flags: []Flag{up}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Listen[0].Address; got != want || c.ClientsNamed() {
			t.Errorf("%s: %s, clients named %v", variable, got, c.ClientsNamed())
		}
	}
}

// TestShutdownInKubernetes: in a pod a relay has the time that Kubernetes takes and gives, unless it is told
// otherwise.
func TestShutdownInKubernetes(t *testing.T) {
	pod := "KUBERNETES_SERVICE_HOST=10.0.0.1"
	listen := func(addr string) Flag { return Flag{Name: "--listen", Key: "listen", Value: addr} }
	for _, tt := range []struct {
		name         string
		env          []string
		listen       string
		delay, drain time.Duration
	}{
		{"elsewhere", nil, "0.0.0.0:2525", 0, 0},
		{"behind a service", []string{pod}, "0.0.0.0:2525", 5 * time.Second, 15 * time.Second},
		{"a sidecar", []string{pod}, "127.0.0.1:2525", 0, 15 * time.Second},
		{"a sidecar with a socket", []string{pod}, "unix:/run/smtp", 0, 15 * time.Second},
		{"as told", []string{pod, "MAILWHY_SHUTDOWN_DELAY=0s", "MAILWHY_SHUTDOWN_DRAIN=2m"}, ":2525", 0,
			2 * time.Minute},
	} {
		up := Flag{Name: "--upstream", Key: "upstream", Value: "smtp://127.0.0.1:9?tls=none"}
		c, err := Load(Source{Env: tt.env, Flags: []Flag{up, listen(tt.listen)}})
		if err != nil {
			t.Fatal(err)
		}
		if c.ShutdownDelay != tt.delay || c.ShutdownDrain != tt.drain {
			t.Errorf("%s: %v and %v", tt.name, c.ShutdownDelay, c.ShutdownDrain)
		}
	}
}

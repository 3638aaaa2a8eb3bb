package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"mailwhy/config/value"
)

// TestSecretStaysSecret: no way of printing, marshalling or logging gives it away, also not inside other
// values.
func TestSecretStaysSecret(t *testing.T) {
	const password = "hunter2"
	type inner struct{ hidden value.Secret }
	s := value.NewSecret(password)
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&b, verb+"\n", s)
		fmt.Fprintf(&b, verb+"\n", &s)
		fmt.Fprintf(&b, verb+"\n", inner{s})
		fmt.Fprintf(&b, verb+"\n", Upstream{Password: s})
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, toml.Marshal} {
		text, err := marshal(Upstream{Password: s})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "secret", s, "upstream", Upstream{Password: s}, "hidden", inner{s})
	}
	c := mustLoad(t, Source{Flags: up("smtp://u:" + password + "@mail.example.com")})
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&b, c.Warnings)
	if hex := fmt.Sprintf("%x", password); strings.Contains(b.String(), password) ||
		strings.Contains(strings.ToLower(b.String()), hex) {
		t.Errorf("the secret is shown:\n%s", b.String())
	}
	if !strings.Contains(b.String(), "(secret)") || s.Reveal() != password || s.IsZero() {
		t.Error("a set secret does not show that it is set")
	}
	if z := value.NewSecret(""); !z.IsZero() || z.Reveal() != "" || z.String() != "" {
		t.Error("the empty secret is not unset")
	}
}

func TestSecretFile(t *testing.T) {
	for text, want := range map[string]string{"s3cret": "s3cret", "s3cret\n": "s3cret",
		"s3cret\r\n": "s3cret", "s3cret\n\n": "s3cret\n", " s3 ": " s3 "} {
		file := writeFile(t, "secret", text)
		c := mustLoad(t, Source{Flags: append(up("smtp://u@mail.example.com"),
			Flag{"--password-file", "upstream.default.password_file", file})})
		if got := c.Upstream["default"].Password.Reveal(); got != want || len(c.Warnings) != 0 {
			t.Errorf("%q: got %q, warnings %v", text, got, c.Warnings)
		}
	}
}

func TestUnreadableSecretFile(t *testing.T) {
	load := func(file string) (*Config, error) {
		return Load(Source{Env: []string{"MAILWHY_UPSTREAM=smtp://u@mail.example.com",
			"MAILWHY_UPSTREAM_PASSWORD_FILE=" + file}})
	}
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := load(missing)
	if want := "MAILWHY_UPSTREAM_PASSWORD_FILE: upstream.default.password_file: " + missing +
		" cannot be read: no such file or directory; the file must hold only the secret and be readable by " +
		"mailwhy"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := load(writeFile(t, "empty", "\n")); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty secret: %v", err)
	}
	open := writeFile(t, "open", "x")
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := load(open)
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], open+" can be read by others") {
		t.Errorf("a file that the group can read: %v, %v", c, err)
	}
}

// TestWarnsOfReadableSecrets: whatever file holds a secret, one that others may read or change is warned
// about, and one that is the owner's alone is not.
func TestWarnsOfReadableSecrets(t *testing.T) {
	relay := writeFile(t, "relay.toml",
		"[upstream.default]\nhost = \"mail.example.com\"\nusername = \"u\"\npassword = \"p\"\n")
	for name, load := range map[string]func(file string) []string{
		"access.users_file": func(file string) []string {
			return []string{"MAILWHY_UPSTREAM=smtp://mail.example.com", "MAILWHY_ACCESS_USERS_FILE=" + file}
		},
		"upstream.default.key_file": func(file string) []string {
			return []string{"MAILWHY_UPSTREAM=smtp://mail.example.com", "MAILWHY_UPSTREAM_CERT_FILE=" + file,
				"MAILWHY_UPSTREAM_KEY_FILE=" + file}
		},
		"tls.key_file": func(file string) []string {
			return []string{"MAILWHY_UPSTREAM=smtp://mail.example.com", "MAILWHY_TLS_CERT_FILE=" + file,
				"MAILWHY_TLS_KEY_FILE=" + file}
		},
		"upstream.default.password": func(string) []string { return []string{"MAILWHY_CONFIG=" + relay} },
	} {
		file := writeFile(t, "secret", "x\n")
		if name == "upstream.default.password" {
			file = relay
		}
		for mode, want := range map[os.FileMode]string{
			0o600: "", 0o604: "can be read", 0o640: "can be read", 0o666: "can be read",
			0o620: "can be changed",
		} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			c := mustLoad(t, Source{Env: load(file)})
			if want == "" && len(c.Warnings) == 0 {
				continue
			}
			if len(c.Warnings) != 1 || want == "" ||
				!strings.HasPrefix(c.Warnings[0], name+": "+file+" "+want) {
				t.Errorf("%s with mode %v: %q, want %q", name, mode, c.Warnings, want)
			}
		}
	}
}

// TestPasswordInURLWarns: a flag is seen in ps, a variable is not.
func TestPasswordInURLWarns(t *testing.T) {
	const url = "smtp://u:p@mail.example.com"
	if c := mustLoad(t, Source{Flags: up(url)}); len(c.Warnings) != 1 ||
		!strings.Contains(c.Warnings[0], "ps") {
		t.Errorf("flag: %v", c.Warnings)
	}
	if c := mustLoad(t, Source{Env: []string{"MAILWHY_UPSTREAM=" + url}}); len(c.Warnings) != 0 {
		t.Errorf("variable: %v", c.Warnings)
	}
}

package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// migrations are the configurations in docs/migrate.md: by kind, before or after, and program.
func migrations(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/migrate.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]string{"before": {}, "after": {}}
	block := regexp.MustCompile("(?s)<!-- (before|after): (\\w+) -->\n```\\w+\n(.*?)```")
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		found[m[1]][m[2]] = m[3]
	}
	return found
}

// TestMigrations: every configuration for mailwhy in docs/migrate.md loads, and goes to the host, port and
// account of the one that it replaces.
func TestMigrations(t *testing.T) {
	all := migrations(t)
	for program, before := range all["before"] {
		dir := t.TempDir()
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		src := Source{}
		if program == "boky" {
			src.Env = environmentOf(t, strings.ReplaceAll(before, "/run/secrets/smtp_password", secret))
		} else {
			after := strings.ReplaceAll(all["after"][program], "/run/secrets/smtp_password", secret)
			src.File = writeFile(t, "relay.toml", after)
		}
		u := mustLoad(t, src).Upstream["default"]
		if u == nil || u.Host != "smtp.example.com" || u.Port != 587 || u.TLS != "starttls" ||
			u.Username != "apikey" || u.Password.Reveal() != "secret" {
			t.Errorf("%s: upstream %+v", program, u)
		}
		for _, part := range []string{"smtp.example.com", "587"} {
			if !strings.Contains(before, part) {
				t.Errorf("%s: %q is not in the configuration that is replaced", program, part)
			}
		}
	}
	if len(all["before"]) != 5 || len(all["after"]) != 4 {
		t.Errorf("%d before, %d after", len(all["before"]), len(all["after"]))
	}
}

// environmentOf is the environment of the service in a compose file.
func environmentOf(t *testing.T, compose string) (env []string) {
	t.Helper()
	var file struct {
		Services map[string]struct{ Environment map[string]string }
	}
	if err := yaml.Unmarshal([]byte(compose), &file); err != nil {
		t.Fatal(err)
	}
	for name, value := range file.Services["mail"].Environment {
		env = append(env, name+"="+value)
	}
	return env
}

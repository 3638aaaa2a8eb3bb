package main

import (
	"maps"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"mailwhy/relay/smtptest"
)

// bokyEnvironment is the environment in scripts/dropin/docker-compose.yml, as it is written for boky/postfix.
func bokyEnvironment(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../scripts/dropin/docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct{ Environment map[string]string }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	env := file.Services["mail"].Environment
	if env["RELAYHOST"] == "" {
		t.Fatalf("the environment is %v", env)
	}
	return env
}

// runSelf is this program in a process of its own, with an environment of a few variables.
func runSelf(t *testing.T, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "mailwhy") // by this name it is the command
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, key+"="+env[key])
	}
	return cmd
}

// TestInPlaceOfBokyPostfix: with an environment for boky/postfix, and only the addresses of this machine
// changed, mail arrives at the relay host with AUTH, senders of other domains are refused, and the log says
// of each variable what became of it, as check does.
func TestInPlaceOfBokyPostfix(t *testing.T) {
	env := bokyEnvironment(t)
	upstream := smtptest.New(t, smtptest.Options{RequireAuth: true,
		Users: map[string]string{env["RELAYHOST_USERNAME"]: env["RELAYHOST_PASSWORD"]}})
	addr, err := smtptest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	env["RELAYHOST"] = strings.Replace("["+upstream.Addr(), ":", "]:", 1)
	env["MAILWHY_LISTEN"], env["MAILWHY_SPOOL_DIR"] = addr, filepath.Join(t.TempDir(), "spool")
	var log smtptest.Buffer
	relay := runSelf(t, env, "serve")
	relay.Stderr = &log
	if err := relay.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { relay.Process.Signal(os.Interrupt); relay.Wait() }()
	smtptest.WaitFor(t, "the relay to listen",
		func() bool { return strings.Contains(log.String(), "listening") })
	content := []byte("From: Shop <app@web1.shop.example>\r\nSubject: x\r\n\r\nx\r\n")
	err = smtp.SendMail(addr, nil, "app@web1.shop.example", []string{"a@there.example"}, content)
	if err != nil {
		t.Fatal(err)
	}
	err = smtp.SendMail(addr, nil, "app@other.example", []string{"a@there.example"}, content)
	if err == nil || !strings.Contains(err.Error(), "5.7.1") {
		t.Errorf("another sender: %v", err)
	}
	smtptest.WaitFor(t, "the mail", func() bool { return len(upstream.Messages()) == 1 })
	got := upstream.Messages()[0]
	if got.User != "shop" || got.From != "app@shop.example" || got.Hello != "mail.shop.example" ||
		!strings.Contains(string(got.Content), "From: Shop <app@shop.example>\r\n") {
		t.Errorf("arrived: %+v\n%s", got, got.Content)
	}
	check, err := runSelf(t, env, "check").Output()
	if err != nil {
		t.Fatalf("check: %v\n%s", err, check)
	}
	for _, out := range []string{log.String(), string(check)} {
		for name := range bokyEnvironment(t) {
			if !regexp.MustCompile(`\b` + name + ` (became|has no counterpart because) `).MatchString(out) {
				t.Errorf("nothing is said of %s in\n%s", name, out)
			}
		}
		if strings.Contains(out, env["RELAYHOST_PASSWORD"]) {
			t.Errorf("the password is in\n%s", out)
		}
	}
}

package config

import (
	"slices"
	"strings"
	"testing"
)

// TestSandboxVariable: a variable of the sandbox without a value is a mistake, since the sandbox would be
// off.
func TestSandboxVariable(t *testing.T) {
	for _, name := range []string{"REDIRECT", "SINK", "ALLOW"} {
		_, err := Load(Source{Env: []string{"MAILWHY_SANDBOX_" + name + "="},
			Flags: up("smtp://mail.example")})
		if err == nil || !strings.Contains(err.Error(), "MAILWHY_SANDBOX_"+name+" is set, but empty") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSandboxWarns: a sandbox that is on is the first thing that an operator reads.
func TestSandboxWarns(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{"MAILWHY_SANDBOX_REDIRECT=qa@x.example", "MAILWHY_SANDBOX_ALLOW=@a.example,b@c.example"},
			"SANDBOX: no mail goes to its recipients, all of it goes to qa@x.example, but for @a.example, " +
				"b@c.example (sandbox.allow)"},
		{[]string{"MAILWHY_SANDBOX_SINK=true", "MAILWHY_SPOOL_DIR=/spool"},
			"SANDBOX: no mail is relayed, it is kept in /spool/sandbox"},
	} {
		c := mustLoad(t, Source{Env: tt.env, Flags: up("smtp://mail.example")})
		if !c.Sandbox.On() || !slices.Contains(c.Warnings, tt.want) {
			t.Errorf("warnings %q, want %q", c.Warnings, tt.want)
		}
	}
	c := mustLoad(t, Source{File: "testdata/sandbox-empty.toml"})
	if !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, "no sandbox") }) {
		t.Errorf("an empty redirect: %q", c.Warnings)
	}
	c = mustLoad(t, Source{Flags: up("smtp://mail.example")})
	if c.Sandbox.On() || c.Sandbox.Notice() != "" {
		t.Error("it is on by itself")
	}
}

// TestAccountAddress: the address of the account is that by which the upstream knows it.
func TestAccountAddress(t *testing.T) {
	for _, tt := range []struct {
		u    Upstream
		want string
	}{
		{Upstream{Username: "a@b.example"}, "a@b.example"},
		{Upstream{Username: "AKIA"}, ""},
		{Upstream{Username: "service", OAuthSubject: "a@b.example"}, "a@b.example"},
		{Upstream{Username: "a@b.example", Mailbox: "shared@b.example"}, "shared@b.example"},
	} {
		if got := tt.u.AccountAddress(); got != tt.want {
			t.Errorf("%+v: %q", tt.u, got)
		}
	}
}

package access_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay/admin/access"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// tokens is a tokens file, and its Tokens at a time that a test can set.
func tokens(t *testing.T) (path string, all *access.Tokens, now *time.Time) {
	t.Helper()
	path, at := filepath.Join(t.TempDir(), "tokens.json"), noon
	return path, access.NewTokens(path, func() time.Time { return at }), &at
}

// create makes a token or fails the test.
func create(t *testing.T, path, name string, expires time.Time, scopes ...access.Scope) string {
	t.Helper()
	secret, err := access.Create(path, name, scopes, noon, expires)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestAuthorize(t *testing.T) {
	path, all, now := tokens(t)
	if _, ok := all.Authorize(""); ok {
		t.Error("without a file nothing authorizes, but an empty token does")
	}
	reader := create(t, path, "grafana", time.Time{}, access.Read)
	guest := create(t, path, "guest", noon.Add(time.Hour), access.Diagnose)
	if who, ok := all.Authorize(reader); !ok || who.Name != "grafana" || !who.May(access.Events) {
		t.Errorf("a good token: %v, %v", who, ok)
	}
	for _, wrong := range []string{"", "x", reader + "x", reader[:len(reader)-1], strings.ToUpper(reader)} {
		if who, ok := all.Authorize(wrong); ok {
			t.Errorf("%q is %v", wrong, who)
		}
	}
	if _, ok := all.Authorize(guest); !ok {
		t.Error("a token is refused before it expires")
	}
	*now = noon.Add(time.Hour)
	if _, ok := all.Authorize(guest); ok {
		t.Error("an expired token is accepted")
	}
	if err := access.Revoke(path, "grafana"); err != nil {
		t.Fatal(err)
	}
	if _, ok := all.Authorize(reader); ok {
		t.Error("a revoked token is accepted")
	}
}

func TestScopes(t *testing.T) {
	all := access.Scopes()
	for _, c := range []struct {
		has access.Scope
		may []access.Scope
	}{
		{access.Diagnose, []access.Scope{access.Diagnose}}, {access.Events, []access.Scope{access.Events}},
		{access.Read, all[:3]}, {access.Write, all},
	} {
		who := access.Identity{Scopes: []access.Scope{c.has}}
		for _, want := range all {
			if got := who.May(want); got != strings.Contains(fmt.Sprint(c.may), string(want)) {
				t.Errorf("%s for %s: %v", c.has, want, got)
			}
		}
	}
	if (access.Identity{}).May(access.Diagnose) {
		t.Error("nobody may diagnose")
	}
}

func TestTheFileHasNoSecret(t *testing.T) {
	path, _, _ := tokens(t)
	secret := create(t, path, "shop", time.Time{}, access.Diagnose)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), strings.TrimPrefix(secret, "mailwhy_")) {
		t.Errorf("the secret is in the file:\n%s", data)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v", info.Mode())
	}
}

func TestNamesAreUnique(t *testing.T) {
	path, _, _ := tokens(t)
	create(t, path, "shop", time.Time{}, access.Read)
	if _, err := access.Create(path, "shop", []access.Scope{access.Write}, noon, time.Time{}); err == nil {
		t.Error("a second token has the name of the first")
	}
	if _, err := access.Create(path, "a b", []access.Scope{access.Write}, noon, time.Time{}); err == nil {
		t.Error("a name with a space is taken")
	}
	if err := access.Revoke(path, "shop", "nobody"); !errors.Is(err, access.ErrUnknown) {
		t.Errorf("revoking a token that is not there: %v", err)
	}
	if list, err := access.List(path); len(list) != 1 || err != nil {
		t.Errorf("after a revocation that failed: %v, %v", list, err)
	}
}

// TestSideBySide: commands that run at the same time lose nothing of each other.
func TestSideBySide(t *testing.T) {
	path, all, _ := tokens(t)
	const n = 20
	var secrets [n]string
	var made sync.WaitGroup
	for i := range n {
		made.Go(func() {
			secrets[i], _ = access.Create(path, fmt.Sprint("t", i), access.Scopes(), noon, time.Time{})
		})
	}
	made.Wait()
	for i, s := range secrets {
		if who, ok := all.Authorize(s); !ok || who.Name != fmt.Sprint("t", i) {
			t.Errorf("token %d: %v, %v", i, who, ok)
		}
	}
}

// TestBadFile: a file that cannot be trusted authorizes nobody, and what is wrong is told.
func TestBadFile(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"writable": {`{"tokens": []}`, 0o622, "chmod 600"},
		"cut":      {`{"tokens": [`, 0o600, "unexpected EOF"},
		"unknown":  {`{"tokens": [{"name": "a", "token": "b"}]}`, 0o600, `unknown field "token"`},
		"no hash":  {`{"tokens": [{"name": "a", "scopes": ["read"]}]}`, 0o600, "token 1: sha256 is missing"},
		"short":    {`{"tokens": [{"name": "a", "sha256": "abcd"}]}`, 0o600, "sha256 has 2 bytes"},
		"no scope": {`{"tokens": [{"name": "a", "sha256": "` + hash + `"}]}`, 0o600, "no scope"},
		"scope": {`{"tokens": [{"name": "a", "sha256": "` + hash + `", "scopes": ["root"]}]}`, 0o600,
			`not a scope: "root"`},
		"large": {strings.Repeat(" ", 2<<20), 0o600, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			path, all, _ := tokens(t)
			secret := create(t, path, "good", time.Time{}, access.Read)
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			if _, ok := all.Authorize(secret); ok {
				t.Error("the file authorizes")
			}
			if err := all.Fault(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the fault is %v, not %q", err, c.want)
			}
		})
	}
}

package postgres

import (
	"bytes"
	"errors"
	"testing"

	"mailwhy/relay/smtptest/postgrestest"
)

// TestSecrets: one member stores, the others read; the database holds nothing that can be read, changed or
// moved.
func TestSecrets(t *testing.T) {
	url := postgrestest.Database(t)
	one, two := join(t, options(url)), join(t, options(url))
	if value, version, _, err := two.Secret(t.Context(), "token"); err != nil || version != 0 {
		t.Fatalf("before it was stored: %q, %d, %v", value, version, err)
	}
	put := func(c *Cluster, name string, old int64, value string, want bool) {
		t.Helper()
		if ok, err := c.PutSecret(t.Context(), name, old, []byte(value)); ok != want || err != nil {
			t.Fatalf("%q over %d: %v, %v", value, old, ok, err)
		}
	}
	const first, second = "the first secret of all", "the second"
	put(one, "token", 0, first, true)
	put(two, "token", 0, "late", false)
	put(two, "token", 1, second, true)
	put(one, "token", 1, "late", false)
	put(one, "other", 0, first, true)
	if value, version, _, err := one.Secret(t.Context(), "token"); string(value) != second || version != 2 ||
		err != nil {
		t.Errorf("%q, %d, %v", value, version, err)
	}
	var sealed []byte
	_, err := one.db.row(t.Context(), `SELECT sealed FROM @.secret WHERE name = 'other'`, nil, &sealed)
	if err != nil || bytes.Contains(sealed, []byte("secret")) || len(sealed) < len(first) {
		t.Errorf("%v, in the database stands %q", err, sealed)
	}
	for _, change := range []string{
		"UPDATE mail.secret SET version = 1 WHERE name = 'token'", // an older or newer version
		"UPDATE mail.secret s SET version = 1, sealed = o.sealed FROM mail.secret o " +
			"WHERE s.name = 'token' AND o.name = 'other'", // another secret
		"UPDATE mail.secret SET sealed = set_byte(sealed, 30, get_byte(sealed, 30) # 1)",
		"UPDATE mail.secret SET sealed = 'x'",
	} {
		execute(t, url, change)
		if value, _, _, err := two.Secret(t.Context(), "token"); !errors.Is(err, ErrWrongKey) {
			t.Errorf("after %s: %q, %v", change, value, err)
		}
	}
	o := options(url)
	o.Key = bytes.Repeat([]byte("k"), KeyLeast)
	if _, _, _, err := join(t, o).Secret(t.Context(), "other"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with another key: %v", err)
	}
	o.Key = nil
	if _, _, _, err := join(t, o).Secret(t.Context(), "other"); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
}

package app

import (
	"fmt"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/oauthtest"
	"mailwhy/relay/smtptest/postgrestest"
)

// TestReplicas: two relays with spools of their own have one access token and one suppression list, also of
// what one learned right before it ended.
func TestReplicas(t *testing.T) {
	one := signedFiles(t, oauthtest.Options{Secret: "marked-secret", Rotate: true, Once: true})
	two := &signedDoor{door: &door{t: t, dir: t.TempDir()}, upstream: one.upstream, endpoint: one.endpoint}
	database := postgrestest.Database(t)
	for _, d := range []*signedDoor{one, two} {
		d.write("secret", "marked-secret\n")
		d.write("key", "a key of tests, marked too, that is long enough\n")
		conf := fmt.Sprintf("oauth_client_secret_file = %q\n[suppression]\nmode = \"enforce\"\n[cluster]\n"+
			"url = %q\nsecret_file = %q\n", d.dir+"/secret", database, d.dir+"/key")
		d.conf = signedConf(d.dir, one)
		d.open(clientGrant + conf)
	}
	one.send("first")
	arrives(t, one.upstream, 1)
	two.send("second")
	arrives(t, one.upstream, 2)
	if n := len(one.endpoint.Requests()); n != 1 {
		t.Errorf("%d tokens were asked for by two relays, want 1", n)
	}
	known := func(d *signedDoor, to string) func() bool {
		return func() bool { return d.app.suppressed.Check("a@b.test", to, time.Now()).Entry != nil }
	}
	put := func(d *signedDoor, to string) {
		t.Helper()
		if _, err := d.app.suppressed.Put(t.Context(), []relay.Suppression{{Address: to}}); err != nil {
			t.Fatal(err)
		}
	}
	put(one, "gone@dead.test")
	smtptest.WaitFor(t, "the other relay to know of it", known(two, "gone@dead.test"))
	put(one, "last@dead.test")
	one.stop()
	smtptest.WaitFor(t, "the other relay to know of the last one", known(two, "last@dead.test"))
	two.stop()
	one.looksSecret()
	two.looksSecret()
}

package app

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// TestDiagnoseForOthers: the control socket explains replies with the engine in force, the operator's own
// rules included.
func TestDiagnoseForOthers(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.conf.Admin.Socket)
		},
	}}
	rule := func() string {
		res, err := client.Post("http://mailwhy/v1/diagnose", "application/json",
			strings.NewReader(`{"reply":"550 5.7.1 The wumpus has eaten your message"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var x admin.Explained
		if err := json.NewDecoder(res.Body).Decode(&x); err != nil || x.Diagnosis == nil {
			t.Fatalf("%+v %v", x, err)
		}
		return x.Rule
	}
	if got := rule(); got == "own-wumpus" {
		t.Fatal("the rule is there before it was made")
	}
	changed := *l.conf
	changed.Diagnose.RulesFile = filepath.Join(t.TempDir(), "rules.toml")
	err := os.WriteFile(changed.Diagnose.RulesFile, []byte(`[[rule]]
id = "own-wumpus"
reason = "mailbox_full"
any = ["wumpus has eaten"]
example = ["550 5.7.1 The wumpus has eaten your message"]
`), 0o600)
	if err == nil {
		err = l.app.Reload(&changed)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := rule(); got != "own-wumpus" {
		t.Errorf("rule %q decided", got)
	}
}

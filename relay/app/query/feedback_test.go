package query

import (
	"strings"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/check"
	"mailwhy/relay/smtptest/dnstest"
)

// TestCheckReturnPath: bounces need an MX, which leads here if the listener is here; and the SPF record that
// counts is that of the return path.
func TestCheckReturnPath(t *testing.T) {
	for _, tt := range []struct {
		name, zone, role string
		level            check.Level
		text             string
	}{
		{"none", "bounces.test. 60 IN TXT \"v=spf1 -all\"", "bounces", check.Failure, "has no MX record"},
		{"here", "bounces.test. 60 IN MX 10 Relay.test.", "bounces", check.OK, "delivered to relay.test"},
		{"elsewhere", "bounces.test. 60 IN MX 10 mx.test.", "bounces", check.Warning, "delivered to mx.test"},
		{"a mailbox", "bounces.test. 60 IN MX 10 mx.test.", "mail", check.OK, "delivered to mx.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := dnstest.Start(t, tt.zone)
			dns, err := Resolver(server.Addr)
			if err != nil {
				t.Fatal(err)
			}
			cfg := &config.Config{Hostname: "relay.test", Listen: []config.Listen{{Role: tt.role}}}
			if got := CheckReturnPath(t.Context(), cfg, dns); got != nil {
				t.Errorf("without return paths: %+v", got)
			}
			cfg.Feedback.ReturnPath = config.ReturnPath{Address: "b@Bounces.test",
				Upstreams: []string{"office"}}
			got := CheckReturnPath(t.Context(), cfg, dns)
			if len(got) != 1 || got[0].Level != tt.level || !strings.Contains(got[0].Text, tt.text) {
				t.Errorf("%+v", got)
			}
			cfg.Upstream = map[string]*config.Upstream{"office": {Host: "o.test"}, "other": {Host: "p.test"}}
			q := &Senders{}
			if a, b := q.upstream(cfg, "office"), q.upstream(cfg, "other"); a.ReturnPath != "bounces.test" ||
				b.ReturnPath != "" {
				t.Errorf("the return paths are %q and %q", a.ReturnPath, b.ReturnPath)
			}
		})
	}
}

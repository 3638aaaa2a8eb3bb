package query

import (
	"fmt"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/check/senders"
	"mailwhy/relay/preset"
)

func TestSenderDomains(t *testing.T) {
	cfg := &config.Config{
		Access: config.Access{AllowSenders: []string{"@B.example.com", "@.sub.example.com",
			"app@a.example.com"}},
		Client: []config.Client{{Senders: []string{"c@c.example.com"}}},
		Route:  []config.Route{{Senders: []string{"<>", "@bücher.example"}}},
		Upstream: map[string]*config.Upstream{
			"one": {Domains: []string{"d.example.com", ".e.example.com", "a.example.com"}}},
		DSN: config.DSN{From: "MAILER-DAEMON@host.example.com", FallbackSender: "bounces@f.example.com"},
	}
	q := Senders{Domains: []string{"z@g.example.com", "h.example.com"}}
	want := "[a.example.com b.example.com c.example.com d.example.com f.example.com g.example.com " +
		"h.example.com xn--bcher-kva.example]"
	if got := fmt.Sprint(q.domains(cfg)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestMayCarry(t *testing.T) {
	cfg := &config.Config{
		Route: []config.Route{
			{Senders: []string{"app@shop.example", "@.news.example", "<>"}, Upstreams: []string{"one",
				"two"}},
			{Upstreams: []string{"rest"}},
		},
		Upstream: map[string]*config.Upstream{
			"one": {}, "two": {Domains: []string{"Shop.example"}},
			"rest": {Domains: []string{".a.example"}}, "unused": {},
		},
	}
	for _, tc := range []struct {
		upstream, domain string
		want             bool
	}{
		{"one", "shop.example", true}, {"one", "sub.shop.example", false}, {"one", "x.news.example", true},
		{"one", "news.example", false}, {"two", "shop.example", true}, {"two", "x.news.example", false},
		{"rest", "b.a.example", true}, {"rest", "a.example", false}, {"rest", "shop.example", false},
		{"unused", "shop.example", false},
	} {
		if got := mayCarry(cfg, tc.upstream, tc.domain); got != tc.want {
			t.Errorf("%s through %s: %v", tc.domain, tc.upstream, got)
		}
	}
}

// Those whose records are known are presets, so that they can be found.
func TestSendersKnowPresets(t *testing.T) {
	set, err := preset.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range senders.Presets() {
		if set.ByName(name) == nil {
			t.Errorf("there is no preset %q", name)
		}
	}
}

package query

import (
	"fmt"
	"testing"

	"mailwhy/config"
)

// TestSources: the addresses that connections come from, of both families, without a packet.
func TestSources(t *testing.T) {
	for _, tt := range []struct {
		u    config.Upstream
		want string
	}{
		{config.Upstream{Host: "127.0.0.1", Port: 25, IPv6: true}, "[127.0.0.1]"},
		{config.Upstream{Host: "::1", Port: 25, IPv6: true}, "[::1]"},
		{config.Upstream{Host: "::1", Port: 25}, "[]"},
		{config.Upstream{Host: "127.0.0.1", Port: 25, LocalAddr: []string{"::1", "127.0.0.2"}},
			"[127.0.0.2]"},
		{config.Upstream{Host: "127.0.0.1", Port: 25, Proxy: "socks5://127.0.0.1"}, "[]"},
	} {
		if got := fmt.Sprint(sourcesOf(&tt.u)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.u, got, tt.want)
		}
	}
}

package limit

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// clock is a Limit whose time the test moves.
type clock struct {
	*Limit
	now time.Time
}

func newClock(burst, most int) *clock {
	c := &clock{now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	c.Limit = &Limit{Burst: burst, Every: 3 * time.Second, Most: most, Now: func() time.Time { return c.now }}
	return c
}

var (
	stranger = netip.MustParseAddr("192.0.2.1")
	provider = netip.MustParseAddr("198.51.100.7")
)

// TestWaits: a client may fail so many times at once and then now and then; others are not concerned, and a
// proof makes up for all of it.
func TestWaits(t *testing.T) {
	c := newClock(5, 100)
	for i := range 5 {
		if d := c.Wait(stranger); d != 0 {
			t.Fatalf("after %d failures it waits %v", i, d)
		}
		c.Failed(stranger)
	}
	if d := c.Wait(stranger); d != 3*time.Second {
		t.Errorf("after 5 failures it waits %v", d)
	}
	if d := c.Wait(provider); d != 0 {
		t.Errorf("another one waits %v", d)
	}
	c.now = c.now.Add(3 * time.Second)
	if d := c.Wait(stranger); d != 0 {
		t.Errorf("after 3 seconds it waits %v", d)
	}
	c.Failed(stranger)
	if d := c.Wait(stranger); d != 3*time.Second {
		t.Errorf("after one more it waits %v", d)
	}
	c.Proved(stranger)
	if d := c.Wait(stranger); d != 0 {
		t.Errorf("after a proof it waits %v", d)
	}
	c.now = c.now.Add(time.Hour)
	for range 5 {
		c.Failed(stranger)
	}
	if d := c.Wait(stranger); d != 3*time.Second {
		t.Errorf("a long time without failures counts: it waits %v", d)
	}
}

// TestRemembersFew: however many clients fail, few are remembered; those that owe nothing go first.
func TestRemembersFew(t *testing.T) {
	c := newClock(1, 10)
	for i := range 10 {
		c.Failed(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	c.now = c.now.Add(time.Minute)
	c.Failed(stranger)
	if len(c.paid) != 1 {
		t.Errorf("%d clients are remembered, all but one of which owe nothing", len(c.paid))
	}
	for i := range 1000 {
		c.Failed(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(c.paid) != 10 {
		t.Errorf("%d clients are remembered", len(c.paid))
	}
}

// TestNetwork: in IPv6 a client has a network; without an address nobody waits.
func TestNetwork(t *testing.T) {
	c := newClock(1, 10)
	c.Failed(netip.MustParseAddr("2001:db8::1"))
	for addr, waits := range map[string]bool{"2001:db8::2:3": true, "2001:db8:0:1::1": false} {
		if d := c.Wait(netip.MustParseAddr(addr)); d > 0 != waits {
			t.Errorf("%s waits %v", addr, d)
		}
	}
	for range 5 {
		c.Failed(netip.Addr{})
	}
	if d := c.Wait(netip.Addr{}); d != 0 || len(c.paid) != 1 {
		t.Errorf("who is not known waits %v", d)
	}
	c.Proved(netip.Addr{})
}

// TestClient: a proxy of ours is believed, a stranger is not.
func TestClient(t *testing.T) {
	for _, tt := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:1234", nil, "192.0.2.1"},
		{"192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1"},
		{"[2001:db8::1]:1234", nil, "2001:db8::1"},
		{"[::ffff:192.0.2.1]:1234", nil, "192.0.2.1"},
		{"127.0.0.1:1234", nil, "invalid IP"},
		{"172.17.0.1:1234", nil, "invalid IP"},
		{"127.0.0.1:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		{"[::1]:1234", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"[fe80::1%eth0]:1234", []string{"203.0.113.9", "198.51.100.7, 10.0.0.1"}, "198.51.100.7"},
		{"10.0.0.1:1234", []string{"198.51.100.7, unknown"}, "invalid IP"},
		{"10.0.0.1:1234", []string{""}, "invalid IP"},
		{"10.0.0.1:1234", []string{"10.0.0.2"}, "invalid IP"},
		{"@", nil, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
		if got := fmt.Sprint(Client(r)); got != tt.want {
			t.Errorf("%s, forwarded for %q: %s, want %s", tt.peer, tt.forwarded, got, tt.want)
		}
	}
}

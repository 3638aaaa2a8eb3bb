package webhook

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"mailwhy/relay/smtptest/dnstest"
)

// TestCheckAddress: link-local and metadata addresses are never connected to, however they are written;
// private ones if it is allowed.
func TestCheckAddress(t *testing.T) {
	for _, tc := range []struct {
		address         string
		private, public bool // allowed where private addresses are, and where they are not
	}{
		{"192.0.2.1", true, true}, {"2001:db8::1", true, true}, {"8.8.8.8", true, true},
		{"127.0.0.1", true, false}, {"10.1.2.3", true, false}, {"172.16.0.1", true, false},
		{"192.168.1.1", true, false}, {"100.64.0.1", true, false}, {"198.18.0.1", true, false},
		{"0.1.2.3", true, false}, {"240.0.0.1", true, false}, {"::1", true, false},
		{"fd12::1", true, false}, {"fec0::1", true, false}, {"::ffff:10.0.0.1", true, false},
		{"64:ff9b::10.0.0.1", true, false}, {"2002:a00:1::", true, false}, {"::10.0.0.1", true, false},
		{"64:ff9b::8.8.8.8", true, true}, {"2002:808:808::", true, true},
		{"169.254.169.254", false, false}, {"169.254.1.1", false, false}, {"fe80::1", false, false},
		{"fe80::1%eth0", false, false}, {"fd00:ec2::254", false, false}, {"fd20:ce::254", false, false},
		{"100.100.100.200", false, false}, {"168.63.129.16", false, false},
		{"::ffff:169.254.169.254", false, false}, {"64:ff9b::169.254.169.254", false, false},
		{"2002:a9fe:a9fe::", false, false}, {"::169.254.169.254", false, false},
		{"2001:0:1:2:3:4:5601:5601", false, false}, // Teredo for 169.254.169.254
		{"0.0.0.0", false, false}, {"::", false, false}, {"224.0.0.1", false, false},
		{"ff02::1", false, false},
	} {
		for _, allowed := range []bool{true, false} {
			want := tc.public
			if allowed {
				want = tc.private
			}
			err := checkAddress(netip.MustParseAddr(tc.address), allowed)
			if (err == nil) != want || err != nil && !errors.Is(err, errForbidden) {
				t.Errorf("%s, private addresses allowed %v: %v", tc.address, allowed, err)
			}
		}
	}
}

// TestNameOfMetadata: what a name is resolved to is checked, and not what the URL says.
func TestNameOfMetadata(t *testing.T) {
	server := dnstest.Start(t, "hook.x.test. 60 IN A 169.254.169.254\n")
	resolver := &net.Resolver{PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Addr)
		}}
	d := net.Dialer{Control: control(true), Resolver: resolver}
	c, err := d.DialContext(t.Context(), "tcp", "hook.x.test:80")
	if !errors.Is(err, errForbidden) {
		t.Errorf("connected to %v, %v", c, err)
	}
}

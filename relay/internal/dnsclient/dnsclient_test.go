package dnsclient

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest/dnstest"
)

const zone = `
example.com TXT "v=spf1 " "include:a.example -all"
example.com TXT "two\"quoted\\ and \195\182"
example.com MX 10 MX.example.com.
mx.example.com A 192.0.2.1
mx.example.com AAAA 2001:db8::1
alias.example.com CNAME Second.example.com.
second.example.com CNAME third.example.com.
third.example.com TXT "reached"
dangling.example.com CNAME nowhere.example.net.
loop.example.com CNAME loop2.example.com.
loop2.example.com CNAME loop.example.com.
broken.example.com SERVFAIL
`

func client(t *testing.T, zone string) *Client {
	return &Client{Servers: []string{dnstest.Start(t, zone).Addr}, Timeout: 5 * time.Second}
}

func TestLookup(t *testing.T) {
	long := strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 8)
	c := client(t, zone+"long.example.com TXT "+long+"\n")
	for _, tc := range []struct {
		name string
		t    Type
		want string
	}{
		{"example.com", TXT, `{true [] ["v=spf1 include:a.example -all" "two\"quoted\\ and ö"] [] []}`},
		{"EXAMPLE.com.", MX, `{true [] [] [{10 "mx.example.com"}] []}`},
		{"mx.example.com", A, `{true [] [] [] ["192.0.2.1"]}`},
		{"mx.example.com", AAAA, `{true [] [] [] ["2001:db8::1"]}`},
		{"mx.example.com", TXT, `{true [] [] [] []}`},
		{"com", TXT, `{true [] [] [] []}`},
		{"gone.example.com", TXT, `{false [] [] [] []}`},
		{"alias.example.com", TXT, `{true ["second.example.com" "third.example.com"] ["reached"] [] []}`},
		{"alias.example.com", CNAME, `{true ["second.example.com"] [] [] []}`},
		{"dangling.example.com", TXT, `{false ["nowhere.example.net"] [] [] []}`},
		{"long.example.com", TXT, fmt.Sprintf("{true [] [%q] [] []}", strings.Repeat("x", 2000))},
	} {
		a, err := c.Lookup(t.Context(), tc.name, tc.t)
		if err != nil {
			t.Errorf("%s %s: %v", tc.t, tc.name, err)
		} else if got := line(a); got != tc.want {
			t.Errorf("%s %s\n got %s\nwant %s", tc.t, tc.name, got, tc.want)
		}
	}
	if a, err := c.Lookup(t.Context(), "loop.example.com", TXT); err != nil || !a.Empty() {
		t.Errorf("loop: %v %v", a, err)
	}
}

// line is an answer in one line.
func line(a *Answer) string {
	mx := []string{}
	for _, m := range a.MX {
		mx = append(mx, fmt.Sprintf("{%d %q}", m.Preference, m.Host))
	}
	addrs := []string{}
	for _, addr := range a.Addrs {
		addrs = append(addrs, addr.String())
	}
	return fmt.Sprintf("{%v %q %q %s %q}", a.Exists, a.Aliases, a.TXT, mx, addrs)
}

func TestLookupErrors(t *testing.T) {
	c := client(t, zone)
	_, err := c.Lookup(t.Context(), "broken.example.com", TXT)
	if err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("SERVFAIL: %v", err)
	}
	if _, err := c.Lookup(t.Context(), strings.Repeat("a", 64)+".example", TXT); err == nil {
		t.Error("a label of 64 octets was asked for")
	}
	if _, err := (&Client{}).Lookup(t.Context(), "example.com", TXT); err == nil {
		t.Error("no server, and no error")
	}
	// The second server answers where the first refuses the connection or the question.
	good := dnstest.Start(t, "example.net TXT here")
	two := &Client{Servers: []string{c.Servers[0], good.Addr}, Timeout: 5 * time.Second}
	if a, err := two.Lookup(t.Context(), "broken.example.com", TXT); err != nil || a.Exists {
		t.Errorf("second server: %v %v", a, err)
	}
}

func TestSystem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	os.WriteFile(file, []byte("nameserver 192.0.2.53\nnameserver 2001:db8::53\n"), 0o600)
	c, err := System(file, time.Second)
	if err != nil || fmt.Sprint(c.Servers) != "[192.0.2.53:53 [2001:db8::53]:53]" {
		t.Errorf("%v %v", c, err)
	}
	os.WriteFile(file, []byte("search example.com\n"), 0o600)
	if c, err := System(file, time.Second); err == nil {
		t.Errorf("no server: %v", c)
	}
}

// TestReverse: the names of addresses.
func TestReverse(t *testing.T) {
	const six = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."
	c := client(t, "7.113.0.203.in-addr.arpa PTR Relay.example.com.\n"+
		"7.113.0.203.in-addr.arpa PTR other.example.com.\n"+six+" PTR six.example.com.\n")
	for ip, want := range map[string]string{
		"203.0.113.7":        "[relay.example.com other.example.com]",
		"::ffff:203.0.113.7": "[relay.example.com other.example.com]",
		"2001:db8::5":        "[six.example.com]",
		"203.0.113.8":        "[]",
	} {
		a, err := c.Lookup(t.Context(), Reverse(netip.MustParseAddr(ip)), PTR)
		if err != nil || fmt.Sprint(a.Names) != want || a.Empty() != (want == "[]") {
			t.Errorf("%s: %+v, %v; want %s", ip, a, err, want)
		}
	}
}

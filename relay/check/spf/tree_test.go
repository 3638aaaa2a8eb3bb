package spf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/smtptest/dnstest"
)

// provider is the record of a provider, two levels deep.
const provider = `
_spf.provider.example TXT "v=spf1 include:a.provider.example include:b.provider.example ~all"
a.provider.example TXT "v=spf1 ip4:192.0.2.0/25 ~all"
b.provider.example TXT "v=spf1 ip4:198.51.100.0/24 ip6:2001:db8::/32 ~all"
`

// includes are n includes of records without further lookups, and these records.
func includes(n int) (terms, zone string) {
	for i := range n {
		terms += fmt.Sprintf(" include:i%d.example", i)
		zone += fmt.Sprintf("i%d.example TXT \"v=spf1 ip4:203.0.113.%d -all\"\n", i, i)
	}
	return terms, zone
}

func TestFollow(t *testing.T) {
	seven, seven7 := includes(7)
	eight, eight8 := includes(8)
	for _, tc := range []struct {
		name    string
		zone    string // of example.com
		lookups int
		voids   int
		pass    Pass
		wrong   string // part of the only sentence, or empty
		unwise  string
	}{
		{name: "none", zone: `example.com TXT "other"`},
		{name: "no such domain"},
		{name: "right", lookups: 3, pass: Yes,
			zone: `example.com TXT "v=spf1 include:_spf.provider.example -all"`},
		{name: "in another include", lookups: 4, pass: Yes, zone: `
			example.com TXT "v=spf1 include:all.example.com -all"
			all.example.com TXT "v=spf1 include:_SPF.Provider.example. -all"`},
		{name: "redirect", lookups: 4, pass: Yes, zone: `
			example.com TXT "v=spf1 redirect=spf.example.com"
			spf.example.com TXT "v=spf1 include:_spf.provider.example -all"`},
		{name: "redirect behind all", zone: `example.com TXT "v=spf1 -all redirect=_spf.provider.example"`},
		{name: "behind all", zone: `example.com TXT "v=spf1 ~all include:_spf.provider.example"`,
			unwise: "never looked at"},
		{name: "does not pass", lookups: 3,
			zone: `example.com TXT "v=spf1 ?include:_spf.provider.example -all"`},
		{name: "two records", wrong: "example.com has 2 SPF records", zone: `
			example.com TXT "v=spf1 include:_spf.provider.example -all"
			example.com TXT "v=spf1 -all"`},
		{name: "mistake", wrong: "there is no mechanism",
			zone: `example.com TXT "v=spf1 incldue:_spf.provider.example -all"`},
		{name: "networks copied", pass: Yes, zone: `example.com TXT "v=spf1 ip4:192.0.2.0/24 ` +
			`ip4:198.51.100.0/24 ip6:2001:db8::/32 -all"`},
		{name: "networks copied in part", zone: `example.com TXT "v=spf1 ip4:192.0.2.0/24 -all"`},
		{name: "everybody", pass: Yes, zone: `example.com TXT "v=spf1 exists:example.com +all"
			example.com A 192.0.2.1`, lookups: 1, unwise: "everybody"},
		{name: "ten lookups", lookups: 10, pass: Yes,
			zone: `example.com TXT "v=spf1` + seven + ` include:_spf.provider.example -all"` + "\n" + seven7},
		{name: "eleven lookups", lookups: 11, pass: Broken, wrong: "11 DNS lookups",
			zone: `example.com TXT "v=spf1` + eight + ` include:_spf.provider.example -all"` + "\n" + eight8},
		{name: "eleven lookups, but the provider first", lookups: 11, pass: Yes, wrong: "11 DNS lookups",
			zone: `example.com TXT "v=spf1 include:_spf.provider.example` + eight + ` -all"` + "\n" + eight8},
		{name: "voids", lookups: 6, voids: 3, pass: Broken, wrong: "3 lookups find nothing",
			zone: `example.com TXT "v=spf1 a:x.example.com mx:x.example.com exists:x.example.com ` +
				`include:_spf.provider.example -all"`},
		{name: "two voids", lookups: 5, voids: 2, pass: Yes,
			zone: `example.com TXT "v=spf1 a:x.example.com mx include:_spf.provider.example -all"`},
		{name: "include of nothing", lookups: 4, voids: 1, pass: Broken,
			wrong: `"include:gone.example" leads to a domain without an SPF record`,
			zone:  `example.com TXT "v=spf1 include:gone.example include:_spf.provider.example -all"`},
		{name: "include of nothing behind the provider", lookups: 4, voids: 1, pass: Yes,
			wrong: "without an SPF record",
			zone:  `example.com TXT "v=spf1 include:_spf.provider.example include:gone.example -all"`},
		{name: "include of two", lookups: 1, wrong: "with 2 SPF records", zone: `
			example.com TXT "v=spf1 include:two.example.com -all"
			two.example.com TXT "v=spf1 a -all"
			two.example.com TXT "v=spf1 mx -all"`},
		{name: "include of a mistake", lookups: 1, wrong: `two.example.com: "ip4:x"`, zone: `
			example.com TXT "v=spf1 include:two.example.com -all"
			two.example.com TXT "v=spf1 ip4:x -all"`},
		{name: "circle", lookups: 2, wrong: "leads back to example.com", zone: `
			example.com TXT "v=spf1 include:two.example.com -all"
			two.example.com TXT "v=spf1 include:example.com -all"`},
		{name: "macro of the domain", lookups: 4, pass: Yes, zone: `
			example.com TXT "v=spf1 include:%{d}.spf.example -all"
			example.com.spf.example TXT "v=spf1 include:_spf.provider.example -all"`},
		{name: "macro of the message", lookups: 1, pass: Maybe,
			zone: `example.com TXT "v=spf1 include:%{ir}.%{v}.spf.example -all"`},
		{name: "ptr", lookups: 4, pass: Yes, unwise: `"ptr" is slow`,
			zone: `example.com TXT "v=spf1 ptr include:_spf.provider.example -all"`},
		{name: "hosts", lookups: 2, pass: Yes, zone: `
			example.com TXT "v=spf1 a:out.example.com/24 mx/24 -all"
			example.com MX 10 mx.example.com.
			out.example.com A 192.0.2.77
			out.example.com AAAA 2001:db8::1
			mx.example.com A 198.51.100.3
			mx.example.com AAAA 2001:db8::2`},
		{name: "too many MX", lookups: 1, wrong: "has 11 MX records",
			zone: `example.com TXT "v=spf1 mx -all"` + "\n" + exchangers(11)},
		{name: "null MX", lookups: 1, zone: `
			example.com TXT "v=spf1 mx -all"
			example.com MX 0 .`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			zone := tc.zone
			if tc.name == "hosts" { // without IPv6, of which single addresses are not all of a /32
				zone += "\n" + strings.ReplaceAll(provider, " ip6:2001:db8::/32", "")
			} else {
				zone += "\n" + provider
			}
			c := &dnsclient.Client{Servers: []string{dnstest.Start(t, zone).Addr}, Timeout: 5 * time.Second}
			p, err := Follow(t.Context(), c, "_spf.provider.example")
			if err != nil {
				t.Fatal(err)
			}
			tree, err := Follow(t.Context(), c, "example.com")
			if err != nil {
				t.Fatal(err)
			}
			if tree.Lookups != tc.lookups || tree.Voids != tc.voids {
				t.Errorf("%d lookups and %d voids, want %d and %d", tree.Lookups, tree.Voids, tc.lookups,
					tc.voids)
			}
			if got := tree.Passes("_spf.provider.example", p); got != tc.pass {
				t.Errorf("pass %d, want %d", got, tc.pass)
			}
			expect(t, "wrong", tree.Wrong, tc.wrong)
			expect(t, "unwise", tree.Unwise, tc.unwise)
		})
	}
}

// expect compares sentences with a part of the only one.
func expect(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// exchangers are n MX records.
func exchangers(n int) (zone string) {
	for i := range n {
		zone += fmt.Sprintf("example.com MX %d mx%d.example.com.\n", i, i)
	}
	return zone
}

func TestFollowUnanswered(t *testing.T) {
	c := &dnsclient.Client{Timeout: 5 * time.Second, Servers: []string{dnstest.Start(t, `
		example.com TXT "v=spf1 include:broken.example.com -all"
		broken.example.com SERVFAIL`).Addr}}
	if tree, err := Follow(t.Context(), c, "example.com"); err == nil {
		t.Errorf("an include that cannot be looked up: %+v", tree)
	}
}

// A record that refers to very many others costs a bounded number of queries.
func TestFollowStops(t *testing.T) {
	terms, zone := includes(60)
	server := dnstest.Start(t, `example.com TXT `+quoted("v=spf1"+terms+" -all")+"\n"+zone)
	c := &dnsclient.Client{Servers: []string{server.Addr}, Timeout: 5 * time.Second}
	tree, err := Follow(t.Context(), c, "example.com")
	over := func(s string) bool { return strings.Contains(s, "lookups") }
	if err != nil || !slices.ContainsFunc(tree.Wrong, over) {
		t.Fatalf("%v %+v", err, tree)
	}
	if n := server.Asked("i59.example"); n != 0 {
		t.Errorf("the last of 60 includes was asked for %d times", n)
	}
}

// quoted cuts a text into character strings (RFC 7208, 3.3).
func quoted(s string) string {
	out := ""
	for len(s) > 200 {
		out += `"` + s[:200] + `" `
		s = s[200:]
	}
	return out + `"` + s + `"`
}

// TestAllows: an address passes by a term that matches it, unless another one matches it without passing, and
// within what receivers look up.
func TestAllows(t *testing.T) {
	_, zone := includes(11)
	var eleven string
	for i := range 11 {
		eleven += fmt.Sprintf(" include:i%d.example", i)
	}
	for _, tt := range []struct {
		record, address string
		want            Pass
	}{
		{"v=spf1 ip4:192.0.2.0/24 -all", "192.0.2.7", Yes},
		{"v=spf1 ip4:192.0.2.0/24 -all", "::ffff:192.0.2.7", Yes},
		{"v=spf1 ip4:192.0.2.0/24 -all", "198.51.100.1", No},
		{"v=spf1 ip4:192.0.2.0/24 +all", "198.51.100.1", No}, // everybody passes: nobody is known by it
		{"v=spf1 include:_spf.provider.example -all", "2001:db8::1", Yes},
		{"v=spf1 a -all", "192.0.2.99", Yes},
		{"v=spf1 -ip4:192.0.2.7 ip4:192.0.2.0/24 -all", "192.0.2.7", No},
		{"v=spf1 ?ip4:192.0.2.7 -all", "192.0.2.7", No},
		{"v=spf1 exists:%{i}.example.com -all", "192.0.2.7", Maybe},
		{"v=spf1" + eleven + " -all", "203.0.113.10", Broken},
		{"v=spf1 ip4:nonsense -all", "192.0.2.7", No},
	} {
		z := dnstest.Start(t, provider+zone+
			"example.com A 192.0.2.99\nexample.com TXT \""+tt.record+"\"\n")
		c := &dnsclient.Client{Servers: []string{z.Addr}, Timeout: 5 * time.Second}
		tree, err := Follow(t.Context(), c, "example.com")
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.Allows(netip.MustParseAddr(tt.address)); got != tt.want {
			t.Errorf("%s, %s: %v, want %v", tt.record, tt.address, got, tt.want)
		}
	}
}

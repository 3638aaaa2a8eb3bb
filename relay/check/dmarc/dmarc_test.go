package dmarc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/smtptest/dnstest"
)

func client(t *testing.T, zone string) *dnsclient.Client {
	t.Helper()
	return &dnsclient.Client{Servers: []string{dnstest.Start(t, zone).Addr}, Timeout: 5 * time.Second}
}

// expect compares sentences with a part of the only one.
func expect(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ txt, want, wrong, unwise string }{
		{txt: "v=DMARC1; p=reject", want: "reject/reject r r u []"},
		{txt: "v = DMARC1 ;P=Reject ; SP=quarantine;adkim=s; aspf=S; psd=n;",
			want: "reject/quarantine s s n []"},
		{txt: "v=DMARC1; rua=mailto:a@example.com!10m, MAILTO:b@example.net; p=reject; other=x",
			want: "reject/reject r r u [a@example.com b@example.net]"},
		{txt: "v=DMARC1; p=none; ", want: "none/none r r u []", unwise: "p=none asks"},
		{txt: "v=DMARC1; p=reject; t=y", want: "reject/reject r r u []", unwise: "t=y"},
		{txt: "v=DMARC1; p=reject; pct=50", want: "reject/reject r r u []", unwise: "pct= is obsolete"},
		{txt: "v=DMARC1; rua=mailto:a@example.com", want: "none/none r r u [a@example.com]",
			wrong: "it counts as p=none"},
		{txt: "v=DMARC1", want: "/ r r u []", wrong: "the record is ignored"},
		{txt: "v=DMARC1; p=reject; sp=all", want: "reject/reject r r u []", wrong: "sp=all is not one of"},
		{txt: "v=DMARC1; p=reject; adkim=strict", want: "reject/reject r r u []",
			wrong: "adkim=strict is not one of"},
		{txt: "v=DMARC1; p=reject; rua=a@example.com", want: "reject/reject r r u []",
			wrong: "is not a mailto: address"},
		{txt: "v=DMARC1; p=reject; p=none", want: "reject/reject r r u []", wrong: "p= is there twice"},
		{txt: "v=DMARC1; p=reject; sp", want: "reject/reject r r u []", wrong: `"sp" is not tag=value`},
	} {
		if !isRecord(tc.txt) {
			t.Errorf("%s: not a record", tc.txt)
		}
		r := parse("example.com", tc.txt)
		mode := map[bool]string{false: "r", true: "s"}
		got := fmt.Sprintf("%s/%s %s %s %s %v", r.P, r.For("a.example.com"), mode[r.StrictDKIM],
			mode[r.StrictSPF], r.PSD, r.RUA)
		if got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.txt, got, tc.want)
		}
		expect(t, tc.txt+": wrong", r.Wrong, tc.wrong)
		expect(t, tc.txt+": unwise", r.Unwise, tc.unwise)
	}
	for _, txt := range []string{"v=dmarc1; p=none", " v=DMARC1; p=none", "v=DMARC11; p=none",
		"p=none; v=DMARC1", ""} {
		if isRecord(txt) {
			t.Errorf("%q is a record", txt)
		}
	}
}

const reject = ` TXT "v=DMARC1; p=reject"` + "\n"

func TestDiscover(t *testing.T) {
	for _, tc := range []struct {
		name, domain, zone string
		at, org            string // where the record is, and the organization
		policy             string
		wrong              string
	}{
		{name: "own", domain: "example.com", zone: "_dmarc.example.com" + reject,
			at: "example.com", org: "example.com", policy: "reject"},
		{name: "above", domain: "a.b.example.com",
			zone: `_dmarc.example.com TXT "v=DMARC1; p=reject; sp=quarantine"`,
			at:   "example.com", org: "example.com", policy: "quarantine"},
		{name: "own and above", domain: "a.example.com", at: "a.example.com",
			org: "example.com", policy: "none",
			zone: `_dmarc.a.example.com TXT "v=DMARC1; p=none"` + "\n_dmarc.example.com" + reject},
		{name: "between is not the organization's", domain: "a.b.example.com", at: "example.com",
			org: "example.com", policy: "reject",
			zone: `_dmarc.b.example.com TXT "v=DMARC1; p=none"` + "\n_dmarc.example.com" + reject},
		{name: "psd=n", domain: "a.b.example.com", at: "b.example.com", org: "b.example.com",
			policy: "none",
			zone:   `_dmarc.b.example.com TXT "v=DMARC1; p=none; psd=n"` + "\n_dmarc.example.com" + reject},
		{name: "psd=y", domain: "a.b.bank", at: "bank", org: "b.bank", policy: "reject",
			zone: `_dmarc.bank TXT "v=DMARC1; p=reject; psd=y"`},
		{name: "psd=y and own", domain: "b.bank", at: "b.bank", org: "b.bank", policy: "none",
			zone: `_dmarc.bank TXT "v=DMARC1; p=reject; psd=y"
				_dmarc.b.bank TXT "v=DMARC1; p=none"`},
		{name: "psd=y at the domain itself", domain: "gov.example", at: "gov.example",
			org: "gov.example", policy: "reject", zone: `_dmarc.gov.example TXT "v=DMARC1; p=reject; psd=y"`},
		{name: "a suffix without psd", domain: "a.example.co.uk", at: "co.uk", org: "co.uk", policy: "reject",
			zone: "_dmarc.co.uk" + reject},
		{name: "none", domain: "a.example.co.uk", org: "example.co.uk"},
		{name: "eight labels and more", domain: "j.i.h.g.f.e.d.c.b.example.com", at: "example.com",
			org: "example.com", policy: "reject",
			zone: "_dmarc.i.h.g.f.e.d.c.b.example.com TXT \"v=DMARC1; " +
				"p=none; psd=n\"\n_dmarc.example.com" + reject},
		{name: "two", domain: "example.com", org: "example.com", wrong: "has 2 DMARC records",
			zone: "_dmarc.example.com" + reject + "_dmarc.example.com TXT \"v=DMARC1; p=none\""},
		{name: "two below one", domain: "a.example.com", at: "example.com", org: "example.com",
			policy: "reject", wrong: "has 2 DMARC records", zone: "_dmarc.example.com" + reject +
				"_dmarc.a.example.com" + reject + "_dmarc.a.example.com TXT \"v=DMARC1; p=none\""},
		{name: "beside other texts", domain: "example.com", at: "example.com", org: "example.com",
			policy: "reject", zone: "_dmarc.example.com TXT \"verification=1\"\n_dmarc.example.com" + reject},
		{name: "after a blank", domain: "example.com", org: "example.com",
			wrong: "does not begin with exactly",
			zone:  `_dmarc.example.com TXT " v=DMARC1; p=reject"`},
		{name: "small letters", domain: "example.com", org: "example.com",
			wrong: "does not begin with exactly",
			zone:  `_dmarc.example.com TXT "v=dmarc1; p=reject"`},
		{name: "at the apex", domain: "example.com", org: "example.com", wrong: "receivers do not look",
			zone: "example.com" + reject},
		{name: "without a policy", domain: "example.com", org: "example.com",
			zone: `_dmarc.example.com TXT "v=DMARC1; adkim=s"`},
	} {
		res, err := Discover(t.Context(), client(t, tc.zone), tc.domain)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		at, policy := "", ""
		if res.Record != nil {
			at, policy = res.Record.Domain, res.Record.For(tc.domain)
		}
		if at != tc.at || res.Org != tc.org || policy != tc.policy {
			t.Errorf("%s: %s at %q, organization %s; want %s at %q, %s", tc.name, policy, at, res.Org,
				tc.policy, tc.at, tc.org)
		}
		expect(t, tc.name, res.Wrong, tc.wrong)
	}
	if res, err := Discover(t.Context(), client(t, "_dmarc.com SERVFAIL"), "example.com"); err == nil {
		t.Errorf("unanswered: %+v", res)
	}
}

// A walk is at most eight queries, however long the name is.
func TestDiscoverQueries(t *testing.T) {
	s := dnstest.Start(t, "")
	c := &dnsclient.Client{Servers: []string{s.Addr}, Timeout: 5 * time.Second}
	domain := "n.m.l.k.j.i.h.g.f.e.d.c.b.a.example.com"
	if _, err := Discover(t.Context(), c, domain); err != nil {
		t.Fatal(err)
	}
	n := 0
	for name := domain; name != ""; {
		n += s.Asked("_dmarc." + name)
		_, name, _ = strings.Cut(name, ".")
	}
	if n != 8 || s.Asked("_dmarc."+domain) != 1 || s.Asked("_dmarc.e.d.c.b.a.example.com") != 1 {
		t.Errorf("%d queries", n)
	}
}

func TestAlign(t *testing.T) {
	zone := "_dmarc.example.com" + reject + `
		_dmarc.unit.example.com TXT "v=DMARC1; p=reject; psd=n"
		_dmarc.example.co.uk TXT "v=DMARC1; p=reject"
		_dmarc.co.uk TXT "v=DMARC1; p=none; psd=y"`
	for _, tc := range []struct {
		domain, other string
		strict        bool
		want          Alignment
	}{
		{"example.com", "EXAMPLE.com", true, Alignment{true, true}},
		{"example.com", "send.example.com", false, Alignment{true, true}},
		{"example.com", "send.example.com", true, Alignment{}},
		{"mail.example.com", "example.com", false, Alignment{true, true}},
		{"a.example.com", "b.example.com", false, Alignment{true, true}},
		{"unit.example.com", "example.com", false, Alignment{false, true}},
		{"a.unit.example.com", "unit.example.com", false, Alignment{true, true}},
		{"example.com", "amazonses.com", false, Alignment{}},
		{"example.co.uk", "send.example.co.uk", false, Alignment{true, true}},
		{"example.co.uk", "other.co.uk", false, Alignment{}},
		{"none.example.net", "send.none.example.net", false, Alignment{true, true}},
	} {
		c := client(t, zone)
		res, err := Discover(t.Context(), c, tc.domain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := res.Align(t.Context(), c, tc.other, tc.strict); err != nil || got != tc.want {
			t.Errorf("%s and %s, strict %v: %+v %v, want %+v", tc.domain, tc.other, tc.strict, got, err,
				tc.want)
		}
	}
}

func TestUnauthorized(t *testing.T) {
	c := client(t, `
		example.com._report._dmarc.agreed.example TXT "v=DMARC1;"
		example.com._report._dmarc.other.example TXT "hello"`)
	r := parse("example.com", "v=DMARC1; p=reject; rua=mailto:a@mail.example.com,mailto:b@agreed.example,"+
		"mailto:c@other.example")
	names, err := r.Unauthorized(t.Context(), c)
	if err != nil || fmt.Sprint(names) != "[example.com._report._dmarc.other.example]" {
		t.Errorf("%v %v", names, err)
	}
}

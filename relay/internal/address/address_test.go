package address

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		in   string
		utf8 bool
		want string
		err  error
	}{
		{"joe@example.org", false, "joe@example.org", nil},
		{"Joe.Q.Public@Example.ORG", false, "Joe.Q.Public@Example.ORG", nil},
		{`"joe"@example.org`, false, "joe@example.org", nil},
		{`"joe.q"@example.org`, false, "joe.q@example.org", nil},
		{`"j\o\e"@example.org`, false, "joe@example.org", nil},
		{`"joe q"@example.org`, false, `"joe q"@example.org`, nil},
		{`"a@b"@example.org`, false, `"a@b"@example.org`, nil},
		{`"a\"b\\c"@example.org`, false, `"a\"b\\c"@example.org`, nil},
		{`"victim@evil.test> ORCPT=rfc822;a"@allowed.test`, false,
			`"victim@evil.test> ORCPT=rfc822;a"@allowed.test`, nil},
		{`"a..b"@docomo.test`, false, `"a..b"@docomo.test`, nil},
		{"root@localhost", false, "root@localhost", nil},
		{"app@my_service", false, "app@my_service", nil},
		{"x@[192.0.2.1]", false, "x@[192.0.2.1]", nil},
		{"x@[IPv6:2001:db8::1]", false, "x@[IPv6:2001:db8::1]", nil},
		{"!#$%&'*+-/=?^_`{|}~@example.org", false, "!#$%&'*+-/=?^_`{|}~@example.org", nil},
		{long + "@example.org", false, long + "@example.org", nil},
		{"用户@例子.广告", true, "用户@例子.广告", nil},
		{`"用 户"@例子.广告`, true, `"用 户"@例子.广告`, nil},
		{"joe@xn--fsqu00a.xn--4rr70v", false, "joe@xn--fsqu00a.xn--4rr70v", nil},

		{"用户@例子.广告", false, "", ErrNonASCII},
		{"joe@例子.广告", false, "", ErrNonASCII},
		{"a" + long + "@example.org", false, "", ErrTooLong},
		{`"` + strings.Repeat(`\"`, 40) + `"@example.org`, false, "", ErrTooLong},
		{"a@" + strings.Repeat("a.", 130) + "b", false, "", ErrTooLong},
		{"a@" + strings.Repeat(strings.Repeat("b", 62)+".", 4) + "test", false, "", ErrTooLong},
		{"a@" + strings.Repeat("b", 64) + ".test", false, "", ErrTooLong},
		{"\xff\xfe@d", true, "", ErrSyntax},
		{"a\u0085b@d", true, "", ErrHidden},
		{"\"a\u0085b\"@d", true, "", ErrHidden},
		{"\"a\u009b31mb\"@d", true, "", ErrHidden},
		{"a\u202eb@d", true, "", ErrHidden},
		{"\"a\u202eb\"@d", true, "", ErrHidden},
		{"\"a\u2066b\"@d", true, "", ErrHidden},
		{"a\u200fb@d", true, "", ErrHidden},
		{"a\u061cb@d", true, "", ErrHidden},
		{"a\u200bb@d", true, "", ErrHidden},
		{"\"a\u2028b\"@d", true, "", ErrHidden},
		{"\ufeffa@d", true, "", ErrHidden},
		{"a@d\u200be.test", true, "", ErrHidden},
		{"a@d\u00ade.test", true, "", ErrHidden},
		{"a@\u202ed.test", true, "", ErrHidden},
		{"a\u00a0b@d", true, "a\u00a0b@d", nil},
		{"é@d", true, "é@d", nil},
		{"", false, "", ErrSyntax},
		{"@", false, "", ErrSyntax},
		{"a", false, "", ErrSyntax},
		{"a@", false, "", ErrSyntax},
		{"@d", false, "", ErrSyntax},
		{`""@d`, false, "", ErrSyntax},
		{`"a@d`, false, "", ErrSyntax},
		{`"a\`, false, "", ErrSyntax},
		{`"a"b@d`, false, "", ErrSyntax},
		{`"a"@b@d`, false, "", ErrSyntax},
		{"a@b@d", false, "", ErrSyntax},
		{"a..b@d", false, `"a..b"@d`, nil},
		{".a@d", false, `".a"@d`, nil},
		{"a.@d", false, `"a."@d`, nil},
		{".@d", false, `"."@d`, nil},
		{"\xe9..b@d", true, "", ErrSyntax},
		{"é..b@d", true, `"é..b"@d`, nil},
		{"a b@d", false, "", ErrSyntax},
		{"a>b@d", false, "", ErrSyntax},
		{"<a@d>", false, "", ErrSyntax},
		{"a\x00b@d", false, "", ErrSyntax},
		{"a\rb@d", false, "", ErrSyntax},
		{"a\nb@d", false, "", ErrSyntax},
		{"a\tb@d", false, "", ErrSyntax},
		{"a\x7fb@d", false, "", ErrSyntax},
		{"\"a\x00b\"@d", false, "", ErrSyntax},
		{"\"a\rb\"@d", false, "", ErrSyntax},
		{"\"a\\\rb\"@d", false, "", ErrSyntax},
		{"\"a\\用\"@d", true, "", ErrSyntax},
		{"a@d.", false, "a@d", nil},
		{"a@d..", false, "", ErrSyntax},
		{"a@.", false, "", ErrSyntax},
		{"a@[192.0.2.1].", false, "a@[192.0.2.1]", nil},
		{"a@.d", false, "", ErrSyntax},
		{"a@d..e", false, "", ErrSyntax},
		{"a@-d", false, "", ErrSyntax},
		{"a@d-", false, "", ErrSyntax},
		{"a@d>e", false, "", ErrSyntax},
		{"a@d e", false, "", ErrSyntax},
		{"a@d\r", false, "", ErrSyntax},
		{"a@[1.2.3]", false, "", ErrSyntax},
		{"a@[1.2.3.4", false, "", ErrSyntax},
		{"a@[2001:db8::1]", false, "", ErrSyntax},
		{"a@[IPv6:1.2.3.4]", false, "", ErrSyntax},
		{"a@[IPv6:fe80::1%eth0]", false, "", ErrSyntax},
		{"a@[x400:foo]", false, "", ErrSyntax},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in, tt.utf8)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Parse(%q, %v) = %q, %v; want %q, %v", tt.in, tt.utf8, got, err, tt.want, tt.err)
		}
	}
}

func TestSplitAndDomain(t *testing.T) {
	for _, tt := range []struct{ in, local, domain string }{
		{"a@B.c", "a", "B.c"},
		{`"a@b"@c`, `"a@b"`, "c"},
		{"", "", ""},
	} {
		local, domain := Split(tt.in)
		if local != tt.local || domain != tt.domain || Domain(tt.in) != strings.ToLower(tt.domain) {
			t.Errorf("Split(%q) = %q, %q", tt.in, local, domain)
		}
	}
}

func TestASCII(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		ok       bool
	}{
		{"a@b.test", "a@b.test", true},
		{"a@例子.广告", "a@xn--fsqu00a.xn--4rr70v", true},
		{"用@b.test", "", false},
	} {
		if got, ok := ASCII(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("ASCII(%q) = %q, %v", tt.in, got, ok)
		}
	}
	if got, err := ToASCII("[192.0.2.1]"); got != "[192.0.2.1]" || err != nil {
		t.Errorf("ToASCII(literal) = %q, %v", got, err)
	}
}

// FuzzParse holds that what is emitted parses back to itself and can neither end its path early nor start a
// line.
func FuzzParse(f *testing.F) {
	f.Add("joe@example.org", false)
	f.Add(`"victim@evil.test> ORCPT=rfc822;a"@allowed.test`, false)
	f.Add("用户@例子.广告", true)
	f.Add("x@[IPv6:2001:db8::1]", false)
	f.Add("\"a\\\"b\"@c", true)
	f.Fuzz(func(t *testing.T, in string, utf8 bool) {
		got, err := Parse(in, utf8)
		if err != nil {
			return
		}
		again, err := Parse(got, utf8)
		if err != nil || again != got {
			t.Fatalf("Parse(%q) = %q, but parsed again: %q, %v", in, got, again, err)
		}
		if strings.ContainsAny(got, "\x00\r\n\t\x7f") || len(got) > MaxTotal {
			t.Fatalf("Parse(%q) = %q", in, got)
		}
		local, domain := Split(got)
		if strings.ContainsAny(domain, " <>\"@") {
			t.Fatalf("Parse(%q): domain %q", in, domain)
		}
		if !strings.HasPrefix(local, `"`) && strings.ContainsAny(local, ` <>"@\`) {
			t.Fatalf("Parse(%q): local part %q", in, local)
		}
	})
}

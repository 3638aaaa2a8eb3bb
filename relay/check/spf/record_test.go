package spf

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct{ txt, want string }{
		{"v=spf1", ""},
		{"V=SPF1 -ALL", "-all"},
		{"v=spf1  include:_spf.example.com   ~all ", "+include(_spf.example.com) ~all"},
		{"v=spf1 a mx:example.com/24 a:h.example.com//64 mx/24//64 ?all",
			"+a() +mx(example.com)/24 +a(h.example.com)//64 +mx()/24//64 ?all"},
		{"v=spf1 ip4:192.0.2.1 ip4:192.0.2.99/24 ip6:2001:db8::1 -ip6:2001:db8::/32",
			"+ip4=192.0.2.1/32 +ip4=192.0.2.0/24 +ip6=2001:db8::1/128 -ip6=2001:db8::/32"},
		{"v=spf1 exists:%{ir}.%{v}._spf.%{d2} ptr:example.com -all",
			"+exists(%{ir}.%{v}._spf.%{d2}) +ptr(example.com) -all"},
		{"v=spf1 a:%{d1r/}.example.com/24", "+a(%{d1r/}.example.com)/24"},
		{"v=spf1 redirect=_spf.example.com exp=e.%{d} other=%{i}", "redirect(_spf.example.com) exp(e.%{d})"},
	} {
		r, err := Parse(tc.txt)
		if err != nil {
			t.Errorf("%s: %v", tc.txt, err)
		} else if got := text(r); got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.txt, got, tc.want)
		}
	}
}

// text is a record in a form of its own.
func text(r *Record) string {
	var words []string
	for _, t := range r.Terms {
		w := string(t.Qualifier) + t.Name
		switch t.Name {
		case "ip4", "ip6":
			w += "=" + t.Network.String()
		case "all":
		default:
			w += "(" + t.Domain + ")"
		}
		if t.Bits4 != 32 {
			w += fmt.Sprintf("/%d", t.Bits4)
		}
		if t.Bits6 != 128 {
			w += fmt.Sprintf("//%d", t.Bits6)
		}
		words = append(words, w)
	}
	if r.Redirect != "" {
		words = append(words, "redirect("+r.Redirect+")")
	}
	if r.Exp != "" {
		words = append(words, "exp("+r.Exp+")")
	}
	return strings.Join(words, " ")
}

func TestParseMistakes(t *testing.T) {
	for _, tc := range []struct{ txt, want string }{
		{"v=spf10 -all", "does not begin with"},
		{"v=spf1;-all", "does not begin with"},
		{"v=spf1 includes:a.example", `there is no mechanism "includes"`},
		{"v=spf1 include", "include needs a domain"},
		{"v=spf1 include:", "is not a domain"},
		{"v=spf1 include:example", "is not a domain"},
		{"v=spf1 include:192.0.2.1", "is not a domain"},
		{"v=spf1 exists", "exists needs a domain"},
		{"v=spf1 ip4:192.0.2.256", "not an address or network of ip4"},
		{"v=spf1 ip4:2001:db8::1", "not an address or network of ip4"},
		{"v=spf1 ip4:192.0.2.0/33", "not an address or network of ip4"},
		{"v=spf1 ip4", "not an address or network of ip4"},
		{"v=spf1 ip4/24", "not an address or network of ip4"},
		{"v=spf1 ip6:192.0.2.1", "not an address or network of ip6"},
		{"v=spf1 a/33", "not a network length"},
		{"v=spf1 mx//129", "not a network length"},
		{"v=spf1 a/", "not a network length"},
		{"v=spf1 a//", "not a network length"},
		{"v=spf1 -all/24", "is too much"},
		{"v=spf1 all:example.com", "is too much"},
		{"v=spf1 redirect=a.example redirect=b.example", "redirect= is there twice"},
		{"v=spf1 redirect=", "is not a domain"},
		{"v=spf1 a:%{x}.example.com", "there is no macro"},
		{"v=spf1 a:%{d0}.example.com", "keeps no label"},
		{"v=spf1 a:%{dq}.example.com", "unknown part"},
		{"v=spf1 a:%d.example.com", "begins no macro"},
		{"v=spf1 a:%{d", "begins no macro"},
		{"v=spf1 \u201cinclude:a.example\u201d", "no mechanism"},
		{"v=spf1 - all", "no mechanism"},
	} {
		if _, err := Parse(tc.txt); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.txt, err, tc.want)
		}
	}
}

func TestExpand(t *testing.T) {
	for spec, want := range map[string]string{
		"_spf.%{d}":        "_spf.mail.example.com",
		"%{d2}.x.example":  "example.com.x.example",
		"%{dr}.x.example":  "com.example.mail.x.example",
		"%{d1r}.x.example": "mail.x.example",
		"%{o}":             "sender.example",
		"%{o.}%%%_.a":      "sender.example% .a",
		"%{D}.a":           "mail.example.com.a",
		"%{i}._spf.a":      "!",
		"%{l}.a":           "!",
	} {
		got, err := expand(spec, "mail.example.com", "sender.example")
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("v=spf1 a:%{d2r.-}/24//64 include:a.example redirect=%{o} -all")
	f.Add("v=spf1 ip6:::1/0 ?mx/1 exp=%%%_.a")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := Parse(txt)
		if err != nil {
			return
		}
		for _, term := range r.Terms {
			if !strings.Contains(txt, term.Text) {
				t.Fatalf("%q is not in %q", term.Text, txt)
			}
			if _, err := expand(term.Domain, "a.example", "b.example"); err != nil && err != errMessage {
				t.Fatalf("%q was read but cannot be expanded: %v", term.Text, err)
			}
		}
	})
}

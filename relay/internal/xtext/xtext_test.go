package xtext

import (
	"errors"
	"testing"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{"", "", nil},
		{"QQ314159", "QQ314159", nil},
		{"a+2Bb+3Dc", "a+b=c", nil},
		{"+00+FF", "\x00\xff", nil},
		{"a+2b", "", ErrSyntax},
		{"a+2", "", ErrSyntax},
		{"a+", "", ErrSyntax},
		{"a=b", "", ErrSyntax},
		{"a b", "", ErrSyntax},
		{"a\r", "", ErrSyntax},
		{"é", "", ErrSyntax},
	} {
		if got, err := Decode(tt.in); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Decode(%q) = %q, %v", tt.in, got, err)
		}
	}
}

func TestDecodeUTF8(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{"joe@example.org", "joe@example.org", nil},
		{`\x{7528}\x{6237}@\x{E9}`, "用户@é", nil},
		{"用户@例子", "用户@例子", nil},
		{`a\x{2B}b\x{3D}\x{5C}\x{20}`, `a+b=\ `, nil},
		{`\x{1F600}`, "😀", nil},
		{`\x{61}`, "", ErrSyntax},
		{`\x{00}`, "", ErrSyntax},
		{`\x{0E9}`, "", ErrSyntax},
		{`\x{D800}`, "", ErrSyntax},
		{`\x{110000}`, "", ErrSyntax},
		{`\x{e9}`, "", ErrSyntax},
		{`\x{E9`, "", ErrSyntax},
		{`\x{`, "", ErrSyntax},
		{`\n`, "", ErrSyntax},
		{"a+b", "", ErrSyntax},
		{"\xff", "", ErrSyntax},
	} {
		if got, err := DecodeUTF8(tt.in); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("DecodeUTF8(%q) = %q, %v", tt.in, got, err)
		}
	}
}

func TestORCPT(t *testing.T) {
	for _, tt := range []struct {
		in, typ, addr string
		err           error
	}{
		{"rfc822;joe+2Bx@example.org", "rfc822", "joe+x@example.org", nil},
		{"RFC822;joe@example.org", "RFC822", "joe@example.org", nil},
		{`utf-8;\x{7528}@d`, "utf-8", "用@d", nil},
		{"x400;/c+3Dus/", "x400", "/c=us/", nil},
		{"rfc822;", "", "", ErrSyntax},
		{";joe", "", "", ErrSyntax},
		{"joe@example.org", "", "", ErrSyntax},
		{"a.b;c", "", "", ErrSyntax},
	} {
		typ, addr, err := ORCPT(tt.in)
		if typ != tt.typ || addr != tt.addr || !errors.Is(err, tt.err) {
			t.Errorf("ORCPT(%q) = %q, %q, %v", tt.in, typ, addr, err)
		}
	}
}

// FuzzRoundTrip holds that any string survives encoding, and that what decodes is a fixed point from then on.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"", "a+b=c", "é\x00\xff", `\x{7528}`, "用户@例子"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := Decode(Encode(s)); got != s || err != nil {
			t.Fatalf("Decode(Encode(%q)) = %q, %v", s, got, err)
		}
		d, err := DecodeUTF8(s)
		if err != nil {
			return
		}
		if !utf8.ValidString(d) {
			t.Fatalf("DecodeUTF8(%q) = %q, no UTF-8", s, d)
		}
		if got, err := DecodeUTF8(EncodeUTF8(d)); got != d || err != nil {
			t.Fatalf("DecodeUTF8(EncodeUTF8(%q)) = %q, %v", d, got, err)
		}
	})
}

package returnpath

import (
	"strings"
	"testing"
)

// The vectors were computed with Python's hmac and hashlib and a base 32 of its own:
//
//	id.lower() + b32(hmac.new(key, b"return path" + id, sha256).digest()[:8])
//	           + b32(hmac.new(key, b"return path" + id + b"bob@example.org", sha256).digest()[:8])[:8]
const (
	newKey = "a key of the test, 32 bytes long"
	oldKey = "the key before it, 32 bytes long"

	id       = "06BZ1ZD7R0G40R40M30E2091"
	token    = "06bz1zd7r0g40r40m30e20913pj8m0s4vxcra"
	bobs     = "06bz1zd7r0g40r40m30e20913pj8m0s4vxcrabjnpt1ny"
	oldToken = "06bz1zd7r0g40r40m30e2091pb7ct4mgdv7ta"
)

// paths are those of b@bounces.example.com while one key replaces another.
func paths(t testing.TB) *Paths {
	t.Helper()
	p, err := New("b@bounces.example.com", []byte(newKey), []byte(oldKey))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestVectors(t *testing.T) {
	p := paths(t)
	if got, want := p.Address(id), "b+"+token+"@bounces.example.com"; got != want {
		t.Errorf("Address is %s, want %s", got, want)
	}
	if got, want := p.AddressFor(id, "Bob@Example.org"), "b+"+bobs+"@bounces.example.com"; got != want {
		t.Errorf("AddressFor is %s, want %s", got, want)
	}
	if len(token) != 37 || len(bobs) != 45 {
		t.Errorf("tokens of %d and %d characters", len(token), len(bobs))
	}
}

func TestParse(t *testing.T) {
	p := paths(t)
	own := func(token string) string { return "b+" + token + "@bounces.example.com" }
	tests := []struct {
		name, address string
		ok, one       bool
	}{
		{"as it was made", own(token), true, false},
		{"with the old key", own(oldToken), true, false},
		{"for one recipient", own(bobs), true, true},
		{"in capitals", strings.ToUpper(own(token)), true, false},
		{"with the dot of a DNS name", own(token) + ".", true, false},
		{"wrapped by a forwarder", "SRS0=9nJx=4E=bounces.example.com=b+" + token + "@forward.example.net",
			true, false},
		{"wrapped in lower case", "srs0=9njx=4e=bounces.example.com=b+" + token + "@forward.example.net",
			true, false},
		{"wrapped with a plus", "SRS0+9nJx=4E=bounces.example.com=b+" + bobs + "@forward.example.net",
			true, true},
		{"wrapped twice", "SRS1=Zk3a=forward.example.net==9nJx=4E=bounces.example.com=b+" + token +
			"@second.example.org", true, false},
		{"wrapped twice with other signs", "SRS1-Zk3a=forward.example.net=+9nJx=4E=bounces.example.com=b+" +
			token + "@second.example.org", true, false},
		{"tagged by the upstream", "prvs=4123abcdef=b+" + token + "@bounces.example.com", true, false},

		{"nothing", "", false, false},
		{"the address alone", "b@bounces.example.com", false, false},
		{"an empty token", "b+@bounces.example.com", false, false},
		{"another domain", "b+" + token + "@example.com", false, false},
		{"another local part", "c+" + token + "@bounces.example.com", false, false},
		{"no domain", "b+" + token, false, false},
		{"a changed code", own(token[:36] + "b"), false, false},
		{"a changed id", own("1" + token[1:]), false, false},
		{"a letter that is not in the alphabet", own("u" + token[1:]), false, false},
		{"the id alone", own(token[:24]), false, false},
		{"one character less", own(token[:36]), false, false},
		{"one character more", own(token + "0"), false, false},
		{"the last bit of the code", own(token[:36] + "9"), false, false},
		{"the code of another key", own(id + "0000000000000"), false, false},
		{"wrapped, cut short", "SRS0=9nJx=4E=bounces.example.com", false, false},
		{"wrapped, without its sign", "SRS0@forward.example.net", false, false},
		{"wrapped, of somebody else", "SRS0=9nJx=4E=example.com=b+" + token + "@forward.example.net", false,
			false},
		{"tagged, cut short", "prvs=4123abcdef@bounces.example.com", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, ok := p.Parse(tt.address)
			if ok != tt.ok || path.OneRecipient != tt.one && ok {
				t.Fatalf("Parse(%s) is %+v, %v", tt.address, path, ok)
			}
			if ok && path.ID != id {
				t.Errorf("id %s", path.ID)
			}
		})
	}
}

func TestIsFor(t *testing.T) {
	p := paths(t)
	bob, ok := p.Parse("b+" + bobs + "@bounces.example.com")
	if !ok {
		t.Fatal("not ours")
	}
	all, ok := p.Parse("b+" + token + "@bounces.example.com")
	if !ok {
		t.Fatal("not ours")
	}
	changed, ok := p.Parse("b+" + bobs[:44] + "0@bounces.example.com")
	if !ok || !changed.OneRecipient { // the door takes it: the code of the message is right
		t.Fatal("not ours")
	}
	for _, tt := range []struct {
		path      Path
		recipient string
		want      bool
	}{
		{bob, "bob@example.org", true}, {bob, "BOB@EXAMPLE.ORG", true}, {bob, "ann@example.org", false},
		{bob, "", false}, {all, "bob@example.org", false}, {all, "", false},
		{changed, "bob@example.org", false},
	} {
		if got := tt.path.IsFor(tt.recipient); got != tt.want {
			t.Errorf("IsFor(%q) of %+v is %v", tt.recipient, tt.path.OneRecipient, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	key := []byte(newKey)
	for _, tt := range []struct {
		base string
		keys [][]byte
		says string
	}{
		{"bounces.example.com", [][]byte{key}, "write an address"},
		{"@bounces.example.com", [][]byte{key}, "write an address"},
		{"b@", [][]byte{key}, "write an address"},
		{`"b c"@bounces.example.com`, [][]byte{key}, "quotes"},
		{"b@bounces.example.com\r\nRSET", [][]byte{key}, "quotes"},
		{"bücher@bounces.example.com", [][]byte{key}, "ASCII"},
		{"a-local-part-of-20-b@bounces.example.com", [][]byte{key}, "at most 18 bytes"},
		{"b@bounces.example.com", nil, "no key"},
		{"b@bounces.example.com", [][]byte{key, []byte("short")}, "at least 16"},
	} {
		if _, err := New(tt.base, tt.keys...); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("New(%s) says %v, want %q", tt.base, err, tt.says)
		}
	}
}

// FuzzParse: whatever is a return path of ours was made by us, and reading it again changes nothing.
func FuzzParse(f *testing.F) {
	p := paths(f)
	for _, seed := range []string{
		"b+" + token + "@bounces.example.com", "b+" + bobs + "@bounces.example.com",
		"SRS0=a=b=bounces.example.com=b+" + token + "@x",
		"SRS1=a=b==c=d=bounces.example.com=b+" + token + "@x",
		"prvs=1=b+" + token + "@bounces.example.com", "=@=", "SRS1=@", "SRS0+", "b+@bounces.example.com",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		path, ok := p.Parse(address)
		if !ok {
			return
		}
		lower := strings.ToLower(address)
		old, err := New(p.Base(), []byte(oldKey))
		if err != nil {
			t.Fatal(err)
		}
		made, before := p.Address(path.ID), old.Address(path.ID)
		if !strings.Contains(lower, made[:len("b+")+37]) && !strings.Contains(lower, before[:len("b+")+37]) {
			t.Errorf("%q was taken for a return path of %s", address, path.ID)
		}
	})
}

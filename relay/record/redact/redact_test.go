package redact

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

var key = []byte("a secret of the spool, 32 bytes.")

func TestAddress(t *testing.T) {
	domain, hash := New(Domain, nil), New(Hash, key)
	for address, want := range map[string]string{
		"bob@example.com": "*@example.com", "": "", `"a@b"@x.test`: "*@x.test", "postmaster": "*",
		"*@example.com": "*@example.com",
	} {
		if got := domain.Address(address); got != want {
			t.Errorf("%q became %q, want %q", address, got, want)
		}
	}
	bob := hash.Address("bob@example.com")
	if !regexp.MustCompile(`^h-[0-9a-v]{16}@example\.com$`).MatchString(bob) {
		t.Errorf("the hash is %q", bob)
	}
	if hash.Address("BOB@Example.com") != bob || hash.Address(bob) != bob {
		t.Error("one address has several hashes")
	}
	if other := New(Hash, []byte("another")); hash.Address("eve@example.com") == bob ||
		other.Address("bob@example.com") == bob {
		t.Error("the hash does not depend on address and key")
	}
	if got := New(Hash, nil).Address("bob@example.com"); got != "*@example.com" {
		t.Errorf("without a key: %q", got)
	}
	for _, r := range []*Redactor{nil, New(Full, key)} {
		if got := r.Address("bob@example.com"); got != "bob@example.com" {
			t.Errorf("in full: %q", got)
		}
	}
}

// TestReplies: addresses go from the upstream's words, which otherwise stay.
func TestReplies(t *testing.T) {
	r := New(Domain, nil)
	known := []string{"app@shop.test", "bob.smith@y.test", "info@y.test"}
	for _, c := range [][2]string{
		{"550 5.1.1 <bob.smith@y.test>: Recipient rejected\r\n",
			"550 5.1.1 <*@y.test>: Recipient rejected\r\n"},
		{"550 Bob.Smith@Y.Test unknown",
			"550 *@Y.Test unknown"},
		{"550 No such user: bob.smith",
			"550 No such user: *"},
		{"550 user <info> unknown, info at our site",
			"550 user <*> unknown, info at our site"},
		{"550 mailbox 'info' is full",
			"550 mailbox '*' is full"},
		{"550 ask postmaster@other.test, or +1 555 1234",
			"550 ask *@other.test, or +1 555 1234"},
		{"550 see https://y.test/help?a=1&email=carol%40z.test&b=2",
			"550 see https://y.test/help?a=1&email=*%40z.test&b=2"},
		{"550 <bounces+bob.smith=y.test@shop.test> rejected",
			"550 <*@shop.test> rejected"},
		{`550 <"odd name"@y.test> rejected`,
			`550 <*@y.test> rejected`},
		{"550 büro@firma.test unbekannt",
			"550 *@firma.test unbekannt"},
		{"450 4.2.1 try again at 10:30, 100% of quota",
			"450 4.2.1 try again at 10:30, 100% of quota"},
		{"250 2.0.0 Ok: queued as 4F",
			"250 2.0.0 Ok: queued as 4F"},
		{"550 admin@[192.0.2.1] unknown",
			"550 *@[192.0.2.1] unknown"},
	} {
		if got := r.text(c[0], r.people(known)); got != c[1] {
			t.Errorf("%q\nbecame %q\nwant   %q", c[0], got, c[1])
		}
	}
}

// TestEvents: of the events that package record tests, no local part is left in any field, and what they
// point at is not changed.
func TestEvents(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, mode := range []Mode{Domain, Hash} {
		r := New(mode, key)
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			e, err := record.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			before := string(e.AppendJSON(nil))
			kept := e
			r.Event(&e)
			line := string(e.AppendJSON(nil))
			for _, left := range []string{"app@", "user@", "old@", "<m@", "a@b", "c@d"} {
				if strings.Contains(line, left) {
					t.Errorf("%s as %s: %q is left in %s", filepath.Base(file), mode, left, line)
				}
			}
			if string(kept.AppendJSON(nil)) != before {
				t.Errorf("%s: the event that was read has changed", file)
			}
			again := e
			if r.Event(&again); string(again.AppendJSON(nil)) != line {
				t.Errorf("treated twice it is\n%s\nnot\n%s", again.AppendJSON(nil), line)
			}
		}
	}
}

// TestWhole: every text of an event that can hold an address is treated.
func TestWhole(t *testing.T) {
	const bob = "bob@y.test"
	e := record.Event{
		V: 1, Kind: relay.EventFailed, ID: "M1", From: bob, To: bob, Given: []string{bob}, Client: bob,
		User:      bob,
		MessageID: "<bob@y.test>", Reply: "550 " + bob, ErrorText: bob, Note: bob, Route: bob, EventID: bob,
		UpstreamID: bob,
		Diagnosis: &diagnose.Diagnosis{Cause: bob, Fix: []string{bob}, Evidence: []string{bob},
			Links: []string{"https://y.test/?bob%40y.test"}, Domain: bob},
		Suppression: &relay.Suppression{Address: bob, Reply: bob, Note: bob},
	}
	New(Domain, nil).Event(&e)
	if line := string(e.AppendJSON(nil)); strings.Contains(line, "bob") {
		t.Errorf("bob is left: %s", line)
	}
}

func FuzzText(f *testing.F) {
	f.Add("550 <bob@y.test>... \"odd\"@x.test %40", "bob@y.test")
	f.Fuzz(func(t *testing.T, s, known string) {
		r := New(Hash, key)
		once := r.text(s, r.people([]string{known}))
		if local, _, ok := strings.Cut(known, "@"); ok && len(local) > 3 && strings.Contains(once, known) &&
			!r.done(known) {
			t.Errorf("%q is left in %q", known, once)
		}
	})
}

func BenchmarkEvent(b *testing.B) {
	line, err := os.ReadFile("../testdata/deferred.json")
	if err != nil {
		b.Fatal(err)
	}
	e, err := record.Parse(line)
	if err != nil {
		b.Fatal(err)
	}
	r := New(Hash, key)
	for b.Loop() {
		c := e
		r.Event(&c)
	}
}

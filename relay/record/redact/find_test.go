package redact

import (
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

// TestFinder: an address is found wherever it stands, in full and as a hash, but not in another address.
func TestFinder(t *testing.T) {
	const bob = "bob@y.test"
	hash := New(Hash, key).Address(bob)
	for _, e := range []record.Event{
		{From: bob}, {To: "BOB@Y.test"}, {Given: []string{"x@y.test", bob}}, {To: hash}, {From: hash},
		{MessageID: "<" + bob + ">"}, {Client: bob}, {User: bob}, {Note: "see bob@y.test."},
		{Reply: "550 <Bob@y.test> unknown\r\n"}, {Reply: "550 <" + hash + "> unknown"}, {ErrorText: bob},
		{Reply: "550 not jimbob@y.test but bob@y.test"}, {Route: bob}, {EventID: bob}, {UpstreamID: bob},
		{Diagnosis: &diagnose.Diagnosis{Cause: bob}}, {Diagnosis: &diagnose.Diagnosis{Fix: []string{bob}}},
		{Diagnosis: &diagnose.Diagnosis{Evidence: []string{bob}}},
		{Diagnosis: &diagnose.Diagnosis{Links: []string{"https://y.test/?e=bob%40y.test&x=1"}}},
		{Diagnosis: &diagnose.Diagnosis{Links: []string{"https://y.test/?e=%3Cbob%40y.test%3E"}}},
		{Suppression: &relay.Suppression{Address: bob}}, {Suppression: &relay.Suppression{Reply: bob}},
	} {
		for _, mode := range []Mode{Full, Domain, Hash} {
			if !New(mode, key).Finder(bob)(&e) {
				t.Errorf("%s: not found in %+v", mode, e)
			}
		}
	}
	for _, e := range []record.Event{
		{From: "jim.bob@y.test", To: "bob@y.test.example"}, {Reply: "550 jim.bob@y.test, bob@y.test.example"},
		{Note: "bob@y.test-mail.example"}, {Note: "bob"}, {To: "*@y.test"}, {Reply: "550 <*@y.test>"},
		{To: New(Hash, []byte("another")).Address(bob)}, {To: New(Hash, key).Address("eve@y.test")},
	} {
		if New(Hash, key).Finder(bob)(&e) {
			t.Errorf("found in %+v", e)
		}
	}
	var none *Redactor
	if e := (record.Event{To: bob}); !none.Finder(bob)(&e) {
		t.Error("not found without a Redactor")
	}
}

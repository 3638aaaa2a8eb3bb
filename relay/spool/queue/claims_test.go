package queue

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay"
)

const topic = relay.TopicReport

// entry is an entry of message m under a claim.
func entry(m string, t relay.Token) relay.Entry {
	return relay.Entry{Message: m, Topic: topic, Claim: t}
}

func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClaims()
		one, ok := c.Take(topic, "m", time.Minute)
		if !ok || !c.Claimed(topic, "m") || c.Claimed("other", "m") || c.Claimed(topic, "n") {
			t.Fatal("a claim is of one message and topic")
		}
		if _, ok := c.Take(topic, "m", time.Minute); ok {
			t.Error("claimed twice")
		}
		if _, ok := c.Take("other", "m", time.Hour); !ok {
			t.Error("another topic's entries are free")
		}
		time.Sleep(time.Minute)
		two, ok := c.Take(topic, "m", time.Minute)
		if !ok || one == two {
			t.Fatal("a claim that lapsed is not to be had")
		}
		if _, err := c.BeginWrite([]relay.Entry{entry("n", ""), entry("m", one)}); !errors.Is(err,
			relay.ErrStaleLease) {
			t.Errorf("a write under the claim that lapsed: %v", err)
		}
		if c.Claimed(topic, "n") {
			t.Error("the refused write holds what it had checked")
		}
		c.GiveBack(one, two, two)
		if c.Claimed(topic, "m") {
			t.Error("a claim that was given back")
		}
	})
}

// TestClaimsWhileWriting: while an answer is written nobody else gets the entries, even if the claim has
// ended.
func TestClaimsWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClaims()
		token, _ := c.Take(topic, "m", time.Minute)
		for name, ends := range map[string]func(){
			"lapses":         func() { time.Sleep(time.Hour) },
			"is given back":  func() { c.GiveBack(token) },
			"had not begun":  func() {},
			"is still there": func() {},
		} {
			end, err := c.BeginWrite([]relay.Entry{entry("m", token), entry("m", token)})
			if err != nil {
				t.Fatal(err)
			}
			ends()
			if _, ok := c.Take(topic, "m", time.Minute); ok {
				t.Errorf("%s: claimed during the write", name)
			}
			end()
			c.GiveBack(token)
			if token, _ = c.Take(topic, "m", time.Minute); token == "" {
				t.Fatalf("%s: not to be had after the write", name)
			}
		}
	})
}

// TestClaimsDuringARead: what is answered while a reader looks is not taken from what the reader saw.
func TestClaimsDuringARead(t *testing.T) {
	c := NewClaims()
	first, _ := c.Take(topic, "m", time.Minute)
	endSlow := c.BeginRead()
	endRead := c.BeginRead()
	endWrite, err := c.BeginWrite([]relay.Entry{entry("m", first)})
	if err != nil {
		t.Fatal(err)
	}
	endWrite()
	c.GiveBack(first)
	endRead()
	if _, ok := c.Take(topic, "m", time.Minute); ok {
		t.Error("claimed what was answered during the read")
	}
	endSlow()
	end := c.BeginRead()
	defer end()
	if _, ok := c.Take(topic, "m", time.Minute); !ok {
		t.Error("a later read cannot claim it")
	}
}

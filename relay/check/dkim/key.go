// Package dkim looks DKIM key records up and says what is wrong with them (RFC 6376, 3.6; RFC 8301, 8463).
//
// It looks at what is published. Whether a provider signs with that key only a signed message can tell.
package dkim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Key is a key record.
type Key struct {
	Type   string   // rsa or ed25519
	Bits   int      // of an RSA key
	Wrong  []string // why no signature verifies with it, a sentence each
	Unwise []string // what works today, a sentence each
}

// The lengths of RSA keys in bits (RFC 8301, 3.2).
const (
	minBits  = 1024 // verifiers refuse shorter ones
	goodBits = 2048
)

// IsRecord reports whether a TXT record is meant to be a key: it has a p= tag.
func IsRecord(txt string) bool {
	tags, _ := parseTags(txt)
	_, ok := find(tags, "p")
	return ok
}

// tag is one tag=value of a list (RFC 6376, 3.2).
type tag struct{ name, value string }

// parseTags reads a tag list. White space around names and values does not count. wrong is the first part
// that is not a tag.
func parseTags(txt string) (tags []tag, wrong string) {
	for part := range strings.SplitSeq(txt, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok && wrong == "" {
			wrong = part
		}
		tags = append(tags, tag{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	return tags, wrong
}

func find(tags []tag, name string) (string, bool) {
	i := slices.IndexFunc(tags, func(t tag) bool { return t.name == name })
	if i < 0 {
		return "", false
	}
	return tags[i].value, true
}

// ParseKey reads a key record (RFC 6376, 3.6.1).
func ParseKey(txt string) *Key {
	tags, part := parseTags(txt)
	k := &Key{Type: "rsa"}
	if part != "" {
		k.wrong("%q is not tag=value: the record was cut or pasted badly", clip(part))
	}
	for i, t := range tags {
		switch {
		case slices.ContainsFunc(tags[:i], func(u tag) bool { return u.name == t.name }):
			k.wrong("the tag %s= is there twice", t.name)
		case t.name == "v" && (i > 0 || t.value != "DKIM1"):
			k.wrong("v= must come first, and be DKIM1")
		case t.name == "k":
			k.Type = t.value
		case t.name == "h" && !listed(t.value, "sha256"):
			k.wrong("h=%s does not allow sha256", t.value)
		case t.name == "s" && !listed(t.value, "*") && !listed(t.value, "email"):
			k.wrong("s=%s does not allow email", t.value)
		case t.name == "t" && listed(t.value, "y"):
			k.unwise("t=y marks a test: verifiers may treat the mail as unsigned")
		}
	}
	if p, ok := find(tags, "p"); ok {
		k.public(p)
	} else {
		k.wrong("there is no p= with the key")
	}
	return k
}

// listed reports whether a colon-separated list has a word.
func listed(list, word string) bool {
	for w := range strings.SplitSeq(list, ":") {
		if strings.TrimSpace(w) == word {
			return true
		}
	}
	return false
}

// public reads the key itself. White space in it does not count (RFC 6376, 3.6.1).
func (k *Key) public(p string) {
	p = strings.Join(strings.Fields(p), "")
	if p == "" {
		k.wrong("the key is revoked: p= is empty")
		return
	}
	b, err := base64.StdEncoding.DecodeString(p)
	switch {
	case err != nil:
		k.wrong("p= is not base64: the record was cut, or its parts were joined badly")
	case k.Type == "ed25519":
		if len(b) != ed25519.PublicKeySize { // RFC 8463, 4
			k.wrong("the ed25519 key has %d bytes instead of %d", len(b), ed25519.PublicKeySize)
		}
	case k.Type == "rsa":
		k.rsa(b)
	default:
		k.wrong("k=%s is not a known type of key", k.Type)
	}
}

// rsa reads an RSA key in either of the two forms that are in use (RFC 6376, erratum 3017).
func (k *Key) rsa(b []byte) {
	var key *rsa.PublicKey
	if pub, err := x509.ParsePKIXPublicKey(b); err == nil {
		key, _ = pub.(*rsa.PublicKey)
	} else if pub, err := x509.ParsePKCS1PublicKey(b); err == nil {
		key = pub
	}
	if key == nil {
		k.wrong("p= is not an RSA key: the record was cut or pasted badly")
		return
	}
	k.Bits = key.N.BitLen()
	switch {
	case k.Bits < minBits:
		k.wrong("the key has %d bits, and verifiers refuse less than %d", k.Bits, minBits)
	case k.Bits < goodBits:
		k.unwise("the key has %d bits; %d are recommended", k.Bits, goodBits)
	}
}

func (k *Key) wrong(format string, args ...any) {
	k.Wrong = append(k.Wrong, fmt.Sprintf(format, args...))
}

func (k *Key) unwise(format string, args ...any) {
	k.Unwise = append(k.Unwise, fmt.Sprintf(format, args...))
}

// clip shortens what is quoted.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

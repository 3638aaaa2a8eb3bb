// Package returnpath makes and reads return paths that name the message that they belong to, so that bounce
// mail which comes back to one is known to be about that message.
//
// A return path is the configured address with a token in its local part: b@bounces.example.com becomes
// b+TOKEN@bounces.example.com. The token is the queue id (15 bytes, 24 characters) and a code of 8 bytes that
// only the owner of the key can make (HMAC-SHA256 of "return path" and the id): 37 characters. The id tells
// when the message came. A return path for one recipient has 5 bytes more, a code of the recipient too: 45
// characters. The first code stands in both, since the door for bounce mail must tell a return path of ours
// before the mail names a recipient.
//
// What always holds: a token is read without regard to case, since some mail systems fold it, and codes are
// compared in constant time. The first key makes tokens, and tokens of all keys are accepted, so that a key
// can be replaced while mail is under way. The null sender has no return path: whoever sends a report asks
// for none.
//
// The front door for bounce mail, the upstream side and whoever reads bounce mail use it. RFC 5321, 4.5.3.1.1
// bounds a local part to 64 bytes, which a token leaves room for.
package returnpath

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// The lengths of a token's parts, in characters: five bits each.
const (
	idLen        = 24 // the queue id, 15 bytes
	codeLen      = 13 // 8 bytes
	recipientLen = 8  // 5 bytes

	maxLocal = 64 // RFC 5321, 4.5.3.1.1
	minKey   = 16 // bytes, RFC 2104, 3 advises the length of the hash
)

// alphabet is that of queue ids in lower case. The encoding is the one of the id, whose 24 characters are
// whole bytes, so the token is the base 32 of id and code together.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// Paths makes and reads the return paths of one address. It never changes and is safe for concurrent use.
type Paths struct {
	local, domain string
	keys          [][]byte
	encoding      *base32.Encoding
}

// New returns the return paths of base, an address such as b@bounces.example.com. The first key makes them;
// those of all keys are accepted.
func New(base string, keys ...[]byte) (*Paths, error) {
	at := strings.LastIndexByte(base, '@')
	if at < 1 || at == len(base)-1 {
		return nil, fmt.Errorf("return path %q: write an address such as b@bounces.example.com", base)
	}
	p := &Paths{local: base[:at], domain: base[at+1:], keys: keys,
		encoding: base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)}
	const room = maxLocal - 1 - idLen - codeLen - recipientLen
	switch {
	case strings.ContainsAny(base[:at], "\"@\\<>"), strings.ContainsFunc(base, notPlain):
		return nil, fmt.Errorf("return path %q: it must be ASCII and need no quotes", base)
	case len(p.local) > room:
		return nil, fmt.Errorf("return path %q: the local part may have at most %d bytes", base, room)
	case len(keys) == 0:
		return nil, errors.New("return path: there is no key")
	}
	for _, key := range keys {
		if len(key) < minKey {
			return nil, fmt.Errorf("return path: a key has %d bytes, it needs at least %d random ones",
				len(key), minKey)
		}
	}
	return p, nil
}

// Base is the address without a token.
func (p *Paths) Base() string { return p.local + "@" + p.domain }

// Address is the return path of the message with the queue id id, which must be valid.
func (p *Paths) Address(id string) string {
	return p.local + "+" + strings.ToLower(id) + p.code(p.keys[0], id) + "@" + p.domain
}

// AddressFor is the return path of a message on its way to one recipient.
func (p *Paths) AddressFor(id, recipient string) string {
	key := p.keys[0]
	return p.local + "+" + strings.ToLower(id) + p.code(key, id) + p.recipientCode(key, id, recipient) +
		"@" + p.domain
}

// code is the code of a message.
func (p *Paths) code(key []byte, id string) string { return p.mac(key, id)[:codeLen] }

// recipientCode is that of a message and one recipient. Addresses compare without case.
func (p *Paths) recipientCode(key []byte, id, recipient string) string {
	return p.mac(key, id+strings.ToLower(recipient))[:recipientLen]
}

// mac is the first 8 bytes of the code of text, in base 32.
func (p *Paths) mac(key []byte, text string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("return path" + text))
	return p.encoding.EncodeToString(m.Sum(nil)[:8])
}

// Path is a return path whose code was checked. Paths compare with ==.
type Path struct {
	ID string // the queue id

	// OneRecipient reports that it was made for one recipient, which IsFor tells from others.
	OneRecipient bool

	paths *Paths
	key   int    // that it was made with, in paths.keys
	code  string // of the recipient
}

// IsFor reports whether the return path was made for this recipient of the message. It is false for one that
// was made for all of them.
func (p *Path) IsFor(recipient string) bool {
	return p.OneRecipient && recipient != "" &&
		equal(p.code, p.paths.recipientCode(p.paths.keys[p.key], p.ID, recipient))
}

// Parse reads an address, without angle brackets, and reports whether it is a return path of ours, or one
// that a forwarder or the upstream has wrapped; see unwrap.
func (p *Paths) Parse(address string) (Path, bool) {
	address = unwrap(address)
	at := strings.LastIndexByte(address, '@')
	if at < 0 || !strings.EqualFold(strings.TrimSuffix(address[at+1:], "."), p.domain) {
		return Path{}, false
	}
	prefix := p.local + "+"
	if at < len(prefix) || !strings.EqualFold(address[:len(prefix)], prefix) {
		return Path{}, false
	}
	return p.token(strings.ToLower(address[len(prefix):at]))
}

// token reads a token in lower case.
func (p *Paths) token(token string) (Path, bool) {
	one := len(token) == idLen+codeLen+recipientLen
	if !one && len(token) != idLen+codeLen || strings.Trim(token, alphabet) != "" {
		return Path{}, false
	}
	path := Path{ID: strings.ToUpper(token[:idLen]), OneRecipient: one, paths: p,
		code: token[idLen+codeLen:]}
	for i, key := range p.keys {
		if equal(token[idLen:idLen+codeLen], p.code(key, path.ID)) {
			path.key = i
			return path, true
		}
	}
	return Path{}, false
}

// notPlain reports whether r is not a visible ASCII character.
func notPlain(r rune) bool { return r <= ' ' || r > '~' }

func equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }

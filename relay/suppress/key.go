package suppress

import (
	"hash/maphash"
	"strings"

	"golang.org/x/text/unicode/norm"

	"mailwhy/relay"
	"mailwhy/relay/internal/address"
)

// Normal is an address as an entry has it: the local part as it is, the domain in lower case and A-labels
// (RFC 5891). Tags (user+tag) stay, since only the domain's owner knows what they mean.
func Normal(addr string) string {
	local, domain := address.Split(addr)
	if !address.IsASCII(local) {
		local = norm.NFC.String(local) // RFC 6532, 3.1
	}
	return local + "@" + domainOf(domain)
}

// domainOf is a domain in lower case and A-labels. One that cannot be converted stays in lower case.
func domainOf(domain string) string {
	if a, err := address.ToASCII(domain); err == nil {
		domain = a
	}
	return strings.ToLower(domain)
}

// folded is a normal address with the capitals of its local part folded: what rows are found by.
func folded(normal string) string { return strings.ToLower(normal) }

// scopeOf is the scope of mail from a sender: its domain.
func scopeOf(sender string) string {
	_, domain := address.Split(sender)
	return domainOf(domain)
}

// key is what an address is compared by: folded or not.
func (l *List) key(normal string) string {
	if l.o.FoldCase {
		return folded(normal)
	}
	return normal
}

// hash stands for an entry in memory. Its seed is random, so that nobody can choose addresses that collide.
func (l *List) hash(scope, key string) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	h.WriteString(scope)
	h.WriteByte(0)
	h.WriteString(key)
	return h.Sum64()
}

// hashOf is the hash of an entry.
func (l *List) hashOf(s *relay.Suppression) uint64 { return l.hash(s.Scope, l.key(s.Address)) }

// Concerns reports whether an entry is for mail of a sender, by its address or domain.
func Concerns(s *relay.Suppression, sender string) bool {
	domain := sender[strings.LastIndexByte(sender, '@')+1:]
	return s.Scope == relay.SuppressedEverywhere || s.Scope == domainOf(domain)
}

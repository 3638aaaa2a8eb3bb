// Package pattern holds sets of addresses as configurations name them. An entry is one of
//
//	user@example.com    the address; the local part compares without case, as people expect
//	@example.com        every address at the domain
//	@.example.com       every address at a subdomain, but not at the domain itself
//	<>                  the null sender (RFC 5321, 4.5.5)
//
// Domains compare in their ASCII form and without case (RFC 5890). A Set is looked up in a time that does not
// grow with its entries.
package pattern

import (
	"fmt"
	"strings"

	"mailwhy/relay/internal/address"
)

// Check returns an error if p is not an entry.
func Check(p string) error {
	probe := p
	switch {
	case p == "<>":
		return nil
	case strings.HasPrefix(p, "@."):
		probe = "a@a" + p[1:]
	case strings.HasPrefix(p, "@"):
		probe = "a" + p
	}
	if addr, err := address.Parse(probe, true); err != nil || addr != probe { // it would match nothing
		return fmt.Errorf("%q is not an address, @domain, @.domain or <>", p)
	}
	return nil
}

// Set is a set of addresses. The zero Set is empty. It is safe for concurrent use as long as nobody adds to
// it.
type Set struct {
	null      bool
	addresses map[string]bool // local part in lower case, domain in ASCII
	domains   map[string]bool
	parents   map[string]bool // of subdomains
}

// New makes the set of some entries, for each of which Check returns nil.
func New(entries []string) *Set {
	s := &Set{addresses: map[string]bool{}, domains: map[string]bool{}, parents: map[string]bool{}}
	for _, e := range entries {
		s.add(strings.ToLower(e))
	}
	return s
}

func (s *Set) add(e string) {
	switch {
	case e == "<>":
		s.null = true
	case strings.HasPrefix(e, "@."):
		s.parents[ascii(e[2:])] = true
	case strings.HasPrefix(e, "@"):
		s.domains[ascii(e[1:])] = true
	default:
		local, domain := address.Split(e)
		s.addresses[local+"@"+ascii(domain)] = true
	}
}

// Empty reports whether nothing is in the set.
func (s *Set) Empty() bool {
	return !s.null && len(s.addresses) == 0 && len(s.domains) == 0 && len(s.parents) == 0
}

// Key is an address in the form in which it is looked up, for those who look in several sets.
type Key struct{ address, domain string } // address is "" for the null sender

// KeyOf is the key of an address as address.Parse returned it; "" is the null sender.
func KeyOf(addr string) Key {
	if addr == "" {
		return Key{}
	}
	local, domain := address.Split(addr)
	domain = ascii(strings.ToLower(domain))
	return Key{strings.ToLower(local) + "@" + domain, domain}
}

// Has reports whether an address is in the set; see KeyOf.
func (s *Set) Has(addr string) bool { return s.HasKey(KeyOf(addr)) }

// HasKey reports whether an address is in the set.
func (s *Set) HasKey(k Key) bool {
	if k.address == "" {
		return s.null
	}
	if s.domains[k.domain] || s.addresses[k.address] {
		return true
	}
	if len(s.parents) == 0 {
		return false
	}
	for _, parent, more := strings.Cut(k.domain, "."); more; _, parent, more = strings.Cut(parent, ".") {
		if s.parents[parent] {
			return true
		}
	}
	return false
}

// ascii is a domain in its ASCII form, or as it is where it has none.
func ascii(domain string) string {
	if a, err := address.ToASCII(domain); err == nil {
		return a
	}
	return domain
}

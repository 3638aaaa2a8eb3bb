package dkim

import (
	"context"

	"mailwhy/relay/internal/dnsclient"
)

// Resolver asks DNS.
type Resolver interface {
	// Lookup returns what DNS has, also that it has nothing. An error means that nothing is known.
	Lookup(ctx context.Context, name string, t dnsclient.Type) (*dnsclient.Answer, error)
}

// Found is what is published for a selector.
type Found struct {
	Name     string   // selector._domainkey.domain
	Aliases  []string // the CNAMEs that were followed
	Key      *Key     // nil if there is none, or more than one
	Records  int      // key records; more than one is a mistake (RFC 6376, 3.6.2.2)
	Texts    int      // TXT records that are not keys
	Doubled  bool     // the record is at a name that has the domain twice
	Web      bool     // the name has addresses: a web proxy answers in place of the CNAME
	Dangling bool     // the CNAME leads to a name without a TXT record
}

// Valid reports whether a signature can be verified with what is published.
func (f *Found) Valid() bool { return f.Key != nil && len(f.Key.Wrong) == 0 }

// Lookup looks a selector up. Where there is no key it looks for the usual mistakes.
func Lookup(ctx context.Context, dns Resolver, selector, domain string) (*Found, error) {
	f := &Found{Name: selector + "._domainkey." + domain}
	a, err := dns.Lookup(ctx, f.Name, dnsclient.TXT)
	if err != nil {
		return nil, err
	}
	f.Aliases = a.Aliases
	for _, txt := range a.TXT {
		if !IsRecord(txt) {
			f.Texts++
			continue
		}
		f.Records++
		f.Key = ParseKey(txt)
	}
	if f.Records > 1 {
		f.Key = nil
	}
	f.Dangling = len(f.Aliases) > 0 && f.Records == 0
	if f.Records > 0 || f.Dangling {
		return f, nil
	}
	return f, f.mistakes(ctx, dns, domain)
}

// mistakes looks for the record where it does not belong.
func (f *Found) mistakes(ctx context.Context, dns Resolver, domain string) error {
	web, err := dns.Lookup(ctx, f.Name, dnsclient.A)
	if err != nil {
		return err
	}
	f.Web = len(web.Addrs) > 0
	if len(f.Name)+len(domain) > 252 {
		return nil // no name is longer (RFC 1035, 2.3.4)
	}
	doubled, err := dns.Lookup(ctx, f.Name+"."+domain, dnsclient.TXT)
	if err != nil {
		return err
	}
	f.Doubled = len(doubled.TXT)+len(doubled.Aliases) > 0
	return nil
}

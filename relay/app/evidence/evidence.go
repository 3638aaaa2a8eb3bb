// Package evidence says who wrote a bounce mail, by DKIM (RFC 6376) and SPF (RFC 7208). relay/app asks it for
// feedback/processor, once the mail is in the journal.
//
// What counts is whose mail system wrote it, so evidence takes all of:
//
//   - The author is one that people cannot have: mailer-daemon or postmaster. A person with a mailbox at the
//     same provider gets its signature too.
//   - A signature of the author's own registered domain fits, over all of the mail; or the mail came with the
//     null sender to the bounce listener, and SPF lets the client use the name that it gave itself (RFC 7208,
//     2.4).
//
// What always holds: DNS is asked within the time of the context, and at most maxLookups times for one mail.
// Where it does not answer nothing is known, which is no fault of the mail.
package evidence

import (
	"bytes"
	"context"
	"errors"
	"net/mail"
	"net/netip"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
	"golang.org/x/net/publicsuffix"

	"mailwhy/relay/check/spf"
	"mailwhy/relay/feedback"
	feedbackmail "mailwhy/relay/feedback/mail"
	"mailwhy/relay/internal/dnsclient"
)

// The bounds of what is done for one mail.
const (
	maxLookups    = 20
	maxSignatures = 3
)

// Of is what is known of the writer of a journalled mail.
func Of(ctx context.Context, dns spf.Resolver, raw *feedback.Raw) (e feedback.Evidence) {
	m := feedbackmail.Of(raw)
	author := authorOf(m.Content)
	if author == "" {
		return e
	}
	r := &resolver{dns: dns, left: maxLookups}
	for _, domain := range [...]string{signer(ctx, r, m, author), host(ctx, r, m)} {
		if domain != "" && !slices.Contains(e.Domains, domain) {
			e.Domains = append(e.Domains, domain)
		}
	}
	e.Unknown = r.failed
	return e
}

// authorOf is the domain of a mail's author, in lower case; "" if that is not a mail system.
func authorOf(content []byte) string {
	parsed, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return ""
	}
	if len(parsed.Header["From"]) != 1 { // RFC 5322, 3.6: with two, nobody knows which one is shown
		return ""
	}
	from, err := mail.ParseAddressList(parsed.Header.Get("From"))
	if err != nil || len(from) != 1 {
		return ""
	}
	address := strings.ToLower(from[0].Address)
	at := strings.LastIndexByte(address, '@')
	if name := address[:max(0, at)]; name != "mailer-daemon" && name != "postmaster" {
		return ""
	}
	return address[at+1:]
}

// signer is the domain of a signature that fits and aligns with the author's domain, "" if there is none.
func signer(ctx context.Context, r *resolver, m *feedbackmail.Mail, author string) string {
	if m.Cut {
		return ""
	}
	content := m.Content
	if !bytes.Contains(content, []byte("\r\n")) { // a maildir has it so
		content = bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n"))
	}
	found, err := dkim.VerifyWithOptions(bytes.NewReader(content), &dkim.VerifyOptions{
		LookupTXT:        func(name string) ([]string, error) { return r.text(ctx, name) },
		MaxVerifications: maxSignatures,
	})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		return ""
	}
	for _, v := range found {
		domain := strings.ToLower(v.Domain)
		if v.Err == nil && registered(domain) != "" && registered(domain) == registered(author) {
			return domain
		}
	}
	return ""
}

// host is the name of the client if SPF lets it use that, "" if not.
func host(ctx context.Context, r *resolver, m *feedbackmail.Mail) string {
	address, err := netip.ParseAddr(m.Peer)
	name := strings.ToLower(strings.TrimSuffix(m.Hello, "."))
	if err != nil || m.From != feedbackmail.NullSender || registered(name) == "" {
		return ""
	}
	tree, err := spf.Follow(ctx, r, name)
	if err != nil || tree.Allows(address) != spf.Yes {
		return ""
	}
	return name
}

// registered is the registered domain of a name, "" for what has none.
func registered(name string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if _, notName := netip.ParseAddr(name); err != nil || notName == nil {
		return ""
	}
	return domain
}

// resolver asks DNS so many times, and knows whether an answer was missing.
type resolver struct {
	dns    spf.Resolver
	left   int
	failed bool
}

// Lookup implements spf.Resolver.
func (r *resolver) Lookup(ctx context.Context, name string, t dnsclient.Type) (*dnsclient.Answer, error) {
	if r.left--; r.left < 0 {
		return nil, errors.New("too many lookups")
	}
	a, err := r.dns.Lookup(ctx, name, t)
	r.failed = r.failed || err != nil
	return a, err
}

// text is the lookup of keys.
func (r *resolver) text(ctx context.Context, name string) ([]string, error) {
	a, err := r.Lookup(ctx, name, dnsclient.TXT)
	if err != nil {
		return nil, err
	}
	return a.TXT, nil
}

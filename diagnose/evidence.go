package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// maxSteps is how many steps a fix has at most.
const maxSteps = 4

// specialise makes a diagnosis specific: the provider's own advice and pages go in front, and facts of the
// message become evidence.
func (e *Engine) specialise(s *Symptom, d *Diagnosis) {
	if c := e.provCodes[d.Rule]; c != nil && d.Provider == "" {
		d.Provider = c.Provider
	}
	for _, a := range e.advice[d.Reason] {
		if a.Provider != d.Provider {
			continue
		}
		d.Fix = append(slices.Clone(a.Fix), d.Fix...)
		d.Fix = d.Fix[:min(len(d.Fix), maxSteps)]
		d.Links = appendLinks(slices.Clone(a.Links), d.Links...)
	}
	switch {
	case d.Category == DMARCErrors:
		d.Evidence = authenticationEvidence(&s.Facts, d)
	case d.Reason == tooLarge:
		d.Evidence = sizeEvidence(&s.Facts, d)
	case d.Category == InvalidAddress || d.Category == MailboxIssues:
		d.Evidence = addressEvidence(&s.Facts)
	case d.Category == RateLimitIssues && s.Facts.RecentRate > 0:
		d.Evidence = []string{fmt.Sprintf(
			"In the last minute %.3g messages a second went to this upstream.", s.Facts.RecentRate)}
	}
	if d.Reason == "expired" && !s.Facts.FirstAttempt.IsZero() {
		at := s.Facts.FirstAttempt.UTC().Format("2006-01-02 15:04:05 UTC")
		d.Evidence = append(d.Evidence, "The first attempt was made at "+at+".")
	}
	if said := saidBy(&s.Facts); d.Basis == BasisProvider && said != "" {
		d.Evidence = append(d.Evidence, said)
	}
	if c := e.provCodes[d.Rule]; c != nil {
		d.Evidence = append(d.Evidence, "The provider's code means that "+c.Means+".")
		d.Links = appendLinks(d.Links, c.Link)
	}
}

// authenticationEvidence says whether DMARC could have passed: a domain must align with From (RFC 7489, 3.1).
func authenticationEvidence(f *Facts, d *Diagnosis) []string {
	if f.HeaderFrom == "" {
		return nil
	}
	from := strings.ToLower(f.HeaderFrom)
	if d.Domain == "" {
		d.Domain = from
	}
	out := []string{spfEvidence(from, strings.ToLower(f.EnvelopeFrom))}
	if said := dkimEvidence(f, from); said != "" {
		out = append(out, said)
	}
	return out
}

// spfEvidence says whether SPF can align with the domain of From.
func spfEvidence(from, envelope string) string {
	switch {
	case envelope == "":
		return fmt.Sprintf("From is %s and the envelope sender is empty, so SPF cannot align.", from)
	case aligned(envelope, from):
		return fmt.Sprintf("From is %s and the envelope sender is %s: they align, "+
			"so SPF passes DMARC once it lists the sending host.", from, envelope)
	}
	return fmt.Sprintf("From is %s but the envelope sender is %s: SPF cannot align.", from, envelope)
}

// dkimEvidence says whether there is a signature that aligns with From; "" when the header was not read.
func dkimEvidence(f *Facts, from string) string {
	fits := func(domain string) bool { return aligned(strings.ToLower(domain), from) }
	switch {
	case slices.ContainsFunc(f.DKIMDomains, fits):
		return fmt.Sprintf("A DKIM signature for %s is present: check that it verifies.", from)
	case len(f.DKIMDomains) > 0:
		first := strings.Join(f.DKIMDomains[:min(3, len(f.DKIMDomains))], ", ")
		return fmt.Sprintf("The DKIM signatures present are for %s; none is for %s.", first, from)
	case f.Examined:
		return fmt.Sprintf("There is no DKIM signature for %s.", from)
	}
	return ""
}

// aligned reports relaxed alignment, as far as it can be known without the public suffix list: one domain is
// the other or below it, or both are below a common domain of at least two labels that is more than a suffix
// such as co.uk.
func aligned(a, b string) bool {
	if a == b || strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a) {
		return true
	}
	return organisation(a) == organisation(b)
}

// organisation guesses the organisational domain: two labels, three below a country's own second level.
func organisation(d string) string {
	labels := strings.Split(d, ".")
	n := 2
	if len(labels) >= 3 && len(labels[len(labels)-1]) == 2 {
		switch labels[len(labels)-2] {
		case "co", "com", "org", "net", "ac", "gov", "edu", "or", "ne", "go", "ad", "gob", "nom":
			n = 3
		}
	}
	return strings.Join(labels[max(0, len(labels)-n):], ".")
}

// sizeEvidence names the sizes that are known. Where the message is within the known limit, the server
// applied another one.
func sizeEvidence(f *Facts, d *Diagnosis) []string {
	limit := d.SizeLimit
	if limit == 0 {
		limit = f.UpstreamSize
	}
	switch {
	case f.Size <= 0:
		return nil
	case limit == 0:
		return []string{fmt.Sprintf("The message is %d bytes long.", f.Size)}
	case f.Size <= limit:
		return []string{fmt.Sprintf("The message is %d bytes long and within the known limit of %d: "+
			"another limit was applied, such as the recipient's own or one for headers or attachments.",
			f.Size, limit)}
	}
	return []string{fmt.Sprintf("The message is %d bytes long; the limit is %d.", f.Size, limit)}
}

// addressEvidence points out a likely typo in the recipient's domain.
func addressEvidence(f *Facts) []string {
	at := strings.LastIndexByte(f.Recipient, '@')
	if at < 1 {
		return nil
	}
	domain := strings.ToLower(f.Recipient[at+1:])
	if guess := Typo(domain); guess != "" {
		return []string{fmt.Sprintf("The domain %s may be a typo for %s.", domain, guess)}
	}
	return nil
}

// largeProviders are domains that people mistype.
func largeProviders() []string {
	return []string{"gmail.com", "googlemail.com", "yahoo.com", "ymail.com", "hotmail.com", "outlook.com",
		"live.com", "msn.com", "icloud.com", "me.com", "aol.com", "comcast.net", "verizon.net", "att.net",
		"proton.me", "protonmail.com", "gmx.de", "gmx.net", "web.de", "t-online.de", "orange.fr",
		"wanadoo.fr", "free.fr", "laposte.net", "libero.it", "yandex.ru", "mail.ru", "qq.com", "163.com",
		"naver.com",
		"docomo.ne.jp", "btinternet.com", "yahoo.co.uk", "hotmail.co.uk", "hotmail.fr", "yahoo.fr"}
}

// realDomains are domains in use that look like a mistyped large provider.
func realDomains() []string {
	return []string{"mail.com", "email.com", "gmx.com", "gmx.at", "gmx.ch", "live.fr", "live.de", "ymail.co",
		"web.com", "fee.fr", "live.co", "msn.de", "att.com", "me.net", "gmail.ru", "mail.de", "aim.com",
		"hotmail.de", "hotmail.it", "hotmail.es", "yahoo.de", "yahoo.it", "yahoo.es", "yahoo.ca"}
}

// Typo guesses the large provider that a mistyped domain was meant for; "" when there is none. A domain
// counts as mistyped when it is one edit (two for long names) away from a provider's and not known to be in
// use.
func Typo(domain string) string {
	domain = strings.ToLower(domain)
	known := largeProviders()
	if domain == "" || len(domain) > 40 || slices.Contains(known, domain) {
		return ""
	}
	best, guess := 3, ""
	for _, k := range known {
		if domain[0] != k[0] {
			continue // few mistake the first letter
		}
		limit := 1
		if len(k) >= 9 {
			limit = 2
		}
		if n := edits(domain, k); n <= limit && n < best {
			best, guess = n, k
		}
	}
	if slices.Contains(realDomains(), domain) {
		return ""
	}
	return guess
}
